"""What the simulator found wrong with runs within runs, each as the shortest story that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sopwith.core.run import RunStatus, StepStatus
from sopwith.engine.driver import drive
from sopwith.engine.runs import Runs
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def _child_of(bench: Bench, run_id: str, step: Any = 1) -> str:
    return bench.now(run_id).steps[step].child


def test_a_driver_goes_on_when_somebody_else_has_told_the_end_of_the_child(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cancels the child tells the parent between the driver's look at the child and its own word of it."""
    bench.procedure("build", {"requiresApproval": True})
    bench.procedure("deploy", {"run": None, "uses": "build"})
    run_id = bench.create("deploy")
    engine = bench.engine()
    append = engine.parts.store.append
    tell = Runs._tell_parent
    told: list[str] = []

    def crossed(changed: str, after_seq: int, batch: Any, **options: Any) -> None:
        if changed == run_id and b'"step_failed"' in batch.events[0].payload and not told:
            told.append("by the one who cancelled it")
            tell(bench.engine().runs, bench.now(child), goes_on=False)
        append(changed, after_seq, batch, **options)

    monkeypatch.setattr(engine.parts.store, "append", crossed)
    monkeypatch.setattr(
        Runs, "_tell_parent", lambda runs, child, *, goes_on: tell(runs, child, goes_on=True) if goes_on else None
    )
    driving = bench.loop.create_task(drive(engine.parts, run_id))
    bench.pass_time(1)
    child = _child_of(bench, run_id)
    bench.engine().cancel(child, actor=ANN)
    if driving.done():  # it had left the child to rest
        driving = bench.loop.create_task(drive(engine.parts, run_id))
    bench.pass_time(10)
    assert driving.done()
    assert told == ["by the one who cancelled it"]
    assert driving.result().ended is RunStatus.FAILED


def test_a_child_whose_step_has_other_items_now_can_be_brought_back_by_itself(bench: Bench) -> None:
    bench.procedure("build", {})
    bench.procedure(
        "deploy", {"outputs": {"l": "json"}}, {"run": None, "uses": "build", "forEach": "steps['1'].outputs.l"}
    )
    bench.world.plays[1] = [
        Play(result=_handing_on(["eu", "us"])),
        Play(),
        Play(result=FAILED),
        Play(result=_handing_on(["eu"])),
        Play(),
    ]
    run_id = bench.run("deploy").run_id
    failed = [number for number, step in bench.now(run_id).steps.items() if step.status is StepStatus.FAILED]
    child = _child_of(bench, run_id, failed[0])
    bench.engine().retry(run_id, actor=ANN, from_step=1)
    assert failed[0] not in bench.now(run_id).steps
    bench.engine().retry(child, actor=ANN)
    assert bench.now(child).ended is None


def test_what_ran_within_a_run_whose_time_was_up_can_be_brought_back_by_itself(bench: Bench) -> None:
    bench.procedure("build", {"requiresApproval": True})
    bench.procedure("deploy", {"run": None, "uses": "build", "onFailure": "continue"}, {}, timeoutSecs=5)
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    bench.world.plays[2] = [Play(seconds=None)]
    run_id = bench.create("deploy")
    bench.begin(run_id)
    bench.pass_time(1)
    child = _child_of(bench, run_id)
    bench.engine().approve(child, actor=ANN)
    driving = bench.begin(child)
    bench.pass_time(10)
    assert bench.now(child).ended is RunStatus.FAILED
    assert bench.now(run_id).ended is RunStatus.FAILED
    assert bench.now(run_id).timed_out
    bench.engine().retry(child, actor=ANN)
    bench.begin(child)
    bench.pass_time(10)
    bench.engine().approve(child, actor=ANN)
    driving = bench.begin(child)
    bench.pass_time(60)
    assert driving.done()
    assert bench.now(child).ended is RunStatus.COMPLETED


