"""The server's loop: everything that is due is carried out on time, by one process, without a look too many."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from sopwith.core.due import DueKind, due, next_due_at
from sopwith.core.events import Event
from sopwith.core.run import RunStatus, status_of
from sopwith.engine.runs import Loaded, Runs
from sopwith.engine.ticker import AT_ONCE, GRACE_SECS, LISTED, POLL_SECS, QUEUE_SECS, SWEEP_SECS
from sopwith.errors import StoreError
from sopwith.ports import ExecutorKind, WorkOrder
from sopwith.testing.executor import FAILED, Play
from sopwith.testing.simulator import simulate

from .bench import ANN, Bench
from .served import Server, ended

GATED = {"requiresApproval": True}
TIMED = {"requiresApproval": True, "approvalTimeoutMins": 1}
MANUAL = {"run": None, "executor": "manual"}
SOON = GRACE_SECS + 2 * POLL_SECS
"""By when a server has taken up what others made."""


# deadlines


def test_a_deadline_is_settled_at_its_time_and_not_before(bench: Bench) -> None:
    bench.procedure("deploy", TIMED)
    run_id = bench.run("deploy").run_id
    bench.pass_time(0.1)
    server = Server(bench)
    bench.pass_time(59.89)
    assert bench.names(run_id)[-1] == "approval_requested 1"
    bench.pass_time(0.05)
    assert ended(bench, run_id)
    assert "approval_timeout 1" in bench.names(run_id)
    server.stop()


def test_a_deadline_of_a_run_that_was_driven_here_is_settled_too(bench: Bench) -> None:
    bench.procedure("deploy", {**MANUAL, "dependsOn": []}, {**TIMED, "dependsOn": []})
    run_id = bench.create("deploy")
    server = Server(bench)
    bench.pass_time(GRACE_SECS + 59.9)
    assert bench.statuses(run_id) == ["running", "awaiting_approval"]
    bench.pass_time(0.2)
    assert bench.statuses(run_id) == ["running", "completed"]
    server.stop()


def test_a_deadline_that_passed_while_nobody_served_is_settled_at_the_start(bench: Bench) -> None:
    bench.procedure("deploy", TIMED)
    run_id = bench.run("deploy").run_id
    bench.pass_time(3600)
    server = Server(bench)
    bench.pass_time(0.01)
    assert ended(bench, run_id)
    server.stop()


def test_a_deadline_is_met_while_all_places_are_taken_by_long_steps(bench: Bench) -> None:
    bench.procedure("deploy", TIMED)
    bench.procedure("long", {})
    timed = bench.run("deploy").run_id
    bench.world.plays[1] = [Play(seconds=None), Play()]
    bench.create("long")
    server = Server(bench, at_once=1)
    bench.pass_time(2)
    assert len(bench.world.starts) == 1
    bench.pass_time(58.1)
    # settled on time; what it lets go on takes its turn
    assert bench.names(timed)[-1] == "approval_timeout 1"
    server.stop()


def test_runs_whose_deadline_came_and_that_run_long_keep_no_other_deadline_waiting(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None), Play(seconds=None)]
    bench.procedure("first", TIMED)
    bench.procedure("second", TIMED)
    bench.procedure("refused", {**TIMED, "approvalTimeoutMins": 2, "approval": {"onTimeout": "reject"}})
    first, second, refused = (bench.run(name).run_id for name in ("first", "second", "refused"))
    server = Server(bench, at_once=1)
    bench.pass_time(119)
    assert bench.statuses(refused) == ["awaiting_approval"]
    bench.pass_time(1.5)
    assert bench.statuses(refused) == ["rejected"]
    assert bench.now(refused).paused
    assert sorted(bench.statuses(first) + bench.statuses(second)) == ["pending", "running"]
    assert server.events[-1].event_type == "run_paused"
    server.stop()


def test_a_run_that_waits_for_a_place_has_its_deadlines_settled_meanwhile(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("long", {})
    rejecting = {**TIMED, "approval": {"onTimeout": "reject"}}
    bench.procedure("both", {**rejecting, "dependsOn": []}, {**GATED, "dependsOn": []})
    bench.create("long")
    server = Server(bench, at_once=1)
    bench.pass_time(SOON)
    run_id = bench.run("both").run_id
    bench.engine().approve(run_id, actor=ANN, step=2)
    bench.pass_time(58)
    assert bench.statuses(run_id) == ["awaiting_approval", "pending"]
    bench.pass_time(3)
    assert bench.statuses(run_id) == ["rejected", "pending"]
    server.stop()


def test_a_reminder_takes_no_place(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("long", {})
    bench.procedure("deploy", {**GATED, "approval": {"remindAfterMins": [1]}})
    run_id = bench.run("deploy").run_id
    long = bench.create("long")
    server = Server(bench, at_once=1)
    bench.pass_time(60.5)
    assert bench.names(run_id)[-1] == "approval_reminded 1"
    assert server.store.claimed == [long]
    server.stop()


def test_a_deadline_of_a_run_that_is_paused_this_moment_is_no_trouble(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.procedure("deploy", TIMED)
    run_id = bench.run("deploy").run_id
    change = Runs.change

    def paused_before(self: Runs, *args: Any, **options: Any) -> Any:
        monkeypatch.setattr(Runs, "change", change)
        bench.engine().pause(run_id, actor=ANN)
        return change(self, *args, **options)

    server = Server(bench)
    bench.pass_time(59)
    monkeypatch.setattr(Runs, "change", paused_before)
    bench.pass_time(2)
    assert bench.now(run_id).paused
    assert (server.troubles, server.store.claimed) == ([], [])
    server.stop()


def test_a_slot_that_a_deadline_frees_goes_to_the_next_in_the_queue(bench: Bench) -> None:
    bench.config(approvalTimeoutMins=1, approvalTimeoutAction="reject")
    bench.procedure("single", {}, executionMode="supervised", maxConcurrent=1)
    first = bench.run("single").run_id
    bench.pass_time(2)
    second = bench.create("single", queue=True)
    server = Server(bench)
    bench.pass_time(57)
    assert bench.now(second).queued
    bench.pass_time(1.0 + POLL_SECS * 2)
    assert bench.now(first).ended == "cancelled"
    assert not bench.now(second).queued
    server.stop()


def test_a_clock_that_is_set_forward_brings_the_deadline(bench: Bench) -> None:
    bench.procedure("deploy", TIMED)
    run_id = bench.run("deploy").run_id
    server = Server(bench)
    bench.pass_time(1)
    bench.clock.set_wall_by(600)
    bench.pass_time(POLL_SECS * 2)
    assert bench.names(run_id)[-1] != "approval_requested 1"
    server.stop()


def test_a_wait_and_a_next_try_are_taken_up_at_their_time_and_hold_no_place_until_then(bench: Bench) -> None:
    bench.kinds.known["wait"] = ExecutorKind(name="wait", needs_script=False, by_hand=True)
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    retry = {"maxAttempts": 2, "delaySecs": 30}
    bench.procedure("deploy", {"run": None, "waitSecs": 60}, {"dependsOn": [], "retry": retry})
    bench.procedure("other", {})
    run_id = bench.create("deploy")
    server = Server(bench, at_once=1)
    bench.pass_time(SOON)
    assert bench.statuses(run_id) == ["waiting", "waiting"]
    other = bench.create("other")
    bench.pass_time(SOON)
    assert ended(bench, other)
    claims = len(server.store.claimed)
    bench.pass_time(30 - 2 * SOON)
    assert (len(server.store.claimed), bench.statuses(run_id)) == (claims, ["waiting", "waiting"])
    bench.pass_time(SOON)
    assert bench.statuses(run_id) == ["waiting", "completed"]
    bench.pass_time(30)
    assert ended(bench, run_id)
    assert len(server.store.claimed) == claims + 2
    server.stop()


# what is taken up


def test_a_run_that_somebody_made_is_taken_up(bench: Bench) -> None:
    bench.procedure("deploy", {})
    server = Server(bench)
    bench.pass_time(10)
    run_id = bench.create("deploy")
    bench.pass_time(SOON)
    assert ended(bench, run_id)
    assert [event.event_type for event in server.events][-1] == "run_completed"
    server.stop()


def test_who_reads_on_in_the_log_is_stirred_by_commits_of_others_and_of_the_server(bench: Bench) -> None:
    seen: list[int] = []
    bench.procedure("deploy", {}, {})
    server = Server(bench, stirred=lambda: seen.append(len(seen)))
    bench.pass_time(1)
    quiet = len(seen)
    bench.pass_time(60)
    assert len(seen) == quiet
    run_id = bench.create("deploy")
    bench.pass_time(POLL_SECS)
    told = len(seen)
    assert told > quiet
    bench.pass_time(SOON)
    assert ended(bench, run_id)
    assert len(seen) > told
    server.stop()


def test_what_was_changed_this_moment_is_left_to_whoever_changed_it(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("deploy", {})
    server = Server(bench)
    bench.pass_time(1)
    run_id = bench.create("deploy")
    bench.pass_time(GRACE_SECS - 0.05)
    driving = bench.begin(run_id)
    assert bench.finish(driving).ended == "completed"
    assert server.store.claimed == []
    server.stop()


def test_a_clock_that_was_set_back_delays_nothing(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    bench.clock.set_wall_by(-3600)
    server = Server(bench)
    bench.pass_time(SOON)
    assert ended(bench, run_id)
    server.stop()


def test_what_a_dead_driver_left_is_taken_up_without_any_commit(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    server = Server(bench)
    bench.pass_time(2)
    assert server.store.claimed == []
    dead = bench.store.holder(run_id)
    assert dead is not None
    bench.store.kill(dead.owner_id)
    bench.pass_time(SWEEP_SECS + POLL_SECS)
    assert server.store.claimed == [run_id]
    assert server.adopted == [(run_id, (1,))]
    # the dead one's task, of which nobody told it, stops when it would renew its claim
    bench.loop.run_until_complete(asyncio.gather(driving, return_exceptions=True))
    bench.pass_time(60)
    assert ended(bench, run_id)
    assert len(bench.starts(run_id)) == 1
    server.stop()


def test_what_a_driver_gave_back_is_taken_up_at_once(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    server = Server(bench)
    bench.pass_time(2)
    driving.cancel()
    bench.pass_time(POLL_SECS * 2)
    assert server.store.claimed == [run_id]
    server.stop()


def test_whoever_was_faster_drives_on_and_nobody_hears_of_it(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    bench.pass_time(SOON)
    server = Server(bench)
    server.store.claim = lambda *_args: None  # type: ignore[attr-defined]
    bench.pass_time(1)
    del server.store.claim  # type: ignore[attr-defined]
    assert not ended(bench, run_id)
    bench.pass_time(SWEEP_SECS)
    assert ended(bench, run_id)
    assert server.troubles == []
    server.stop()


def test_an_answer_is_carried_on(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    server = Server(bench)
    bench.pass_time(10)
    bench.engine().approve(run_id, actor=ANN)
    bench.pass_time(SOON)
    assert ended(bench, run_id)
    server.stop()


def test_what_waits_for_a_person_is_never_driven(bench: Bench) -> None:
    bench.procedure("gated", GATED)
    bench.procedure("timed", TIMED)
    bench.procedure("by-hand", MANUAL)
    bench.run("gated")
    bench.run("by-hand")
    paused = bench.run("timed").run_id
    bench.engine().pause(paused, actor=ANN)
    server = Server(bench)
    bench.pass_time(3600)
    assert server.store.claimed == []
    server.stop()


def test_whoever_is_not_listed_has_nothing_due_before_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop rests on: status and deadline of a summary tell which runs need not be looked at."""
    wrong = []
    seen: Counter[str] = Counter()
    commit = Runs.commit

    def checked(self: Runs, loaded: Loaded, *args: Any, **options: Any) -> tuple[Loaded, tuple[Event, ...]]:
        after, events = commit(self, loaded, *args, **options)
        run, due_at = after.run, next_due_at(after.run)
        seen[status_of(run)] += 1
        if status_of(run) not in LISTED:
            late = [item for item in due(run) if item.at is None or due_at is None or due_at > item.at]
            # a child that a person lets go on while its run is paused tells how it ends, and whoever resumes looks
            wrong.extend(item for item in late if not (run.paused and item.kind is DueKind.WATCH_STEP))
        return after, events

    monkeypatch.setattr(Runs, "commit", checked)
    for seed in range(60):
        simulate(seed)
    assert wrong == []
    assert set(seen) >= set(RunStatus) - {RunStatus.PENDING}


