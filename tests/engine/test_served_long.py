"""A server that runs for weeks, restarts in a storm, and has ten thousand runs that wait."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from sopwith.doors.cli import serving
from sopwith.engine.runs import Runs, summarise
from sopwith.engine.ticker import GRACE_SECS, SWEEP_SECS
from sopwith.testing.executor import Play
from sopwith.testing.shelf import Kept

from .bench import ANN, Bench
from .served import Server, ended

GATED = {"requiresApproval": True}
TIMED = {"requiresApproval": True, "approvalTimeoutMins": 60}
WEEK = 7 * 86400.0
MANY = 10_000


# weeks


def test_retention_is_kept_day_by_day(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped_on: list[float] = []
    began = bench.clock.now()

    def retain(_door: object) -> str:
        dropped_on.append((bench.clock.now().boot_ms - began.boot_ms) / 86_400_000)
        return "runs and entries"

    async def at_once(work: Any) -> Any:
        return work()

    monkeypatch.setattr(serving, "_retain", retain)
    monkeypatch.setattr(serving, "_aside", at_once)
    door = SimpleNamespace(engine=SimpleNamespace(parts=SimpleNamespace(clock=bench.clock)))
    log = SimpleNamespace(dropped=lambda _what: None)
    keeping = bench.loop.create_task(serving._keep_house(cast(Any, door), cast(Any, log), once=False))
    bench.pass_time(3 * WEEK + 60)
    assert len(dropped_on) == 22
    assert [round(day) for day in dropped_on] == list(range(22))
    bench.clock.suspend(86400)
    bench.pass_time(3601)
    assert len(dropped_on) == 23, "a night's sleep counts"
    bench.clock.set_wall_by(30 * 86400)
    bench.pass_time(7200)
    assert len(dropped_on) == 23
    keeping.cancel()


def test_what_is_due_in_weeks_is_done_in_weeks(bench: Bench) -> None:
    late = {"approvalTimeoutMins": 3 * 7 * 24 * 60, "approval": {"remindAfterMins": [7 * 24 * 60], "onTimeout": "fail"}}
    bench.procedure("deploy", {**GATED, **late})
    run_id = bench.run("deploy").run_id
    server = Server(bench, ear=bench.bell)
    # the clocks go on as in weeks, without the looks of weeks
    bench.clock.suspend(WEEK - 60)
    bench.pass_time(59.9)
    assert bench.names(run_id)[-1] == "approval_requested 1"
    bench.pass_time(0.2)
    assert bench.names(run_id)[-1] == "approval_reminded 1"
    bench.clock.suspend(2 * WEEK - 60)
    bench.pass_time(59.8)
    assert bench.names(run_id)[-1] == "approval_reminded 1"
    bench.pass_time(0.2)
    assert bench.now(run_id).ended == "failed"
    server.stop()


# slots after a storm of restarts


def test_after_a_storm_of_restarts_the_slots_are_those_of_the_runs_that_there_are(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=5)]
    bench.procedure("few", {}, {}, maxConcurrent=2, cooldownSecs=0)
    runs = [bench.create("few", queue=True) for _ in range(12)]
    for _storm in range(25):
        server = Server(bench, ear=bench.bell)
        bench.pass_time(0.7)
        server.stop()
        slots = [run_id for run_id in runs if cast(Any, bench.store.summary(run_id)).holds_slot]
        assert len(slots) <= 2
        assert all(not ended(bench, run_id) for run_id in slots)
    server = Server(bench, ear=bench.bell)
    bench.pass_time(12 * 12)
    assert all(ended(bench, run_id) for run_id in runs)
    assert [len(bench.starts(run_id)) for run_id in runs] == [2] * 12
    assert not [run_id for run_id in runs if cast(Any, bench.store.summary(run_id)).holds_slot]
    server.stop()


def test_a_parked_run_keeps_its_slot_through_restarts_and_gives_it_back_once(bench: Bench) -> None:
    bench.procedure("single", GATED, maxConcurrent=1)
    parked = bench.run("single").run_id
    waiting = [bench.create("single", queue=True) for _ in range(2)]
    for _ in range(5):
        server = Server(bench, ear=bench.bell)
        bench.pass_time(2)
        server.stop()
        assert [bench.now(run_id).queued for run_id in waiting] == [True, True]
    server = Server(bench, ear=bench.bell)
    bench.pass_time(1)
    bench.engine().leave(bench.engine().cancel(parked, actor=ANN))
    bench.pass_time(3)
    assert [bench.now(run_id).queued for run_id in waiting] == [False, True]
    server.stop()


# ten thousand


def many(bench: Bench, count: int) -> str:
    """So many runs that wait at a gate with a deadline: copies of one, as rows. Tells the one."""
    bench.procedure("timed", TIMED)
    first = bench.run("timed").run_id
    loaded = Runs(bench.engine().parts).load(first)
    summary = summarise(loaded.run)
    shelf = bench.store._shelf
    for number in range(count):
        run_id = f"sop_run_{number:012}"
        due_at = cast(Any, summary.due_at) + timedelta(seconds=number)
        row = msgspec.structs.replace(summary, run_id=run_id, due_at=due_at)
        shelf.runs[run_id] = Kept(summary=row, events=shelf.runs[first].events)
    return first


def test_ten_thousand_runs_that_wait_are_rows_and_no_tasks(bench: Bench) -> None:
    first = many(bench, MANY)
    threads = threading.active_count()
    server = Server(bench, ear=bench.bell)
    bench.pass_time(SWEEP_SECS + 1)
    tasks = len(asyncio.all_tasks(bench.loop))
    assert tasks <= 4, "the server, its pause, and who waits for the end"
    assert threading.active_count() == threads
    assert server.store.calls["events"] == 0, "none was replayed"
    server.store.calls.clear()
    bench.pass_time(60)
    assert set(server.store.calls) == {"version", "due"}

    bench.engine().approve(first, actor=ANN)
    bench.engine().leave(bench.now(first))
    bench.pass_time(0.05)
    assert ended(bench, first)
    server.stop()


def test_a_run_that_somebody_makes_is_taken_up_among_ten_thousand(bench: Bench) -> None:
    many(bench, MANY)
    bench.procedure("quick", {})
    server = Server(bench, ear=bench.bell)
    bench.pass_time(1)
    run_id = bench.create("quick")
    bench.pass_time(GRACE_SECS + 0.05)
    assert ended(bench, run_id)
    server.stop()


def test_a_first_look_that_takes_long_hears_that_it_is_to_end(bench: Bench) -> None:
    """Each run that may have something due is replayed; here that takes 10 ms."""
    bench.procedure("by-hand", {"run": None, "executor": "manual"})
    runs = [bench.run("by-hand").run_id for _ in range(200)]
    bench.pass_time(1)
    server = Server(bench, ear=bench.bell)
    load = Runs.load
    replayed: list[str] = []

    def slow(self: Runs, run_id: str) -> Any:
        bench.loop._virtual += 0.01
        replayed.append(run_id)
        if len(replayed) == 50:
            bench.loop.call_soon(server._stop.set)
        return load(self, run_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runs, "load", slow)
        server.end()
    assert 50 <= len(replayed) < 60 < len(runs)


def test_what_is_found_first_in_a_long_look_is_driven_before_it_ends(bench: Bench) -> None:
    bench.procedure("by-hand", {"run": None, "executor": "manual"})
    bench.procedure("quick", {})
    first = bench.create("quick")
    for _ in range(100):
        bench.run("by-hand")
    bench.pass_time(1)
    server = Server(bench, ear=bench.bell)
    load = Runs.load
    replayed: list[str] = []

    def slow(self: Runs, run_id: str) -> Any:
        bench.loop._virtual += 0.01
        replayed.append(run_id)
        return load(self, run_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runs, "load", slow)
        while not bench.world.starts:
            bench.pass_time(0.001)
        assert len(replayed) < 20
        assert bench.world.starts[0][0] == first
    server.stop()