def test_the_refused_retry_of_one_child_does_not_end_the_step_of_another(bench: Bench) -> None:
    """Of two children of a procedure that may have one at once, one is made anew, and the other was to be retried."""
    bench.procedure("build", {"requiresApproval": True}, maxConcurrent=1)
    step = {"run": None, "uses": "build", "dependsOn": []}
    bench.procedure("deploy", step, step)
    bench.world.plays[1] = [Play(result=FAILED)]
    run_id = bench.run("deploy").run_id
    first, second = (_child_of(bench, run_id, number) for number in (1, 2))
    bench.engine().cancel(first, actor=ANN)
    bench.drive(second)
    bench.engine().approve(second, actor=ANN)
    bench.drive(second)
    assert bench.now(run_id).ended is RunStatus.FAILED
    bench.engine().retry(run_id, actor=ANN)
    bench.drive(run_id)
    run = bench.now(run_id)
    new = run.steps[1].child
    assert new != first
    assert bench.now(new).ended is None
    assert run.steps[1].status is StepStatus.RUNNING
    assert run.steps[2].status is StepStatus.FAILED
    assert run.steps[2].error.startswith(f"{second} cannot be tried again: build may have 1 at once")


@pytest.mark.parametrize(
    ("ends", "cause"), [(Play(result=FAILED, seconds=1), "asked"), (Play(seconds=None), "interrupted")]
)
def test_a_pause_comes_where_a_step_is_stuck_and_a_child_waits_for_its_slot(
    bench: Bench, ends: Play, cause: str
) -> None:
    """The child may not begin while a pause is asked for: without the pause, neither would ever go on."""
    bench.procedure("build", {"requiresApproval": True}, maxConcurrent=1)
    alone = {"dependsOn": []}
    bench.procedure("deploy", {"run": None, "uses": "build", **alone}, alone, alone)
    bench.world.plays[2] = [ends, Play()]
    bench.world.plays[3] = [Play(seconds=5)]
    other = bench.run("build").run_id
    run_id = bench.create("deploy")
    bench.begin(run_id)
    bench.pass_time(2)
    for key in bench.starts(run_id):
        if bench.world.finish_at[key] is None:
            bench.world.lose(key)
    bench.pass_time(1)
    child = _child_of(bench, run_id)
    assert bench.now(child).queued
    assert bench.now(run_id).steps[2].stuck
    bench.engine().pause(run_id, actor=ANN)
    assert not bench.now(run_id).paused
    bench.pass_time(10)
    run = bench.now(run_id)
    assert (run.paused, run.pause_cause) == (True, cause)
    bench.engine().cancel(other, actor=ANN)
    bench.engine().retry(run_id, actor=ANN)
    bench.begin(run_id)
    bench.pass_time(10)
    bench.engine().approve(child, actor=ANN)
    bench.drive(child)
    assert bench.now(run_id).ended is RunStatus.COMPLETED


class _Killed(Exception):
    pass


def _begun_again_and_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> tuple[str, str]:
    """A run whose step is to go on with a child that failed, and whose driver died before it told the child so."""
    bench.procedure("build", {})
    bench.procedure("deploy", {"run": None, "uses": "build", **keys})
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    run_id = bench.run("deploy").run_id
    child = _child_of(bench, run_id)
    assert bench.now(child).ended is RunStatus.FAILED
    bench.engine().retry(run_id, actor=ANN)
    engine = bench.engine()
    append = engine.parts.store.append

    def killed(changed: str, after_seq: int, batch: Any, **options: Any) -> None:
        append(changed, after_seq, batch, **options)
        if b'"step_started"' in batch.events[0].payload:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(engine.parts.store, "append", killed)
        with pytest.raises(_Killed):
            bench.finish(bench.loop.create_task(drive(engine.parts, run_id)))
    assert bench.now(run_id).steps[1].child == child
    assert bench.now(child).ended is RunStatus.FAILED
    return run_id, child


