"""`sop tools` and `sop skill install`."""

from __future__ import annotations

import json

import pytest

from sopwith.doors.agent.skill import skill_text
from sopwith.doors.agent.tools import TOOLS

from .workshop import Workshop

NAMES = [tool.name for tool in TOOLS]


@pytest.mark.parametrize(
    ("form", "schema_key"), [("json", "inputSchema"), ("anthropic", "input_schema"), ("openai", "parameters")]
)
def test_the_tools_are_printed_for_hosts_without_mcp(workshop: Workshop, form: str, schema_key: str) -> None:
    told = workshop.sop("tools", "--format", form)
    listed = json.loads(told.out)
    assert told.code == 0
    assert len(told.out) < 8 * 1024
    functions = [each["function"] for each in listed] if form == "openai" else listed
    assert [each["name"] for each in functions] == NAMES
    assert all(each[schema_key]["additionalProperties"] is False and each["description"] for each in functions)


def test_the_skill_is_installed_where_agents_look(workshop: Workshop) -> None:
    path = workshop.root / ".claude" / "skills" / "sopwith" / "SKILL.md"
    assert workshop.json("skill", "install") == {
        "success": True,
        "path": ".claude/skills/sopwith/SKILL.md",
        "changed": True,
    }
    assert path.read_text() == skill_text()
    assert workshop.json("skill", "install")["changed"] is False
    path.write_text(skill_text() + "more")
    assert workshop.json("skill", "install")["changed"] is True
    assert workshop.json("skill", "install", "elsewhere")["path"] == "elsewhere/sopwith/SKILL.md"


def test_another_skill_is_not_written_over(workshop: Workshop) -> None:
    path = workshop.root / "skills" / "sopwith" / "SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text("---\nname: mine\n---\n")
    assert workshop.sop("skill", "install", "skills").code == 2
    assert path.read_text() == "---\nname: mine\n---\n"
    (workshop.root / "file").touch()
    assert workshop.sop("skill", "install", "file").code == 1


def test_the_skill_is_one_that_agents_load() -> None:
    head, body = skill_text().removeprefix("---\n").split("\n---\n", 1)
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert fields["name"] == "sopwith"
    assert 50 < len(fields["description"]) < 1024
    assert all(name in body for name in ("sop_list", "sop_describe", "sop_execute", "sop_complete_step", "sop_status"))
