"""What is told around a decision: for whom it waits, what the clock decided before it, and a vote given twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM
from sopwith.core.events import Event
from sopwith.doors.caller import os_actor
from sopwith.doors.cli.display import answer_line

from .workshop import Terminal, Workshop

ME = os_actor("cli").id


def asked_of(workshop: Workshop, *approvers: str, **rules: object) -> str:
    """A run that waits at the gate of its only step, of which these are the approvers."""
    approval = {"approvers": list(approvers), "onTimeout": "reject", "allowSelfApproval": True, **rules}
    step = {"number": 1, "title": "Act", "requiresApproval": True, "approval": approval}
    workshop.steps("gated", "?Act | true", steps=[step])
    return workshop.started("gated")


def overdue(workshop: Workshop, action: str) -> str:
    """A run whose only gate has run out of time, with nobody there to notice."""
    rules = {"approvers": [f"user:{ME}"], "onTimeout": action, "allowSelfApproval": True}
    step = {"number": 1, "title": "Act", "requiresApproval": True, "approvalTimeoutMins": 0.005, "approval": rules}
    workshop.steps("timed", "?Act | true", steps=[step])
    run = workshop.started("timed")
    time.sleep(0.4)
    return run


@pytest.mark.parametrize("action", ["approve", "skip", "fail", "pause"])
def test_what_the_clock_had_decided_is_told_by_resume(workshop: Workshop, action: str) -> None:
    run = overdue(workshop, action)
    assert workshop.sop("resume", run).out.count(f"nobody answered in time: {action}\n") == 1


def test_what_the_clock_had_decided_stays_out_of_the_document(workshop: Workshop) -> None:
    run = overdue(workshop, "approve")
    assert workshop.json("resume", run)["status"] == "completed"


def test_status_says_for_whom_it_waits(workshop: Workshop) -> None:
    (workshop.sops / "config.json").write_text('{"groups": {"release": ["ann", "bob"]}}')
    run = asked_of(workshop, "group:release", f"user:{ME}", quorum=2)
    told = workshop.sop("status", run).out
    assert f"\nwaits for group:release, user:{ME}\nnext: sop approve {run}\n" in told
    assert workshop.json("status", run)["waitsFor"] == ["group:release", f"user:{ME}"]
    workshop.json("approve", run, code=3)
    assert "\nwaits for group:release\nnext: " in workshop.sop("status", run).out
    assert workshop.json("status", run)["gates"][0]["waitsFor"] == ["group:release"]
    workshop.json("pause", run)
    assert "waits for" not in workshop.sop("status", run).out
    assert "waitsFor" not in workshop.json("status", run)


def test_a_gate_for_any_person_waits_for_nobody_in_particular(workshop: Workshop) -> None:
    workshop.steps("open", "?Act | true")
    run = workshop.started("open")
    assert "waitsFor" not in workshop.json("status", run)
    assert "waits for" not in workshop.sop("status", run).out


def test_a_vote_given_twice_stands_as_it_was_given(workshop: Workshop) -> None:
    form = {"type": "object", "properties": {"ticket": {"type": "string"}}, "required": ["ticket"]}
    rules = {"quorum": 2, "form": form}
    run = asked_of(workshop, f"user:{ME}", "user:bob", **rules)
    first = workshop.json("approve", run, "--field", "ticket=1", "--comment", "once", code=3)
    assert "alreadyVoted" not in first
    again = workshop.sop("approve", run, "--field", "ticket=2", "--comment", "twice")
    assert again.code == 3
    assert f"you voted already for step 1 of {run}: 1 of 2; the comment and the form were not added\n" in again.out
    told = workshop.sop("approve", run, "--step", "1", "--comment", "twice")
    assert "you voted already for step 1" in told.out
    assert "; the comment was not added\n" in told.out
    document = workshop.json("approve", run, "--field", "ticket=2", code=3)
    assert (document["alreadyVoted"], document["status"], document["votes"]) == (True, "vote_recorded", 1)
    votes = workshop.json("status", run)["gates"][0]
    assert ([vote["comment"] for vote in votes["votes"]], votes["values"]) == (["once"], {"ticket": "1"})
    plain = workshop.sop("approve", run).out
    assert "you voted already" in plain
    assert "added" not in plain


def test_a_vote_given_twice_with_the_digest_of_another_question_is_stale(workshop: Workshop) -> None:
    run = asked_of(workshop, f"user:{ME}", "user:bob", quorum=2)
    workshop.json("approve", run, code=3)
    told = workshop.sop("approve", run, "--digest", "0" * 12)
    assert "asks for approval of" in told.err


def test_show_makes_no_database(workshop: Workshop) -> None:
    workshop.steps("gated", "?Act | true")
    before = workshop.files()
    told = workshop.sop("approve", "sop_run_x", "--show")
    assert told.code == 6
    assert workshop.files() == before


def test_the_inbox_is_told_while_config_json_is_broken(workshop: Workshop) -> None:
    run = asked_of(workshop, "user:bob")
    (workshop.sops / "config.json").write_text('{"groups": {')
    for options in ([], ["--mine"]):
        told = workshop.sop("inbox", *options)
        assert told.code == 0
        assert f"sop approve {run} --step 1" in told.out
        assert "warning: who may approve is not known: config.json has errors" in told.err
    told = workshop.sop("inbox", "--json")
    assert '"mayApprove"' not in told.out
    assert '"total":1' in told.out
    assert told.err.count("warning: ") == 1
    (workshop.sops / "config.json").unlink()
    assert workshop.json("inbox")["items"][0]["mayApprove"] is False


def test_the_start_gate_shows_the_procedure_whole(workshop: Workshop) -> None:
    workshop.steps("asked", "Look | echo looked\necho twice", "?Act | true", mode="supervised", workingDir=".")
    run = workshop.started("asked")
    (workshop.sops / "asked" / "SOP.md").write_text("# Asked\n\n## Steps\n\n### Step 1: Else\n")
    (gate,) = workshop.json("approve", run, "--show")["gates"]
    assert [step["script"] for step in gate["procedure"]["steps"]] == ["echo looked\necho twice\n", "true\n"]
    assert gate["procedure"]["effectiveMode"] == "supervised"
    assert gate["procedure"]["env"] == {"set": {}, "pass": []}
    shown = workshop.sop("approve", run, "--show").out.partition("SHA-256")[2]
    for words in ("dependsOn: ", "script:\n", "│ echo looked\n", "│ echo twice\n", "workingDir: ."):
        assert words in shown
    workshop.json("approve", run, code=3)
    (gate,) = workshop.json("approve", run, "--show")["gates"]
    assert "procedure" not in gate


def test_v_shows_the_procedure_whole_at_the_start(workshop: Workshop, terminal: Callable[..., Terminal]) -> None:
    workshop.steps("asked", "Look | echo looked", mode="supervised")
    screen = terminal("run", "asked")
    screen.expect("etach > ")
    screen.type("v\n")
    shown = screen.expect("etach > ").partition("SHA-256")[2]
    assert "echo looked" in shown
    assert "effectiveMode: supervised" in shown
    screen.type("d\n")
    screen.end()


@pytest.mark.parametrize(
    ("digest", "words"),
    [
        ("", "what step 2 would run has changed since the run began (passed TOKEN): asking"),
        ("0" * 64, "what was approved has changed (passed TOKEN): asking again"),
    ],
)
def test_what_nobody_approved_is_not_said_to_have_been(digest: str, words: str) -> None:
    body = ev.ApprovalStale(step_number=2, revision=0, digest=digest, found_digest="1" * 64, changed=("passed TOKEN",))
    told = Event(run_id="sop_run_x", seq=2, at=datetime(2026, 1, 1, tzinfo=UTC), actor=SYSTEM, body=body)
    assert answer_line(told).endswith(words)


def test_an_unknown_key_of_config_json_names_the_right_page(workshop: Workshop) -> None:
    (workshop.sops / "config.json").write_text('{"zzzzzz": 1}')
    assert "in the reference of config.json" in workshop.sop("validate").out


def test_a_rejection_that_leads_on_carries_the_run_on(workshop: Workshop) -> None:
    steps = [{"number": 1, "onReject": "goto:2"}, {"number": 2}]
    workshop.steps("deploy", "?Act | echo acted", "Tell | echo told", steps=steps)
    assert "on rejection: goes on at step 2" in workshop.sop("show", "deploy").out
    run = workshop.started("deploy")
    told = workshop.json("reject", run, "--reason", "no")
    assert (told["action"], told["run"]["status"], told["run"]["withFailures"]) == ("goto", "completed", True)


def test_a_rejection_may_fail_the_run(workshop: Workshop) -> None:
    workshop.steps("deploy", "?Act | echo acted", steps=[{"number": 1, "onReject": "fail"}])
    run = workshop.started("deploy")
    told = workshop.json("reject", run, "--reason", "no")
    assert (told["action"], told["run"]["status"]) == ("failed", "failed")
    assert told["run"]["reason"] == "step 1 rejected: no"