def test_a_run_is_cancelled_whose_child_had_failed_and_was_not_tried_again_yet(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, child = _begun_again_and_killed(bench, monkeypatch)
    before = bench.now(child)
    bench.engine().cancel(run_id, actor=ANN)
    driving = bench.begin(run_id)
    bench.pass_time(5)
    assert driving.done()
    run = bench.now(run_id)
    assert run.ended is RunStatus.CANCELLED
    assert run.steps[1].error == f"it was given up before {child} was tried again"
    assert bench.now(child) == before


def test_a_step_whose_time_is_up_ends_though_its_child_was_not_tried_again_yet(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, child = _begun_again_and_killed(bench, monkeypatch, timeoutSecs=60)
    bench.pass_time(61)
    driving = bench.begin(run_id)
    bench.pass_time(5)
    assert driving.done()
    run = bench.now(run_id)
    assert run.ended is RunStatus.FAILED
    assert run.steps[1].error == "not done within 1m 0s"
    assert len(bench.starts(child)) == 1


def test_a_run_pauses_whose_child_had_failed_and_tries_that_again_when_it_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, child = _begun_again_and_killed(bench, monkeypatch)
    bench.engine().pause(run_id, actor=ANN)
    driving = bench.begin(run_id)
    bench.pass_time(5)
    assert driving.done()
    assert bench.now(run_id).paused
    assert len(bench.starts(child)) == 1
    bench.engine().resume(run_id, actor=ANN)
    driving = bench.begin(run_id)
    bench.pass_time(5)
    assert driving.done()
    assert bench.now(run_id).ended is RunStatus.COMPLETED
    assert len(bench.starts(child)) == 2


def test_what_goes_on_by_itself_need_not_ask_a_run_that_has_begun_another_in_its_place(bench: Bench) -> None:
    """That one's time is up, and nobody has ended what runs within it yet: this is no part of that any more."""
    bench.procedure("build", {"run": None, "executor": "manual"}, {})
    bench.procedure("deploy", {}, {"run": None, "uses": "build"}, timeoutSecs=60)
    run_id = bench.run("deploy").run_id
    first = _child_of(bench, run_id, 2)
    bench.engine().fail(first, actor=ANN, reason="broken")
    bench.drive(first)
    assert bench.now(run_id).ended is RunStatus.FAILED
    bench.engine().retry(run_id, actor=ANN, from_step=1)
    bench.drive(run_id)
    assert _child_of(bench, run_id, 2) != first
    bench.engine().retry(first, actor=ANN)
    bench.drive(first)
    bench.pass_time(61)
    bench.engine().resume(run_id, actor=ANN)
    around = bench.now(run_id)
    assert around.timed_out
    assert around.ended is None
    bench.engine().complete(first, actor=ANN, step=1)
    driving = bench.loop.create_task(drive(bench.engine().parts, first, upwards=False))
    bench.pass_time(5)
    assert driving.done()
    assert bench.now(first).ended is RunStatus.COMPLETED


def test_the_clock_is_read_once_for_a_run_that_leaves_the_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set forward between two readings, it would let a run begin that its own first event says has not rested."""
    bench.procedure("deploy", {}, cooldownSecs=60)
    bench.run("deploy")
    bench.pass_time(10)
    run_id = bench.create("deploy", queue=True)
    assert bench.now(run_id).queued
    engine = bench.engine()
    nonce = engine.parts.ids.nonce

    def set_forward() -> str:
        bench.clock.set_wall_by(3600)
        return nonce()

    monkeypatch.setattr(engine.parts.ids, "nonce", set_forward)
    bench.finish(bench.loop.create_task(drive(engine.parts, run_id)))
    assert bench.now(run_id).queued
    monkeypatch.undo()
    bench.drive(run_id)
    assert bench.now(run_id).ended is RunStatus.COMPLETED


def _handing_on(items: list[str]) -> Any:
    from sopwith.core.commands import StepResult

    return StepResult(exit_code=0, outputs={"l": items})
