"""The time of a whole run as drivers, the server and the verbs of people keep it."""

from __future__ import annotations

import pytest

from sopwith.core.actor import ActorKind
from sopwith.core.run import Run
from sopwith.engine.driver import drive
from sopwith.engine.planning import plan_document
from sopwith.engine.ticker import GRACE_SECS, POLL_SECS
from sopwith.errors import IllegalMove
from sopwith.ports import ExecutorKind
from sopwith.testing.executor import Play

from .bench import ANN, Bench
from .test_ticker import Server

GATED = {"requiresApproval": True}
MANUAL = {"run": None, "executor": "manual"}
UP = "the run's 30s were up"


@pytest.fixture(autouse=True)
def _waits(bench: Bench) -> None:
    bench.kinds.known["wait"] = ExecutorKind(name="wait", needs_script=False, by_hand=True)


def serve_once(bench: Bench, run_id: str) -> Run:
    return bench.loop.run_until_complete(drive(bench.engine().parts, run_id, linger=False))


def test_a_driver_ends_what_runs_when_the_time_is_up(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {"onFailure": "continue", "retry": {"maxAttempts": 5}}, {}, timeoutSecs=30)
    before = bench.clock.now().boot_ms
    run = bench.run("deploy")
    assert bench.clock.now().boot_ms - before == pytest.approx(30_000, abs=300)
    assert (run.ended, run.reason, run.steps[1].error) == ("failed", UP, UP)
    assert bench.names(run.run_id)[-3:] == ["run_timed_out", "step_failed 1", "run_failed"]
    assert len(bench.starts(run.run_id)) == 1


def test_the_limit_is_for_all_steps_together(bench: Bench) -> None:
    bench.world.plays[1] = bench.world.plays[2] = [Play(seconds=20)]
    bench.procedure("deploy", {}, {}, timeoutSecs=30)
    run = bench.run("deploy")
    assert [step.status for step in run.steps.values()] == ["completed", "failed"]


def test_another_driver_enforces_what_is_left(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {}, timeoutSecs=30)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(25)
    driving.cancel()
    bench.pass_time(1)
    before = bench.clock.now().boot_ms
    assert bench.drive(run_id).ended == "failed"
    assert bench.clock.now().boot_ms - before == pytest.approx(4000, abs=300)


@pytest.mark.parametrize("step", [GATED, MANUAL, {"run": None, "executor": "wait", "waitSecs": 9000}])
def test_the_store_brings_back_a_run_that_only_waits_and_the_server_fails_it_on_time(
    bench: Bench, step: dict[str, object]
) -> None:
    bench.procedure("deploy", step, timeoutSecs=30)
    run_id = bench.create("deploy")
    serve_once(bench, run_id)
    began = bench.clock.now().boot_ms
    assert run_id not in bench.store.due(bench.clock.now().at, 9)
    server = Server(bench)
    bench.pass_time(29)
    assert bench.now(run_id).ended is None
    bench.pass_time(1 + GRACE_SECS + 2 * POLL_SECS)
    run = bench.now(run_id)
    assert (run.ended, run.reason) == ("failed", UP)
    assert run.ended_at is not None
    assert (run.ended_at - run.created_at).total_seconds() == pytest.approx(30, abs=0.1)
    assert bench.clock.now().boot_ms - began < 33_000
    server.stop()


def test_the_server_ends_the_process_of_a_run_that_nobody_drives(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {}, timeoutSecs=30)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(5)
    driving.cancel()
    server = Server(bench)
    bench.pass_time(40)
    assert (bench.now(run_id).ended, bench.statuses(run_id)) == ("failed", ["failed"])
    server.stop()


@pytest.mark.parametrize("verb", ["approve", "resume", "retry"])
def test_whoever_drives_on_settles_first_that_the_time_was_up(bench: Bench, verb: str) -> None:
    bench.procedure("deploy", GATED, timeoutSecs=30)
    run_id = bench.run("deploy").run_id
    bench.pass_time(31)
    told: list[str] = []
    engine = bench.engine()
    engine.on_settled = lambda event, run: told.append(event.event_type)
    if verb == "retry":
        assert engine.retry(run_id, actor=ANN).ended is None
    else:
        with pytest.raises(IllegalMove, match="it is failed"):
            getattr(engine, verb)(run_id, actor=ANN)
    assert told == ["run_timed_out", "approval_closed", "run_failed"]
    timed_out = next(event for event in bench.events(run_id) if event.event_type == "run_timed_out")
    assert timed_out.actor.kind is ActorKind.SYSTEM


def test_what_the_wall_clock_alone_makes_overdue_is_not_settled(bench: Bench) -> None:
    bench.procedure("deploy", GATED, timeoutSecs=30)
    run_id = bench.run("deploy").run_id
    bench.clock.set_wall_by(10_000)
    assert bench.engine().approve(run_id, actor=ANN).run.ended is None
    assert "run_timed_out" not in bench.names(run_id)


def test_a_reader_writes_nothing_and_shows_what_is_overdue(bench: Bench) -> None:
    bench.procedure("deploy", GATED, timeoutSecs=30)
    run_id = bench.run("deploy").run_id
    shown = bench.reader.status(run_id)
    assert shown["timeoutSecs"] == 30
    assert shown["timesOutAt"] is not None
    assert "overdue" not in shown
    bench.pass_time(31)
    late = bench.reader.status(run_id)
    assert late["overdue"] == [{"stepNumber": None, "dueAt": shown["timesOutAt"], "wholeRun": True}]
    assert late["status"] == "awaiting_approval"
    serve_once(bench, run_id)
    settled = bench.reader.status(run_id)
    assert (settled["status"], settled["timedOut"], settled["timesOutAt"]) == ("failed", True, None)
    assert settled["next"] == f"sop retry {run_id}"


def test_a_dry_run_tells_the_limit(bench: Bench) -> None:
    bench.procedure("deploy", {}, timeoutSecs=30)
    library = bench.engine().parts.library
    assert plan_document(bench.workspace, library, "deploy", params={}, mode=None, actor=ANN)["timeoutSecs"] == 30


def test_a_pause_stops_the_clock_of_the_run(bench: Bench) -> None:
    bench.procedure("deploy", GATED, timeoutSecs=30)
    run_id = bench.run("deploy").run_id
    bench.engine().pause(run_id, actor=ANN)
    bench.pass_time(500)
    assert bench.store.due(bench.clock.now().at, 9) == ()
    bench.engine().resume(run_id, actor=ANN)
    assert bench.engine().approve(run_id, actor=ANN).run.ended is None


def test_a_run_whose_time_is_up_takes_no_place_among_those_that_are_driven(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=500)]
    bench.procedure("long", {})
    bench.procedure("deploy", GATED, timeoutSecs=30)
    run_id = bench.run("deploy").run_id
    bench.create("long")
    server = Server(bench, at_once=1)
    bench.pass_time(32)
    assert bench.now(run_id).ended == "failed"
    server.stop()
