"""The time of a whole run: what counts, what is ended when it is up, and how the run goes on after that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.due import Due, DueKind, due, next_due_at, overdue, ready_now
from sopwith.core.events import RunFailed, RunPaused, RunTimedOut, StepFailed
from sopwith.core.evolve import replay
from sopwith.core.procedure import ExecutionMode, OnFailure, RetryRules, RollbackScript, Script
from sopwith.core.refusal import what_now
from sopwith.core.run import RunStatus, is_failing, is_running_out, run_left_ms, starts_nothing, time_left_ms
from sopwith.errors import IllegalMove

from .given import ALICE, NOON, RUN, MakeStep, Story, manual, shell, wait

UP = "the run's 1m 0s were up"
UNDO = RollbackScript(script=Script(interpreter="bash", text="undo\n"))
STOPPED = {"error": "killed by SIGTERM", "cause": "cancelled", "signal": "SIGTERM"}


def limited(*steps: object, **more: object) -> Story:
    return Story(*steps, **{"timeout_secs": 60, **more})  # type: ignore[arg-type]


def up(story: Story) -> list[str]:
    """A minute later than its start."""
    story.tick(60)
    return story.when(cmd.TimeOutRun)


def failed_with(story: Story) -> str:
    assert story.run.ended is RunStatus.FAILED
    assert isinstance(story.last.body, RunFailed)
    return story.last.body.error


def test_a_run_without_a_limit_has_all_the_time_there_is() -> None:
    story = Story(manual()).drive()
    assert next_due_at(story.run) is None
    story.tick(10**8)
    assert story.when(cmd.TimeOutRun) == []


def test_a_run_is_due_when_its_time_is_up_and_not_before() -> None:
    story = limited(manual()).drive()
    assert due(story.run) == (Due(DueKind.TIME_OUT_RUN, None, NOON + timedelta(seconds=60)),)
    assert next_due_at(story.run) == NOON + timedelta(seconds=60)
    story.tick(57)
    assert story.when(cmd.TimeOutRun) == []
    assert ready_now(story.run, story.now) == overdue(story.run, story.now.at) == ()
    assert story.when(cmd.TimeOutRun)[0] == "run_timed_out"


def test_what_goes_on_is_ended_and_the_run_fails() -> None:
    story = limited(manual(), wait(600, after=()), shell(gate=True, after=())).drive()
    assert up(story) == ["run_timed_out", "step_failed", "step_failed", "approval_closed", "run_failed"]
    assert failed_with(story) == UP
    assert story.statuses == ("failed", "failed", "pending")
    assert [story.step(number).error for number in (1, 2)] == [UP, UP]
    bodies = [event.body for event in story.events if isinstance(event.body, StepFailed)]
    assert [body.cause for body in bodies] == ["timeout", "timeout"]
    timed_out = story.latest("run_timed_out")
    assert (timed_out.body, timed_out.actor.kind) == (RunTimedOut(limit_ms=60_000), "system")
    assert story.latest("approval_closed").body.reason == UP  # type: ignore[union-attr]


def test_a_process_is_ended_as_by_a_cancel_and_the_run_fails_after_it() -> None:
    story = limited(shell(), shell(gate=True, after=())).drive()
    assert up(story) == ["run_timed_out", "approval_closed"]
    assert is_running_out(story.run)
    assert is_failing(story.run)
    assert starts_nothing(story.run)
    assert story.owed() == [(DueKind.STOP_STEP, 1)]
    assert story.finish(1, **STOPPED) == ["step_failed", "run_failed"]
    assert (story.step(1).error, failed_with(story)) == (UP, UP)


def test_nothing_starts_any_more() -> None:
    story = limited(shell(), shell(after=()), shell(gate=True, after=()), shell(after=())).drive()
    story.finish(2)
    up(story)
    story.refused(IllegalMove, cmd.OpenGate, step=3, digest="0" * 64)
    assert story.owed() == [(DueKind.STOP_STEP, 1), (DueKind.STOP_STEP, 4)]
    story.finish(4)
    assert story.owed() == [(DueKind.STOP_STEP, 1)]


def test_an_approval_that_started_nothing_is_void() -> None:
    story = limited(shell(), shell(gate=True, after=()), max_parallel=1).drive()
    story.when(cmd.Approve, step=2)
    assert up(story) == ["run_timed_out", "approval_closed"]
    assert story.step(2).gate_void


def test_a_result_that_was_reached_before_the_process_was_ended_counts() -> None:
    story = limited(shell(), shell()).drive()
    up(story)
    assert story.finish(1) == ["step_completed", "run_failed"]
    assert story.statuses == ("completed", "pending")
    assert failed_with(story) == UP


def test_a_run_in_which_all_is_done_a_moment_late_is_completed() -> None:
    story = limited(shell()).drive()
    up(story)
    assert story.finish(1) == ["step_completed", "run_completed"]
    assert story.run.timed_out


def test_what_failed_by_itself_is_told_beside_the_limit() -> None:
    story = limited(shell(), shell(after=())).drive()
    up(story)
    story.finish(1, error="exit code 1")
    story.finish(2, **STOPPED)
    assert failed_with(story) == f"{UP}; step 1: exit code 1"


@pytest.mark.parametrize("on_failure", [OnFailure.CONTINUE, OnFailure.GOTO])
def test_what_the_limit_ended_leads_nowhere(on_failure: OnFailure) -> None:
    led = {"on_failure": on_failure, "goto": 2 if on_failure is OnFailure.GOTO else None}
    for make in (shell, manual):
        story = limited(make(**led), manual()).drive()
        up(story)
        if make is shell:
            story.finish(1, **STOPPED)
        assert story.statuses == ("failed", "pending")
        assert story.run.ended is RunStatus.FAILED


def test_what_the_limit_ended_is_not_tried_again() -> None:
    story = limited(shell(retry=RetryRules(max_attempts=3))).drive()
    up(story)
    assert story.finish(1, **STOPPED) == ["step_failed", "run_failed"]


def test_a_rest_before_the_next_try_ends_and_keeps_how_the_last_one_did() -> None:
    story = limited(shell(retry=RetryRules(max_attempts=3, delay_secs=900))).drive()
    story.finish(1, error="exit code 1")
    assert up(story) == ["run_timed_out", "step_failed", "run_failed"]
    step = story.step(1)
    assert (step.error, step.exit_code, step.duration_ms, step.wake_at) == (UP, 1, 1000, None)


def test_the_clock_stands_still_while_the_run_is_paused() -> None:
    story = limited(manual()).drive()
    story.tick(20)
    story.when(cmd.Pause)
    assert next_due_at(story.run) is None
    story.tick(10_000)
    assert story.refused(IllegalMove, cmd.TimeOutRun)
    left = run_left_ms(story.run, story.now)
    story.when(cmd.Resume)
    assert (left, run_left_ms(story.run, story.now)) == (None, 38_000)
    story.tick(36)
    assert story.when(cmd.TimeOutRun) == []
    assert story.when(cmd.TimeOutRun)[0] == "run_timed_out"


@pytest.mark.parametrize("by", [-10_000, 10_000], ids=["back", "forward"])
def test_a_clock_that_is_set_during_a_pause_neither_takes_time_from_the_run_nor_gives_it_any(by: int) -> None:
    story = limited(manual()).drive()
    story.tick(20)
    story.when(cmd.Pause)
    story.set_wall_by(by)
    story.tick(10_000)
    story.when(cmd.Resume)
    assert run_left_ms(story.run, story.now) == 38_000
    story.tick(36)
    assert story.when(cmd.TimeOutRun) == []
    assert story.when(cmd.TimeOutRun)[0] == "run_timed_out"


def _silence(*beside: MakeStep) -> Story:
    pausing = ApprovalRules(on_timeout=TimeoutAction.PAUSE)
    story = limited(shell(gate=True, approval=pausing, approval_timeout_mins=0.1), *beside).drive()
    story.tick(7)
    story.expire(1)
    return story


def _condition() -> Story:
    story = limited(shell(condition="steps['1'].outputs.nothing"))
    story.tick(7)
    story.when(cmd.Evaluate, step=1)
    return story


@pytest.mark.parametrize("by", [-10_000, 10_000], ids=["back", "forward"])
@pytest.mark.parametrize("pause", [_silence, _condition])
def test_nor_does_it_while_the_run_has_paused_by_itself(pause: Callable[[], Story], by: int) -> None:
    story = pause()
    assert story.last.event_type == "run_paused"
    assert story.run.clock is not None
    left_ms = 60_000 - (story.now.boot_ms - story.run.clock.boot_ms)
    story.set_wall_by(by)
    story.tick(10_000)
    story.when(cmd.Retry) if story.step(1).stuck else story.when(cmd.Resume)
    assert run_left_ms(story.run, story.now) == left_ms


@pytest.mark.parametrize("by", [-10_000, 10_000], ids=["back", "forward"])
def test_nor_from_a_step_by_hand_beside_it(by: int) -> None:
    story = _silence(manual(after=(), timeout_secs=60))
    started = story.step(2).started
    assert started is not None
    left_ms = 60_000 - (story.now.boot_ms - started.boot_ms)
    story.set_wall_by(by)
    story.tick(10_000)
    story.when(cmd.Resume)
    assert time_left_ms(story.run, story.step(2), story.now) == left_ms


def test_after_a_restart_a_pause_counts_by_the_wall_clock_too_as_all_else_does() -> None:
    story = limited(manual()).drive()
    story.tick(20)
    story.when(cmd.Pause)
    story.set_wall_by(10_000)
    story.when(cmd.Resume)
    story.reboot()
    story.when(cmd.Pause)
    story.set_wall_by(10_000)
    story.when(cmd.Resume)
    assert run_left_ms(story.run, story.now) == 37_000


def test_a_pause_whose_reading_of_the_boot_clock_was_not_recorded_counts_by_the_wall_clock() -> None:
    story = limited(manual()).drive()
    story.tick(20)
    story.when(cmd.Pause)
    older = replace(story.last, body=RunPaused(cause="asked"))
    story.run = replay(story.procedure, [*story.events[:-1], older])
    story.tick(100)
    story.when(cmd.Resume)
    assert run_left_ms(story.run, story.now) == 38_000


def test_the_clock_runs_on_while_a_pause_waits_for_a_process() -> None:
    story = limited(shell()).drive()
    story.when(cmd.Pause)
    assert up(story) == ["run_timed_out"]
    assert story.finish(1, **STOPPED) == ["step_failed", "run_failed"]


def test_gates_and_waits_count_and_the_queue_and_the_start_approval_do_not() -> None:
    story = limited(manual(gate=True), queued=True, mode=ExecutionMode.SUPERVISED)
    story.tick(1000)
    story.when(cmd.Admit, start_digest="0" * 64)
    story.tick(1000)
    story.when(cmd.Pause)
    story.tick(1000)
    story.when(cmd.Resume)
    assert next_due_at(story.run) is None
    story.when(cmd.Approve)
    assert run_left_ms(story.run, story.now) == 60_000
    story.drive()
    assert up(story) == ["run_timed_out", "approval_closed", "run_failed"]


def test_the_time_is_the_boot_clocks_while_one_boot_lasts() -> None:
    story = limited(manual()).drive()
    story.set_wall_by(10_000)
    assert story.when(cmd.TimeOutRun) == []
    story.set_wall_by(-20_000)
    assert up(story)[0] == "run_timed_out"


def test_after_a_restart_the_wall_clock_is_left() -> None:
    story = limited(manual()).drive()
    story.reboot()
    story.tick(50)
    assert story.when(cmd.TimeOutRun) == []
    story.tick(10)
    assert story.when(cmd.TimeOutRun)[0] == "run_timed_out"


def test_a_run_whose_time_is_up_begins_nothing_that_came_due_meanwhile() -> None:
    story = limited(wait(30), shell()).drive()
    story.tick(90)
    assert [item.kind for item in ready_now(story.run, story.now)] == [DueKind.TIME_OUT_RUN]
    story = limited(shell(), shell(after=()), max_parallel=1)
    story.tick(90)
    assert [item.kind for item in ready_now(story.run, story.now)] == [DueKind.TIME_OUT_RUN]


def test_a_step_that_says_rollback_is_followed_by_one() -> None:
    story = limited(shell(rollback=UNDO), manual(on_failure=OnFailure.ROLLBACK)).drive()
    story.finish(1)
    story.drive()
    assert up(story) == ["run_timed_out", "step_failed", "rollback_started"]
    assert story.latest("rollback_started").body.reason == UP  # type: ignore[union-attr]
    story.start(1)
    assert story.owed() == [(DueKind.WATCH_STEP, 1)]
    story.tick(10_000)
    story.refused(IllegalMove, cmd.TimeOutRun)
    assert story.finish(1) == ["step_rolled_back", "run_failed"]
    assert failed_with(story) == UP
    assert story.run.rolled_back


@pytest.mark.parametrize(
    ("default", "follows"), [(OnFailure.ROLLBACK, "rollback_started"), (OnFailure.STOP, "run_failed")]
)
def test_the_procedures_default_holds_where_only_gates_wait(default: OnFailure, follows: str) -> None:
    story = limited(shell(rollback=UNDO), shell(gate=True), on_failure=default).drive()
    story.finish(1)
    story.drive()
    assert up(story) == ["run_timed_out", "approval_closed", follows]


def test_a_retry_has_all_the_time_again_and_asks_the_gates_anew() -> None:
    story = limited(shell(gate=True)).drive()
    up(story)
    assert failed_with(story) == UP
    assert what_now(story.run) == f"sop retry {RUN}"
    story.refused(IllegalMove, cmd.Skip, reason="so")
    story.tick(1000)
    assert story.when(cmd.Retry) == ["run_retried"]
    assert (story.run.timed_out, run_left_ms(story.run, story.now)) == (False, 60_000)
    story.drive()
    assert story.gate(1).revision == 2
    story.when(cmd.Approve)
    story.drive()
    assert story.finish(1) == ["step_completed", "run_completed"]


def test_a_retry_takes_what_was_ended_and_what_was_not_begun() -> None:
    story = limited(shell(), manual(after=()), shell()).drive()
    story.finish(1)
    up(story)
    story.when(cmd.Retry)
    story.drive()
    assert story.statuses == ("completed", "running", "pending")
    assert up(story)[0] == "run_timed_out"


def test_a_retry_of_a_paused_run_goes_on_with_the_time_that_is_left() -> None:
    story = limited(shell(gate=True), shell()).drive()
    story.tick(28)
    story.when(cmd.Reject, reason="no")
    story.tick(500)
    story.when(cmd.Retry)
    assert run_left_ms(story.run, story.now) == 30_000


def test_a_step_that_is_done_by_hand_after_all_brings_the_run_back_with_all_its_time() -> None:
    story = limited(manual(), manual()).drive()
    up(story)
    assert story.when(cmd.Complete, step=1)[-1] == "run_resumed"
    assert (story.run.timed_out, run_left_ms(story.run, story.now)) == (False, 60_000)


def test_a_pause_that_is_taken_back_does_not_take_back_the_end() -> None:
    story = limited(shell(), shell()).drive()
    up(story)
    story.when(cmd.Pause)
    story.when(cmd.Resume)
    assert story.run.timed_out
    assert story.finish(1, **STOPPED)[-1] == "run_failed"


def test_a_cancel_is_a_cancel_also_after_the_limit() -> None:
    story = limited(shell()).drive()
    up(story)
    story.when(cmd.Cancel)
    assert story.finish(1, **STOPPED) == ["step_failed", "run_cancelled"]
    story = limited(shell()).drive()
    story.when(cmd.Cancel)
    assert up(story) == []


def test_a_step_that_nobody_knows_the_end_of_stays_unknown() -> None:
    story = limited(shell()).drive()
    up(story)
    assert story.interrupt(1) == ["step_interrupted", "run_failed"]
    assert story.statuses == ("interrupted",)
    story.when(cmd.Retry, actor=ALICE)
    assert story.statuses == ("pending",)


def test_a_start_that_is_asked_anew_with_other_parameters_stops_the_clock() -> None:
    story = limited(manual(gate=True), mode=ExecutionMode.SUPERVISED, params={"to": "staging"})
    story.when(cmd.Approve)
    story.drive()
    up(story)
    assert story.when(cmd.Retry, params={"to": "production"}) == ["run_retried"]
    story.tick(1000)
    assert run_left_ms(story.run, story.now) is None
    assert next_due_at(story.run) is None
    story.drive()
    story.when(cmd.Approve)
    assert run_left_ms(story.run, story.now) == 60_000
