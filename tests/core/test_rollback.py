"""Rollback: the rollback scripts of completed steps, the last completed first, one after another, each recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM
from sopwith.core.approval import ApprovalRules
from sopwith.core.codec import decode_event, encode_event
from sopwith.core.config import Config, Role
from sopwith.core.due import DueKind, at_rest, due, next_due_at
from sopwith.core.envelope import envelope_bytes, step_envelope
from sopwith.core.evolve import evolve, replay
from sopwith.core.moves import MOVES
from sopwith.core.moves_rollback import WHILE_ROLLING_BACK
from sopwith.core.procedure import ExecutionMode, OnFailure, RetryRules, RollbackScript, Script
from sopwith.core.refusal import what_now
from sopwith.core.rollback import to_roll_back
from sopwith.core.run import (
    Run,
    RunStatus,
    StepStatus,
    current_step,
    dependencies_met,
    holds_slot,
    is_failing,
    is_final,
    open_gates,
    running_processes,
    status_of,
)
from sopwith.errors import IllegalMove, NotAllowed

from .explore import Outcome, every_state
from .given import AGENT, ALICE, BOB, INSIDE, RUN, MakeStep, Story, digest_of, manual, shell

UNDO = RollbackScript(script=Script(interpreter="bash", text="undo\n"))
ASKED = RollbackScript(script=Script(interpreter="bash", text="undo\n"), requires_approval=True)
START, WATCH, STOP, OPEN = DueKind.START_STEP, DueKind.WATCH_STEP, DueKind.STOP_STEP, DueKind.OPEN_GATE
COMPLETED, ROLLED_BACK, RUNNING = StepStatus.COMPLETED, StepStatus.ROLLED_BACK, StepStatus.RUNNING
FAILED, PENDING = StepStatus.FAILED, StepStatus.PENDING


def last(**more: Any) -> MakeStep:
    """A step whose failure leads to a rollback."""
    return shell(on_failure=OnFailure.ROLLBACK, **more)


def done(story: Story, *steps: int) -> Story:
    """These steps are started and succeed, in this order."""
    for number in steps:
        story.drive()
        story.finish(number)
    return story


def failed(*steps: MakeStep, **more: Any) -> Story:
    """All steps but the last were completed, and the last one fails."""
    story = done(Story(*steps, **more), *range(1, len(steps)))
    story.drive()
    story.finish(len(steps), error="exit status 1")
    return story


def undone(story: Story, number: int, *, error: str = "", **more: Any) -> list[str]:
    """The rollback of this step is started and ends."""
    assert story.start(number) == ["step_started"]
    return story.finish(number, error=error, **more)


def check_replay(story: Story) -> None:
    stored = [decode_event(encode_event(event)) for event in story.events]
    assert stored == story.events
    assert replay(story.procedure, stored) == story.run


# automatic


def test_a_failure_that_leads_to_a_rollback_undoes_completed_steps_in_reverse_order() -> None:
    story = failed(shell(rollback=UNDO), shell(), shell(rollback=UNDO), last())
    started = story.last
    assert started.event_type == "rollback_started"
    assert (started.actor, story.status) == (SYSTEM, RunStatus.RUNNING)
    assert started.body == ev.RollbackStarted(steps=(3, 1), reason="step 4: exit status 1", ends="failed")
    assert story.owed() == [(START, 3)]
    assert undone(story, 3) == ["step_rolled_back"]
    assert story.owed() == [(START, 1)]
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]
    assert story.statuses == (ROLLED_BACK, COMPLETED, ROLLED_BACK, FAILED)
    assert story.status is RunStatus.FAILED
    ended = story.last.body
    assert isinstance(ended, ev.RunFailed)
    assert (ended.rolled_back, ended.rollback_failed, ended.not_rolled_back) == (True, (), ())
    assert (ended.failed_steps, ended.error) == ((4,), "step 4: exit status 1")
    assert (story.run.rolled_back, story.run.rollback) == (True, None)
    check_replay(story)


def test_the_order_is_that_of_completion_and_not_of_numbers() -> None:
    story = Story(shell(rollback=UNDO), shell(after=(), rollback=UNDO), last(after=(1, 2)))
    story.drive()
    story.finish(2)
    story.finish(1)
    story.drive()
    story.finish(3, error="no")
    assert story.latest("rollback_started").body.steps == (1, 2)


def test_a_failed_or_skipped_step_is_not_rolled_back() -> None:
    story = Story(shell(rollback=UNDO), shell(rollback=UNDO, gate=True), last(rollback=UNDO))
    story.drive()
    story.finish(1)
    story.drive()
    story.when(cmd.Skip, step=2, reason="not needed")
    story.drive()
    story.finish(3, error="no")
    assert story.latest("rollback_started").body.steps == (1,)


def test_a_failure_that_the_run_goes_on_after_is_not_rolled_back() -> None:
    story = Story(shell(rollback=UNDO), shell(on_failure=OnFailure.CONTINUE, rollback=UNDO), last())
    done(story, 1)
    story.drive()
    story.finish(2, error="no")
    story.drive()
    story.finish(3, error="no")
    assert story.latest("rollback_started").body.steps == (1,)


def test_without_anything_to_undo_the_run_just_fails() -> None:
    story = failed(shell(), last())
    assert story.last.event_type == "run_failed"
    assert (story.last.body.rolled_back, story.run.rolled_back) == (False, False)


def test_a_failure_without_the_word_rolls_nothing_back() -> None:
    assert failed(shell(rollback=UNDO), shell()).last.event_type == "run_failed"


def test_the_rollback_waits_until_retries_are_used_up() -> None:
    story = done(Story(shell(rollback=UNDO), last(retry=RetryRules(max_attempts=2))), 1)
    story.drive()
    assert story.finish(2, error="no") == ["step_failed", "step_retry_scheduled"]
    story.tick(5)
    story.start(2)
    assert story.finish(2, error="no") == ["step_failed", "rollback_started"]


def test_the_rollback_waits_for_running_steps_and_nothing_new_starts_meanwhile() -> None:
    story = Story(shell(rollback=UNDO), last(), shell(after=(1,), rollback=UNDO), shell(after=(1,), gate=True))
    done(story, 1)
    story.drive()
    assert story.finish(2, error="no") == ["step_failed", "approval_closed"]
    assert (story.owed(), is_failing(story.run)) == ([(WATCH, 3)], True)
    assert story.finish(3) == ["step_completed", "rollback_started"]
    assert story.last.body.steps == (3, 1)
    assert not is_failing(story.run)
    assert story.owed() == [(START, 3)]


def test_a_step_reported_as_failed_leads_to_a_rollback_by_the_system() -> None:
    story = done(Story(shell(rollback=UNDO), manual(on_failure=OnFailure.ROLLBACK)), 1).drive()
    assert story.when(cmd.Fail, reason="broken") == ["step_reported", "step_failed", "rollback_started"]
    assert story.last.actor == SYSTEM


def test_what_fails_in_a_paused_run_is_rolled_back_after_resume() -> None:
    story = done(Story(shell(rollback=UNDO), manual(on_failure=OnFailure.ROLLBACK)), 1).drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Fail, reason="broken")[-1] == "rollback_started"
    assert (story.status, story.owed()) == (RunStatus.PAUSED, [])
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert story.owed() == [(START, 1)]


def test_a_pause_asked_for_before_the_failure_holds_before_the_first_script() -> None:
    story = done(Story(shell(rollback=UNDO), last()), 1).drive()
    assert story.when(cmd.Pause) == ["run_pause_requested"]
    assert story.finish(2, error="no") == ["step_failed", "rollback_started", "run_paused"]
    story.when(cmd.Resume)
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]


# each script


def test_the_intent_is_recorded_before_the_script_starts() -> None:
    story = failed(shell(rollback=UNDO), last())
    story.start(1)
    started = story.last.body
    assert isinstance(started, ev.StepStarted)
    assert (started.rollback, started.attempt, started.visit, started.executor) == (True, 2, 1, "shell")
    assert (story.statuses[0], running_processes(story.run), current_step(story.run)) == (RUNNING, (1,), 1)
    assert story.owed() == [(WATCH, 1)]


def test_one_script_at_a_time_and_only_the_next() -> None:
    story = failed(shell(rollback=UNDO), shell(rollback=UNDO), last())
    story.refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 0))
    story.start(2)
    for number in (1, 2):
        story.refused(IllegalMove, cmd.Start, step=number, digest=digest_of(number, 0))


def test_a_script_that_fails_is_shown_and_the_others_are_still_tried() -> None:
    story = failed(shell(rollback=UNDO), shell(rollback=UNDO), last())
    assert undone(story, 2, error="exit status 3") == ["step_rolled_back"]
    assert story.last.body.error == "exit status 3"
    assert (story.step(2).status, story.step(2).error) == (COMPLETED, "rollback failed: exit status 3")
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]
    assert story.statuses == (ROLLED_BACK, COMPLETED, FAILED)
    assert (story.run.rolled_back, story.run.rollback_failed) == (True, (2,))
    assert story.last.body.error == "step 3: exit status 1"
    check_replay(story)


def test_a_script_of_which_nobody_knows_the_end_is_told_as_that_and_the_others_are_still_tried() -> None:
    story = failed(shell(rollback=UNDO), shell(rollback=UNDO), last())
    story.start(2)
    assert story.interrupt(2) == ["step_rolled_back"]
    body = story.last.body
    assert (body.error, body.cause) == ("the machine went down", "interrupted")
    assert story.owed() == [(START, 1)]
    undone(story, 1)
    assert story.run.rollback_failed == (2,)


def test_what_the_step_handed_on_is_kept_for_its_rollback() -> None:
    story = Story(shell(rollback=UNDO), last()).drive()
    story.finish(1, outputs={"url": "x"})
    story.drive()
    story.finish(2, error="no")
    undone(story, 1, outputs={"url": "y"})
    assert story.step(1).outputs == {"url": "x"}


def test_a_rollback_has_no_time_limit_and_no_automatic_retry() -> None:
    rules = RetryRules(max_attempts=3)
    story = failed(shell(rollback=UNDO, timeout_secs=5, retry=rules), last())
    story.start(1)
    assert (story.owed(), next_due_at(story.run)) == ([(WATCH, 1)], None)
    assert story.finish(1, error="no") == ["step_rolled_back", "run_failed"]


def test_a_step_done_by_hand_is_rolled_back_by_its_script() -> None:
    story = Story(manual(rollback=UNDO), last()).drive()
    story.when(cmd.Complete)
    story.drive()
    story.finish(2, error="no")
    assert story.start(1) == ["step_started"]
    assert (story.last.body.executor, story.owed()) == ("shell", [(WATCH, 1)])
    story.refused(IllegalMove, cmd.Complete, step=1)
    assert story.finish(1)[0] == "step_rolled_back"


# asked for


def test_a_failed_run_is_rolled_back_by_request() -> None:
    story = failed(shell(rollback=UNDO), shell())
    assert not holds_slot(story.run)
    assert story.when(cmd.Rollback, reason="back to normal") == ["rollback_started"]
    assert (story.last.actor, story.last.body.asked, story.last.body.reason) == (ALICE, True, "back to normal")
    assert (story.status, holds_slot(story.run)) == (RunStatus.RUNNING, True)
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]
    assert (story.last.body.error, story.last.actor) == ("step 2: exit status 1", SYSTEM)


def test_a_paused_run_is_rolled_back_by_request_and_ends_failed() -> None:
    story = done(Story(shell(rollback=UNDO), shell(gate=True), shell()), 1).drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Rollback, reason="no longer wanted") == ["approval_closed", "rollback_started"]
    undone(story, 1)
    ended = story.last.body
    assert isinstance(ended, ev.RunFailed)
    assert (ended.failed_steps, ended.error) == ((), "rolled back: no longer wanted")
    assert story.statuses == (ROLLED_BACK, PENDING, PENDING)
    assert story.when(cmd.Retry) == ["run_retried"]
    check_replay(story)


def test_an_approval_given_before_a_rollback_is_void_after_it() -> None:
    story = done(Story(shell(rollback=UNDO), shell(gate=True, after=()), shell(after=(1,))), 1)
    story.drive()
    story.finish(3)
    story = done(Story(shell(rollback=UNDO), shell(gate=True)), 1).drive()
    story.when(cmd.Approve)
    story.when(cmd.Pause)
    assert story.when(cmd.Rollback) == ["approval_closed", "rollback_started"]
    undone(story, 1)
    story.when(cmd.Retry)
    story.drive()
    story.finish(1)
    assert story.owed() == [(OPEN, 2)]


def test_a_cancelled_run_is_rolled_back_and_ends_cancelled_for_the_same_reason() -> None:
    story = done(Story(shell(rollback=UNDO), shell(gate=True)), 1).drive()
    story.when(cmd.Cancel, reason="wrong day")
    assert story.when(cmd.Rollback) == ["rollback_started"]
    assert story.last.body.ends == "cancelled"
    assert undone(story, 1) == ["step_rolled_back", "run_cancelled"]
    assert (story.status, story.run.rolled_back, story.run.reason) == (RunStatus.CANCELLED, True, "wrong day")
    assert story.last.actor == SYSTEM
    assert story.statuses == (ROLLED_BACK, StepStatus.CANCELLED)
    assert is_final(story.run)
    check_replay(story)


def test_a_rejected_step_can_be_rolled_back_too() -> None:
    story = done(Story(shell(rollback=UNDO), shell(gate=True)), 1).drive()
    story.when(cmd.Reject, reason="no")
    story.when(cmd.Rollback)
    undone(story, 1)
    assert (story.status, story.statuses) == (RunStatus.FAILED, (ROLLED_BACK, StepStatus.REJECTED))


def test_a_rollback_of_nothing_is_refused_with_a_sentence() -> None:
    story = failed(shell(), shell())
    error = story.refused(IllegalMove, cmd.Rollback)
    assert error.message == (
        f"cannot roll back {RUN}: it is failed and there is nothing to roll back: "
        "no completed step has a rollback script"
    )
    story = failed(shell(rollback=UNDO), shell())
    story.when(cmd.Rollback)
    undone(story, 1)
    story.refused(IllegalMove, cmd.Rollback)


@pytest.mark.parametrize(
    "story",
    [
        lambda: done(Story(shell(rollback=UNDO)), 1),
        lambda: Story(shell(rollback=UNDO), queued=True),
        lambda: done(Story(shell(rollback=UNDO), shell()), 1).drive(),
        lambda: done(Story(shell(rollback=UNDO), shell(gate=True)), 1).drive(),
        lambda: Story(shell(rollback=UNDO), mode=ExecutionMode.SUPERVISED),
    ],
)
def test_a_completed_queued_running_or_waiting_run_is_not_rolled_back(story: Callable[[], Story]) -> None:
    found = story()
    error = found.refused(IllegalMove, cmd.Rollback)
    assert error.message.startswith(f"cannot roll back {RUN}: it is {found.status}")


def test_a_step_that_is_still_carried_out_by_hand_must_end_first() -> None:
    story = done(Story(shell(rollback=UNDO), manual()), 1).drive()
    story.when(cmd.Pause)
    error = story.refused(IllegalMove, cmd.Rollback)
    assert "step 2 is still being carried out" in error.message


def test_a_rollback_takes_the_right_to_steer() -> None:
    config = Config(roles={Role.RUNNER: ("user:alice", "agent:claude"), Role.APPROVER: ("user:bob",)})
    story = failed(shell(rollback=UNDO), shell(), config=config)
    error = story.refused(NotAllowed, cmd.Rollback, actor=BOB)
    assert error.message.startswith("bob")
    assert "roll back" in error.message
    story.refused(NotAllowed, cmd.Rollback, actor=INSIDE)
    assert story.when(cmd.Rollback, actor=AGENT) == ["rollback_started"]


def test_a_rollback_that_failed_can_be_asked_for_again() -> None:
    story = failed(shell(rollback=UNDO), shell(rollback=UNDO), last())
    undone(story, 2, error="no")
    undone(story, 1)
    story.when(cmd.Rollback)
    assert story.last.body.steps == (2,)
    assert undone(story, 2) == ["step_rolled_back", "run_failed"]
    assert story.step(2).attempt == 3
    assert (story.statuses[1], story.run.rollback_failed) == (ROLLED_BACK, ())


# gates


def gated(**more: Any) -> Story:
    return failed(shell(rollback=UNDO), shell(gate=False, rollback=ASKED, **more), last())


def test_a_rollback_that_wants_approval_opens_the_gate_of_the_step_again() -> None:
    story = Story(shell(rollback=ASKED, gate=True), last()).drive()
    story.when(cmd.Approve)
    done(story, 1)
    story.drive()
    story.finish(2, error="no")
    assert story.owed() == [(OPEN, 1)]
    assert story.ask(1) == ["approval_requested"]
    assert (story.last.body.revision, story.last.body.rollback) == (2, True)
    assert (story.status, story.statuses[0]) == (RunStatus.AWAITING_APPROVAL, StepStatus.AWAITING_APPROVAL)
    assert (story.owed(), at_rest(story.run)) == ([], True)
    story.refused(IllegalMove, cmd.Start, step=1, digest=story.gate(1).digest)
    assert story.when(cmd.Approve) == ["approval_granted"]
    assert (story.status, story.owed()) == (RunStatus.RUNNING, [(START, 1)])
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]
    check_replay(story)


def test_a_rollback_is_asked_about_in_its_turn_only() -> None:
    story = failed(shell(rollback=ASKED), shell(rollback=ASKED), last())
    assert story.owed() == [(OPEN, 2)]
    story.refused(IllegalMove, cmd.OpenGate, step=1, digest=digest_of(1, 1))
    assert story.ask(2) == ["approval_requested"]
    story.refused(IllegalMove, cmd.OpenGate, step=1, digest=digest_of(1, 1))
    story.when(cmd.Approve)
    undone(story, 2)
    assert story.ask(1) == ["approval_requested"]


def test_an_approval_of_the_step_is_none_of_its_rollback() -> None:
    story = Story(shell(rollback=ASKED, gate=True), last()).drive()
    story.when(cmd.Approve)
    done(story, 1)
    story.drive()
    story.finish(2, error="no")
    story.refused(IllegalMove, cmd.Start, step=1, digest=story.gate(1).digest)


def test_a_rejected_rollback_is_left_out_and_the_rest_goes_on() -> None:
    story = gated()
    story.ask(2)
    assert story.when(cmd.Reject, reason="keep it") == ["approval_rejected"]
    assert story.last.body.action == "rollback_skipped"
    assert (story.step(2).status, story.step(2).error) == (COMPLETED, "rollback rejected: keep it")
    assert story.owed() == [(START, 1)]
    undone(story, 1)
    assert (story.run.rolled_back, story.run.not_rolled_back, story.run.rollback_failed) == (True, (2,), ())
    assert story.when(cmd.Reject, reason="keep it", step=2) == []
    check_replay(story)


def test_the_rejection_of_the_last_rollback_ends_the_run() -> None:
    story = failed(shell(rollback=ASKED), last())
    story.ask(1)
    assert story.when(cmd.Reject, reason="no") == ["approval_rejected", "run_failed"]
    assert story.last.actor == SYSTEM


def test_a_rollback_approved_once_is_asked_about_again_by_the_next_rollback() -> None:
    story = failed(shell(rollback=ASKED), last())
    story.ask(1)
    story.when(cmd.Approve)
    undone(story, 1, error="no")
    story.when(cmd.Rollback)
    assert story.owed() == [(OPEN, 1)]


def test_a_rollback_is_not_gated_because_its_step_or_the_mode_is() -> None:
    story = Story(shell(rollback=UNDO, gate=True), last(), mode=ExecutionMode.STEP_BY_STEP)
    for number in (1, 2):
        story.drive()
        story.when(cmd.Approve)
        story.drive()
        story.finish(number, error="" if number == 1 else "no")
    assert story.owed() == [(START, 1)]


def test_neither_silence_nor_a_condition_answers_for_a_rollback() -> None:
    rules = ApprovalRules(when="params.go == 'yes'", remind_after_mins=(1,))
    first = shell(gate=True, rollback=ASKED, approval=rules, approval_timeout_mins=1)
    story = failed(first, last(), params={"go": "no"})
    assert story.ask(1) == ["approval_requested"]
    assert (story.gate(1).due_at, story.gate(1).on_timeout) == (None, None)
    assert story.owed() == [(DueKind.REMIND, 1)]
    story.tick(60)
    assert story.remind(1) == ["approval_reminded"]
    assert (story.status, story.owed()) == (RunStatus.AWAITING_APPROVAL, [])


def test_a_step_whose_own_gate_times_out_is_not_undone_by_silence() -> None:
    story = Story(shell(gate=True, rollback=ASKED, approval_timeout_mins=1), last()).drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(1)
    story.drive()
    story.finish(2, error="no")
    assert story.ask(1) == ["approval_requested"]
    assert (story.gate(1).due_at, story.owed()) == (None, [])


def test_a_rollback_that_nobody_could_approve_is_left_out() -> None:
    rules = ApprovalRules(approvers=("group:gone",))
    story = failed(shell(rollback=ASKED, approval=rules), last())
    assert story.ask(1) == ["approval_requested", "approval_rejected", "run_failed"]
    assert story.run.not_rolled_back == (1,)


def test_what_changed_since_the_run_was_created_is_asked_about_before_a_rollback() -> None:
    story = failed(shell(rollback=UNDO), last())
    assert story.when(cmd.Start, step=1, digest="x", changed=("passed TOKEN",)) == ["approval_stale"]
    assert story.owed() == [(OPEN, 1)]
    story.ask(1)
    story.when(cmd.Approve)
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]
    check_replay(story)


def test_what_changed_since_a_rollback_was_approved_is_asked_about_again() -> None:
    story = failed(shell(rollback=ASKED), last())
    story.ask(1)
    story.when(cmd.Approve)
    assert story.when(cmd.Start, step=1, digest="other") == ["approval_stale"]
    assert story.owed() == [(OPEN, 1)]


def test_the_envelope_of_a_rollback_names_it_and_holds_its_script() -> None:
    story = Story(shell(rollback=UNDO, timeout_secs=5), last()).drive()
    story.finish(1, outputs={"url": "x"})
    story.drive()
    before = envelope_of(story.run)
    story.finish(2, error="no")
    envelope = envelope_of(story.run)
    assert (before.rollback, before.script, before.inputs) == (False, "true\n", {})
    assert (envelope.rollback, envelope.script, envelope.inputs) == (True, "undo\n", {"1": {"url": "x"}})
    assert envelope.timeout_secs is None
    assert envelope_bytes(before) != envelope_bytes(envelope)


def envelope_of(run: Run) -> Any:
    return step_envelope(run, 1, working_dir="/", passed={}, pins={}, program=None, given={})


# pause, cancel, retry


def test_a_pause_waits_for_the_running_script_and_resume_goes_on() -> None:
    story = failed(shell(rollback=UNDO), shell(rollback=UNDO), last())
    story.start(2)
    assert story.when(cmd.Pause) == ["run_pause_requested"]
    assert story.finish(2) == ["step_rolled_back", "run_paused"]
    assert (story.status, story.owed()) == (RunStatus.PAUSED, [])
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]
    assert story.last.body.error == "step 3: exit status 1"
    check_replay(story)


def test_a_pause_between_two_scripts_is_at_once_and_can_be_taken_back_while_one_runs() -> None:
    story = failed(shell(rollback=UNDO), last())
    assert story.when(cmd.Pause) == ["run_paused"]
    story.when(cmd.Resume)
    story.start(1)
    story.when(cmd.Pause)
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert story.finish(1) == ["step_rolled_back", "run_failed"]


def test_cancel_ends_the_running_script_and_leaves_the_rest_as_it_is() -> None:
    story = failed(shell(rollback=UNDO), shell(rollback=UNDO), last())
    story.start(2)
    assert story.when(cmd.Cancel, reason="stop it") == ["run_cancel_requested"]
    assert story.owed() == [(STOP, 2)]
    assert story.finish(2, error="stopped", cause="cancelled") == ["step_rolled_back", "run_cancelled"]
    ended = story.last.body
    assert isinstance(ended, ev.RunCancelled)
    assert (ended.rolled_back, ended.rollback_failed, ended.not_rolled_back) == (False, (2,), (1,))
    assert (ended.reason, story.run.rolled_back, story.statuses) == ("stop it", False, (COMPLETED, COMPLETED, FAILED))
    assert to_roll_back(story.run) == (2, 1)
    check_replay(story)


def test_cancel_at_a_gate_of_a_rollback_leaves_its_step_completed() -> None:
    story = gated()
    story.ask(2)
    assert story.when(cmd.Cancel, reason="leave it") == ["run_cancelled"]
    assert story.last.actor == ALICE
    assert (story.last.body.not_rolled_back, story.step(2).status) == ((2, 1), COMPLETED)
    assert not open_gates(story.run)
    check_replay(story)


def test_a_cancel_after_a_rollback_still_tells_of_it() -> None:
    story = failed(shell(rollback=UNDO), shell(rollback=UNDO), last())
    undone(story, 2, error="no")
    undone(story, 1)
    story.when(cmd.Cancel)
    assert (story.run.rolled_back, story.run.rollback_failed) == (True, (2,))
    assert story.last.actor == ALICE


def test_what_is_missing_outside_pauses_the_rollback() -> None:
    story = failed(shell(rollback=UNDO), last())
    assert story.when(cmd.Halt, reason="step 1 needs TOKEN") == ["run_paused"]
    story.when(cmd.Resume)
    assert story.owed() == [(START, 1)]


def test_nothing_else_is_legal_while_a_run_is_rolled_back() -> None:
    story = failed(shell(rollback=UNDO), shell(), last())
    story.when(cmd.Pause)
    for command, fields in (
        (cmd.Retry, {}),
        (cmd.Retry, {"from_step": 1}),
        (cmd.Rollback, {}),
        (cmd.Skip, {"step": 3, "reason": "no"}),
        (cmd.Complete, {"step": 3}),
        (cmd.Fail, {"step": 3, "reason": "no"}),
    ):
        error = story.refused(IllegalMove, command, **fields)
        assert "is being rolled back" in error.message
        assert error.hint == f"sop resume {RUN} or sop cancel {RUN}"


def test_a_retry_runs_what_was_rolled_back_again_and_asks_every_gate_again() -> None:
    story = Story(shell(), shell(gate=True, rollback=UNDO), shell(), last())
    story.drive()
    story.finish(1)
    story.drive()
    story.when(cmd.Approve)
    done(story, 2, 3)
    story.drive()
    story.finish(4, error="no")
    undone(story, 2)
    assert story.when(cmd.Retry) == ["run_retried"]
    assert (story.last.body.steps, story.last.body.again) == ((), (2, 3, 4))
    assert story.statuses == (COMPLETED, PENDING, PENDING, PENDING)
    assert [story.step(number).visit for number in (1, 2, 3, 4)] == [1, 2, 2, 2]
    assert (story.owed(), story.run.rolled_back) == ([(OPEN, 2)], False)
    story.ask(2)
    story.when(cmd.Approve)
    done(story, 2, 3)
    story.drive()
    assert story.finish(4) == ["step_completed", "run_completed"]
    check_replay(story)


def test_a_retry_takes_every_branch_that_was_rolled_back_and_a_step_whose_rollback_failed() -> None:
    story = Story(shell(rollback=UNDO), shell(after=(), rollback=UNDO), shell(after=()), last(after=(1, 2, 3)))
    story.drive()
    for number in (1, 2, 3):
        story.finish(number)
    story.drive()
    story.finish(4, error="no")
    undone(story, 2, error="half done")
    undone(story, 1)
    story.when(cmd.Retry)
    assert story.last.body.again == (1, 2, 4)
    assert story.statuses == (PENDING, PENDING, COMPLETED, PENDING)


def test_a_step_whose_rollback_was_rejected_stays_done() -> None:
    story = failed(shell(rollback=ASKED), last())
    story.ask(1)
    story.when(cmd.Reject, reason="keep it")
    story.when(cmd.Retry)
    assert story.statuses == (COMPLETED, PENDING)


def test_after_a_rollback_no_step_can_be_passed_over() -> None:
    story = failed(shell(rollback=UNDO), last())
    undone(story, 1)
    for command, fields in ((cmd.Skip, {"reason": "no"}), (cmd.Complete, {})):
        error = story.refused(IllegalMove, command, step=2, **fields)
        assert "was rolled back" in error.message
        assert f"sop retry {RUN}" in error.hint


def test_a_second_failure_is_rolled_back_again() -> None:
    story = failed(shell(rollback=UNDO), last())
    undone(story, 1)
    story.when(cmd.Retry)
    done(story, 1).drive()
    assert story.finish(2, error="no") == ["step_failed", "rollback_started"]
    assert undone(story, 1) == ["step_rolled_back", "run_failed"]
    check_replay(story)


# the table

RULES = ApprovalRules(approvers=("group:release",), allow_self_approval=True)
TWO = ApprovalRules(approvers=("group:release",), quorum=2, allow_self_approval=True)
GROUPS = Config(groups={"release": ("alice", "bob"), "oncall": ("bob",)})


def _started(story: Story) -> Story:
    """With only what comes after its first step left to be explored."""
    return done(story, 1)


def _instances() -> Story:
    """Two of three instances are completed, and the third has failed."""
    story = Story(shell(for_each=("eu", "us", "ap"), rollback=UNDO, on_failure=OnFailure.ROLLBACK)).drive()
    story.finish("1:eu")
    story.finish("1:us")
    story.finish("1:ap", error="no")
    return story


STORIES: dict[str, Callable[[], Story]] = {
    "two to undo": lambda: failed(shell(rollback=UNDO), shell(rollback=UNDO), last()),
    "before the failure": lambda: _started(Story(shell(rollback=UNDO), last())),
    "a manual step fails": lambda: _started(
        Story(shell(rollback=UNDO), manual(on_failure=OnFailure.ROLLBACK, gate=True))
    ),
    "a gated rollback": lambda: failed(shell(rollback=ASKED, approval=RULES), last(), config=GROUPS),
    "two gated rollbacks": lambda: failed(shell(rollback=ASKED), shell(rollback=ASKED), shell()),
    "two votes": lambda: failed(shell(rollback=ASKED, approval=TWO), last(), config=GROUPS),
    "the time of the run is up": lambda: _started(
        Story(shell(rollback=UNDO), manual(gate=True), timeout_secs=60, on_failure=OnFailure.ROLLBACK)
    ),
    "instances": _instances,
    "two votes before another": lambda: failed(shell(rollback=UNDO), shell(rollback=ASKED, approval=TWO), last()),
}


@cache
def states(name: str) -> list[tuple[Run, list[Outcome]]]:
    """All that a rollback can come to; what a retry leads to is like any other run."""
    return list(every_state(STORIES[name]().run, not_after=(cmd.Retry,)))


@pytest.mark.parametrize("name", STORIES)
def test_the_frontier_is_kept_true_through_a_rollback_and_what_follows(name: str) -> None:
    for run, outcomes in states(name):
        for each in (run, *(after for _, after in outcomes)):
            left = [number for number, step in each.steps.items() if not step.finished]
            ones = [number for number in left if each.steps[number].instances is None]
            begun = {number for number in ones if each.steps[number].status is not PENDING}
            live = [number for number in ones if number in begun or dependencies_met(each, number)]
            assert (list(each.frontier), each.left) == (live, len(left))


@pytest.mark.parametrize("name", STORIES)
def test_every_state_of_a_rollback_is_as_the_table_says_and_none_is_a_dead_end(name: str) -> None:
    for run, outcomes in states(name):
        for command, after in outcomes:
            assert status_of(after) in MOVES[status_of(run), type(command)].to, (command, run)
        if run.rollback is None:
            continue
        accepted = {type(command) for command, _ in outcomes}
        assert accepted <= WHILE_ROLLING_BACK
        assert cmd.Cancel in accepted
        moving = {type(command) for command, after in outcomes if after.seq > run.seq}
        assert due(run) or moving & {cmd.Approve, cmd.Resume}, run
        assert len(running_processes(run)) <= 1
        assert what_now(run)
        assert RUN in what_now(run)
        ended = {command.step for command, _ in outcomes if isinstance(command, cmd.Finish)}
        assert ended == set(running_processes(run))


NEW_MOVES = [
    (RunStatus.PAUSED, cmd.Rollback, RunStatus.RUNNING),
    (RunStatus.FAILED, cmd.Rollback, RunStatus.RUNNING),
    (RunStatus.CANCELLED, cmd.Rollback, RunStatus.RUNNING),
    *((RunStatus.AWAITING_APPROVAL, cmd.Reject, to) for to in (RunStatus.RUNNING, RunStatus.FAILED)),
    (RunStatus.AWAITING_APPROVAL, cmd.Reject, RunStatus.CANCELLED),
    *((RunStatus.AWAITING_APPROVAL, cmd.Approve, to) for to in (RunStatus.FAILED, RunStatus.CANCELLED)),
    (RunStatus.RUNNING, cmd.OpenGate, RunStatus.FAILED),
    (RunStatus.AWAITING_APPROVAL, cmd.TimeOutRun, RunStatus.RUNNING),
]


def test_each_move_that_only_a_rollback_makes_is_reached() -> None:
    reached: defaultdict[tuple[RunStatus, type[cmd.Command]], set[RunStatus]] = defaultdict(set)
    for name in STORIES:
        for run, outcomes in states(name):
            for command, after in outcomes:
                reached[status_of(run), type(command)].add(status_of(after))
    assert [move for move in NEW_MOVES if move[2] not in reached[move[0], move[1]]] == []


def test_replaying_any_beginning_of_a_rollback_gives_the_run_as_it_was() -> None:
    story = gated()
    story.ask(2)
    story.when(cmd.Approve)
    undone(story, 2, error="no")
    story.when(cmd.Pause)
    story.when(cmd.Resume)
    undone(story, 1)
    story.when(cmd.Retry)
    run = replay(story.procedure, story.events[:1])
    for event in story.events[1:]:
        run = evolve(run, decode_event(encode_event(event)))
        assert run == replay(story.procedure, story.events[: event.seq])
    assert run == story.run
