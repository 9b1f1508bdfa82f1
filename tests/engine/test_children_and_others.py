"""Runs within runs beside everything else that there is: servers, queues, groups, limits, approvals, other children."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core.run import run_left_ms
from sopwith.errors import IllegalMove, InvalidProcedure, LimitReached
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOB, Bench
from .test_children import GATE, USES, WAIT, _waits, approve, child_of, nested, serve_once, status
from .test_ticker import SOON, Server

__all__ = ["_waits"]


def test_a_server_that_drives_child_and_parent_beside_each_other_loses_no_word(bench: Bench) -> None:
    """The store tells by its version only of what other processes commit."""
    nested(bench, {}, then=({},))
    bench.world.plays[1] = [Play(seconds=30)]
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(2)
    driving.cancel()
    bench.pass_time(0.1)
    child = child_of(bench, run_id)
    server = Server(bench)
    bench.pass_time(SOON + 120)
    server.stop()
    assert (status(bench, run_id), status(bench, child)) == ("completed", "completed")


def test_whoever_waits_for_a_siblings_slot_is_asked_again(bench: Bench) -> None:
    bench.procedure("build", {}, maxConcurrent=1)
    bench.procedure("deploy", {**USES, "forEach": ["a", "b", "c"]}, {})
    bench.world.plays[1] = [Play(seconds=5)]
    assert bench.run("deploy").ended == "completed"


def test_a_child_does_not_stand_behind_a_run_that_waits_for_its_parent(bench: Bench) -> None:
    bench.config(maxConcurrentRuns=1)
    bench.procedure("build", {})
    bench.procedure("deploy", {}, {**USES, "dependsOn": [1]})
    bench.world.plays[1] = [Play(seconds=5)]
    parent = bench.create("deploy")
    driving = bench.begin(parent)
    bench.pass_time(1)
    other = bench.create("build", queue=True)
    bench.finish(driving)
    bench.drive(other)
    assert (status(bench, parent), status(bench, other)) == ("completed", "completed")


def test_nobody_stands_behind_the_child_of_a_paused_run(bench: Bench) -> None:
    bench.procedure("build", GATE, maxConcurrent=1)
    bench.procedure("deploy", USES)
    other = bench.run("build").run_id
    parent = bench.create("deploy")
    serve_once(bench, parent)
    assert status(bench, child_of(bench, parent)) == "pending"
    bench.engine().pause(parent, actor=ANN)
    bench.engine().cancel(other, actor=ANN)
    late = bench.create("build", queue=True)
    bench.drive(late)
    assert status(bench, late) == "awaiting_approval"


def test_nobody_gives_a_child_other_parameters_than_its_parent_was_approved_with(bench: Bench) -> None:
    bench.procedure("build", {}, params=[{"name": "env", "required": True}])
    bench.procedure("deploy", {**USES, **GATE, "with": {"env": "'staging'"}})
    run = bench.run("deploy")
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    approve(bench, run.run_id)
    bench.drive(run.run_id)
    child = child_of(bench, run.run_id)
    with pytest.raises(IllegalMove, match="hands its parameters"):
        bench.engine().retry(child, actor=BOB, params={"env": "prod"})
    assert bench.now(child).params == {"env": "staging"}


@pytest.mark.parametrize("mode", ["auto", "supervised"])
def test_an_approval_covers_the_files_that_are_pinned_within(bench: Bench, mode: str) -> None:
    tool = bench.workspace.root / "tool.sh"
    tool.write_text("echo good\n")
    bench.procedure("build", {"pins": ["tool.sh"]})
    bench.procedure("deploy", {**USES, **(GATE if mode == "auto" else {})}, executionMode=mode)
    run = bench.run("deploy")
    approve(bench, run.run_id)
    tool.write_text("echo something else\n")
    bench.drive(run.run_id)
    assert not bench.world.starts
    assert status(bench, child_of(bench, run.run_id)) == "awaiting_approval"


def test_a_child_that_is_brought_back_after_its_parent_meets_the_group_like_any_run(bench: Bench) -> None:
    for name, step in (("build", {}), ("deploy", USES), ("third", GATE)):
        bench.procedure(name, step, concurrencyGroup="'production'")
    bench.world.plays[1] = [Play(result=FAILED)]
    run = bench.run("deploy")
    assert status(bench, bench.run("third").run_id) == "awaiting_approval"
    with pytest.raises(LimitReached):
        bench.engine().retry(child_of(bench, run.run_id), actor=ANN)


def test_what_somebody_brought_back_is_neither_done_twice_nor_left_behind(bench: Bench) -> None:
    nested(bench, {}, {})
    bench.world.plays[1] = [Play(result=FAILED), Play(seconds=100)]
    run = bench.run("deploy")
    child = child_of(bench, run.run_id)
    bench.engine().retry(child, actor=ANN)
    bench.begin(child)
    bench.pass_time(1)
    with pytest.raises(IllegalMove, match=f"{child}, which began as its step 1"):
        bench.engine().retry(run.run_id, actor=ANN, from_step=1)
    bench.engine().cancel(run.run_id, actor=ANN)
    bench.pass_time(3)
    assert (status(bench, run.run_id), status(bench, child)) == ("cancelled", "cancelled")


def test_whoever_resumes_the_parent_stays_for_what_its_child_waits_for(bench: Bench) -> None:
    nested(bench, WAIT, {})
    run_id = bench.create("deploy")
    serve_once(bench, run_id)
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


def test_whoever_carries_a_child_on_stays_for_the_next_try_of_its_parent(bench: Bench) -> None:
    nested(bench, GATE, retry={"maxAttempts": 2, "delaySecs": 60})
    run = bench.run("deploy")
    child = child_of(bench, run.run_id)
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    approve(bench, child)
    bench.drive(child)
    assert status(bench, run.run_id) == "awaiting_approval", "the second try asks the child's gate again"


def test_a_value_that_the_child_reads_as_another_type_is_the_same_value(bench: Bench) -> None:
    bench.procedure("build", {}, {}, params=[{"name": "count", "required": True}])
    bench.procedure("deploy", {**USES, "with": {"count": 3}})
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    run = bench.run("deploy")
    child = child_of(bench, run.run_id)
    bench.engine().retry(run.run_id, actor=ANN)
    assert bench.drive(run.run_id).steps[1].child == child


def test_what_stands_in_the_way_of_one_child_stops_no_other(bench: Bench) -> None:
    bench.procedure("build", {}, params=[{"name": "r", "required": True}])
    bench.procedure("deploy", {**USES, "forEach": ["a", "b"], "with": {"r": "item"}})
    bench.world.plays[1] = [Play(seconds=10)]
    begin = bench.world.begin

    def full(order: Any, now: Any) -> Any:
        if order.environment["SOP_PARAM_R"] == "a":
            raise OSError("disk full")
        return begin(order, now)

    bench.world.begin = full  # type: ignore[method-assign]
    run_id = bench.create("deploy")
    with pytest.raises(OSError, match="disk full"):
        bench.drive(run_id)
    assert status(bench, child_of(bench, run_id, "1:b")) == "completed"


def test_a_run_has_no_more_time_than_its_limit_after_its_start_was_approved_anew(bench: Bench) -> None:
    bench.procedure("deploy", GATE, executionMode="supervised", timeoutSecs=60, params=[{"name": "to"}])
    run = bench.run("deploy", to="staging")
    approve(bench, run.run_id)
    bench.drive(run.run_id)
    bench.engine().reject(run.run_id, actor=ANN, reason="elsewhere", step=1)
    bench.pass_time(1000)
    bench.engine().retry(run.run_id, actor=ANN, params={"to": "production"})
    bench.drive(run.run_id)
    approve(bench, run.run_id)
    left_ms = run_left_ms(bench.now(run.run_id), bench.engine().parts.clock.now())
    assert left_ms is not None
    assert left_ms <= 60_000


@pytest.mark.parametrize("given", ["'x'", "1.5", "true && false"])
def test_a_constant_that_the_child_cannot_take_is_found_before_anything_runs(bench: Bench, given: str) -> None:
    bench.procedure("build", {}, params=[{"name": "n", "type": "integer"}])
    bench.procedure("deploy", {**USES, "with": {"n": given}})
    with pytest.raises(InvalidProcedure, match="n of build: expected a whole number"):
        bench.create("deploy")
