"""Approvals through the engine and the driver: asked once, answered once, and what was approved is what runs."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.engine.engine import RunRequest
from sopwith.errors import AlreadyDecided, ApproverNotAllowed, BadRequest, IllegalMove, Refused, StaleApproval
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOB, BOT, Bench

GATED = {"requiresApproval": True}


def test_an_approval_starts_its_step_once(bench: Bench) -> None:
    bench.procedure("deploy", {}, GATED, {})
    run_id = bench.run("deploy").run_id
    assert bench.now(run_id).steps[2].status == "awaiting_approval"
    assert [key[1] for key in bench.starts(run_id)] == [1]

    bench.engine().approve(run_id, actor=ANN, step=2)
    bench.engine().approve(run_id, actor=ANN, step=2)
    assert bench.drive(run_id).ended == "completed"
    assert [key[1] for key in bench.starts(run_id)] == [1, 2, 3]
    assert bench.names(run_id).count("approval_granted 2") == 1


def test_a_driver_that_finds_a_gate_open_does_not_ask_again(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    before = bench.names(run_id)
    bench.drive(run_id)
    bench.drive(run_id)
    assert bench.names(run_id) == before


def test_a_retry_asks_with_the_next_revision(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "failed"

    bench.engine().retry(run_id, actor=ANN)
    run = bench.drive(run_id)
    assert run.steps[1].gate.revision == 2
    assert len(bench.starts(run_id)) == 1

    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"
    assert [key[3] for key in bench.starts(run_id)] == [1, 2]


@pytest.mark.parametrize(
    ("mode", "priority"), [("auto", "low"), ("priority_based", "critical"), ("priority_based", "high")]
)
def test_runs_without_a_start_gate_start_by_themselves(bench: Bench, mode: str, priority: str) -> None:
    bench.procedure("deploy", {}, executionMode=mode, priority=priority)
    assert bench.run("deploy").ended == "completed"


@pytest.mark.parametrize(("mode", "priority"), [("supervised", "high"), ("priority_based", "normal")])
def test_a_supervised_run_waits_for_its_start_approval(bench: Bench, mode: str, priority: str) -> None:
    bench.procedure("deploy", {}, executionMode=mode, priority=priority)
    run_id = bench.run("deploy").run_id
    assert bench.reader.status(run_id)["status"] == "waiting_approval"
    assert bench.starts(run_id) == []

    answered = bench.engine().approve(run_id, actor=ANN)
    assert answered.step is None
    assert bench.drive(run_id).ended == "completed"


def test_rejecting_the_start_cancels_the_run(bench: Bench) -> None:
    bench.procedure("deploy", {}, executionMode="supervised")
    run_id = bench.run("deploy").run_id
    run = bench.engine().reject(run_id, actor=ANN, reason="not on a Friday").run
    assert (run.ended, run.reason) == ("cancelled", "not on a Friday")


def test_resume_does_not_pass_a_rejected_step(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    bench.engine().reject(run_id, actor=ANN, reason="no")
    with pytest.raises(IllegalMove, match="step 1 was rejected"):
        bench.engine().resume(run_id, actor=ANN)
    bench.drive(run_id)
    assert bench.starts(run_id) == []
    assert bench.reader.status(run_id)["status"] == "paused"

    bench.engine().retry(run_id, actor=ANN)
    bench.drive(run_id)
    bench.engine().approve(run_id, actor=BOB)
    assert bench.drive(run_id).ended == "completed"


def test_a_different_second_answer_is_told_who_decided(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=ANN)
    with pytest.raises(AlreadyDecided, match="approved by ann"):
        bench.engine().reject(run_id, actor=BOB, step=1, reason="no")


def test_a_bare_approve_without_an_open_gate_is_refused(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.run("deploy").run_id
    with pytest.raises(Refused):
        bench.engine().approve(run_id, actor=ANN)


def test_an_agent_may_reject_and_not_approve(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    with pytest.raises(ApproverNotAllowed):
        bench.engine().approve(run_id, actor=BOT)
    assert bench.engine().reject(run_id, actor=BOT, reason="looks wrong").step == 1


def test_a_rejection_needs_a_reason(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    before = bench.names(run_id)
    with pytest.raises(BadRequest, match="reason"):
        bench.engine().reject(run_id, actor=ANN, reason=" ")
    assert bench.names(run_id) == before


def test_an_answer_to_another_envelope_is_stale(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    with pytest.raises(StaleApproval):
        bench.engine().approve(run_id, actor=ANN, digest="0" * 64)


def test_several_gates_may_be_open_at_once(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True, "dependsOn": []}, {"requiresApproval": True, "dependsOn": []})
    run_id = bench.run("deploy").run_id
    assert [gate["stepNumber"] for gate in bench.reader.status(run_id)["gates"]] == [1, 2]
    with pytest.raises(Refused, match="say which one"):
        bench.engine().approve(run_id, actor=ANN)

    assert bench.engine().approve(run_id, actor=ANN, step=2).step == 2
    bench.drive(run_id)
    assert bench.statuses(run_id) == ["awaiting_approval", "completed"]
    assert bench.engine().approve(run_id, actor=ANN).step == 1
    assert bench.drive(run_id).ended == "completed"


# what was approved is what runs


def test_a_passed_variable_that_changed_makes_the_approval_stale(bench: Bench) -> None:
    bench.procedure("deploy", GATED, env={"pass": ["TOKEN"]})
    bench.environ["TOKEN"] = "one"
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=ANN)

    bench.drive(run_id, environ={"TOKEN": "two"})
    assert bench.starts(run_id) == []
    assert bench.names(run_id)[-2:] == ["approval_stale 1", "approval_requested 1"]
    assert bench.events(run_id)[-2].body.changed == ("passed TOKEN",)

    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id, environ={"TOKEN": "two"}).ended == "completed"
    assert bench.world.orders[bench.starts(run_id)[0]].environment["TOKEN"] == "two"


def test_no_secret_is_in_the_record(bench: Bench) -> None:
    bench.procedure("deploy", GATED, env={"pass": ["TOKEN"]})
    bench.environ["TOKEN"] = "hunter2-hunter2"
    run_id = bench.run("deploy").run_id
    gate = bench.now(run_id).steps[1].gate
    stored = b"".join(sealed.payload for sealed in bench.store.events(run_id)) + bench.store.content(gate.digest)
    assert b"TOKEN" in stored
    assert b"hunter2" not in stored


def test_a_missing_variable_pauses_the_run_and_names_it(bench: Bench) -> None:
    bench.procedure("deploy", {}, env={"pass": ["TOKEN"]})
    run = bench.run("deploy")
    assert run.paused
    assert "TOKEN" in run.reason
    assert bench.starts(run.run_id) == []

    bench.environ["TOKEN"] = "set now"
    bench.engine().resume(run.run_id, actor=ANN)
    assert bench.drive(run.run_id).ended == "completed"


def test_a_run_in_flight_is_not_changed_by_editing_files(bench: Bench) -> None:
    bench.procedure("deploy", {"run": "echo old"}, {"requiresApproval": True, "run": "echo old too"})
    run_id = bench.run("deploy").run_id
    bench.procedure("deploy", {"run": "echo new"})
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"
    assert [order.step.script.text.strip() for order in bench.world.orders.values()] == ["echo old", "echo old too"]


# timeouts


def test_a_timeout_is_settled_when_driven_and_shown_before(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True, "approvalTimeoutMins": 5})
    run_id = bench.run("deploy").run_id
    assert "overdue" not in bench.reader.status(run_id)

    bench.pass_time(301)
    before = bench.names(run_id)
    assert bench.reader.status(run_id)["overdue"][0]["stepNumber"] == 1
    assert bench.reader.inbox()["items"][0]["overdue"] is True
    assert bench.names(run_id) == before, "readers never write"

    assert bench.drive(run_id).ended == "completed"
    settled = bench.events(run_id)[bench.names(run_id).index("approval_timeout 1")]
    assert settled.actor.kind == "system"
    assert "approval_granted 1" not in bench.names(run_id)


def test_a_reject_is_decided_before_an_unsettled_timeout(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True, "approvalTimeoutMins": 5})
    run_id = bench.run("deploy").run_id
    bench.pass_time(600)
    bench.engine().reject(run_id, actor=ANN, reason="too late, but no")
    bench.drive(run_id)
    assert bench.starts(run_id) == []


def test_a_deadline_is_met_while_another_branch_runs(bench: Bench) -> None:
    bench.world.plays[2] = [Play(seconds=900)]
    bench.procedure("deploy", {"requiresApproval": True, "approvalTimeoutMins": 5, "dependsOn": []}, {"dependsOn": []})
    driving = bench.begin(bench.create("deploy"))
    bench.pass_time(310)
    assert [key[1] for key in bench.world.starts] == [2, 1]
    assert bench.finish(driving).ended == "completed"


def test_a_pause_stops_the_clock_of_a_gate(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True, "approvalTimeoutMins": 5})
    run_id = bench.run("deploy").run_id
    bench.pass_time(100)
    bench.engine().pause(run_id, actor=ANN)
    bench.pass_time(1000)
    bench.drive(run_id)
    assert bench.starts(run_id) == []
    bench.engine().resume(run_id, actor=ANN)
    bench.drive(run_id)
    assert bench.starts(run_id) == []
    bench.pass_time(201)
    assert bench.drive(run_id).ended == "completed"


def test_an_agent_may_not_loosen_the_mode(bench: Bench) -> None:
    bench.procedure("deploy", {}, executionMode="step_by_step")
    with pytest.raises(Refused, match="only a person"):
        bench.engine().create_run(RunRequest(name="deploy", mode="auto"), actor=BOT)


def test_an_ungated_step_asks_when_a_passed_variable_is_not_what_the_start_approval_covered(bench: Bench) -> None:
    bench.procedure("deploy", {}, env={"pass": ["TARGET"]}, executionMode="supervised")
    bench.environ["TARGET"] = "staging"
    run_id = bench.create("deploy")
    bench.engine().approve(run_id, actor=ANN)
    run = bench.drive(run_id, environ={"PATH": "/usr/bin", "TARGET": "production"})
    assert run.steps[1].status == "awaiting_approval"
    assert bench.starts(run_id) == []
    stale = next(event.body for event in bench.events(run_id) if event.event_type == "approval_stale")
    assert (stale.step_number, stale.changed) == (1, ("passed TARGET",))


def test_a_run_without_gates_asks_when_a_passed_variable_changed_since_its_creation(bench: Bench) -> None:
    bench.procedure("deploy", {}, env={"pass": ["TARGET"]})
    bench.environ["TARGET"] = "staging"
    run_id = bench.create("deploy")
    assert bench.drive(run_id, environ={"TARGET": "production"}).steps[1].status == "awaiting_approval"
    assert bench.starts(run_id) == []
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id, environ={"TARGET": "production"}).ended == "completed"
    assert len(bench.starts(run_id)) == 1


def test_a_recovery_does_not_start_with_another_variable_than_was_recorded(bench: Bench) -> None:
    bench.procedure("deploy", {}, env={"pass": ["TARGET"]})
    bench.environ["TARGET"] = "staging"
    run_id = bench.create("deploy")

    def die(_order: object) -> None:
        raise KeyboardInterrupt

    bench.world.before_start = die
    with pytest.raises(KeyboardInterrupt):
        bench.drive(run_id)
    bench.world.before_start = lambda _order: None
    run = bench.drive(run_id, environ={"TARGET": "production"})
    assert run.steps[1].status == "interrupted"
    assert bench.starts(run_id) == []


def test_a_bare_answer_means_the_gate_that_was_open_when_it_was_given(bench: Bench) -> None:
    bench.procedure("deploy", GATED, GATED)
    run_id = bench.run("deploy").run_id
    engine = bench.engine()
    append = engine.parts.store.append

    def overtaken(*args: Any, **kwargs: Any) -> None:
        engine.parts.store.append = append  # type: ignore[method-assign]
        bench.engine().approve(run_id, actor=BOB)
        bench.drive(run_id)
        append(*args, **kwargs)

    engine.parts.store.append = overtaken  # type: ignore[method-assign]
    assert engine.approve(run_id, actor=ANN).step == 1
    assert bench.now(run_id).steps[2].status == "awaiting_approval"


def test_a_rejection_that_leads_on_is_driven_on(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True, "onReject": "goto:2"}, {})
    run_id = bench.run("deploy").run_id
    answered = bench.engine().reject(run_id, actor=ANN, reason="no")
    assert answered.led_to == "goto"
    run = bench.drive(run_id)
    assert (run.ended, run.with_failures, bench.statuses(run_id)) == ("completed", True, ["rejected", "completed"])


def test_a_rejection_that_fails_the_run_frees_its_slot(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True}, onReject="fail", maxConcurrent=1)
    run_id = bench.run("deploy").run_id
    answered = bench.engine().reject(run_id, actor=ANN, reason="no")
    assert (answered.led_to, answered.run.ended) == ("failed", "failed")
    assert bench.run("deploy").ended is None
