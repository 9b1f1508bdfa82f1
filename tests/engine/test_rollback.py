"""Rolling back with a driver: what the scripts are given, what a crash leaves, and at most one start of each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sopwith.core.instant import Instant
from sopwith.core.run import Run
from sopwith.core.tracing import context_of, step_span_id, traceparent
from sopwith.errors import IllegalMove, LimitReached, NotAllowed
from sopwith.ports import WorkOrder
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOT, Bench

UNDO = {"rollback": "undo"}
ASKED = {"rollback": {"run": "undo", "requiresApproval": True}}
LEADS = {"onFailure": "rollback"}
FAILS = [Play(result=FAILED)]


class Killed(BaseException):
    """The driver dies here."""


@pytest.fixture
def rolling(bench: Bench) -> str:
    """A run of three whose last step fails; its two rollbacks take ten seconds each."""
    bench.world.plays |= {1: [Play(), Play(seconds=10)], 2: [Play(), Play(seconds=10)], 3: FAILS}
    bench.procedure("deploy", UNDO, UNDO, LEADS)
    return bench.create("deploy")


def killed(bench: Bench, run_id: str, point: str, step: int, attempt: int = 2) -> None:
    """Drives until the driver dies as it starts this attempt: `before_start` or `after_start`."""

    def die(order: WorkOrder) -> None:
        if (order.step.number, order.attempt) == (step, attempt):
            setattr(bench.world, point, lambda _: None)
            raise Killed

    setattr(bench.world, point, die)
    with pytest.raises(Killed):
        bench.drive(run_id)


def check(bench: Bench, run_id: str) -> None:
    """Nothing was started twice."""
    starts = bench.starts(run_id)
    assert len(starts) == len(set(starts))


def test_a_failure_is_rolled_back_in_one_drive(bench: Bench, rolling: str) -> None:
    run = bench.drive(rolling)
    assert (run.ended, run.rolled_back) == ("failed", True)
    assert bench.statuses(rolling) == ["rolled_back", "rolled_back", "failed"]
    assert bench.names(rolling)[-7:] == [
        "step_failed 3",
        "rollback_started",
        "step_started 2",
        "step_rolled_back 2",
        "step_started 1",
        "step_rolled_back 1",
        "run_failed",
    ]
    assert [key[1:] for key in bench.starts(rolling)[3:]] == [(2, 1, 2), (1, 1, 2)]


def test_what_a_rollback_script_is_given(bench: Bench) -> None:
    bench.world.plays |= {1: [Play(result=_with({"url": "x"}))], 2: [Play(result=_with({"id": 7})), Play()], 3: FAILS}
    bench.procedure("deploy", UNDO, {**UNDO, "env": {"set": {"PLACE": "here"}}, "timeoutSecs": 3}, LEADS)
    run_id = bench.run("deploy", tag="v1").run_id
    order = bench.world.orders[run_id, 2, 1, 2]
    before = bench.world.orders[run_id, 2, 1, 1]
    assert order.step.script is not None
    assert (order.step.script.text, order.step.executor) == ("undo\n", "shell")
    assert order.folder != before.folder
    expected = {
        **before.environment,
        "SOP_ATTEMPT": "2",
        "SOP_ROLLBACK": "1",
        "SOP_STEP_2_ID": "7",
        "SOP_IDEMPOTENCY_KEY": f"{run_id}.2.1.rollback",
        "TRACEPARENT": traceparent(context_of(run_id).trace_id, step_span_id(run_id, 2, 1, -2)),
    }
    assert order.environment == expected
    assert (expected["PLACE"], expected["SOP_STEP_1_URL"], expected["SOP_PARAM_TAG"]) == ("here", "x", "v1")
    assert "SOP_ROLLBACK" not in before.environment
    assert (order.working_dir, order.umask, order.parameters_json) == (
        before.working_dir,
        before.umask,
        before.parameters_json,
    )


def _with(outputs: dict[str, Any]) -> Any:
    from msgspec.structs import replace

    return replace(Play().result, outputs=outputs)


def test_a_rollback_that_fails_is_listed_and_the_other_is_tried(bench: Bench, rolling: str) -> None:
    bench.world.plays[2] = [Play(), *FAILS]
    run = bench.drive(rolling)
    assert (run.rolled_back, run.rollback_failed) == (True, (2,))
    document = bench.reader.status(rolling)
    assert (document["status"], document["rolledBack"], document["rollbackFailed"]) == ("failed", True, [2])
    assert [step["status"] for step in document["stepResults"]] == ["rolled_back", "completed", "failed"]
    assert document["stepResults"][1]["error"] == "rollback failed: exit status 1"
    assert "notRolledBack" not in document
    assert "rollingBack" not in document


def test_a_run_that_is_rolled_back_says_so(bench: Bench, rolling: str) -> None:
    driving = bench.begin(rolling)
    bench.pass_time(5)
    document = bench.reader.status(rolling)
    assert (document["status"], document["rollingBack"], document["currentStep"]) == ("running", [2, 1], 2)
    assert "failing" not in document
    bench.finish(driving)


# crashes


@pytest.mark.parametrize("step", [2, 1])
@pytest.mark.parametrize("point", ["before_start", "after_start"])
def test_a_driver_that_dies_as_it_starts_a_rollback_is_replaced(
    bench: Bench, rolling: str, point: str, step: int
) -> None:
    killed(bench, rolling, point, step)
    assert bench.statuses(rolling)[step - 1] == "running"
    run = bench.drive(rolling)
    assert (run.ended, run.rolled_back, run.rollback_failed) == ("failed", True, ())
    assert bench.names(rolling).count(f"step_started {step}") == 2
    check(bench, rolling)


def test_a_driver_that_dies_between_two_rollbacks_costs_nothing(bench: Bench, rolling: str) -> None:
    driving = bench.begin(rolling)
    bench.pass_time(5)
    driving.cancel()
    bench.pass_time(20)  # the script goes on without anybody
    run = bench.drive(rolling)
    assert (run.rolled_back, run.rollback_failed) == (True, ())
    check(bench, rolling)
    assert bench.now(rolling).steps[2].duration_ms == 10_000 or bench.now(rolling).steps[2].duration_ms > 0


def test_what_nobody_can_know_is_told_and_the_rest_goes_on(bench: Bench, rolling: str) -> None:
    killed(bench, rolling, "after_start", 2)
    bench.world.lose((rolling, 2, 1, 2))
    run = bench.drive(rolling)
    assert (run.ended, run.rolled_back, run.rollback_failed) == ("failed", True, (2,))
    told = next(e.body for e in bench.events(rolling) if e.event_type == "step_rolled_back" and e.step_number == 2)
    assert (told.error, told.cause) == ("its keeper was killed", "interrupted")
    assert bench.statuses(rolling) == ["rolled_back", "completed", "failed"]
    check(bench, rolling)


def test_after_a_power_cut_nobody_knows_and_the_rest_goes_on(bench: Bench, rolling: str) -> None:
    killed(bench, rolling, "before_start", 2)
    now = bench.clock.now

    def rebooted() -> Instant:
        instant = now()
        return Instant(instant.at, instant.boot_ms, "another boot")

    bench.clock.now = rebooted  # type: ignore[method-assign]
    run = bench.drive(rolling)
    assert (run.rolled_back, run.rollback_failed) == (True, (2,))
    assert (rolling, 2, 1, 2) not in bench.starts(rolling)


def test_a_rollback_that_never_started_is_not_started_otherwise_than_recorded(bench: Bench) -> None:
    bench.world.plays[2] = FAILS
    bench.procedure("deploy", UNDO, LEADS, env={"pass": ["TOKEN"]})
    bench.environ["TOKEN"] = "one"
    run_id = bench.create("deploy")
    killed(bench, run_id, "before_start", 1)
    run = bench.drive(run_id, environ={"PATH": "/usr/bin", "TOKEN": "two"})
    assert run.rollback_failed == (1,)
    assert "what would run is not what was recorded" in run.steps[1].error
    assert len(bench.starts(run_id)) == 2


# pause, cancel, missing things


def test_pause_lets_the_running_script_end_and_resume_goes_on(bench: Bench, rolling: str) -> None:
    driving = bench.begin(rolling)
    bench.pass_time(5)
    bench.engine().pause(rolling, actor=ANN)
    assert bench.finish(driving).paused
    assert bench.statuses(rolling) == ["completed", "rolled_back", "failed"]
    item = bench.reader.inbox()["items"][0]
    assert (item["kind"], item["next"]) == ("paused", f"sop resume {rolling}")
    bench.engine().resume(rolling, actor=ANN)
    assert bench.drive(rolling).rolled_back


def test_cancel_ends_the_running_script_and_the_rest_is_not_rolled_back(bench: Bench, rolling: str) -> None:
    driving = bench.begin(rolling)
    bench.pass_time(5)
    bench.engine().cancel(rolling, actor=ANN)
    run = bench.finish(driving)
    assert (run.ended, run.rolled_back, run.rollback_failed, run.not_rolled_back) == ("cancelled", False, (2,), (1,))
    assert bench.reader.status(rolling)["notRolledBack"] == [1]
    bench.engine().rollback(rolling, actor=BOT)
    run = bench.drive(rolling)
    assert (run.ended, run.rolled_back) == ("cancelled", True)
    assert bench.statuses(rolling) == ["rolled_back", "rolled_back", "failed"]
    check(bench, rolling)


def test_a_variable_that_is_missing_pauses_and_one_that_changed_asks(bench: Bench) -> None:
    bench.world.plays[2] = FAILS
    bench.procedure("deploy", {**UNDO, "env": {"pass": ["TOKEN"]}}, LEADS)
    bench.environ["TOKEN"] = "one"
    run_id = bench.create("deploy")
    killed(bench, run_id, "before_start", 2, attempt=1)
    bench.environ.pop("TOKEN")
    run = bench.drive(run_id)
    assert (run.paused, run.pause_cause, bench.statuses(run_id)) == (True, "environment", ["completed", "failed"])
    bench.environ["TOKEN"] = "two"
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).steps[1].status == "awaiting_approval"
    assert bench.events(run_id)[-2].body.changed == ("passed TOKEN",)
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).rolled_back


# gates and verbs


def test_an_approved_rollback_runs_what_was_approved(bench: Bench) -> None:
    bench.world.plays[2] = FAILS
    bench.procedure("deploy", ASKED, LEADS)
    run_id = bench.run("deploy").run_id
    gate = bench.now(run_id).steps[1].gate
    assert gate is not None
    envelope = bench.reader.envelope(gate.digest)
    assert envelope is not None
    assert (envelope["rollback"], envelope["script"]) == (True, "undo\n")
    assert envelope["nonce"] == gate.nonce != ""
    assert bench.reader.status(run_id)["gates"][0]["rollback"] is True
    answered = bench.engine().approve(run_id, actor=ANN)
    assert answered.step == 1
    assert bench.drive(run_id).rolled_back
    assert bench.now(run_id).steps[1].digest == gate.digest


def test_a_rejected_rollback_is_left_out(bench: Bench) -> None:
    bench.world.plays[3] = FAILS
    bench.procedure("deploy", UNDO, ASKED, LEADS)
    run_id = bench.run("deploy").run_id
    bench.engine().reject(run_id, actor=ANN, reason="keep it")
    run = bench.drive(run_id)
    assert (run.rolled_back, run.not_rolled_back) == (True, (2,))
    assert bench.statuses(run_id) == ["rolled_back", "completed", "failed"]


def _failed(bench: Bench, *steps: dict[str, Any], **keys: Any) -> Run:
    bench.world.plays[len(steps)] = FAILS
    bench.procedure("deploy", *steps, **keys)
    return bench.run("deploy")


def test_a_rollback_by_request_needs_a_free_slot(bench: Bench) -> None:
    run = _failed(bench, UNDO, {}, maxConcurrent=1)
    other = bench.create("deploy")
    with pytest.raises(LimitReached):
        bench.engine().rollback(run.run_id, actor=ANN)
    bench.engine().cancel(other, actor=ANN)
    assert bench.engine().rollback(run.run_id, actor=ANN, reason="x").rollback is not None
    with pytest.raises(LimitReached):
        bench.create("deploy")
    assert bench.drive(run.run_id).rolled_back


def test_a_retry_after_a_rollback_runs_the_steps_again(bench: Bench) -> None:
    bench.world.plays[2] = [*FAILS, Play()]
    bench.procedure("deploy", UNDO, LEADS)
    run = bench.run("deploy")
    bench.engine().retry(run.run_id, actor=ANN)
    run = bench.drive(run.run_id)
    assert (run.ended, run.rolled_back) == ("completed", False)
    assert [key[1:] for key in bench.starts(run.run_id)] == [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 1), (2, 2, 1)]
    with pytest.raises(IllegalMove):
        bench.engine().rollback(run.run_id, actor=ANN)


def test_a_step_done_by_hand_is_rolled_back_by_its_script(bench: Bench) -> None:
    bench.world.plays[2] = FAILS
    manifest = {"run": None, "executor": "manual", **UNDO}
    bench.procedure("deploy", manifest, LEADS)
    run_id = bench.run("deploy").run_id
    bench.engine().complete(run_id, actor=ANN)
    run = bench.drive(run_id)
    assert (run.rolled_back, bench.statuses(run_id)) == (True, ["rolled_back", "failed"])
    assert [key[1:] for key in bench.starts(run_id)] == [(2, 1, 1), (1, 1, 2)]


def test_a_plan_and_a_procedure_show_the_rollback(bench: Bench) -> None:
    from sopwith.engine.documents import procedure_document

    bench.procedure("deploy", ASKED, LEADS)
    library = bench.engine().parts.library
    steps = procedure_document(library.procedure("deploy"), library.config())["steps"]
    assert steps[0]["rollback"] == {"interpreter": "bash", "script": "undo\n", "requiresApproval": True}
    assert (steps[1]["rollback"], steps[1]["onFailure"]) == (None, "rollback")
    assert json.dumps(steps)


def test_a_run_whose_rollback_nobody_could_approve_is_not_made(bench: Bench) -> None:
    bench.config(groups={"empty": []})
    rules = {"approvers": ["group:empty"], "onTimeout": "pause", "when": "params.x == 'y'"}
    undo = {"run": "undo", "requiresApproval": True}
    bench.procedure("deploy", {"approval": rules, "rollback": undo})
    with pytest.raises(NotAllowed, match="the rollback of step 1 needs an approval of group:empty"):
        bench.create("deploy", x="n")
    assert bench.reader.history()["total"] == 0