# idling


def test_runs_that_wait_cost_two_questions_a_look_and_no_replay(bench: Bench) -> None:
    bench.procedure("gated", GATED)
    bench.procedure("timed", {**TIMED, "approvalTimeoutMins": 600})
    bench.procedure("by-hand", MANUAL)
    for name in ("gated", "timed", "by-hand") * 5:
        bench.run(name)
    server = Server(bench)
    bench.pass_time(SOON)
    server.store.calls.clear()
    bench.pass_time(60)
    looks = 60 / POLL_SECS
    assert set(server.store.calls) == {"version", "due"}
    assert server.store.calls["version"] <= looks + 1
    assert server.store.calls["due"] <= looks + 1
    server.stop()


def test_a_commit_elsewhere_replays_only_what_it_changed(bench: Bench) -> None:
    bench.procedure("by-hand", MANUAL, MANUAL)
    runs = [bench.run("by-hand").run_id for _ in range(5)]
    bench.pass_time(SOON)
    server = Server(bench)
    bench.pass_time(1)
    server.store.calls.clear()
    bench.engine().complete(runs[2], actor=ANN)
    bench.drive(runs[2])
    bench.pass_time(10)
    # once when it has been left alone for long enough
    assert server.store.calls["events"] == 1
    server.stop()


def test_a_deadline_that_a_pausing_run_cannot_settle_is_no_reason_to_look_all_the_time(bench: Bench) -> None:
    bench.world.plays[2] = [Play(seconds=7200)]
    bench.procedure("both", {**TIMED, "dependsOn": []}, {"dependsOn": []})
    run_id = bench.create("both")
    server = Server(bench)
    bench.pass_time(1)
    assert bench.statuses(run_id) == ["awaiting_approval", "running"]
    bench.engine().pause(run_id, actor=ANN)
    bench.pass_time(120)
    server.store.calls.clear()
    bench.pass_time(60)
    assert server.store.calls["claim"] == 0
    server.stop()


