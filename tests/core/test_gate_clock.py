"""Deadlines and reminders while clocks are set, stopped and started anew (decision 0008, "Clocks" and "Timeouts")."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.due import Due, DueKind, due, next_due_at, overdue, ready
from sopwith.core.events import Policy
from sopwith.core.moves_gate import CLOCK_TOLERANCE_MS
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import GateStatus, RunStatus, gate_left_ms

from .given import ALICE, BOB, Story, manual, shell

HOUR = 3600
ACTIONS = [*TimeoutAction]


def _asked(action: TimeoutAction = TimeoutAction.APPROVE, *, minutes: float = 60, **rules: Any) -> Story:
    """A gate that times out; the next command comes one second later."""
    approval = ApprovalRules(on_timeout=action, **rules)
    return Story(shell(gate=True, approval=approval, approval_timeout_mins=minutes)).drive()


def _settled(action: TimeoutAction) -> str:
    return "approval_escalated" if action is TimeoutAction.ESCALATE else "approval_timeout"


# the wall clock is set forward


@pytest.mark.parametrize("action", ACTIONS)
def test_a_jump_of_the_wall_clock_settles_nothing_and_is_recorded(action: TimeoutAction) -> None:
    story = _asked(action)
    asked_at = story.gate(1).requested_at
    story.tick(9)
    story.set_wall_by(2 * HOUR)
    assert overdue(story.run, story.now.at)
    assert story.expire(1) == ["approval_postponed"]
    body = story.last.body
    assert (story.last.actor, body.jumped_ms) == (SYSTEM, 2 * HOUR * 1000)
    assert body.due_at == story.gate(1).due_at == asked_at + timedelta(hours=3)
    assert (story.gate(1).status, story.status) == (GateStatus.OPEN, RunStatus.AWAITING_APPROVAL)
    assert overdue(story.run, story.now.at) == ()
    assert story.expire(1) == []


@pytest.mark.parametrize("action", ACTIONS)
def test_what_was_postponed_is_settled_when_its_time_has_really_passed(action: TimeoutAction) -> None:
    story = _asked(action)
    story.set_wall_by(2 * HOUR)
    story.expire(1)  # one second is over
    story.tick(HOUR - 3)
    assert story.expire(1) == []
    assert story.expire(1)[0] == _settled(action)
    if action is not TimeoutAction.ESCALATE:
        assert story.latest("approval_timeout").body.clock_jump_ms == 0, "it was told before, and is made good"


def test_every_further_jump_postpones_again() -> None:
    story = _asked()
    for _ in range(3):
        story.set_wall_by(5 * HOUR)
        assert story.expire(1) == ["approval_postponed"]
    story.tick(HOUR - 5)
    assert story.expire(1) == []
    story.tick(1)
    assert story.expire(1) == ["approval_timeout"]


def test_a_jump_within_the_waiting_time_is_found_at_the_deadline() -> None:
    story = _asked()
    story.set_wall_by(HOUR / 2)
    assert story.expire(1) == []
    story.tick(HOUR / 2 - 2)
    assert story.expire(1) == ["approval_postponed"]
    story.tick(HOUR / 2 - 1)
    assert story.expire(1) == ["approval_timeout"]


def test_where_the_time_is_over_by_both_clocks_it_is_settled_and_the_jump_recorded() -> None:
    story = _asked()
    story.set_wall_by(2 * HOUR)
    story.tick(HOUR)
    assert story.expire(1) == ["approval_timeout"]
    assert story.last.body.clock_jump_ms == 2 * HOUR * 1000
    assert story.owed() == [(DueKind.START_STEP, 1)]


def test_without_a_jump_none_is_recorded() -> None:
    story = _asked()
    story.tick(HOUR)
    story.expire(1)
    assert story.last.body.clock_jump_ms == 0


@pytest.mark.parametrize(("ahead_ms", "event"), [(100, "approval_timeout"), (101, "approval_postponed")])
def test_up_to_a_tenth_of_a_second_is_no_jump(ahead_ms: int, event: str) -> None:
    assert CLOCK_TOLERANCE_MS == 100
    story = _asked()
    story.set_wall_by(ahead_ms / 1000)
    story.tick(HOUR - 1 - ahead_ms / 1000)
    assert story.expire(1) == [event]


def test_the_start_approval_is_postponed_too() -> None:
    policy = Policy(approval_timeout_mins=60, approval_timeout_action=TimeoutAction.APPROVE)
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy)
    story.set_wall_by(2 * HOUR)
    assert story.expire(None) == ["approval_postponed"]
    assert story.status is RunStatus.WAITING_APPROVAL
    story.tick(HOUR - 1)
    assert story.expire(None) == ["approval_timeout", "run_started"]


def test_a_person_may_still_answer_what_was_postponed() -> None:
    story = _asked()
    story.set_wall_by(2 * HOUR)
    story.expire(1)
    assert story.when(cmd.Approve) == ["approval_granted"]


def test_votes_outlive_a_postponement() -> None:
    story = _asked(quorum=2)
    story.when(cmd.Approve, actor=BOB)
    story.set_wall_by(2 * HOUR)
    story.expire(1)
    assert len(story.gate(1).votes) == 1


# jumps and pauses


def test_a_pause_after_a_jump_does_not_take_the_time_that_nobody_had() -> None:
    story = _asked()
    story.set_wall_by(2 * HOUR)
    assert story.when(cmd.Pause) == ["approval_postponed", "run_paused"]
    assert story.events[-2].actor == SYSTEM
    assert story.gate(1).left_ms == HOUR * 1000 - 1000
    story.when(cmd.Resume)
    assert story.expire(1) == []
    story.tick(HOUR - 4)
    assert story.expire(1) == []
    assert story.expire(1) == ["approval_timeout"]


def test_a_pause_that_waits_for_a_process_does_not_take_it_either() -> None:
    story = Story(shell(), shell(gate=True, after=(), approval_timeout_mins=60)).drive()
    story.set_wall_by(HOUR / 2)
    assert story.when(cmd.Pause) == ["approval_postponed", "run_pause_requested"]
    assert story.gate(2).left_ms == HOUR * 1000 - 1000
    story.finish(1)
    assert story.gate(2).left_ms == HOUR * 1000 - 1000


def test_nor_does_a_pause_by_the_driver_or_by_another_gates_timeout() -> None:
    halted = Story(shell(gate=True, approval_timeout_mins=60), shell(after=()))
    halted.ask(1)
    halted.set_wall_by(2 * HOUR)
    assert halted.when(cmd.Halt, reason="a variable is missing") == ["approval_postponed", "run_paused"]
    pausing = ApprovalRules(on_timeout=TimeoutAction.PAUSE)
    story = Story(
        shell(gate=True, approval=pausing, approval_timeout_mins=60),
        shell(gate=True, after=(), approval_timeout_mins=90),
    ).drive()
    story.set_wall_by(HOUR)
    story.tick(HOUR)
    assert story.expire(1) == ["approval_timeout", "approval_postponed", "run_paused"]
    assert story.gate(2).left_ms == HOUR // 2 * 1000 - 1000


def test_a_pause_without_a_jump_postpones_nothing() -> None:
    story = _asked()
    story.set_wall_by(0.1)
    assert story.when(cmd.Pause) == ["run_paused"]


def test_a_jump_during_a_pause_takes_nothing() -> None:
    story = _asked()
    story.when(cmd.Pause)
    left_ms = story.gate(1).left_ms
    story.set_wall_by(10 * HOUR)
    story.when(cmd.Resume)
    assert story.gate(1).due_at == story.now.at + timedelta(milliseconds=left_ms or 0)
    assert story.expire(1) == []
    story.tick(HOUR)
    assert story.expire(1) == ["approval_timeout"]
    assert story.last.body.clock_jump_ms == 0


def test_after_a_pause_the_boot_clock_counts_from_the_resume() -> None:
    story = _asked()
    story.when(cmd.Pause)
    story.tick(HOUR)
    story.when(cmd.Resume)
    story.set_wall_by(2 * HOUR)
    assert story.expire(1) == ["approval_postponed"]
    assert story.last.body.jumped_ms == 2 * HOUR * 1000


# the wall clock is set back


def test_a_clock_that_is_set_back_settles_by_the_wall_clock() -> None:
    story = _asked()
    story.set_wall_by(-HOUR)
    story.tick(HOUR)
    assert (story.expire(1), overdue(story.run, story.now.at)) == ([], ())
    story.tick(HOUR)
    assert story.expire(1) == ["approval_timeout"]
    assert story.last.body.clock_jump_ms == 0


def test_a_clock_that_is_set_back_re_opens_nothing() -> None:
    story = _asked(TimeoutAction.REJECT)
    story.tick(HOUR)
    assert story.expire(1) == ["approval_timeout", "run_paused"]
    settled_at = story.last.at
    story.set_wall_by(-10 * HOUR)
    assert story.gate(1).status is GateStatus.TIMED_OUT
    assert story.when(cmd.Cancel) == ["run_cancelled"]
    assert story.last.at == settled_at, "recorded times never run backwards"


def test_a_jump_forward_and_back_leaves_the_later_deadline() -> None:
    story = _asked()
    story.set_wall_by(2 * HOUR)
    story.expire(1)
    story.set_wall_by(-2 * HOUR)
    story.tick(HOUR)
    assert story.expire(1) == []
    story.tick(2 * HOUR)
    assert story.expire(1) == ["approval_timeout"]


def _voted_ahead(**rules: Any) -> Story:
    """A gate of an hour, and a vote recorded while the wall clock ran three hours ahead of what it says now."""
    story = _asked(quorum=2, **rules)
    story.set_wall_by(3 * HOUR)
    assert story.when(cmd.Approve, step=1, actor=BOB) == ["approval_vote_recorded"]
    return story


def test_a_pause_after_a_jump_forward_and_back_takes_nothing_though_recorded_times_stay_ahead() -> None:
    story = _voted_ahead()
    story.set_wall_by(-3 * HOUR)
    assert story.when(cmd.Pause) == ["approval_postponed", "run_paused"]
    assert story.gate(1).left_ms == HOUR * 1000 - 2000


def test_a_postponed_reminder_is_not_early_though_recorded_times_stay_ahead() -> None:
    story = _voted_ahead(remind_after_mins=(30,))
    story.set_wall_by(-HOUR)
    assert story.expire(1) == ["approval_postponed"]
    (at,) = story.gate(1).remind_at
    left_ms = gate_left_ms(story.gate(1), at, story.now)
    assert left_ms is not None
    assert HOUR // 2 * 1000 - 5000 < left_ms < HOUR // 2 * 1000


def test_no_gate_settles_before_its_time_however_the_clock_was_set() -> None:
    story = Story(shell(), shell(gate=True, approval_timeout_mins=60))
    story.drive()
    story.finish(1)
    story.set_wall_by(-HOUR)
    story.drive()
    story.set_wall_by(3 * HOUR)
    assert story.expire(2) == ["approval_postponed"]
    story.tick(HOUR)
    assert story.expire(2) == ["approval_timeout"]


# sleep and restart


def test_time_that_the_machine_slept_through_counts() -> None:
    story = _asked()
    story.tick(10 * HOUR)  # the boot clock counts it as well
    assert story.expire(1) == ["approval_timeout"]
    assert story.last.body.clock_jump_ms == 0


def test_after_a_restart_only_the_wall_clock_is_left() -> None:
    story = _asked()
    story.reboot()
    story.set_wall_by(2 * HOUR)
    assert story.expire(1) == ["approval_timeout"]
    assert story.last.body.clock_jump_ms == 0


def test_a_postponement_before_a_restart_holds_after_it() -> None:
    story = _asked()
    story.set_wall_by(2 * HOUR)
    story.expire(1)
    story.reboot()
    assert story.expire(1) == []
    story.tick(HOUR)
    assert story.expire(1) == ["approval_timeout"]


# reminders


def _reminded(*minutes: float, **more: Any) -> Story:
    return Story(shell(gate=True, approval=ApprovalRules(remind_after_mins=minutes), **more)).drive()


def test_a_reminder_is_owed_at_its_time_and_not_before() -> None:
    story = _reminded(2, 4)
    at = story.gate(1).requested_at + timedelta(minutes=2)
    assert due(story.run) == (Due(DueKind.REMIND, 1, at, 1),)
    assert next_due_at(story.run) == at
    story.tick(118)
    assert story.remind(1) == []
    assert story.remind(1) == ["approval_reminded"]
    assert (story.last.body.due_at, story.last.actor) == (at, SYSTEM)
    assert (story.status, story.gate(1).status) == (RunStatus.AWAITING_APPROVAL, GateStatus.OPEN)
    assert next_due_at(story.run) == at + timedelta(minutes=2)
    assert story.remind(1) == []


def test_several_reminders_that_are_overdue_give_one() -> None:
    story = _reminded(2, 4, 9)
    story.tick(300)
    assert story.remind(1) == ["approval_reminded"]
    asked_at = story.gate(1).requested_at
    assert story.last.body.due_at == asked_at + timedelta(minutes=4)
    assert story.gate(1).remind_at == (asked_at + timedelta(minutes=9),)
    assert story.remind(1) == []


def test_reminders_are_whole_milliseconds_from_the_request() -> None:
    story = _reminded(1 / 7)
    assert story.gate(1).remind_at == (story.gate(1).requested_at + timedelta(milliseconds=8571),)


def test_an_answered_gate_and_an_older_revision_are_not_reminded_of() -> None:
    story = _reminded(2)
    story.when(cmd.Reject, reason="no")
    story.when(cmd.Retry)
    story.drive()
    story.tick(120)
    assert story.remind(1, revision=1) == []
    story.when(cmd.Approve)
    assert story.owed() == [(DueKind.START_STEP, 1)]
    assert story.remind(1) == []


def test_a_pause_moves_the_reminders_and_the_deadline_alike() -> None:
    story = _reminded(2, 4, approval_timeout_mins=5)
    story.tick(59)
    story.when(cmd.Pause)
    assert (story.gate(1).remind_at, story.gate(1).remind_left_ms) == ((), (60_000, 180_000))
    assert (story.gate(1).left_ms, next_due_at(story.run), due(story.run)) == (240_000, None, ())
    story.tick(HOUR)
    story.when(cmd.Resume)
    now = story.now.at
    assert story.gate(1).remind_at == (now + timedelta(minutes=1), now + timedelta(minutes=3))
    assert (story.gate(1).due_at, story.gate(1).remind_left_ms) == (now + timedelta(minutes=4), ())


@pytest.mark.parametrize("by", [2 * HOUR, -2 * HOUR], ids=["forward", "back"])
def test_a_clock_that_is_set_takes_no_time_from_the_reminders_of_a_gate_without_a_deadline(by: int) -> None:
    story = _reminded(30)
    story.set_wall_by(by)
    story.when(cmd.Pause)
    story.when(cmd.Resume)
    (at,) = story.gate(1).remind_at
    assert gate_left_ms(story.gate(1), at, story.now) == HOUR // 2 * 1000 - 1000


def test_a_postponement_moves_the_reminders_that_are_left() -> None:
    story = _asked(remind_after_mins=(30, 90))
    moved_to = story.gate(1).requested_at + timedelta(hours=2)
    story.set_wall_by(2 * HOUR)
    story.expire(1)
    assert story.gate(1).remind_at == (moved_to + timedelta(minutes=30), moved_to + timedelta(minutes=90))


def test_after_a_jump_the_deadline_is_looked_at_before_the_reminders() -> None:
    story = _asked(remind_after_mins=(30,))
    story.set_wall_by(2 * HOUR)
    assert [item.kind for item in ready(due(story.run), story.now.at)] == [DueKind.EXPIRE_GATE, DueKind.REMIND]
    story.expire(1)
    assert ready(due(story.run), story.now.at) == ()


def test_reminders_go_on_after_an_escalation() -> None:
    story = _asked(TimeoutAction.ESCALATE, remind_after_mins=(90,), escalate_to=("user:carol",))
    story.tick(HOUR)
    story.expire(1)
    assert [kind for kind, _ in story.owed()] == [DueKind.REMIND]
    story.tick(HOUR / 2)
    assert story.remind(1) == ["approval_reminded"]


def test_the_start_approval_is_reminded_of_too() -> None:
    rules = ApprovalRules(remind_after_mins=(2,))
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, approval=rules)
    assert story.owed() == [(DueKind.REMIND, None)]
    story.tick(120)
    assert story.remind(None) == ["approval_reminded"]
    assert story.status is RunStatus.WAITING_APPROVAL


def test_a_reminder_is_the_systems_whoever_settles_it() -> None:
    story = _reminded(2)
    story.tick(120)
    story.remind(1, actor=ALICE)
    assert story.last.actor == SYSTEM


def test_reminders_stop_while_a_pause_waits_for_a_process() -> None:
    story = Story(shell(), manual(gate=True, after=(), approval=ApprovalRules(remind_after_mins=(2,)))).drive()
    story.when(cmd.Pause)
    story.tick(HOUR)
    assert [kind for kind, _ in story.owed()] == [DueKind.WATCH_STEP]
    assert story.remind(2) == []
    story.when(cmd.Resume)
    assert story.gate(2).remind_at[0] > story.now.at
