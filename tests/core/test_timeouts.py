"""Approval timeouts (DESIGN section 4, "approval timeout" 1 to 4), and the clocks that a pause stops."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.codec import decode_event, encode_event
from sopwith.core.due import Due, DueKind, due, next_due_at, overdue, ready
from sopwith.core.events import Policy
from sopwith.core.evolve import replay
from sopwith.core.instant import Instant
from sopwith.core.procedure import ExecutionMode, Priority
from sopwith.core.run import GateStatus, RunStatus, StepStatus
from sopwith.errors import IllegalMove

from .given import ALICE, Story, digest_of, manual, shell

APPROVE, REJECT, ESCALATE, SKIP, PAUSE, FAIL = TimeoutAction
FIVE = Policy(approval_timeout_mins=5)


def _late(story: Story, seconds: float = 300) -> Story:
    story.tick(seconds)
    return story


def test_without_a_timeout_anywhere_a_gate_waits_for_ever() -> None:
    story = _late(Story(shell(gate=True)).drive(), 10**8)
    assert (story.gate(1).due_at, next_due_at(story.run), due(story.run)) == (None, None, ())
    assert story.expire(1) == []


def test_an_unreadable_timeout_waits_for_ever_and_the_configs_default_does_not_apply() -> None:
    story = Story(shell(gate=True, never_times_out=True), policy=FIVE).drive()
    assert story.gate(1).due_at is None


def test_a_steps_own_timeout_approves() -> None:
    story = Story(shell(gate=True, approval_timeout_mins=5), policy=Policy(approval_timeout_mins=9)).drive()
    gate = story.gate(1)
    assert gate.due_at == gate.requested_at + timedelta(minutes=5)
    assert due(story.run) == (Due(DueKind.EXPIRE_GATE, 1, gate.due_at, 1),)
    assert _late(story).expire(1) == ["approval_timeout"]
    assert story.last.body.action is APPROVE
    assert story.owed() == [(DueKind.START_STEP, 1)]


@pytest.mark.parametrize("priority", Priority)
def test_a_steps_own_timeout_approves_at_every_priority_and_whatever_the_config_says(priority: Priority) -> None:
    policy = Policy(approval_timeout_mins=9, approval_timeout_action=REJECT)
    story = Story(shell(gate=True, approval_timeout_mins=5), policy=policy, priority=priority).drive()
    assert story.gate(1).on_timeout is APPROVE


@pytest.mark.parametrize(
    ("priority", "action", "expected"),
    [
        (Priority.LOW, None, APPROVE),
        (Priority.NORMAL, None, APPROVE),
        (Priority.HIGH, None, PAUSE),
        (Priority.CRITICAL, None, PAUSE),
        (Priority.NORMAL, REJECT, REJECT),
        (Priority.CRITICAL, REJECT, REJECT),
        (Priority.CRITICAL, APPROVE, APPROVE),
        (Priority.LOW, PAUSE, PAUSE),
    ],
)
def test_the_configs_timeout_does_what_it_says_else_approves_and_pauses_where_the_stakes_are_high(
    priority: Priority, action: TimeoutAction | None, expected: TimeoutAction
) -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=action)
    story = Story(shell(gate=True), policy=policy, priority=priority).drive()
    assert story.gate(1).on_timeout is expected
    assert story.gate(1).due_at is not None


def test_a_start_gate_waits_for_ever_unless_the_config_names_an_action() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=FIVE)
    assert story.gate(None).due_at is None
    named = Policy(approval_timeout_mins=5, approval_timeout_action=APPROVE)
    assert Story(shell(), mode=ExecutionMode.SUPERVISED, policy=named).gate(None).due_at is not None


@pytest.mark.parametrize(
    ("action", "events", "status"),
    [
        (APPROVE, ["approval_timeout", "run_started"], RunStatus.RUNNING),
        (REJECT, ["approval_timeout", "run_cancelled"], RunStatus.CANCELLED),
        (PAUSE, ["approval_timeout", "run_paused"], RunStatus.PAUSED),
        (SKIP, ["approval_timeout", "run_cancelled"], RunStatus.CANCELLED),
        (FAIL, ["approval_timeout", "run_cancelled"], RunStatus.CANCELLED),
        (ESCALATE, ["approval_escalated"], RunStatus.WAITING_APPROVAL),
    ],
)
def test_a_start_gate_that_times_out_does_what_the_config_names(
    action: TimeoutAction, events: list[str], status: RunStatus
) -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=action)
    story = _late(Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy))
    assert story.expire(None) == events
    assert story.status is status


def test_a_start_gate_that_paused_the_run_asks_again_after_resume() -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=PAUSE)
    story = _late(Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy))
    story.expire(None)
    assert story.when(cmd.Resume) == ["run_resumed"]
    story.refused(IllegalMove, cmd.Start, step=1, digest="")
    assert story.owed() == [(DueKind.OPEN_GATE, None)]
    story.drive()
    assert (story.status, story.gate(None).revision) == (RunStatus.WAITING_APPROVAL, 2)


def test_no_gate_of_a_step_opens_before_the_start_approval() -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=PAUSE)
    story = _late(Story(shell(gate=True), mode=ExecutionMode.SUPERVISED, policy=policy))
    story.expire(None)
    story.when(cmd.Resume)
    story.refused(IllegalMove, cmd.OpenGate, step=1, digest="")


@pytest.mark.parametrize(
    ("action", "events", "status"),
    [
        (APPROVE, ["approval_timeout"], RunStatus.RUNNING),
        (REJECT, ["approval_timeout", "run_paused"], RunStatus.PAUSED),
        (PAUSE, ["approval_timeout", "run_paused"], RunStatus.PAUSED),
        (SKIP, ["approval_timeout", "step_skipped", "run_completed"], RunStatus.COMPLETED),
        (FAIL, ["approval_timeout", "step_failed", "run_failed"], RunStatus.FAILED),
        (ESCALATE, ["approval_escalated"], RunStatus.AWAITING_APPROVAL),
    ],
)
def test_a_steps_gate_that_times_out(action: TimeoutAction, events: list[str], status: RunStatus) -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=action)
    story = _late(Story(shell(gate=True), policy=policy).drive())
    assert story.expire(1) == events
    assert story.status is status


def test_a_gate_that_paused_the_run_asks_again_after_resume() -> None:
    story = _late(Story(shell(gate=True), policy=FIVE, priority=Priority.HIGH).drive())
    story.expire(1)
    assert story.last.body.cause == "approval_timeout"
    assert story.statuses == (StepStatus.PENDING,)
    story.when(cmd.Resume)
    story.drive()
    assert (story.status, story.gate(1).revision) == (RunStatus.AWAITING_APPROVAL, 2)


def test_a_timeout_that_pauses_lets_running_processes_end_first() -> None:
    story = Story(shell(), shell(gate=True, after=()), policy=FIVE, priority=Priority.HIGH).drive()
    assert _late(story).expire(2) == ["approval_timeout", "run_pause_requested"]
    assert story.status is RunStatus.RUNNING
    assert story.owed() == [(DueKind.WATCH_STEP, 1)]
    assert story.finish(1) == ["step_completed", "run_paused"]
    assert (story.status, story.last.body.cause) == (RunStatus.PAUSED, "approval_timeout")
    assert "nobody answered the gate of step 2" in story.run.reason


@pytest.mark.parametrize("action", TimeoutAction)
def test_a_timeout_is_by_the_system_whoever_settles_it_and_never_an_approval(action: TimeoutAction) -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=action)
    at_a_step = Story(shell(gate=True), policy=policy).drive()
    at_the_start = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy)
    for story in (at_a_step, at_the_start):
        known = len(story.events)
        number = None if story.run.start_gate else 1
        events = _late(story).expire(number, actor=ALICE)
        assert events[0] == ("approval_escalated" if action is TimeoutAction.ESCALATE else "approval_timeout")
        assert "approval_granted" not in events
        assert {event.actor for event in story.events[known:]} == {SYSTEM}


def test_expiring_before_the_deadline_does_nothing() -> None:
    story = Story(shell(gate=True, approval_timeout_mins=5)).drive()
    story.tick(298)
    assert story.expire(1) == []
    assert story.expire(1) == ["approval_timeout"]


def test_expiring_an_older_revision_does_nothing() -> None:
    story = Story(shell(gate=True, approval_timeout_mins=5)).drive()
    story.when(cmd.Reject, reason="no")
    story.when(cmd.Retry)
    _late(story.drive())
    assert story.expire(1, revision=1) == []
    assert story.expire(1, revision=2) == ["approval_timeout"]


def test_expiring_an_answered_gate_does_nothing() -> None:
    story = Story(shell(gate=True, approval_timeout_mins=5), manual(after=())).drive()
    story.when(cmd.Approve)
    assert _late(story).expire(1) == []


def test_a_reject_is_decided_before_an_unsettled_auto_approval() -> None:
    story = _late(Story(shell(gate=True, approval_timeout_mins=5)).drive(), 900)
    assert overdue(story.run, story.now.at) == due(story.run)
    assert story.when(cmd.Reject, reason="no") == ["approval_rejected", "run_paused"]
    assert overdue(story.run, story.now.at) == ()


def test_only_what_is_due_now_is_ready() -> None:
    story = Story(shell(gate=True, approval_timeout_mins=5), shell(after=())).drive()
    items = due(story.run)
    assert ready(items, story.now.at) == (Due(DueKind.WATCH_STEP, 2),)
    assert set(ready(items, story.now.at + timedelta(minutes=5))) == set(items)


def test_a_pause_stops_the_clock_of_a_gate_and_resume_starts_it_with_the_time_it_had_left() -> None:
    story = Story(shell(gate=True, approval_timeout_mins=5)).drive()
    story.tick(99)
    story.when(cmd.Pause)
    assert (story.gate(1).due_at, story.gate(1).left_ms) == (None, 200_000)
    assert (next_due_at(story.run), due(story.run)) == (None, ())
    _late(story, 10_000)
    assert overdue(story.run, story.now.at) == ()
    story.when(cmd.Resume)
    assert story.gate(1).due_at == story.now.at + timedelta(seconds=200)
    assert story.gate(1).left_ms is None
    story.tick(198)
    assert story.expire(1) == []
    assert story.expire(1) == ["approval_timeout"]


def test_a_pause_stops_the_clock_of_the_start_gate() -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=APPROVE)
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy)
    story.when(cmd.Pause)
    assert (story.status, story.gate(None).left_ms) == (RunStatus.PAUSED, 299_000)
    story.refused(IllegalMove, cmd.Approve)
    story.when(cmd.Resume)
    assert story.status is RunStatus.WAITING_APPROVAL
    assert story.gate(None).due_at == story.now.at + timedelta(seconds=299)


@pytest.mark.parametrize("command", [cmd.Pause, cmd.Cancel])
def test_the_clocks_stop_at_once_also_where_a_process_still_runs(command: type[cmd.Command]) -> None:
    story = Story(shell(), shell(gate=True, after=(), approval_timeout_mins=5)).drive()
    story.when(command)
    left_ms = story.gate(2).left_ms
    assert left_ms is not None
    assert (story.gate(2).due_at, next_due_at(story.run)) == (None, None)
    assert _late(story).expire(2) == []
    story.finish(1)
    assert story.gate(2).left_ms == (left_ms if command is cmd.Pause else None)


def test_a_retry_after_a_pause_starts_the_clocks_of_other_gates_again() -> None:
    story = Story(shell(), shell(gate=True, after=(), approval_timeout_mins=5)).drive()
    story.finish(1)
    story.when(cmd.Pause)
    left = timedelta(milliseconds=story.gate(2).left_ms or 0)
    story.when(cmd.Retry, from_step=1)
    assert story.gate(2).status is GateStatus.OPEN
    assert story.gate(2).due_at == story.now.at + left


def test_a_deadline_is_the_time_of_the_question_plus_the_timeout_even_if_the_clock_was_set_back() -> None:
    story = Story(shell(), shell(gate=True, approval_timeout_mins=5)).drive()
    story.finish(1)
    story.now = Instant(story.now.at - timedelta(hours=1), story.now.boot_ms, story.now.boot_id)
    story.drive()
    assert story.gate(2).due_at == story.gate(2).requested_at + timedelta(minutes=5)
    story.when(cmd.Pause)
    assert story.gate(2).left_ms == 300_000


@pytest.mark.parametrize("minutes", [0.0123456, 1 / 7, 1e-5])
def test_a_deadline_is_a_whole_millisecond_so_that_its_record_is_exact(minutes: float) -> None:
    story = Story(shell(gate=True, approval_timeout_mins=minutes)).drive()
    assert replay(story.procedure, [decode_event(encode_event(event)) for event in story.events]) == story.run


@pytest.mark.parametrize("action", TimeoutAction)
def test_the_rules_say_what_silence_means_before_the_config_does(action: TimeoutAction) -> None:
    rules = ApprovalRules(on_timeout=action)
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=REJECT)
    own = Story(shell(gate=True, approval_timeout_mins=1, approval=rules), policy=policy).drive()
    assert (own.gate(1).on_timeout, own.gate(1).due_at) == (action, own.gate(1).requested_at + timedelta(minutes=1))
    configs = Story(shell(gate=True), policy=policy, approval=rules).drive()
    assert (configs.gate(1).on_timeout, configs.gate(1).due_at) == (
        action,
        configs.gate(1).requested_at + timedelta(minutes=5),
    )
    start = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=Policy(approval_timeout_mins=5), approval=rules)
    assert start.gate(None).on_timeout is action


def test_rules_without_an_action_leave_the_steps_own_timeout_to_approve() -> None:
    rules = ApprovalRules(comment_required=True)
    story = Story(shell(gate=True, approval_timeout_mins=1, approval=rules)).drive()
    assert story.gate(1).on_timeout is APPROVE


def test_what_depends_on_a_step_that_silence_skipped_goes_on() -> None:
    rules = ApprovalRules(on_timeout=SKIP)
    story = Story(shell(gate=True, approval_timeout_mins=5, approval=rules), shell()).drive()
    assert _late(story).expire(1) == ["approval_timeout", "step_skipped"]
    assert story.latest("step_skipped").body.signature is None
    assert story.owed() == [(DueKind.START_STEP, 2)]


def test_a_step_that_silence_failed_asks_again_after_a_retry() -> None:
    rules = ApprovalRules(on_timeout=FAIL)
    story = Story(shell(gate=True, approval_timeout_mins=5, approval=rules)).drive()
    _late(story).expire(1)
    assert story.latest("step_failed").body.cause == "approval_timeout"
    story.when(cmd.Retry)
    story.drive()
    assert (story.status, story.gate(1).revision) == (RunStatus.AWAITING_APPROVAL, 2)


def test_an_escalated_gate_waits_for_ever_and_escalates_once() -> None:
    rules = ApprovalRules(on_timeout=ESCALATE, escalate_to=("user:carol",), approvers=("user:bob",))
    story = Story(shell(gate=True, approval_timeout_mins=5, approval=rules)).drive()
    _late(story).expire(1)
    assert story.last.body.to == ("user:carol",)
    assert (story.gate(1).status, story.gate(1).due_at, story.owed()) == (GateStatus.OPEN, None, [])
    assert _late(story, 10**6).expire(1) == []
    story.when(cmd.Pause)
    story.when(cmd.Resume)
    assert (story.gate(1).due_at, story.gate(1).escalated) == (None, True)


def test_silence_is_no_answer_to_what_changed_after_it_was_approved() -> None:
    for action, waits in ((None, False), (TimeoutAction.REJECT, True)):
        rules = ApprovalRules(on_timeout=action)
        story = Story(shell(gate=True, approval=rules, approval_timeout_mins=5)).drive()
        assert story.gate(1).due_at is not None
        story.when(cmd.Approve)
        story.when(cmd.Start, step=1, digest=digest_of(1, -1), changed=("pins app.cfg",))
        story.ask(1)
        assert (story.gate(1).due_at is not None) is waits


def test_the_deadline_of_a_start_gate_is_watched() -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=TimeoutAction.APPROVE)
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy).drive()
    assert story.owed() == [(DueKind.EXPIRE_GATE, None)]
    assert next_due_at(story.run) == story.gate(None).due_at
