"""`sop tools` and `sop skill install`."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sopwith.doors.agent.arguments import check_arguments
from sopwith.doors.agent.skill import skill_text
from sopwith.doors.agent.tools import TOOLS
from sopwith.errors import BadArgument

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


# what the hosts' own documents allow in the definition of a tool that is not strict
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KEYWORDS = {
    *("type", "properties", "required", "additionalProperties", "description", "enum", "items"),
    *("minimum", "maximum", "minLength", "maxLength", "maxItems"),
}


@pytest.mark.parametrize("form", ["json", "anthropic", "openai"])
def test_what_is_printed_is_what_hosts_take(workshop: Workshop, form: str) -> None:
    for each in json.loads(workshop.sop("tools", "--format", form).out):
        tool = each["function"] if form == "openai" else each
        assert (
            set(each)
            == {
                "json": {"name", "description", "inputSchema", "annotations"},
                "anthropic": {"name", "description", "input_schema"},
                "openai": {"type", "function"},
            }[form]
        )
        if form == "openai":
            assert each["type"] == "function"
            assert set(tool) == {"name", "description", "parameters", "strict"}
            assert tool["strict"] is False
        schema = tool[{"json": "inputSchema", "anthropic": "input_schema", "openai": "parameters"}[form]]
        assert _NAME.fullmatch(tool["name"])
        assert 0 < len(tool["description"]) <= 1024
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert all(_NAME.fullmatch(name) for name in schema["properties"])
        assert _keywords(schema) <= _KEYWORDS


def _keywords(schema: dict[str, Any]) -> set[str]:
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else ())]
    return set(schema).union(*map(_keywords, inner))


def _fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    kinds = {"string": "x", "integer": 1, "object": {}, "array": []}
    return st.sampled_from(schema.get("enum", [kinds[schema["type"]]]))


@given(st.data())
def test_what_a_schema_allows_is_what_the_tool_takes(data: st.DataObject) -> None:
    """A host that checks against the printed schema, and the door, never disagree."""
    tool = data.draw(st.sampled_from(TOOLS))
    value = st.one_of(
        st.sampled_from(["", "x", "x" * 64, "x" * 201, "done", "auto", "outline", "completed", "sop_run_x"]),
        st.sampled_from([-1, 0, 1, 200, 20_000, 20_001, True, None, 1.5, [], ["a"], ["a"] * 21, [1], {}]),
    )
    fitting = {name: _fitting(schema) for name, schema in tool.arguments.items()}
    given_arguments = {name: data.draw(fitting[name]) for name in tool.required}
    odd = data.draw(st.sampled_from([*tool.arguments, "favourite"]))
    given_arguments[odd] = data.draw(value | fitting.get(odd, value))
    fits = Draft202012Validator(tool.schema).is_valid(given_arguments)
    try:
        check_arguments(tool, given_arguments)
    except BadArgument:
        assert not fits, given_arguments
    else:
        assert fits, given_arguments


def test_the_skill_is_installed_where_agents_look(workshop: Workshop) -> None:
    path = workshop.root / ".claude" / "skills" / "sopwith" / "SKILL.md"
    assert workshop.json("skill", "install") == {
        "success": True,
        "path": ".claude/skills/sopwith/SKILL.md",
        "changed": True,
    }
    assert path.read_text() == skill_text()
    assert workshop.json("skill", "install")["changed"] is False
    assert workshop.json("skill", "install", "elsewhere")["path"] == "elsewhere/sopwith/SKILL.md"


def test_an_edited_skill_is_brought_up_to_date_and_the_edit_is_kept(workshop: Workshop) -> None:
    path = workshop.root / ".claude" / "skills" / "sopwith" / "SKILL.md"
    workshop.json("skill", "install")
    for number in (1, 2):
        path.write_text(f"{skill_text()}mine, {number}")
        told = workshop.json("skill", "install")
        assert told["changed"] is True
        assert told["kept"] == f".claude/skills/sopwith/SKILL.md.{number}.old"
        assert (workshop.root / told["kept"]).read_text() == f"{skill_text()}mine, {number}"
        assert path.read_text() == skill_text()
    # the same edit once more is kept already
    path.write_text(f"{skill_text()}mine, 1")
    assert workshop.json("skill", "install")["kept"].endswith(".1.old")
    path.write_bytes(skill_text().replace("\n", "\r\n").encode())
    assert "what was there is in" in workshop.sop("skill", "install").out
    assert sorted(each.name for each in path.parent.iterdir()) == [
        *("SKILL.md", "SKILL.md.1.old", "SKILL.md.2.old", "SKILL.md.3.old"),
    ]


@pytest.mark.parametrize("folder", ["file", "/proc/nowhere", "locked"])
def test_where_nothing_can_be_written_there_is_a_sentence_and_nothing_is_lost(workshop: Workshop, folder: str) -> None:
    (workshop.root / "file").touch()
    locked = workshop.root / "locked" / "sopwith"
    locked.mkdir(parents=True)
    (locked / "SKILL.md").mkdir()  # a folder in its place, which no account may write over
    told = workshop.json("skill", "install", folder, code=1)
    assert told["error"]["code"] == "workspace_error"
    assert "SKILL.md" in told["error"]["message"]
    assert [each.name for each in locked.iterdir()] == ["SKILL.md"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_keeps_its_skill(workshop: Workshop) -> None:
    path = workshop.root / "skills" / "sopwith" / "SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text(skill_text() + "mine")
    path.parent.chmod(0o500)
    try:
        assert workshop.sop("skill", "install", "skills").code == 1
    finally:
        path.parent.chmod(0o700)
    assert path.read_text() == skill_text() + "mine"


def test_another_skill_is_not_written_over(workshop: Workshop) -> None:
    path = workshop.root / "skills" / "sopwith" / "SKILL.md"
    path.parent.mkdir(parents=True)
    path.write_text("---\nname: mine\n---\n")
    assert workshop.sop("skill", "install", "skills").code == 2
    assert path.read_text() == "---\nname: mine\n---\n"


def test_the_skill_is_one_that_agents_load() -> None:
    head, body = skill_text().removeprefix("---\n").split("\n---\n", 1)
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert fields["name"] == "sopwith"
    assert 50 < len(fields["description"]) < 1024
    assert all(name in body for name in ("sop_list", "sop_describe", "sop_execute", "sop_complete_step", "sop_status"))
