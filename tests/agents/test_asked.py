"""What an agent that a gate names is shown before it approves, and what becomes of an approval without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.doors.workshop import Workshop

from sopwith.engine.asked import MOST_ASKED

from .given import Agent, Document, gated_by

Make = Callable[..., Agent]


def gated(workshop: Workshop, coder: Agent, size: int, *, gates: int = 1, **rules: Any) -> str:
    """A run that waits at gates which name the reviewer, before scripts of this length."""
    steps = [{"number": number, "dependsOn": [], **gated_by("reviewer", **rules)} for number in range(1, gates + 1)]
    workshop.steps("long", *(f"Ship | echo {'x' * size} > shipped" for _ in steps), steps=steps)
    run_id: str = coder("sop_execute", sopName="long")["runId"]
    return run_id


def offered(told: Document, tool: str = "sop_approve") -> list[Document]:
    return [move for move in told["next"] if move.get("call") == tool]


@pytest.mark.parametrize("size", [100, 23_000, 50_000, 60_000])
def test_an_envelope_is_shown_whole_up_to_its_own_bound(
    workshop: Workshop, coder: Agent, reviewer: Agent, size: int
) -> None:
    run_id = gated(workshop, coder, size)
    told = reviewer("sop_status", runId=run_id)
    [asked], [move] = told["asked"], offered(told)
    assert "x" * size in asked["envelope"]
    assert "left out" not in asked["envelope"]
    assert told["waitingOn"] == "agent"
    assert asked["digest"].startswith(move["arguments"]["digest"])
    reviewer("sop_approve", **move["arguments"])
    assert (workshop.root / "shipped").exists()


@pytest.mark.parametrize("names", ["an agent", "a person"])
def test_what_is_longer_is_a_persons_to_decide(workshop: Workshop, agents: Make, names: str) -> None:
    also = ["user:ann"] if names == "a person" else []
    reviewer = agents("reviewer")
    run_id = gated(workshop, agents("coder"), MOST_ASKED, approvers=["agent:reviewer", *also])
    told = reviewer("sop_status", runId=run_id)
    assert (told["waitingOn"], offered(told), "asked" in told) == ("human", [], False)
    [sentence] = [move["tellHuman"] for move in told["next"] if "tellHuman" in move]
    assert "too long to be shown to an agent" in sentence
    assert f"sop approve {run_id} --step 1 --show" in sentence
    assert ("names agents only" in sentence) is (names == "an agent")
    shown = reviewer.opened.engine.runs.load(run_id).run.steps[1].gate
    assert shown is not None
    for more in ({}, {"digest": shown.digest}, {"stepNumber": 1}):
        refused = reviewer.refused("approver_not_allowed", "sop_approve", runId=run_id, **more)
        assert "too long to be shown to an agent" in refused["error"]["message"]
        assert [move["tellHuman"] for move in refused["next"] if "tellHuman" in move] == [sentence]
    assert reviewer("sop_status", runId=run_id)["revision"] == told["revision"]
    reviewer("sop_reject", runId=run_id, stepNumber=1, reason="too long for me")


def test_escapes_count_as_they_are_shown(workshop: Workshop, coder: Agent, reviewer: Agent) -> None:
    workshop.steps("deploy", "Ship | : " + "[[" * 8_000, steps=[{"number": 1, **gated_by("reviewer")}])
    run_id = coder("sop_execute", sopName="deploy")["runId"]
    told = reviewer("sop_status", runId=run_id)
    assert (told["waitingOn"], offered(told)) == ("human", [])


def test_a_short_approval_as_the_specification_has_it_still_holds(
    workshop: Workshop, coder: Agent, reviewer: Agent
) -> None:
    run_id = gated(workshop, coder, 100)
    assert reviewer("sop_approve", runId=run_id, stepNumber=1)["status"] == "approved"


def test_of_several_gates_those_are_offered_that_are_shown(workshop: Workshop, coder: Agent, reviewer: Agent) -> None:
    run_id = gated(workshop, coder, 30_000, gates=3)
    told = reviewer("sop_status", runId=run_id)
    assert [each["stepNumber"] for each in told["asked"]] == [1, 2]
    assert [move["arguments"]["stepNumber"] for move in offered(told)] == [1, 2]
    [look] = [move for move in offered(told, "sop_status") if "stepNumber" in move["arguments"]]
    assert look["arguments"] == {"runId": run_id, "stepNumber": 3}
    assert told["waitingOn"] == "agent"
    then = reviewer("sop_status", **look["arguments"])
    assert [each["stepNumber"] for each in then["asked"]] == [3, 1]
    assert 3 in [move["arguments"]["stepNumber"] for move in offered(then)]


def test_where_nothing_is_shown_a_look_is_offered_first(workshop: Workshop, coder: Agent, reviewer: Agent) -> None:
    run_id = gated(workshop, coder, 100)
    for told in (
        reviewer("sop_get_audit", runId=run_id),
        reviewer.refused("bad_request", "sop_reject", runId=run_id, stepNumber=1, reason=" "),
        reviewer.refused("approval_stale", "sop_approve", runId=run_id, stepNumber=1, digest="0" * 12),
    ):
        assert "asked" not in told
        assert offered(told) == []
        [look] = offered(told, "sop_status")
        assert look["arguments"] == {"runId": run_id, "stepNumber": 1}
        assert told["waitingOn"] == "agent"
        assert "you have checked" not in json.dumps(told)
        assert offered(reviewer("sop_status", **look["arguments"]))


def test_the_text_beside_an_answer_says_where_to_read_what_is_asked(
    workshop: Workshop, coder: Agent, reviewer: Agent
) -> None:
    run_id = gated(workshop, coder, 100)
    answer = reviewer.answer("sop_status", runId=run_id)
    [asked] = answer.document["asked"]
    assert asked["digest"][:12] not in answer.text
    assert "You may call sop_approve" not in answer.text
    assert "read `asked`" in answer.text
    assert f'sop_status {{"runId": "{run_id}", "stepNumber": 1}}' in answer.text
    assert "you have checked" not in answer.text


def test_a_gate_within_is_looked_at_in_its_own_run(workshop: Workshop, coder: Agent, reviewer: Agent) -> None:
    from tests.doors.test_children import manifest

    workshop.steps("inner", "Ship | true", steps=[{"number": 1, **gated_by("reviewer")}])
    manifest(workshop, "outer", {"number": 1, "title": "Build", "uses": "inner"})
    run_id = coder("sop_execute", sopName="outer")["runId"]
    child = coder("sop_status", runId=run_id)["stepResults"][0]["childRunId"]
    [look] = offered(reviewer("sop_get_audit", runId=run_id), "sop_status")
    assert look["arguments"] == {"runId": child, "stepNumber": 1}
    assert offered(reviewer("sop_status", **look["arguments"]))
    assert [each["runId"] for each in reviewer("sop_status", runId=run_id)["asked"]] == [child]


def test_an_envelope_that_is_lost_is_no_agents_to_approve(
    workshop: Workshop, coder: Agent, reviewer: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = gated(workshop, coder, 100)
    store = type(reviewer.opened.engine.parts.store)
    [asked], content = reviewer("sop_status", runId=run_id)["asked"], store.content
    monkeypatch.setattr(store, "content", lambda self, it: None if it == asked["digest"] else content(self, it))
    assert offered(reviewer("sop_status", runId=run_id)) == []
    reviewer.refused("approver_not_allowed", "sop_approve", runId=run_id, stepNumber=1)
