"""A server and its clocks: whatever is done to them, nothing is due early, nothing is lost, and a jump is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sopwith.engine.ticker import JUMP_SECS, SWEEP_SECS
from sopwith.ports import ExecutorKind
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, Bench
from .served import Server, ended

GATED: dict[str, Any] = {"requiresApproval": True}
MANUAL: dict[str, Any] = {"run": None, "executor": "manual"}
HOUR, DAY = 3600.0, 86400.0
TO_2040 = (datetime(2040, 1, 1, tzinfo=UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds()
JUMPS = [HOUR, -HOUR, DAY, -DAY, TO_2040]
FORWARD = [HOUR, DAY, TO_2040]

TIMERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "wait": ({"run": None, "waitSecs": 60}, {}, "wait_ended 1"),
    "retry": ({"retry": {"maxAttempts": 2, "delaySecs": 60}}, {}, "step_started 1"),
    "step by hand": ({**MANUAL, "timeoutSecs": 60}, {}, "step_failed 1"),
    "process": ({"timeoutSecs": 60}, {}, "step_failed 1"),
    "run at a gate": (GATED, {"timeoutSecs": 60}, "run_timed_out"),
    "run at work": ({}, {"timeoutSecs": 60}, "run_timed_out"),
}
"""Each is up after 60 seconds: the step, the keys of the procedure, the event that says so."""


@pytest.fixture(autouse=True)
def _waits(bench: Bench) -> None:
    bench.kinds.known["wait"] = ExecutorKind(name="wait", needs_script=False, by_hand=True)


def begun(bench: Bench, timer: str) -> tuple[Server, str, int]:
    """A server, a run whose 60 seconds have begun, and how often its event had come by then."""
    step, keys, event = TIMERS[timer]
    if timer == "retry":
        bench.world.plays[1] = [Play(result=FAILED), Play(seconds=None)]
    elif timer in ("process", "run at work"):
        bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", step, **keys)
    server = Server(bench, ear=bench.bell)
    bench.pass_time(1)
    run_id = bench.create("deploy")
    bench.engine().leave(bench.now(run_id))
    bench.pass_time(0.05)
    return server, run_id, bench.names(run_id).count(event)


@pytest.mark.parametrize("timer", TIMERS)
@pytest.mark.parametrize("jump", [0.0, *JUMPS])
def test_what_counts_by_the_boot_clock_comes_on_time_whatever_the_wall_clock_does(
    bench: Bench, timer: str, jump: float
) -> None:
    server, run_id, before = begun(bench, timer)
    event = TIMERS[timer][2]
    bench.pass_time(10)
    bench.clock.set_wall_by(jump)
    bench.pass_time(49.5)
    assert bench.names(run_id).count(event) == before
    bench.pass_time(0.7)
    assert bench.names(run_id).count(event) == before + 1
    assert server.troubles == []
    server.stop()


@pytest.mark.parametrize("timer", TIMERS)
@pytest.mark.parametrize("per_second", [0.02, -0.02])
def test_a_slow_slew_changes_nothing(bench: Bench, timer: str, per_second: float) -> None:
    server, run_id, before = begun(bench, timer)
    event = TIMERS[timer][2]
    for _ in range(59):
        bench.pass_time(1)
        bench.clock.set_wall_by(per_second)
    assert bench.names(run_id).count(event) == before
    bench.pass_time(1.2)
    assert bench.names(run_id).count(event) == before + 1
    assert server.jumps == []
    server.stop()


@pytest.mark.parametrize("timer", TIMERS)
def test_after_a_jump_there_and_back_it_comes_on_time(bench: Bench, timer: str) -> None:
    server, run_id, before = begun(bench, timer)
    event = TIMERS[timer][2]
    for jump in (DAY, -DAY, -HOUR, HOUR):
        bench.pass_time(10)
        bench.clock.set_wall_by(jump)
    bench.pass_time(19.5)
    assert bench.names(run_id).count(event) == before
    bench.pass_time(0.7)
    assert bench.names(run_id).count(event) == before + 1
    server.stop()


@pytest.mark.parametrize("timer", TIMERS)
def test_what_came_due_while_the_machine_slept_comes_when_it_wakes(bench: Bench, timer: str) -> None:
    server, run_id, before = begun(bench, timer)
    bench.pass_time(10)
    bench.clock.suspend(HOUR)
    bench.pass_time(SWEEP_SECS + 0.2)
    assert bench.names(run_id).count(TIMERS[timer][2]) == before + 1
    assert server.jumps == [], "both clocks went on: none jumped"
    server.stop()


@pytest.mark.parametrize("timer", [timer for timer in TIMERS if timer not in ("process", "run at work")])
def test_after_a_restart_the_wall_clock_tells(bench: Bench, timer: str) -> None:
    server, run_id, before = begun(bench, timer)
    event = TIMERS[timer][2]
    bench.pass_time(10)
    server.stop()
    bench.clock.reboot()
    bench.pass_time(20)
    server = Server(bench, ear=bench.bell)
    bench.pass_time(29.5)
    assert bench.names(run_id).count(event) == before
    bench.pass_time(0.7)
    assert bench.names(run_id).count(event) == before + 1
    server.stop()


def test_what_comes_due_while_the_store_fails_is_looked_at_when_it_works_again(bench: Bench) -> None:
    """By the boot clock: by the wall clock, which was set back, nobody would look for an hour."""
    server, run_id, _before = begun(bench, "run at a gate")
    bench.pass_time(10)
    bench.clock.set_wall_by(-HOUR)
    bench.pass_time(49.5)
    server.store.fails_next = "summary"
    bench.pass_time(2)
    assert server.troubles == [(None, "disk I/O error")]
    assert bench.names(run_id).count("run_timed_out") == 1
    server.stop()


# gates


@pytest.mark.parametrize("jump", FORWARD)
def test_a_gate_is_postponed_when_the_clock_is_set_forward_and_settled_after_its_own_time(
    bench: Bench, jump: float
) -> None:
    bench.procedure("deploy", {**GATED, "approvalTimeoutMins": 1})
    run_id = bench.run("deploy").run_id
    server = Server(bench, ear=bench.bell)
    bench.pass_time(10)
    bench.clock.set_wall_by(jump)
    bench.pass_time(SWEEP_SECS)
    assert bench.names(run_id)[-1] == "approval_postponed 1"
    bench.pass_time(49.9 - SWEEP_SECS)
    assert bench.names(run_id)[-1] == "approval_postponed 1"
    bench.pass_time(0.2)
    assert "approval_timeout 1" in bench.names(run_id)
    server.stop()


@pytest.mark.parametrize("jump", [-HOUR, -DAY])
def test_a_gate_whose_clock_is_set_back_is_settled_later_and_not_lost(bench: Bench, jump: float) -> None:
    bench.procedure("deploy", {**GATED, "approvalTimeoutMins": 1})
    run_id = bench.run("deploy").run_id
    server = Server(bench, ear=bench.bell)
    bench.pass_time(10)
    bench.clock.set_wall_by(jump)
    bench.pass_time(49.5 - jump)
    assert bench.names(run_id)[-1] == "approval_requested 1"
    bench.pass_time(1)
    assert ended(bench, run_id)
    server.stop()


def test_a_gate_survives_a_restart(bench: Bench) -> None:
    bench.procedure("deploy", {**GATED, "approvalTimeoutMins": 1})
    run_id = bench.run("deploy").run_id
    bench.pass_time(10)
    bench.clock.reboot()
    server = Server(bench, ear=bench.bell)
    bench.pass_time(49.9)
    assert bench.names(run_id)[-1] == "approval_requested 1"
    bench.pass_time(0.2)
    assert ended(bench, run_id)
    server.stop()


# limits


def test_a_cooldown_is_not_over_for_a_clock_that_was_set_forward_and_back(bench: Bench) -> None:
    bench.procedure("rests", {}, cooldownSecs=60)
    bench.run("rests")
    second = bench.create("rests", queue=True)
    bench.clock.set_wall_by(DAY)
    bench.clock.set_wall_by(-DAY)
    server = Server(bench, ear=bench.bell)
    bench.pass_time(59)
    assert bench.now(second).queued
    bench.pass_time(1.5 + SWEEP_SECS)
    assert ended(bench, second)
    server.stop()


def test_a_run_that_ended_in_a_future_that_was_taken_back_lets_nobody_pass_the_cooldown(bench: Bench) -> None:
    bench.procedure("rests", {}, cooldownSecs=60)
    bench.clock.set_wall_by(HOUR)
    bench.run("rests")
    bench.clock.set_wall_by(-HOUR)
    second = bench.create("rests", queue=True)
    server = Server(bench, ear=bench.bell)
    bench.pass_time(HOUR)
    assert bench.now(second).queued, "nobody knows how long it has been, so it rests"
    bench.pass_time(61 + SWEEP_SECS)
    assert ended(bench, second)
    server.stop()


# the jump itself


@pytest.mark.parametrize("jump", [*JUMPS, JUMP_SECS + 0.1, -JUMP_SECS - 0.1])
def test_a_jump_is_told_once_with_its_size(bench: Bench, jump: float) -> None:
    server = Server(bench, ear=bench.bell)
    bench.pass_time(1)
    bench.clock.set_wall_by(jump)
    bench.pass_time(3 * SWEEP_SECS)
    assert server.jumps == [pytest.approx(jump, abs=0.01)]
    server.stop()


@pytest.mark.parametrize("step", [JUMP_SECS - 0.1, 0.1 - JUMP_SECS])
def test_what_a_time_service_corrects_is_no_jump(bench: Bench, step: float) -> None:
    server = Server(bench, ear=bench.bell)
    bench.pass_time(1)
    bench.clock.set_wall_by(step)
    bench.pass_time(3 * SWEEP_SECS)
    assert server.jumps == []
    server.stop()


def test_runs_that_rest_by_the_boot_clock_are_not_driven_while_the_wall_clock_is_ahead(bench: Bench) -> None:
    server, _run_id, _before = begun(bench, "wait")
    bench.clock.set_wall_by(DAY)
    bench.pass_time(SWEEP_SECS)
    server.store.calls.clear()
    bench.pass_time(40)
    assert server.store.calls["claim"] == 0
    assert server.store.calls["events"] == 0
    server.stop()


def test_after_a_jump_each_run_with_a_deadline_is_asked_once(bench: Bench) -> None:
    bench.procedure("deploy", GATED, timeoutSecs=600)
    runs = [bench.run("deploy").run_id for _ in range(5)]
    bench.procedure("plain", GATED)
    bench.run("plain")
    server = Server(bench, ear=bench.bell)
    bench.pass_time(1)
    server.store.calls.clear()
    bench.clock.set_wall_by(-DAY)
    bench.pass_time(60)
    assert server.store.calls["events"] == len(runs)
    server.stop()


def test_an_answer_counts_whatever_the_clock_says(bench: Bench) -> None:
    bench.procedure("deploy", {**GATED, "approvalTimeoutMins": 1})
    run_id = bench.run("deploy").run_id
    server = Server(bench, ear=bench.bell)
    bench.clock.set_wall_by(-DAY)
    bench.engine().approve(run_id, actor=ANN)
    bench.pass_time(1)
    assert ended(bench, run_id)
    server.stop()


@pytest.mark.parametrize("jump", JUMPS)
def test_a_reminder_comes_on_time_whatever_the_wall_clock_does(bench: Bench, jump: float) -> None:
    bench.procedure("deploy", {**GATED, "approval": {"remindAfterMins": [1]}})
    run_id = bench.run("deploy").run_id
    server = Server(bench, ear=bench.bell)
    bench.pass_time(10)
    bench.clock.set_wall_by(jump)
    bench.pass_time(49.5)
    assert bench.names(run_id)[-1] == "approval_requested 1"
    bench.pass_time(0.7)
    assert bench.names(run_id)[-1] == "approval_reminded 1"
    server.stop()
