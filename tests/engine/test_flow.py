"""Limits, retries and waits as a driver carries them out: who stays for them, who comes back, and what dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sopwith.core.run import Run
from sopwith.engine.driver import drive
from sopwith.ports import ExecutorKind
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, Bench

ONCE_MORE = {"retry": {"maxAttempts": 2, "delaySecs": 30}}
WAIT: dict[str, Any] = {"run": None, "executor": "wait", "waitSecs": 600}


@pytest.fixture(autouse=True)
def _waits(bench: Bench) -> None:
    bench.kinds.known["wait"] = ExecutorKind(name="wait", needs_script=False, by_hand=True)


def serve_once(bench: Bench, run_id: str) -> Run:
    """What the server does with a run that is due: it does not stay for timers."""
    return bench.loop.run_until_complete(drive(bench.engine().parts, run_id, linger=False))


def due_at(bench: Bench, run_id: str) -> float | None:
    """In how many seconds the store brings the run back."""
    summary = bench.store.summary(run_id)
    assert summary is not None
    return None if summary.due_at is None else (summary.due_at - bench.clock.now().at).total_seconds()


def waiting(bench: Bench, *more: dict[str, Any]) -> str:
    bench.procedure("deploy", WAIT, *more)
    return bench.create("deploy")


def test_a_driver_stays_for_the_next_try(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", ONCE_MORE)
    before = bench.clock.now().boot_ms
    run = bench.run("deploy")
    assert run.ended == "completed"
    assert 30_000 <= bench.clock.now().boot_ms - before < 30_500
    assert [key[3] for key in bench.starts(run.run_id)] == [1, 2]


def test_the_server_does_not_stay_and_the_store_brings_the_run_back_at_its_time(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", ONCE_MORE)
    run_id = bench.create("deploy")
    serve_once(bench, run_id)
    assert (bench.statuses(run_id), bench.store.holder(run_id), len(bench.starts(run_id))) == (["waiting"], None, 1)
    assert due_at(bench, run_id) == pytest.approx(30, abs=0.01)
    bench.pass_time(20)
    assert run_id not in bench.store.due(bench.clock.now().at, 9)
    serve_once(bench, run_id)
    assert len(bench.starts(run_id)) == 1
    bench.pass_time(10)
    assert bench.store.due(bench.clock.now().at, 9) == (run_id,)
    assert serve_once(bench, run_id).ended == "completed"


def test_a_driver_stays_for_a_wait_and_starts_nothing_for_it(bench: Bench) -> None:
    run_id = waiting(bench, {})
    before = bench.clock.now().boot_ms
    assert bench.drive(run_id).ended == "completed"
    assert 600_000 <= bench.clock.now().boot_ms - before < 600_500
    assert [key[1] for key in bench.starts(run_id)] == [2]


def test_a_waiting_run_costs_no_process_no_claim_and_no_driver(bench: Bench) -> None:
    run_id = waiting(bench, {})
    serve_once(bench, run_id)
    assert (bench.statuses(run_id), bench.starts(run_id), bench.store.holder(run_id)) == (
        ["waiting", "pending"],
        [],
        None,
    )
    assert due_at(bench, run_id) == pytest.approx(600, abs=0.01)
    seq = bench.now(run_id).seq
    bench.pass_time(300)
    serve_once(bench, run_id)
    assert bench.now(run_id).seq == seq


def test_the_wait_of_a_driver_that_died_is_ended_on_time_by_another(bench: Bench) -> None:
    run_id = waiting(bench, {})
    driving = bench.begin(run_id)
    bench.pass_time(100)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        bench.finish(driving)
    bench.pass_time(400)
    before = bench.clock.now().boot_ms
    assert bench.drive(run_id).ended == "completed"
    assert bench.clock.now().boot_ms - before == pytest.approx(100_000, abs=500)
    assert bench.names(run_id).count("wait_started 1") == bench.names(run_id).count("wait_ended 1") == 1


def test_a_limit_ends_the_process(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {"timeoutSecs": 5})
    before = bench.clock.now().boot_ms
    run = bench.run("deploy")
    assert bench.clock.now().boot_ms - before == pytest.approx(5000, abs=300)
    assert (run.ended, run.steps[1].error) == ("failed", "not done within 5s")
    assert bench.events(run.run_id)[-2].body.cause == "timeout"


def test_the_server_enforces_a_limit_too(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {"timeoutSecs": 5})
    run_id = bench.create("deploy")
    assert serve_once(bench, run_id).ended == "failed"


@pytest.mark.parametrize("late", [0, 60], ids=["in time", "after the limit"])
def test_a_driver_that_recovers_still_enforces_the_limit(bench: Bench, late: float) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {"timeoutSecs": 20})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        bench.finish(driving)
    bench.pass_time(late)
    before = bench.clock.now().boot_ms
    run = bench.drive(run_id)
    assert (run.ended, run.steps[1].error) == ("failed", "not done within 20s")
    assert bench.clock.now().boot_ms - before == pytest.approx(0 if late else 10_000, abs=300)
    assert len(bench.starts(run_id)) == 1


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_a_wall_clock_that_is_set_neither_ends_a_healthy_process_nor_spares_one(bench: Bench, seconds: float) -> None:
    bench.world.plays[1] = [Play(seconds=20)]
    bench.world.plays[2] = [Play(seconds=None)]
    bench.procedure("deploy", {"timeoutSecs": 30}, {"timeoutSecs": 30})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    bench.clock.set_wall_by(seconds)
    bench.pass_time(5)
    assert bench.statuses(run_id) == ["running", "pending"]
    bench.pass_time(15)
    bench.clock.set_wall_by(-seconds)
    before = bench.clock.now().boot_ms
    assert bench.finish(driving).steps[2].error == "not done within 30s"
    assert bench.statuses(run_id) == ["completed", "failed"]
    assert bench.clock.now().boot_ms - before == pytest.approx(20_000, abs=500)


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_a_wall_clock_that_is_set_neither_hurries_nor_holds_a_wait_or_a_next_try(bench: Bench, seconds: float) -> None:
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    run_id = waiting(bench, {**ONCE_MORE, "dependsOn": []})
    driving = bench.begin(run_id)
    bench.pass_time(10)
    bench.clock.set_wall_by(seconds)
    bench.pass_time(10)
    assert bench.statuses(run_id) == ["waiting", "waiting"]
    bench.pass_time(12)
    assert bench.statuses(run_id) == ["waiting", "completed"]
    before = bench.clock.now().boot_ms
    assert bench.finish(driving).ended == "completed"
    assert bench.clock.now().boot_ms - before == pytest.approx(568_000, abs=500)


def test_each_try_is_ended_by_the_limit_and_the_last_one_fails_the_run(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {"timeoutSecs": 5, "retry": {"maxAttempts": 3, "delaySecs": 1}})
    run = bench.run("deploy")
    assert run.ended == "failed"
    assert len(bench.starts(run.run_id)) == 3


def test_a_step_by_hand_fails_by_its_limit_though_nobody_watches_a_process(bench: Bench) -> None:
    bench.procedure("deploy", {"run": None, "executor": "manual", "timeoutSecs": 5})
    run_id = bench.create("deploy")
    bench.drive(run_id)
    assert bench.statuses(run_id) == ["running"]
    assert due_at(bench, run_id) == pytest.approx(5, abs=0.01)
    bench.pass_time(5)
    assert serve_once(bench, run_id).steps[1].error == "not done within 5s"


def test_a_pause_during_a_wait_lets_the_driver_go_and_a_resume_takes_it_up(bench: Bench) -> None:
    run_id = waiting(bench, {})
    driving = bench.begin(run_id)
    bench.pass_time(100)
    bench.engine().pause(run_id, actor=ANN)
    assert bench.finish(driving).paused
    bench.pass_time(600)
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


def test_no_more_processes_at_once_than_the_procedure_says(bench: Bench) -> None:
    most = []
    for step in range(1, 7):
        bench.world.plays[step] = [Play(seconds=step)]

    def look(_order: object) -> None:
        now = bench.clock.now().boot_ms
        most.append(sum(at is not None and at > now for at in bench.world.finish_at.values()))

    bench.world.after_start = look
    bench.procedure("deploy", *({"dependsOn": []} for _ in range(6)), maxParallel=2)
    assert bench.run("deploy").ended == "completed"
    assert max(most) == 2
