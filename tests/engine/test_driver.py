"""The driver: what is due is carried out once, crashes are told honestly, nobody is left waiting."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from types import MethodType
from typing import Any

import msgspec
import pytest

from sopwith.core.commands import Command, Finish, StepResult
from sopwith.core.events import StepStarted
from sopwith.core.procedure import Procedure, Step
from sopwith.engine.creation import check_executors
from sopwith.engine.driver import LOOK_SECS, drive
from sopwith.engine.engine import Engine
from sopwith.engine.observing import Silent
from sopwith.engine.runs import Loaded, Runs
from sopwith.errors import BadRequest, Conflict, CoolingDown, IllegalMove, LimitReached, RunBusy, StoreError
from sopwith.ports import ExecutorKind, WorkOrder
from sopwith.testing.executor import FAILED, FakeExecutor, FakeWatch, Play
from sopwith.testing.memory import MemoryStore

from .bench import ANN, Bench
from .served import Counted

GATED = {"requiresApproval": True}


class Killed(BaseException):
    """This process is gone."""


def kill_at(bench: Bench, moment: str) -> None:
    """The driver dies around its next start."""

    def die(_order: WorkOrder) -> None:
        setattr(bench.world, moment, lambda _: None)
        raise Killed

    setattr(bench.world, moment, die)


# crashes


def test_a_step_whose_driver_died_before_its_start_is_started_once(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    kill_at(bench, "before_start")
    with pytest.raises(Killed):
        bench.drive(run_id)
    assert bench.names(run_id)[-1] == "step_started 1"
    assert bench.starts(run_id) == []

    assert bench.drive(run_id).ended == "completed"
    assert len(bench.starts(run_id)) == 1
    assert bench.names(run_id).count("step_started 1") == 1


def test_a_step_whose_driver_died_after_its_start_is_not_started_again(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    kill_at(bench, "after_start")
    with pytest.raises(Killed):
        bench.drive(run_id)
    assert bench.drive(run_id).ended == "completed"
    assert len(bench.starts(run_id)) == 1


def test_a_lost_step_is_interrupted_and_the_run_paused(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None), Play()]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.world.lose(bench.world.starts[0])
    run = bench.finish(driving)
    assert run.paused
    assert bench.statuses(run_id) == ["interrupted"]

    bench.drive(run_id)
    with pytest.raises(IllegalMove):
        bench.engine().resume(run_id, actor=ANN)
    assert len(bench.starts(run_id)) == 1

    bench.engine().retry(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"
    assert len(bench.starts(run_id)) == 2


def test_a_start_that_raises_leaves_a_step_that_can_be_taken_up(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")

    def full(_order: WorkOrder) -> None:
        bench.world.before_start = lambda _: None
        raise OSError("no space left on device")

    bench.world.before_start = full
    with pytest.raises(OSError, match="no space"):
        bench.drive(run_id)
    assert bench.store.holder(run_id) is None
    assert bench.drive(run_id).ended == "completed"


def test_a_commit_that_was_never_acknowledged_is_not_made_twice(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    parts = bench.engine().parts
    append = parts.store.append

    def unheard(self: MemoryStore, run_id: str, after_seq: int, batch, **options) -> None:
        append(run_id, after_seq, batch, **options)
        raise StoreError("the disk went away")

    parts.store.append = MethodType(unheard, parts.store)
    with pytest.raises(StoreError):
        bench.loop.run_until_complete(drive(parts, run_id))
    assert bench.drive(run_id).ended == "completed"
    assert bench.names(run_id).count("step_started 1") == 1


def test_ctrl_c_frees_the_claim_and_leaves_the_process_alone(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    assert bench.store.holder(run_id) is not None
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        bench.finish(driving)
    assert bench.store.holder(run_id) is None
    assert bench.statuses(run_id) == ["running"]

    assert bench.drive(run_id).ended == "completed"
    assert len(bench.starts(run_id)) == 1


def test_nobody_drives_a_run_that_is_driven(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    with pytest.raises(RunBusy, match="process 4711"):
        bench.drive(run_id)
    assert bench.finish(driving).ended == "completed"


def test_a_driver_whose_claim_was_taken_over_stops(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=5)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    engine = bench.engine()
    old = bench.loop.create_task(drive(engine.parts, run_id))
    bench.pass_time(1)
    bench.store.kill(engine.parts.owner().owner_id)
    new = bench.begin(run_id)
    with pytest.raises((Conflict, IllegalMove)):
        bench.finish(old)
    assert bench.finish(new).ended == "completed"
    assert bench.names(run_id).count("step_completed 1") == 1


def test_a_driver_does_not_carry_out_an_intent_that_another_recorded(bench: Bench) -> None:
    # the claim changes hands right before the old driver records its start
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    engine, rival = bench.engine(), bench.engine()
    append = engine.parts.store.append

    def taken_over(self: MemoryStore, run_id: str, after_seq: int, batch, **options) -> None:
        if bench.now(run_id).steps[1].status == "pending":
            bench.store.kill(engine.parts.owner().owner_id)
            claim = rival.parts.store.claim(run_id, rival.parts.owner(), bench.clock.now().at)
            rival.parts.store.append(run_id, after_seq, batch, claim=claim)
        append(run_id, after_seq, batch, **options)

    engine.parts.store.append = MethodType(taken_over, engine.parts.store)
    started: list[WorkOrder] = []
    recovered: list[WorkOrder] = []
    bench.kinds.known["shell"] = _spy(bench, started, recovered)
    with pytest.raises(Conflict):
        bench.loop.run_until_complete(drive(engine.parts, run_id))
    assert started == []


# what a dead driver recorded and never started


@pytest.mark.parametrize("environ", [{}, {"TOKEN": "two"}])
def test_what_never_started_is_not_started_otherwise_than_approved(bench: Bench, environ: dict[str, str]) -> None:
    bench.procedure("deploy", GATED, env={"pass": ["TOKEN"]})
    bench.environ["TOKEN"] = "one"
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=ANN)
    kill_at(bench, "before_start")
    with pytest.raises(Killed):
        bench.drive(run_id)

    run = bench.drive(run_id, environ=environ)
    assert bench.starts(run_id) == []
    assert run.paused
    assert "never" in run.steps[1].error or "before it started" in run.steps[1].error
    bench.engine().retry(run_id, actor=ANN)
    bench.drive(run_id)
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


@pytest.mark.parametrize("environ", [{}, {"TOKEN": "two"}])
def test_a_running_step_is_taken_up_without_its_variables(bench: Bench, environ: dict[str, str]) -> None:
    bench.procedure("deploy", GATED, env={"pass": ["TOKEN"]})
    bench.environ["TOKEN"] = "one"
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=ANN)
    kill_at(bench, "after_start")
    with pytest.raises(Killed):
        bench.drive(run_id)
    assert bench.drive(run_id, environ=environ).ended == "completed"


def test_a_cancelled_run_does_not_start_what_a_dead_driver_recorded(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    kill_at(bench, "before_start")
    with pytest.raises(Killed):
        bench.drive(run_id)
    assert bench.engine().cancel(run_id, actor=ANN).cancel_requested
    assert bench.drive(run_id).ended == "cancelled"
    assert bench.starts(run_id) == []


# nobody is left waiting


def at_the_release(bench: Bench, run_id: str, act: Callable[[], object]) -> asyncio.Task:
    """A driver in whose last moment, after its last look and before its claim is free, somebody acts."""
    parts = bench.engine().parts
    release = parts.store.release

    def late(self: MemoryStore, claim) -> None:
        parts.store.release = release
        act()
        assert bench.store.holder(run_id) is not None
        release(claim)

    parts.store.release = MethodType(late, parts.store)
    return bench.loop.create_task(drive(parts, run_id))


def test_an_answer_in_the_last_moment_of_a_driver_is_carried_out(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.create("deploy")
    driving = at_the_release(bench, run_id, lambda: bench.engine().approve(run_id, actor=ANN))
    assert bench.finish(driving).ended == "completed"


def test_what_this_process_itself_decides_beside_a_driver_is_noticed(bench: Bench) -> None:
    """Its own commits change no version that it sees: a person at its terminal answers while a step runs."""
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {"dependsOn": []}, {**GATED, "dependsOn": []}, executionMode="auto")
    run_id = bench.create("deploy")
    engine = bench.engine()
    engine = Engine(msgspec.structs.replace(engine.parts, store=Counted(bench)))
    driving = bench.loop.create_task(drive(engine.parts, run_id))
    bench.pass_time(1)
    assert bench.statuses(run_id) == ["running", "awaiting_approval"]
    engine.approve(run_id, actor=ANN)
    bench.pass_time(2 * LOOK_SECS)
    assert bench.statuses(run_id) == ["running", "completed"]
    assert bench.finish(driving).ended == "completed"


def test_a_cancel_between_the_look_and_the_wait_is_noticed(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    parts = bench.engine().parts
    events = parts.store.events

    def then_cancel(self: MemoryStore, run_id: str, after_seq: int = 0):
        found = events(run_id, after_seq)
        if bench.world.starts:
            parts.store.events = events
            bench.engine().cancel(run_id, actor=ANN)
        return found

    parts.store.events = MethodType(then_cancel, parts.store)
    driving = bench.loop.create_task(drive(parts, run_id))
    bench.pass_time(1)
    # somebody else commits something, so that the driver looks
    bench.store.remember("key", b"value")
    bench.pass_time(2)
    assert driving.done()
    assert driving.result().ended == "cancelled"


# pause, cancel


def test_cancel_ends_the_running_step(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.engine().cancel(run_id, actor=ANN, reason="wrong branch")
    run = bench.finish(driving)
    assert (run.ended, run.reason) == ("cancelled", "wrong branch")
    assert bench.statuses(run_id) == ["cancelled", "cancelled"]
    assert bench.world.results[bench.world.starts[0]].cause == "cancelled"


def test_cancel_without_a_driver_is_carried_out_by_the_next_one(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    kill_at(bench, "after_start")
    with pytest.raises(Killed):
        bench.drive(run_id)
    bench.engine().cancel(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "cancelled"


def test_a_stop_that_fails_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: FakeWatch) -> None:
        raise PermissionError("not my process")

    monkeypatch.setattr(FakeWatch, "stop", refuse)
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.engine().cancel(run_id, actor=ANN)
    bench.pass_time(2)
    assert driving.done()
    assert isinstance(driving.exception(), PermissionError)
    assert bench.store.holder(run_id) is None


def test_an_end_that_cannot_be_read_is_not_guessed_and_a_person_decides(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(self: FakeWatch) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(FakeWatch, "wait", unreadable)
    bench.procedure("deploy", {})
    run = bench.run("deploy")
    assert run.paused
    assert bench.statuses(run.run_id) == ["interrupted"]
    assert run.steps[1].error == "how the step ended could not be read: Input/output error"


def test_pause_waits_for_the_running_step(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=30)]
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    assert bench.engine().pause(run_id, actor=ANN).pause_requested
    assert bench.reader.status(run_id)["pauseRequested"] is True
    run = bench.finish(driving)
    assert run.paused
    assert bench.statuses(run_id) == ["completed", "pending"]

    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


# branches


def test_branches_run_at_the_same_time(bench: Bench) -> None:
    bench.world.plays.update({1: [Play(seconds=10)], 2: [Play(seconds=10)]})
    bench.procedure("deploy", {"dependsOn": []}, {"dependsOn": []}, {"dependsOn": [1, 2]})
    driving = bench.begin(bench.create("deploy"))
    bench.pass_time(1)
    assert len(bench.world.starts) == 2
    bench.pass_time(10)
    assert bench.finish(driving).ended == "completed"
    assert bench.loop.time() < 12


def test_a_gate_is_settled_at_its_time_while_another_branch_runs(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=300)]
    bench.procedure("deploy", {}, {**GATED, "approvalTimeoutMins": 0.75, "dependsOn": []})
    run_id = bench.create("deploy")
    bench.begin(run_id)
    bench.pass_time(44.9)
    assert bench.statuses(run_id) == ["running", "awaiting_approval"]
    bench.pass_time(0.2)
    assert bench.statuses(run_id) == ["running", "completed"]


def test_a_failing_branch_lets_the_other_end_and_starts_nothing_more(bench: Bench) -> None:
    bench.world.plays.update({1: [Play(result=FAILED, seconds=1)], 2: [Play(seconds=5)]})
    bench.procedure("deploy", {"dependsOn": []}, {"dependsOn": []}, {"dependsOn": [2]})
    run = bench.run("deploy")
    assert run.ended == "failed"
    assert [step.status for step in run.steps.values()] == ["failed", "completed", "pending"]


# slots


def test_a_queued_run_goes_on_once_there_is_room(bench: Bench) -> None:
    bench.procedure("deploy", GATED, maxConcurrent=1)
    first = bench.run("deploy").run_id
    with pytest.raises(LimitReached, match=first):
        bench.create("deploy")
    second = bench.create("deploy", queue=True)
    assert bench.drive(second).queued

    bench.engine().approve(first, actor=ANN)
    assert bench.drive(first).ended == "completed"
    bench.engine().resume(second, actor=ANN)
    assert bench.drive(second).steps[1].status == "awaiting_approval"


def test_a_cooldown_names_the_seconds_left(bench: Bench) -> None:
    bench.procedure("deploy", {}, cooldownSecs=60)
    bench.run("deploy")
    bench.pass_time(20)
    with pytest.raises(CoolingDown) as refused:
        bench.create("deploy")
    assert refused.value.details["seconds_left"] == 40
    bench.pass_time(40)
    assert bench.run("deploy").ended == "completed"


def test_a_retry_needs_a_free_slot_and_owes_no_cooldown(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play(seconds=None), Play()]
    bench.procedure("deploy", {}, maxConcurrent=1, cooldownSecs=60)
    failed = bench.run("deploy").run_id
    bench.pass_time(61)
    other = bench.create("deploy")
    driving = bench.begin(other)
    bench.pass_time(1)
    with pytest.raises(LimitReached, match=other):
        bench.engine().retry(failed, actor=ANN)
    assert bench.now(failed).ended == "failed"

    bench.engine().cancel(other, actor=ANN)
    bench.finish(driving)
    bench.engine().retry(failed, actor=ANN)
    assert bench.drive(failed).ended == "completed"


@pytest.mark.parametrize("verb", ["cancel", "complete"])
def test_what_ends_a_failed_run_needs_no_slot(bench: Bench, verb: str) -> None:
    bench.world.plays[1] = [Play(result=FAILED)]
    bench.procedure("deploy", {}, GATED, maxConcurrent=1)
    bench.procedure("deploy", {}, maxConcurrent=1)
    failed = bench.run("deploy").run_id
    bench.world.plays[1] = [Play(seconds=None)]
    other = bench.create("deploy")
    driving = bench.begin(other)
    bench.pass_time(1)
    run = getattr(bench.engine(), verb)(failed, actor=ANN)
    assert run.ended == ("cancelled" if verb == "cancel" else "completed")
    bench.world.finish(bench.starts(other)[0])
    bench.finish(driving)


# kinds of steps


def test_a_step_nobody_could_carry_out_is_refused_at_once(bench: Bench) -> None:
    bench.kinds.known["checklist"] = ExecutorKind(name="checklist", needs_script=False, by_hand=True)
    procedure = Procedure(name="deploy", title="Deploy", steps=(Step(number=1, title="Look", executor="checklist"),))
    with pytest.raises(BadRequest, match="checklist"):
        check_executors(bench.engine().parts, procedure)


def test_a_step_without_the_script_that_its_executor_needs_is_refused_at_once(bench: Bench) -> None:
    procedure = Procedure(name="deploy", title="Deploy", steps=(Step(number=1, title="Build", executor="shell"),))
    with pytest.raises(BadRequest, match="no script"):
        check_executors(bench.engine().parts, procedure)


def test_a_kind_that_is_gone_pauses_the_run(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    shell = bench.kinds.known["shell"]
    bench.kinds.known["shell"] = msgspec.structs.replace(shell, make=None)
    run = bench.drive(run_id)
    assert run.paused
    assert "shell" in run.reason
    assert "step_started 1" not in bench.names(run_id)

    bench.kinds.known["shell"] = shell
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


def test_an_observer_sees_every_event_and_the_output(bench: Bench) -> None:
    bench.world.plays[1] = [Play(output=b"hello")]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    seen: list[str] = []
    printed: list[bytes] = []

    class Recorder(Silent):
        def on_event(self, event, run) -> None:
            seen.append(event.event_type)

        def on_output(self, step: int, chunk: bytes) -> None:
            printed.append(chunk)

    bench.loop.run_until_complete(drive(bench.engine().parts, run_id, Recorder()))
    assert seen == ["step_started", "step_completed", "run_completed"]
    assert printed == [b"hello"]


def test_the_intent_is_recorded_with_the_boot_it_belongs_to(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.run("deploy").run_id
    intents = [event.body for event in bench.events(run_id) if isinstance(event.body, StepStarted)]
    assert [(intent.boot_id, intent.attempt) for intent in intents] == [("boot-1", 1)]


def _spy(bench: Bench, started: list[WorkOrder], recovered: list[WorkOrder]) -> ExecutorKind:
    class Spy(FakeExecutor):
        async def start(self, order, on_output):
            started.append(order)
            return await super().start(order, on_output)

        async def recover(self, order, on_output):
            recovered.append(order)
            raise Conflict("not mine")

    return ExecutorKind(name="shell", needs_script=True, make=lambda: Spy(bench.world, bench.clock))


def test_a_result_that_was_read_is_recorded_whatever_somebody_did_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to find it out once more, which may not be possible any more."""
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")
    commit = Runs.commit

    def overtaken(self: Runs, loaded: Loaded, command: Command, **options: Any) -> Any:
        if isinstance(command, Finish):
            monkeypatch.setattr(Runs, "commit", commit)
            bench.engine().pause(run_id, actor=ANN)
        return commit(self, loaded, command, **options)

    async def recover(*_: object) -> None:
        pytest.fail("it was known how the step had ended")

    monkeypatch.setattr(FakeExecutor, "recover", recover)
    monkeypatch.setattr(Runs, "commit", overtaken)
    assert bench.drive(run_id).paused
    assert bench.statuses(run_id) == ["completed", "pending"]


def _holding_itself() -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    outputs["a"] = [outputs]
    return outputs


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        (_holding_itself, "a list or an object holds itself"),
        (lambda: {"a": float("nan")}, "nan"),
        (lambda: {"a": 2**60}, "1152921504606846976"),
        (lambda: {"a": object()}, "object"),
    ],
)
def test_what_a_plugin_hands_on_that_is_no_json_fails_its_step(
    bench: Bench, outputs: Callable[[], dict[str, Any]], why: str
) -> None:
    bench.procedure("deploy", {}, {})
    bench.world.plays[1] = [Play(result=StepResult(exit_code=0, outputs=outputs()))]
    run = bench.run("deploy")
    assert run.ended == "failed"
    assert run.steps[1].error.startswith("what it handed on cannot be recorded: ")
    assert why in run.steps[1].error
    assert run.steps[1].outputs == {}
