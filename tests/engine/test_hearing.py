"""A server that hears of what other processes commit: at once where it may, and never later than by looking itself."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.engine.auditing import Auditing
from sopwith.engine.ticker import GRACE_SECS, MOST_WORDS, POLL_SECS, QUIET_SECS, SWEEP_SECS
from sopwith.testing.executor import Play

from .bench import ANN, Bench
from .served import Server, ended

GATED = {"requiresApproval": True}
TIMED = {"requiresApproval": True, "approvalTimeoutMins": 1}
MANUAL: dict[str, Any] = {"run": None, "executor": "manual"}
AT_ONCE = 0.05


def lost(_run_id: str, _left: bool) -> tuple[float, ...]:
    return ()


def hearing(bench: Bench, **options: Any) -> Server:
    server = Server(bench, ear=bench.bell, **options)
    bench.pass_time(1)
    return server


# what is heard


def test_every_commit_rings(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.create("deploy")
    assert bench.bell.rung == [(run_id, False)]
    bench.drive(run_id)
    # one commit asked, and then the driver let go
    assert bench.bell.rung[1:] == [(run_id, False), (run_id, True)]
    bench.engine().approve(run_id, actor=ANN)
    assert bench.bell.rung[3:] == [(run_id, False)]


def test_a_word_is_rung_when_what_it_tells_of_is_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hears it looks at once: a word before its commit would be a word for nothing."""
    ring, seen = bench.bell.ring, list[int]()

    def watched(run_id: str, *, left: bool = False) -> None:
        summary = bench.store.summary(run_id)
        seen.append(0 if summary is None else summary.seq)
        ring(run_id, left=left)

    monkeypatch.setattr(bench.bell, "ring", watched)
    bench.procedure("deploy", GATED)
    run_id = bench.create("deploy")
    created = bench.now(run_id).seq
    bench.drive(run_id)
    asked = bench.now(run_id).seq
    bench.engine().approve(run_id, actor=ANN)
    assert seen == [created, asked, asked, bench.now(run_id).seq]


