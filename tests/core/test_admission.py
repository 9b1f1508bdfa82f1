"""Limits (DESIGN section 4): slots, the queue's order and the cooldown, each refusal naming what holds the run back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sopwith.core.admission import Limits, Occupancy, admit, rule_of
from sopwith.errors import CoolingDown, LimitReached

from .given import NOON


def _ended(seconds_ago: float) -> Occupancy:
    return Occupancy(last_executed_end=NOON - timedelta(seconds=seconds_ago))


def test_without_limits_any_number_of_runs_may_begin() -> None:
    admit("deploy", Limits(), Occupancy(of_procedure=("a",) * 99, of_workspace=("a",) * 99), NOON)


def test_a_run_may_begin_while_a_slot_is_left() -> None:
    limits = Limits(max_concurrent=2, max_concurrent_runs=3)
    admit("deploy", limits, Occupancy(of_procedure=("a",), of_workspace=("a", "b")), NOON)


def test_a_run_at_the_procedures_limit_is_told_who_holds_it() -> None:
    with pytest.raises(LimitReached) as caught:
        admit("deploy", Limits(max_concurrent=1), Occupancy(of_procedure=("sop_run_a",)), NOON)
    assert caught.value.message == "deploy may have 1 at once (maxConcurrent): sop_run_a holds the slot"
    assert "sop cancel sop_run_a" in caught.value.hint
    assert (caught.value.exit_code, caught.value.details["holders"]) == (5, ("sop_run_a",))


def test_a_run_at_the_workspaces_limit_is_told_who_holds_it_at_most_three_by_name() -> None:
    holders = ("a", "b", "c", "d", "e")
    with pytest.raises(LimitReached) as caught:
        admit("deploy", Limits(max_concurrent_runs=5), Occupancy(of_workspace=holders), NOON)
    assert caught.value.message == (
        "this workspace may have 5 at once (maxConcurrentRuns): a, b, c and 2 more hold the slots"
    )
    assert caught.value.details["holders"] == holders


def test_a_run_does_not_overtake_those_that_queued_before_it() -> None:
    with pytest.raises(LimitReached) as caught:
        admit("deploy", Limits(), Occupancy(queued_before=("first", "second")), NOON)
    assert caught.value.message == "deploy has a queue, and first came first"
    assert caught.value.details["holders"] == ("first", "second")


def test_a_group_has_one_run_at_once_whatever_its_procedure() -> None:
    with pytest.raises(LimitReached) as caught:
        admit("deploy", Limits(concurrency_group="production"), Occupancy(of_group=("sop_run_a",)), NOON)
    assert caught.value.message == (
        "the group production may have 1 run at once (concurrencyGroup): sop_run_a holds the slot"
    )
    assert "sop cancel sop_run_a" in caught.value.hint
    assert (caught.value.exit_code, caught.value.details["holders"]) == (5, ("sop_run_a",))


def test_a_run_does_not_overtake_those_of_its_group() -> None:
    with pytest.raises(LimitReached) as caught:
        admit("deploy", Limits(concurrency_group="production"), Occupancy(queued_in_group=("first",)), NOON)
    assert caught.value.message == "the group production has a queue, and first came first"


@pytest.mark.parametrize(
    ("limits", "occupancy", "rule"),
    [
        (Limits(max_concurrent=1), Occupancy(of_procedure=("a", "b")), "deploy may have 1 at once (maxConcurrent)"),
        (
            Limits(concurrency_group="env: prod"),
            Occupancy(of_group=("a",)),
            "the group env: prod may have 1 run at once (concurrencyGroup)",
        ),
        (Limits(), Occupancy(queued_before=("first", "second")), "deploy has a queue"),
    ],
)
def test_the_rule_alone_names_no_run(limits: Limits, occupancy: Occupancy, rule: str) -> None:
    with pytest.raises(LimitReached) as caught:
        admit("deploy", limits, occupancy, NOON)
    assert rule_of(caught.value) == rule


def test_of_a_refusal_in_other_words_nobody_is_named_either() -> None:
    refusal = LimitReached("deploy waits: b and a hold it", holders=("a", "b"))
    assert rule_of(refusal) == "it waits for others"


def test_a_rest_after_a_run_is_all_rule() -> None:
    refusal = CoolingDown("deploy rests for 9 s after a run: 5 s are left", hint="", seconds_left=5)
    assert rule_of(refusal) == refusal.message


def test_a_retry_is_held_by_its_group() -> None:
    held = Occupancy(of_group=("a",))
    with pytest.raises(LimitReached):
        admit("deploy", Limits(concurrency_group="production"), held, NOON, cooldown=False)


@pytest.mark.parametrize(("ago", "left"), [(0, 60), (0.001, 60), (1, 59), (58.5, 2), (59, 1), (59.999, 1)])
def test_a_cooldown_names_the_seconds_left_rounded_up(ago: float, left: int) -> None:
    with pytest.raises(CoolingDown) as caught:
        admit("deploy", Limits(cooldown_secs=60), _ended(ago), NOON)
    assert caught.value.message == f"deploy rests for 60 s after a run: {left} s are left"
    assert (caught.value.details["seconds_left"], caught.value.exit_code) == (left, 5)


@pytest.mark.parametrize("ago", [60, 60.001, 10**7])
def test_after_the_cooldown_a_run_may_begin(ago: float) -> None:
    admit("deploy", Limits(cooldown_secs=60), _ended(ago), NOON)


@pytest.mark.parametrize("ahead", [0.5, 3600, 10**8])
def test_a_clock_that_was_set_back_does_not_lengthen_the_cooldown(ahead: float) -> None:
    with pytest.raises(CoolingDown) as caught:
        admit("deploy", Limits(cooldown_secs=60), _ended(-ahead), NOON)
    assert caught.value.details["seconds_left"] == 60


def test_no_run_before_means_no_cooldown() -> None:
    admit("deploy", Limits(cooldown_secs=60), Occupancy(), NOON)


def test_a_retry_is_not_held_by_the_cooldown_but_by_the_slots() -> None:
    admit("deploy", Limits(cooldown_secs=60), _ended(1), NOON, cooldown=False)
    with pytest.raises(LimitReached):
        admit("deploy", Limits(max_concurrent=1), Occupancy(of_procedure=("a",)), NOON, cooldown=False)


def test_the_slots_are_named_before_the_cooldown() -> None:
    both = Occupancy(of_procedure=("a",), last_executed_end=NOON)
    with pytest.raises(LimitReached):
        admit("deploy", Limits(max_concurrent=1, cooldown_secs=60), both, NOON)
