"""Pause, resume, halt and cancel; what a run's status and current step are meanwhile (DESIGN section 4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sopwith.core import commands as cmd
from sopwith.core.due import DueKind
from sopwith.core.evolve import evolve, replay
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import GateStatus, RunStatus, StepStatus, current_step, holds_slot, is_final
from sopwith.errors import IllegalMove

from .given import AGENT, ALICE, Story, manual, shell


def _at_the_start() -> Story:
    return Story(shell(), mode=ExecutionMode.SUPERVISED)


def _failed() -> Story:
    story = Story(shell()).drive()
    story.finish(1, error="exit code 1")
    return story


def _paused() -> Story:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Pause)
    return story


NOT_FINAL: dict[RunStatus, Callable[[], Story]] = {
    RunStatus.PENDING: lambda: Story(shell(), queued=True),
    RunStatus.WAITING_APPROVAL: _at_the_start,
    RunStatus.RUNNING: lambda: Story(manual()).drive(),
    RunStatus.AWAITING_APPROVAL: lambda: Story(shell(gate=True)).drive(),
    RunStatus.PAUSED: _paused,
    RunStatus.FAILED: _failed,
}


def test_these_are_all_statuses_that_are_not_final() -> None:
    assert set(RunStatus) - set(NOT_FINAL) == {RunStatus.COMPLETED, RunStatus.CANCELLED}


@pytest.mark.parametrize("status", NOT_FINAL)
def test_cancel_works_in_every_status_that_is_not_final(status: RunStatus) -> None:
    story = NOT_FINAL[status]()
    assert story.status is status
    assert story.when(cmd.Cancel, actor=AGENT, reason="enough") == ["run_cancelled"]
    assert (story.status, story.run.reason, story.owed()) == (RunStatus.CANCELLED, "enough", [])
    assert (is_final(story.run), holds_slot(story.run)) == (True, False)


def test_cancel_closes_open_gates() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Cancel)
    assert (story.gate(1).status, story.statuses) == (GateStatus.CLOSED, (StepStatus.CANCELLED,))
    start = _at_the_start()
    start.when(cmd.Cancel)
    assert start.gate(None).status is GateStatus.CLOSED


def test_cancel_ends_a_running_process_first() -> None:
    story = Story(shell(), shell(after=())).drive()
    assert story.when(cmd.Cancel, reason="enough") == ["run_cancel_requested"]
    assert story.status is RunStatus.RUNNING
    assert story.owed() == [(DueKind.STOP_STEP, 1), (DueKind.STOP_STEP, 2)]
    assert story.when(cmd.Cancel) == []
    assert story.when(cmd.Pause) == []
    assert story.finish(1, error="killed by SIGTERM", cause="cancelled", signal="SIGTERM") == ["step_failed"]
    assert story.finish(2) == ["step_completed", "run_cancelled"]
    assert story.statuses == (StepStatus.CANCELLED, StepStatus.COMPLETED)
    assert story.run.reason == "enough"


def test_a_cancelled_run_keeps_what_is_known_of_a_finished_and_a_failed_step() -> None:
    story = Story(shell(), shell(after=()), shell()).drive()
    story.finish(1)
    story.finish(2, error="exit code 1")
    story.when(cmd.Cancel)
    assert story.statuses == (StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED)


@pytest.mark.parametrize("command", [cmd.Pause, cmd.Resume, cmd.Cancel, cmd.Retry])
def test_nothing_follows_a_completed_or_cancelled_run(command: type[cmd.Command]) -> None:
    completed = Story(shell()).drive()
    completed.finish(1)
    cancelled = _at_the_start()
    cancelled.when(cmd.Cancel)
    for story in (completed, cancelled):
        error = story.refused(IllegalMove, command)
        assert "it has ended" in error.hint


def test_pause_without_a_running_process_is_at_once() -> None:
    story = Story(manual(), shell(gate=True, after=())).drive()
    assert story.when(cmd.Pause, reason="lunch") == ["run_paused"]
    assert (story.last.actor, story.last.body.cause, story.run.reason) == (ALICE, "asked", "lunch")
    assert (story.status, story.owed()) == (RunStatus.PAUSED, [])


def test_pause_lets_a_running_process_end_and_starts_nothing_more() -> None:
    story = Story(shell(), shell(), shell(after=())).drive()
    assert story.when(cmd.Pause, reason="lunch") == ["run_pause_requested"]
    assert story.when(cmd.Pause) == []
    assert (story.status, story.run.pause_requested) == (RunStatus.RUNNING, True)
    assert story.finish(1) == ["step_completed"]
    assert story.owed() == [(DueKind.WATCH_STEP, 3)]
    story.refused(IllegalMove, cmd.Start, step=2, digest="")
    assert story.finish(3) == ["step_completed", "run_paused"]
    assert (story.status, story.last.body.cause, story.run.reason) == (RunStatus.PAUSED, "asked", "lunch")


def test_a_run_whose_last_step_ends_while_a_pause_was_asked_completes() -> None:
    story = Story(shell()).drive()
    story.when(cmd.Pause)
    assert story.finish(1) == ["step_completed", "run_completed"]


def test_a_failure_comes_before_a_pause_that_was_asked() -> None:
    story = Story(shell()).drive()
    story.when(cmd.Pause)
    assert story.finish(1, error="exit code 1") == ["step_failed", "run_failed"]
    story.when(cmd.Retry)
    assert story.status is RunStatus.RUNNING


def test_a_cancel_comes_before_a_pause_and_a_failure() -> None:
    story = Story(shell()).drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Cancel) == ["run_cancel_requested"]
    assert story.finish(1, error="exit code 1") == ["step_failed", "run_cancelled"]


def test_resume_goes_on_where_it_was() -> None:
    story = Story(manual(), shell(gate=True, after=())).drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert (story.status, story.gate(2).status) == (RunStatus.RUNNING, GateStatus.OPEN)


def test_a_gate_is_not_answered_in_a_paused_run() -> None:
    story = _paused()
    for command, more in ((cmd.Approve, {}), (cmd.Reject, {"reason": "no"})):
        error = story.refused(IllegalMove, command, **more)
        assert "sop resume" in error.hint


def test_complete_stays_legal_in_a_paused_run_and_does_not_resume_it() -> None:
    story = Story(manual(), shell()).drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Complete) == ["step_reported", "step_completed"]
    assert (story.status, story.owed()) == (RunStatus.PAUSED, [])


def test_an_asked_pause_outlasts_the_resolution_of_a_stuck_step() -> None:
    story = Story(shell(gate=True), manual(after=()), shell()).drive()
    story.when(cmd.Reject, reason="no")
    story.when(cmd.Pause)
    assert story.when(cmd.Skip, step=1, reason="no") == ["step_skipped"]
    assert story.status is RunStatus.PAUSED


def test_halt_pauses_for_the_environment() -> None:
    story = Story(shell())
    assert story.when(cmd.Halt, reason="DEPLOY_TOKEN is not set") == ["run_paused"]
    assert (story.last.body.cause, story.run.reason) == ("environment", "DEPLOY_TOKEN is not set")
    story.when(cmd.Resume)
    assert story.owed() == [(DueKind.START_STEP, 1)]


def test_halt_with_an_open_manual_step_is_at_once() -> None:
    story = Story(manual(), shell(after=()))
    story.start(1)
    assert story.when(cmd.Halt, reason="DEPLOY_TOKEN is not set") == ["run_paused"]
    assert story.last.body.cause == "environment"


def test_halt_lets_a_running_process_end_and_remembers_its_cause() -> None:
    story = Story(shell(), shell(after=()))
    story.start(1)
    assert story.when(cmd.Halt, reason="DEPLOY_TOKEN is not set") == ["run_pause_requested"]
    assert story.when(cmd.Halt, reason="DEPLOY_TOKEN is not set") == []
    assert story.finish(1) == ["step_completed", "run_paused"]
    assert (story.last.body.cause, story.last.body.reason) == ("environment", "DEPLOY_TOKEN is not set")


def test_a_queued_run_is_pending_holds_no_slot_and_asks_for_one() -> None:
    story = Story(shell(), queued=True)
    assert [event.event_type for event in story.events] == ["run_created", "run_queued"]
    assert (story.status, holds_slot(story.run), story.owed()) == (RunStatus.PENDING, False, [(DueKind.ADMIT, None)])
    story.refused(IllegalMove, cmd.Start, step=1, digest="")


def test_an_admitted_run_starts() -> None:
    story = Story(shell(), queued=True)
    assert story.when(cmd.Admit, start_digest="") == ["run_started"]
    assert (story.status, holds_slot(story.run)) == (RunStatus.RUNNING, True)


def test_an_admitted_run_waits_for_its_start_approval_and_holds_a_slot_there() -> None:
    story = Story(shell(), queued=True, mode=ExecutionMode.SUPERVISED)
    assert story.when(cmd.Admit, start_digest="d" * 64) == ["approval_requested"]
    assert (story.status, holds_slot(story.run)) == (RunStatus.WAITING_APPROVAL, True)
    assert (story.last.step_number, story.gate(None).digest) == (None, "d" * 64)


def test_a_run_is_running_while_anything_can_start_and_awaits_approval_when_only_gates_are_left() -> None:
    story = Story(shell(gate=True), shell(after=()))
    story.ask(1)
    assert story.status is RunStatus.RUNNING
    story.start(2)
    assert story.status is RunStatus.RUNNING
    story.finish(2)
    assert story.status is RunStatus.AWAITING_APPROVAL
    story.when(cmd.Approve)
    assert story.status is RunStatus.RUNNING


def test_an_open_manual_step_outweighs_an_open_gate() -> None:
    assert Story(manual(), shell(gate=True, after=())).drive().status is RunStatus.RUNNING


def test_the_current_step_is_the_lowest_active_one_else_the_next_else_the_last() -> None:
    story = Story(shell(), shell(gate=True), shell(after=()))
    assert current_step(story.run) == 1
    story.start(3)
    assert current_step(story.run) == 3
    story.finish(3)
    assert current_step(story.run) == 1
    story.drive()
    story.finish(1)
    story.drive()
    assert current_step(story.run) == 2
    story.when(cmd.Reject, reason="no")
    assert current_step(story.run) == 2
    story.when(cmd.Skip, reason="no")
    assert current_step(story.run) == 3


def test_a_cancelled_run_keeps_that_nobody_knows_how_a_step_ended() -> None:
    story = Story(shell(), shell()).drive()
    story.interrupt(1)
    story.when(cmd.Cancel)
    assert story.statuses == (StepStatus.INTERRUPTED, StepStatus.CANCELLED)


def test_resume_takes_back_a_pause_that_still_waits_for_a_process() -> None:
    story = Story(shell(), shell()).drive()
    assert story.when(cmd.Pause) == ["run_pause_requested"]
    assert story.when(cmd.Resume) == ["run_resumed"]
    story.finish(1)
    assert story.status is RunStatus.RUNNING
    story.refused(IllegalMove, cmd.Resume)


def test_a_paused_run_holds_its_slot() -> None:
    """What it has begun stands as it is: another run beside it would meet that."""
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Pause)
    assert (story.status, holds_slot(story.run)) == (RunStatus.PAUSED, True)
    story.when(cmd.Cancel)
    assert not holds_slot(story.run)


def test_an_event_that_is_missing_or_told_twice_is_noticed() -> None:
    story = Story(shell(gate=True)).drive()
    before = replay(story.procedure, story.events[:-1])
    assert evolve(before, story.last) == story.run
    for run in (story.run, replay(story.procedure, story.events[:-2])):
        with pytest.raises(ValueError, match="does not follow"):
            evolve(run, story.last)
