"""Words that others wrote stay on their line, or behind a margin: nothing poses as a line of the command's own."""

from __future__ import annotations

import json

import pytest
from click import unstyle

from sopwith.assembly import open_engine
from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM
from sopwith.core.events import Event
from sopwith.doors.cli.display import ended_words, event_line
from sopwith.engine.documents import run_document
from sopwith.ports import Workspace

from .workshop import Workshop

FORGED = "x\n    bash (/usr/bin/bash) in /srv/safe:\n      echo harmless\n    envelope 111111111111\n"


def stands_on_a_line(forged: str, shown: str) -> list[str]:
    """Lines of what was shown that begin as a line of the forgery does."""
    wanted = [line.strip() for line in forged.split("\n")[1:] if line.strip()]
    return [line for line in shown.split("\n") if line.strip().startswith(tuple(wanted))]


def gated(workshop: Workshop, **manifest: object) -> None:
    step = {"number": 1, "title": "Act", "requiresApproval": True, **manifest}
    workshop.steps("gated", "?Act | true", steps=[step])


def test_a_parameter_forges_no_line_of_the_question(workshop: Workshop) -> None:
    workshop.steps("gated", "?Act | true")
    run = workshop.started("gated", "--param", f"note={FORGED}")
    for verb in (["approve", run, "--show"], ["status", run], ["run", "gated", "--dry-run", "--param", f"n={FORGED}"]):
        shown = workshop.sop(*verb).out
        assert "echo harmless" in shown
        assert stands_on_a_line(FORGED, shown) == []


@pytest.mark.parametrize("mode", ["auto", "supervised"])
def test_an_environment_value_forges_no_line_of_the_question(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    step = {"number": 1, "title": "Act", "requiresApproval": True, "env": {"set": {"NOTE": FORGED}}}
    workshop.steps("gated", "?Act | true", mode=mode, steps=[step])
    monkeypatch.setenv("LC_TIME", FORGED)
    run = workshop.started("gated")
    monkeypatch.setenv("LC_TIME", "C")
    for verb in (["approve", run, "--show"], ["show", "gated"]):
        shown = workshop.sop(*verb).out
        assert "echo harmless" in shown
        assert stands_on_a_line(FORGED, shown) == []


def test_a_default_and_a_vote_forge_no_line(workshop: Workshop) -> None:
    fields = {"type": "object", "properties": {"ticket": {"type": "string", "title": "Ticket"}}, "required": ["ticket"]}
    rules = {
        "approvers": ["user:root", "user:bob"],
        "quorum": 2,
        "form": fields,
        "onTimeout": "reject",
        "allowSelfApproval": True,
    }
    gated(workshop, approval=rules)
    (workshop.sops / "gated" / "manifest.json").write_text(
        (workshop.sops / "gated" / "manifest.json").read_text().replace("user:root", f"user:{whoami()}")
    )
    run = workshop.started("gated")
    workshop.json("approve", run, "--comment", FORGED, "--field", f"ticket={FORGED}", code=3)
    for verb in (["approve", run, "--show"], ["status", run], ["inbox"]):
        assert stands_on_a_line(FORGED, workshop.sop(*verb).out) == []


def test_prose_and_scripts_stand_behind_a_margin(workshop: Workshop) -> None:
    workshop.procedure(
        "asked",
        "# Asked\n\n**Execution Mode**: supervised\n\n## Steps\n\n### Step 1: Walk\n\nGo.\n\nenvelope 111111111111\n\n"
        "### Step 2: Act\n\nProse.\n\n```bash\ntrue\nenvelope 222222222222\n```\n\n**Approval Required**: Yes\n",
    )
    run = workshop.started("asked")
    shown = workshop.sop("approve", run, "--show").out
    assert "     │ envelope 111111111111\n" in shown
    assert "       │ envelope 222222222222\n" in shown
    assert stands_on_a_line("\nenvelope 1111\nenvelope 2222", shown) == []
    workshop.json("approve", run, code=3)
    assert "  │ envelope 111111111111\n" in workshop.sop("status", run, "--step", "1").out
    workshop.json("complete", run, code=3)
    shown = workshop.sop("approve", run, "--show").out
    assert "      │ envelope 222222222222\n" in shown
    assert stands_on_a_line("\nenvelope 2222", shown) == []
    told = workshop.process("approve", run, "--show", env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}).out
    assert "      | envelope 222222222222\n" in told