def test_what_is_refused_rings_nobody(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    bench.engine().cancel(run_id, actor=ANN)
    bench.bell.rung.clear()
    with pytest.raises(Exception, match="cancelled"):
        bench.engine().cancel(run_id, actor=ANN)
    assert bench.bell.rung == []


def test_a_cancel_by_another_process_ends_the_step_at_once(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    server = hearing(bench)
    run_id = bench.create("deploy")
    bench.pass_time(1)
    assert bench.statuses(run_id) == ["running"]
    bench.engine().cancel(run_id, actor=ANN)
    bench.pass_time(AT_ONCE)
    assert bench.now(run_id).ended == "cancelled"
    server.stop()


def test_a_cancel_whose_word_was_lost_is_found_by_looking(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    server = hearing(bench)
    run_id = bench.create("deploy")
    bench.pass_time(1)
    bench.bell.carry = lost
    bench.engine().cancel(run_id, actor=ANN)
    bench.pass_time(SWEEP_SECS + AT_ONCE)
    assert bench.now(run_id).ended == "cancelled"
    server.stop()


def test_what_is_left_to_the_server_is_taken_up_at_once(bench: Bench) -> None:
    bench.procedure("deploy", {})
    server = hearing(bench)
    run_id = bench.create("deploy")
    bench.pass_time(AT_ONCE)
    assert not ended(bench, run_id), "whoever made it has not said that it leaves it"
    bench.engine().leave(bench.now(run_id))
    bench.pass_time(AT_ONCE)
    assert ended(bench, run_id)
    server.stop()


def test_what_was_changed_is_left_to_whoever_changed_it(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    server = hearing(bench)
    bench.engine().approve(run_id, actor=ANN)
    bench.pass_time(GRACE_SECS - 0.05)
    assert bench.finish(bench.begin(run_id)).ended == "completed"
    assert server.store.claimed == []
    server.stop()


def test_what_nobody_drives_on_is_taken_up_when_its_time_is_over(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.run("deploy").run_id
    server = hearing(bench)
    bench.engine().approve(run_id, actor=ANN)
    bench.pass_time(GRACE_SECS + AT_ONCE)
    assert ended(bench, run_id)
    server.stop()


@pytest.mark.parametrize("delays", [(), (3.0,), (0, 0, 0.2, 7)])
def test_words_that_are_lost_late_or_repeated_change_nothing_but_when(bench: Bench, delays: tuple[float, ...]) -> None:
    bench.bell.carry = lambda _run_id, _left: delays
    bench.world.plays[1] = [Play(seconds=1)]
    bench.procedure("deploy", {}, {})
    server = hearing(bench)
    runs = [bench.create("deploy") for _ in range(3)]
    bench.pass_time(SWEEP_SECS + 5)
    assert [ended(bench, run_id) for run_id in runs] == [True] * 3
    assert [len(bench.starts(run_id)) for run_id in runs] == [2] * 3
    assert sorted(server.store.claimed) == runs
    server.stop()


def test_what_a_driver_lets_go_of_is_taken_up_at_once(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    server = hearing(bench)
    driving.cancel()
    bench.pass_time(AT_ONCE)
    assert server.store.claimed == [run_id]
    assert server.adopted == [(run_id, (1,))]
    server.stop()


def test_what_is_decided_after_the_drivers_last_look_is_taken_up_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.create("deploy")
    seals: list[str] = []

    def seal(_auditing: Auditing, _now: object) -> None:
        if not seals:
            seals.append("the driver has let go of the run, and the server has not noticed")
            other = bench.engine()
            other.approve(run_id, actor=ANN)
            other.leave(bench.now(run_id))

    monkeypatch.setattr(Auditing, "seal", seal)
    server = hearing(bench)
    assert seals
    assert ended(bench, run_id)
    approved, started = (
        next(event.at for event in bench.events(run_id) if event.event_type == kind)
        for kind in ("approval_granted", "step_started")
    )
    assert (started - approved).total_seconds() <= AT_ONCE
    server.stop()


def test_what_a_rejection_means_for_the_run_around_is_taken_up_at_once(bench: Bench) -> None:
    bench.procedure("build", GATED, executionMode="auto")
    bench.procedure("deploy", {"run": None, "uses": "build", "onFailure": "continue"}, {})
    server = hearing(bench)
    run_id = bench.create("deploy")
    bench.pass_time(2)
    child = bench.now(run_id).steps[1].child
    run = bench.engine().cancel(child, actor=ANN)
    bench.engine().leave(run)
    bench.pass_time(AT_ONCE)
    assert ended(bench, run_id)
    server.stop()


def test_two_runs_one_within_the_other_go_on_without_waiting_for_a_look(bench: Bench) -> None:
    bench.procedure("build", {})
    bench.procedure("deploy", {"run": None, "uses": "build"}, {"run": None, "uses": "build"})
    server = hearing(bench)
    run_id = bench.create("deploy")
    bench.engine().leave(bench.now(run_id))
    bench.pass_time(4 * AT_ONCE)
    assert ended(bench, run_id)
    server.stop()


def test_a_slot_that_somebody_else_frees_is_given_on_within_a_second(bench: Bench) -> None:
    bench.procedure("single", GATED, maxConcurrent=1)
    first = bench.run("single").run_id
    second = bench.create("single", queue=True)
    server = hearing(bench)
    bench.pass_time(20)
    bench.engine().cancel(first, actor=ANN)
    bench.pass_time(1 + AT_ONCE)
    assert bench.names(second)[-1] == "approval_requested 1"
    server.stop()


# deadlines, while it sleeps longer than before


def test_a_deadline_that_another_process_made_is_met_by_itself(bench: Bench) -> None:
    bench.procedure("deploy", TIMED)
    server = hearing(bench)
    for offset in (0, 1.3, 2.6, 3.9):
        bench.pass_time(offset)
        run_id = bench.run("deploy").run_id
        bench.pass_time(59.95)
        assert bench.names(run_id)[-1] == "approval_requested 1"
        bench.pass_time(0.1)
        assert "approval_timeout 1" in bench.names(run_id)
    server.stop()


def test_a_deadline_is_met_though_every_word_is_lost(bench: Bench) -> None:
    bench.procedure("deploy", TIMED)
    server = hearing(bench)
    bench.bell.carry = lost
    run_id = bench.run("deploy").run_id
    bench.pass_time(59.95)
    assert bench.names(run_id)[-1] == "approval_requested 1"
    bench.pass_time(0.1)
    assert ended(bench, run_id)
    server.stop()


# idling


def test_it_sleeps_from_sweep_to_sweep(bench: Bench) -> None:
    bench.procedure("gated", GATED)
    bench.procedure("timed", {**TIMED, "approvalTimeoutMins": 600})
    bench.procedure("by-hand", MANUAL)
    for name in ("gated", "timed", "by-hand") * 5:
        bench.run(name)
    server = hearing(bench)
    server.store.calls.clear()
    bench.pass_time(60)
    assert set(server.store.calls) == {"version", "due"}
    assert server.store.calls["version"] <= 60 / SWEEP_SECS + 1
    server.stop()


def test_a_driver_in_the_server_looks_no_more_often_than_the_sweep(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    server = hearing(bench)
    run_id = bench.create("deploy")
    bench.pass_time(1)
    assert bench.statuses(run_id) == ["running"]
    server.store.calls.clear()
    bench.pass_time(60)
    assert server.store.calls["version"] <= 3 * (60 / SWEEP_SECS + 1)
    server.stop()


def test_a_driver_hears_nothing_of_other_runs(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    bench.procedure("gated", GATED)
    server = hearing(bench)
    bench.create("deploy")
    bench.pass_time(1)
    server.store.calls.clear()
    for _ in range(10):
        bench.run("gated")
        bench.pass_time(1)
    # each was examined once, by the server; the driver replayed nothing but what it found by its own looks
    assert server.store.calls["events"] <= 10 + 3
    server.stop()


# words that nobody can vouch for


def test_a_word_of_a_run_that_there_is_not_costs_one_look(bench: Bench) -> None:
    server = hearing(bench)
    server.store.calls.clear()
    bench.bell.ring("sop_run_aaaaaaaaaaaa", left=True)
    bench.pass_time(1)
    assert server.store.calls["summary"] == 1
    assert server.store.claimed == []
    assert server.troubles == []
    server.stop()


def test_a_flood_of_words_is_gathered(bench: Bench) -> None:
    server = hearing(bench)
    server.store.calls.clear()
    for round_ in range(100):
        for number in range(100):
            bench.bell.ring(f"sop_run_{round_:06}{number:06}")
        bench.pass_time(0.001)
    bench.pass_time(0.1)
    assert server.store.calls["version"] <= 0.2 / QUIET_SECS + 2
    server.store.calls.clear()
    for number in range(5 * MOST_WORDS):
        bench.bell.ring(f"sop_run_{number:012}")
    bench.pass_time(1)
    assert server.store.calls["summary"] == MOST_WORDS
    server.stop()


def test_a_run_told_of_when_too_much_was_told_is_found_all_the_same(bench: Bench) -> None:
    bench.procedure("deploy", {})
    server = hearing(bench)
    for number in range(2 * MOST_WORDS):
        bench.bell.ring(f"sop_run_{number:012}", left=True)
    run_id = bench.create("deploy")
    bench.pass_time(GRACE_SECS + AT_ONCE)
    assert ended(bench, run_id)
    server.stop()


def test_a_forged_word_takes_no_run_from_its_driver(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=10)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    server = hearing(bench)
    for _ in range(50):
        bench.bell.ring(run_id, left=True)
        bench.pass_time(0.1)
    assert server.store.claimed == []
    assert bench.finish(driving).ended == "completed"
    server.stop()


def test_a_forged_word_costs_a_driver_one_look(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    server = hearing(bench)
    run_id = bench.create("deploy")
    bench.pass_time(1)
    server.store.calls.clear()
    bench.bell.ring(run_id, left=True)
    bench.pass_time(0.1)
    assert 1 <= server.store.calls["version"] <= 4
    server.stop()


def test_what_the_server_commits_itself_makes_it_look_at_nothing(bench: Bench) -> None:
    bench.world.plays.update({number: [Play(seconds=0.5)] for number in range(1, 11)})
    bench.procedure("chain", *({} for _ in range(10)))
    server = hearing(bench)
    run_id = bench.create("chain")
    bench.pass_time(GRACE_SECS + AT_ONCE)
    server.store.calls.clear()
    bench.pass_time(4.4)
    assert not ended(bench, run_id)
    # only the loop asks what is due
    assert server.store.calls["due"] <= 1
    server.stop()


def test_a_word_about_a_run_in_trouble_does_not_hurry_it(bench: Bench) -> None:
    bench.procedure("bad", {})
    tries: list[int] = []

    def full(_order: object) -> None:
        tries.append(bench.clock.now().boot_ms)
        raise OSError("no space left on device")

    bench.world.before_start = full
    server = hearing(bench)
    bad = bench.create("bad")
    for _ in range(300):
        bench.bell.ring(bad, left=True)
        bench.pass_time(0.1)
    assert 3 <= len(tries) <= 6
    server.stop()


# where nothing can be heard


class Deaf:
    """No socket can be made here."""

    def listen(self, hear: object) -> None:
        raise OSError(95, "Operation not supported")

    def close(self) -> None:
        pass


def test_where_nothing_can_be_heard_it_is_told_and_looks_often(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    server = Server(bench, ear=Deaf())
    run_id = bench.create("deploy")
    bench.pass_time(GRACE_SECS + 2 * POLL_SECS)
    assert bench.statuses(run_id) == ["running"]
    assert [words for _run_id, words in server.troubles] == [
        "decisions are noticed late: nobody can be heard here: Operation not supported"
    ]
    bench.engine().cancel(run_id, actor=ANN)
    bench.pass_time(0.25)
    assert bench.now(run_id).ended == "cancelled"
    server.stop()


def test_it_hears_no_more_when_it_has_ended(bench: Bench) -> None:
    server = hearing(bench)
    assert bench.bell.is_heard
    server.stop()
    assert not bench.bell.is_heard