def test_where_listing_is_slow_it_is_not_done_at_every_commit(bench: Bench) -> None:
    server = Server(bench)
    server.store.listing_takes = 0.5
    for _ in range(120):
        bench.pass_time(0.5)
        bench.store.remember("somebody", b"commits")
    assert 3 <= server.store.calls["summaries"] <= 8
    server.stop()


# slots


def test_a_queued_run_is_admitted_when_a_run_driven_here_ends(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("single", {}, maxConcurrent=1)
    runs = [bench.create("single", queue=True) for _ in range(3)]
    server = Server(bench)
    bench.pass_time(GRACE_SECS + 31)
    assert [ended(bench, run_id) for run_id in runs] == [True, True, True]
    server.stop()


def test_a_queued_run_is_admitted_when_somebody_else_frees_the_slot(bench: Bench) -> None:
    bench.procedure("single", GATED, maxConcurrent=1)
    first = bench.run("single").run_id
    second = bench.create("single", queue=True)
    server = Server(bench)
    bench.pass_time(20)
    bench.engine().cancel(first, actor=ANN)
    bench.pass_time(QUEUE_SECS + POLL_SECS * 2)
    assert bench.names(second)[-1] == "approval_requested 1"
    server.stop()


def test_a_queued_run_is_admitted_after_the_cooldown(bench: Bench) -> None:
    bench.procedure("rests", {}, cooldownSecs=60)
    bench.run("rests")
    second = bench.create("rests", queue=True)
    server = Server(bench)
    bench.pass_time(59)
    assert not ended(bench, second)
    bench.pass_time(1 + SWEEP_SECS + POLL_SECS)
    assert ended(bench, second)
    server.stop()


def test_a_queue_without_a_slot_asks_seldom_and_only_for_its_first(bench: Bench) -> None:
    bench.procedure("single", GATED, maxConcurrent=1)
    bench.run("single")
    first, _second = (bench.create("single", queue=True) for _ in range(2))
    server = Server(bench)
    bench.pass_time(60)
    assert set(server.store.claimed) == {first}
    assert len(server.store.claimed) <= 60 / SWEEP_SECS + 1
    server.stop()


def test_a_queue_in_a_busy_workspace_asks_once_a_second_at_most(bench: Bench) -> None:
    bench.procedure("single", GATED, maxConcurrent=1)
    bench.run("single")
    bench.create("single", queue=True)
    server = Server(bench)
    for _ in range(round(30 / POLL_SECS)):
        bench.pass_time(POLL_SECS)
        bench.store.remember("somebody", b"commits")
    assert 20 <= len(server.store.claimed) <= 31
    server.stop()


# many at once


def test_a_process_that_runs_already_waits_for_no_place(bench: Bench) -> None:
    """Its limit, and whoever wants it ended, would come to nothing behind long steps of others."""
    bench.world.plays[1] = [Play(seconds=3600)]
    bench.procedure("long", {})
    bench.procedure("timed", {"timeoutSecs": 10})
    server = Server(bench, at_once=2)
    for _ in range(2):
        bench.create("long")
    bench.pass_time(SOON)
    run_id = bench.create("timed")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    driving.cancel()
    waiting = bench.create("long")
    bench.pass_time(9 + SOON)
    assert bench.names(run_id)[-2:] == ["step_failed 1", "run_failed"]
    assert bench.names(waiting)[-1] == "run_started", "what has not begun waits its turn"
    server.stop()


def test_so_many_runs_are_driven_at_once_and_the_first_found_come_first(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("long", {})
    runs = [bench.create("long") for _ in range(10)]
    server = Server(bench, at_once=4)
    bench.pass_time(GRACE_SECS + 1)
    assert [key[0] for key in bench.world.starts] == runs[:4]
    bench.pass_time(10)
    assert [key[0] for key in bench.world.starts] == runs[:8]
    bench.pass_time(20)
    assert all(ended(bench, run_id) for run_id in runs)
    assert AT_ONCE == 32
    server.stop()


def test_many_runs_go_on_side_by_side(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("long", {})
    runs = [bench.create("long") for _ in range(20)]
    server = Server(bench)
    bench.pass_time(GRACE_SECS + 10.5)
    assert all(ended(bench, run_id) for run_id in runs)
    server.stop()


# trouble


def test_a_run_that_cannot_be_driven_stops_no_other_and_is_told_once(bench: Bench) -> None:
    bench.procedure("bad", {})
    bench.procedure("good", {})
    bad, good = bench.create("bad"), bench.create("good")
    tries = []

    def full(order: WorkOrder) -> None:
        if order.run_id == bad:
            tries.append(bench.clock.now().boot_ms)
            raise OSError("no space left on device")

    bench.world.before_start = full
    server = Server(bench)
    bench.pass_time(60)
    assert ended(bench, good)
    assert [(run_id, "no space" in words) for run_id, words in server.troubles] == [(bad, True)]
    assert 4 <= len(tries) <= 7
    assert server.adopted == [], "it was never taken over from anybody"
    assert bench.store.holder(bad) is None

    bench.world.before_start = lambda _order: None
    bench.pass_time(60)
    assert ended(bench, bad)
    server.stop()


def test_a_record_that_cannot_be_read_stops_no_other(bench: Bench) -> None:
    bench.procedure("bad", {})
    bench.procedure("good", {}, {})
    bad, good = bench.create("bad"), bench.create("good")
    digest = bench.now(bad).procedure_digest
    kept = bench.store._shelf.contents.pop(digest)
    server = Server(bench)
    bench.pass_time(30)
    assert ended(bench, good)
    assert [(run_id, "procedure" in words) for run_id, words in server.troubles] == [(bad, True)]
    bench.store._shelf.contents[digest] = kept
    bench.pass_time(60)
    assert ended(bench, bad)
    server.stop()


def test_a_store_that_cannot_be_read_for_a_while_is_told_once_and_outlived(bench: Bench) -> None:
    bench.procedure("deploy", {})
    server = Server(bench)
    bench.pass_time(1)
    server.store.failing = "the disk went away"
    bench.pass_time(30)
    run_id = bench.create("deploy")
    server.store.failing = ""
    bench.pass_time(SOON)
    assert ended(bench, run_id)
    assert server.troubles == [(None, "the disk went away")]
    server.stop()


def test_a_store_that_cannot_be_read_is_asked_seldom_though_a_deadline_has_come(bench: Bench) -> None:
    bench.procedure("deploy", TIMED)
    run_id = bench.run("deploy").run_id
    server = Server(bench, ear=bench.bell)
    bench.pass_time(57)  # it has seen what comes due soon
    server.store.calls.clear()
    server.store.failing = "the disk went away"
    bench.pass_time(30)
    assert server.store.calls["version"] <= 30 / POLL_SECS + 1
    server.store.failing = ""
    bench.pass_time(POLL_SECS + 0.1)
    assert ended(bench, run_id)
    server.stop()


def test_a_store_that_stays_unreadable_ends_the_server(bench: Bench) -> None:
    server = Server(bench)
    bench.pass_time(1)
    server.store.failing = "the disk went away"
    bench.pass_time(61 + SWEEP_SECS)
    assert server.task.done()
    with pytest.raises(StoreError, match="went away"):
        server.end()


# the end


def test_at_its_end_it_lets_go_of_runs_and_the_next_one_takes_them_over(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    first = Server(bench)
    bench.pass_time(2.1)
    before = bench.clock.now().boot_ms
    assert first.stop() == (run_id,)
    assert bench.clock.now().boot_ms - before < 10
    assert bench.store.holder(run_id) is None
    assert bench.statuses(run_id) == ["running"]

    second = Server(bench)
    bench.pass_time(60)
    assert ended(bench, run_id)
    assert second.adopted == [(run_id, (1,))]
    assert len(bench.starts(run_id)) == 1
    second.stop()


def test_once_does_what_can_be_done_now_and_ends(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("single", {}, GATED, maxConcurrent=2)
    bench.procedure("timed", TIMED)
    overdue = bench.run("timed").run_id
    bench.pass_time(120)
    runs = [bench.create("single", queue=True) for _ in range(2)]
    Server(bench, once=True).end()
    assert ended(bench, overdue)
    assert [bench.names(run_id)[-1] for run_id in runs] == ["approval_requested 2"] * 2
    assert bench.clock.now().boot_ms < 150_000


def test_once_goes_on_to_what_a_freed_slot_admits(bench: Bench) -> None:
    bench.procedure("single", {}, maxConcurrent=1)
    runs = [bench.create("single", queue=True) for _ in range(3)]
    Server(bench, once=True).end()
    assert all(ended(bench, run_id) for run_id in runs)


def test_once_does_not_wait_for_a_slot_that_nobody_frees(bench: Bench) -> None:
    bench.procedure("single", GATED, maxConcurrent=1)
    bench.run("single")
    waiting = bench.create("single", queue=True)
    Server(bench, once=True).end()
    assert bench.now(waiting).queued


def test_who_waits_for_its_group_keeps_no_other_group_of_its_procedure_waiting(bench: Bench) -> None:
    bench.procedure("deploy", GATED, concurrencyGroup="params.to")
    bench.procedure("migrate", GATED, concurrencyGroup="params.to")
    bench.run("migrate", to="production")
    staging = bench.run("migrate", to="staging").run_id
    held = bench.create("deploy", queue=True, to="production")
    free = bench.create("deploy", queue=True, to="staging")
    bench.engine().cancel(staging, actor=ANN)
    Server(bench, once=True).end()
    assert bench.now(held).queued
    assert bench.names(free)[-1] == "approval_requested 1"


def test_of_a_group_that_waits_only_the_first_is_asked(bench: Bench) -> None:
    for name in ("deploy", "migrate"):
        bench.procedure(name, GATED, concurrencyGroup="params.to")
    bench.run("migrate", to="production")
    first, _second = (bench.create(name, queue=True, to="production") for name in ("migrate", "deploy"))
    server = Server(bench)
    bench.pass_time(20)
    assert set(server.store.claimed) == {first}
    server.stop()