def test_the_prose_of_a_manual_step_at_a_gate_stands_behind_a_margin(workshop: Workshop) -> None:
    workshop.procedure(
        "asked",
        "# Asked\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Walk\n\nGo.\n\nenvelope 111111111111\n\n"
        "**Approval Required**: Yes\n",
    )
    shown = workshop.sop("approve", workshop.started("asked"), "--show").out
    assert stands_on_a_line("\nenvelope 1111", shown) == []


def test_a_reason_forges_no_line(workshop: Workshop) -> None:
    forged = "no\nnext: sop approve sop_run_other\n✔ all is well vаr"
    workshop.steps("gated", "Look | true", "?Act | true")
    run = workshop.started("gated")
    told = [workshop.sop("reject", run, "--reason", forged).out]
    told += [workshop.sop(*verb).out for verb in (["status", run], ["inbox"], ["history"])]
    skipped = workshop.sop("skip", run, "--reason", forged)
    told += [skipped.out, skipped.err, workshop.sop("status", run).out]
    for shown in told:
        assert stands_on_a_line(forged, shown) == []
    assert any("v\\u{0430}r" in shown for shown in told)
    workshop.steps("other", "?Act | true")
    run = workshop.started("other")
    workshop.json("reject", run, "--reason", forged)
    assert stands_on_a_line(forged, workshop.sop("approve", run, "--step", "1").err) == []


def test_what_is_told_of_an_event_or_at_the_end_is_one_line(workshop: Workshop) -> None:
    forged = "no\nnext: sop approve sop_run_other vаr"
    bodies: list[ev.EventBody] = [
        ev.StepFailed(step_number=1, title="Do", error=forged, cause="reported"),
        ev.StepSkipped(step_number=1, title="Do", reason=forged),
        ev.StepInterrupted(step_number=1, title="Do", reason=forged),
        ev.ApprovalGranted(step_number=1, revision=1, digest="", comment=forged),
        ev.ApprovalRejected(step_number=1, revision=1, digest="", reason=forged, action="paused"),
        ev.ApprovalStale(step_number=1, revision=1, digest="", found_digest="", changed=(forged,)),
        ev.ApprovalStale(step_number=1, revision=1, digest="1", found_digest="", changed=(forged,)),
    ]
    workshop.steps("gated", "?Act | true")
    run = open_engine(Workspace(workshop.root)).runs.load(workshop.started("gated")).run
    for body in bodies:
        told = Event(run_id=run.run_id, seq=2, at=run.created_at, actor=SYSTEM, body=body)
        line = event_line(told, run)
        assert "no\\u{000a}next: sop approve sop_run_other v\\u{0430}r" in line, body
        assert "\n" not in line
    document = {**run_document(run), "reason": forged, "status": "paused"}
    assert unstyle(ended_words(document)).count("\nnext: ") == 1


def test_a_comment_of_a_manual_step_forges_no_line(workshop: Workshop) -> None:
    forged = "done\n  ✔ 2 Other  completed"
    workshop.steps("byhand", "Walk over")
    run = workshop.started("byhand")
    workshop.json("complete", run, "--comment", forged, "--output", forged)
    assert stands_on_a_line(forged, workshop.sop("status", run, "--step", "1").out) == []


def test_a_text_and_a_number_do_not_look_the_same(workshop: Workshop) -> None:
    declared = [{"name": "a", "type": "integer"}, {"name": "b"}, {"name": "c", "type": "boolean"}, {"name": "d"}]
    workshop.steps("gated", "?Act | true", params=declared)
    (workshop.root / "p.json").write_text(json.dumps({"a": 5, "b": "5", "c": True, "d": "true"}))
    shown = workshop.sop("run", "gated", "--dry-run", "--params-file", "p.json").out
    for words in ("  a = 5\n", '  b = "5"\n', "  c = true\n", '  d = "true"\n'):
        assert words in shown


def whoami() -> str:
    from sopwith.doors.caller import os_actor

    return os_actor("cli").id
