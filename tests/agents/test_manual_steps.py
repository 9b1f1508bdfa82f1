"""Steps that an agent carries out: it is told what is to be done, does it with its own tools, and reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.doors.workshop import Workshop, eventually

from .given import Agent, lines

Make = Callable[..., Agent]


@pytest.fixture
def incident(workshop: Workshop) -> str:
    workshop.procedure(
        "incident",
        """# Incident

**Execution Mode**: auto

## Steps

### Step 1: Triage

Look at the dashboards.

**Tools**: shell, browser

### Step 2: Mitigate

Secret plan.

### Step 3: Tell

```bash
echo told >> told
```
""",
    )
    return "incident"


def test_an_agent_sees_its_own_step_and_not_the_later_ones(coder: Agent, incident: str) -> None:
    told = coder("sop_execute", sopName=incident)
    assert told["waitingOn"] == "agent"
    assert told["task"]["instructions"].strip() == "Look at the dashboards."
    assert told["task"]["suggestedTools"] == ["shell", "browser"]
    seen = [
        coder.answer(tool, **arguments)
        for tool, arguments in (
            ("sop_execute", {"sopName": incident}),
            ("sop_describe", {"sopName": incident}),
            ("sop_status", {"runId": told["runId"]}),
            ("sop_status", {"runId": told["runId"], "stepNumber": 2}),
            ("sop_get_audit", {"runId": told["runId"]}),
        )
    ]
    assert all("Secret plan" not in str(answer.document) + answer.text for answer in seen)
    assert "Look at the dashboards." in seen[2].text
    after = coder("sop_complete_step", runId=told["runId"], stepNumber=1, outcome="done", output="all red")
    assert after["task"]["instructions"].strip() == "Secret plan."


def test_all_steps_are_told_where_the_config_allows_it(workshop: Workshop, coder: Agent, incident: str) -> None:
    call = {"sopName": incident, "detail": "full"}
    coder.refused("not_allowed", "sop_describe", **call)
    (workshop.sops / "config.json").write_text('{"agentsSeeAllSteps": true}')
    told = coder("sop_describe", **call)
    assert told["steps"][1]["instructions"].strip() == "Secret plan."
    assert told["steps"][2]["script"] == "echo told >> told\n"
    assert "Secret plan" not in str(coder("sop_describe", sopName=incident))


def test_a_run_is_carried_out_to_its_end(workshop: Workshop, coder: Agent, incident: str) -> None:
    run_id = coder("sop_execute", sopName=incident)["runId"]
    coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="done", output="all red")
    told = coder("sop_complete_step", runId=run_id, stepNumber=2, outcome="done")
    assert (told["status"], told["waitingOn"], told["next"], told["outcome"]) == ("completed", "nothing", [], "done")
    assert lines(workshop.root / "told") == 1
    reported = [e for e in coder("sop_get_audit", runId=run_id)["events"] if e["type"] == "step_reported"]
    assert [(event["actor"]["id"], event["details"]["outcome"]) for event in reported] == [("coder", "completed")] * 2


def test_a_failure_is_reported_with_what_went_wrong(coder: Agent, incident: str) -> None:
    run_id = coder("sop_execute", sopName=incident)["runId"]
    coder.refused("bad_request", "sop_complete_step", runId=run_id, stepNumber=1, outcome="failed")
    told = coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="failed", output="no light")
    assert (told["status"], told["waitingOn"]) == ("failed", "nothing")
    assert [move["call"] for move in told["next"]] == ["sop_retry"]
    assert coder("sop_retry", runId=run_id)["task"]["stepNumber"] == 1


def test_a_blocked_step_stays_open_and_waits_for_a_person(workshop: Workshop, coder: Agent, incident: str) -> None:
    run_id = coder("sop_execute", sopName=incident)["runId"]
    coder.refused("bad_request", "sop_complete_step", runId=run_id, stepNumber=1, outcome="blocked", output=" ")
    told = coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="blocked", output="no access")
    assert (told["status"], told["waitingOn"]) == ("paused", "human")
    assert "task" not in told
    assert any(f"sop resume {run_id}" in move.get("tellHuman", "") for move in told["next"])
    assert "sop_complete_step" not in [move.get("call") for move in told["next"]]
    coder.refused("not_allowed", "sop_complete_step", runId=run_id, stepNumber=1, outcome="done")
    [step] = coder("sop_status", runId=run_id, stepNumber=1)["stepResults"]
    assert step["status"] == "running"
    assert "no access" in step["output"]
    assert workshop.json("status", run_id)["reason"] == "step 1 is blocked: no access"
    # a person gives access and lets the agent go on
    workshop.json("resume", run_id, code=3)
    told = coder("sop_status", runId=run_id)
    assert (told["waitingOn"], told["task"]["stepNumber"]) == ("agent", 1)


def test_a_blocked_step_that_a_person_completes_lets_the_run_go_on(
    workshop: Workshop, coder: Agent, incident: str
) -> None:
    run_id = coder("sop_execute", sopName=incident)["runId"]
    coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="blocked", output="no access")
    workshop.json("complete", run_id, "--step", "1", code=3)
    assert coder("sop_status", runId=run_id)["task"]["stepNumber"] == 2


def test_a_step_is_reported_once_and_in_its_turn(coder: Agent, incident: str) -> None:
    run_id = coder("sop_execute", sopName=incident)["runId"]
    coder.refused("illegal_move", "sop_complete_step", runId=run_id, stepNumber=2, outcome="done")
    coder.refused("bad_request", "sop_complete_step", runId=run_id, stepNumber=9, outcome="done")
    coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="done")
    coder.refused("illegal_move", "sop_complete_step", runId=run_id, stepNumber=1, outcome="blocked", output="no")


def test_only_what_is_new_is_told_since_a_revision(coder: Agent, incident: str) -> None:
    before = coder("sop_execute", sopName=incident)
    run_id = before["runId"]
    assert coder("sop_status", runId=run_id, sinceSeq=before["revision"])["stepResults"] == []
    coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="done")
    told = coder("sop_status", runId=run_id, sinceSeq=before["revision"])
    assert [step["stepNumber"] for step in told["stepResults"]] == [1, 2]


def test_a_wait_ends_when_the_run_moves_on_or_the_time_is_up(workshop: Workshop, agents: Make) -> None:
    workshop.steps("gated", "?Ship | true", "Look")
    coder = agents()
    run = coder("sop_execute", sopName="gated")
    assert run["waitingOn"] == "human"
    assert coder("sop_status", runId=run["runId"], sinceSeq=run["revision"], waitMs=20)["revision"] == run["revision"]
    approving = workshop.background("approve", run["runId"])
    told = coder("sop_status", runId=run["runId"], sinceSeq=run["revision"], waitMs=20_000)
    assert told["revision"] > run["revision"]
    approving.communicate()


def test_a_client_that_goes_away_strands_no_run(workshop: Workshop, agents: Make) -> None:
    workshop.steps("deploy", "Build | while [ ! -e go ]; do sleep 0.02; done", "Ship | echo shipped >> shipped")
    leaving = agents(detached=True)
    told = leaving("sop_execute", sopName="deploy", waitMs=0)
    assert told["waitingOn"] == "engine"
    leaving.close()
    (workshop.root / "go").touch()
    eventually(lambda: lines(workshop.root / "shipped"))
    other = agents()
    assert eventually(lambda: (found := other("sop_status", runId=told["runId"]))["status"] == "completed" and found)


def test_a_start_that_lost_its_driver_is_taken_up_when_it_is_repeated(workshop: Workshop, agents: Make) -> None:
    workshop.steps("deploy", "Ship | echo shipped >> shipped")
    dying, living = agents(), agents()
    dying.desk._writes._carry_on = lambda *_: None
    call: dict[str, Any] = {"sopName": "deploy", "idempotencyKey": "k"}
    assert dying("sop_execute", **call, waitMs=0)["status"] == "running"
    assert living("sop_execute", **call)["status"] == "completed"
    assert lines(workshop.root / "shipped") == 1


def test_every_move_that_is_offered_is_carried_out(workshop: Workshop, agents: Make, incident: str) -> None:
    """In several states: each call under `next` is made, in a run of its own."""
    workshop.steps("gated", "?Ship | true", "?Tell | true")
    workshop.steps("broken", "Break | false")
    more = {"outcome": "done", "output": "x", "reason": "because", "waitMs": 0}
    stories: tuple[tuple[str, tuple[tuple[str, dict[str, Any]], ...]], ...] = (
        ("incident", ()),
        ("incident", (("sop_complete_step", {"stepNumber": 1, "outcome": "blocked", "output": "x"}),)),
        ("incident", (("sop_complete_step", {"stepNumber": 1, "outcome": "failed", "output": "x"}),)),
        ("gated", ()),
        ("gated", (("sop_reject", {"reason": "no"}),)),
        ("gated", (("sop_cancel", {}),)),
        ("broken", ()),
    )
    coder = agents()
    made = 0
    for name, steps in stories:

        def play(name: str = name, steps: Any = steps) -> dict[str, Any]:
            told = coder("sop_execute", sopName=name)
            for tool, arguments in steps:
                told = coder(tool, runId=told["runId"], **arguments)
            return told

        for index, move in enumerate(play()["next"]):
            if "call" in move:
                told = play()
                move = told["next"][index]
                coder(
                    move["call"],
                    **{**move["arguments"], **{key: more[key] for key in move.get("add", ())}}
                    | ({"waitMs": 1} if move["call"] == "sop_status" else {}),
                )
                made += 1
    assert made > 10


def test_a_run_whose_driver_dies_is_given_another_while_its_caller_waits(
    workshop: Workshop, agents: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sopwith.doors.agent.writes._COMING_UP_MS", 0)
    workshop.steps("deploy", "Ship | echo shipped >> shipped")
    agent = agents()
    real, calls = agent.desk._writes._carry_on, []

    def dies_at_first(workspace: Any, run_id: str) -> None:
        calls.append(run_id)
        if len(calls) > 1:
            real(workspace, run_id)

    agent.desk._writes._carry_on = dies_at_first
    assert agent("sop_execute", sopName="deploy", waitMs=20_000)["status"] == "completed"
    assert len(calls) == 2
