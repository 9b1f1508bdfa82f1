"""`onInterrupt`: what follows where nobody can know how an attempt ended, and what never does."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core.due import DueKind, ready_now
from sopwith.core.evolve import replay
from sopwith.core.interruption import MAX_RERUNS, VERIFY_SECS, text_of
from sopwith.core.procedure import InterruptRules, OnFailure, OnInterrupt, RetryRules, RollbackScript, Script
from sopwith.core.rollback import definition_of
from sopwith.core.run import StepStatus
from sopwith.errors import IllegalMove

from .given import Story, child, manual, shell

RERUN = InterruptRules(policy=OnInterrupt.RERUN)
FAIL = InterruptRules(policy=OnInterrupt.FAIL)
VERIFY = InterruptRules(policy=OnInterrupt.VERIFY, command="test -e done")
UNDO = RollbackScript(script=Script(interpreter="bash", text="undo\n"))


def a_step(rules: InterruptRules, **more: Any) -> Any:
    return shell(on_interrupt=rules, **more)


def verified(story: Story, step: Any = 1, exit_code: int | None = 0, **more: Any) -> list[str]:
    error = "" if exit_code == 0 else f"exit status {exit_code}"
    result = cmd.StepResult(**{"exit_code": exit_code, "error": error, **more})
    return story.when(cmd.EndVerification, step=step, attempt=story.step(step).attempt, result=result)


def a_verification(**more: Any) -> Story:
    story = Story(a_step(VERIFY, **more), shell()).drive()
    assert story.interrupt(1) == ["step_interrupted", "verification_started"]
    return story


# ask


def test_a_step_that_says_nothing_asks_and_its_record_is_what_it_was() -> None:
    story = Story(shell()).drive()
    assert story.interrupt(1) == ["step_interrupted", "run_paused"]
    told = story.latest("step_interrupted").body
    assert (told.on_interrupt, told.then, told.because) == ("", "", "")


# rerun


def test_rerun_runs_it_again_at_once_under_the_same_approval() -> None:
    story = Story(a_step(RERUN, gate=True)).drive()
    story.when(cmd.Approve)
    story.drive()
    assert story.interrupt(1) == ["step_interrupted", "step_retry_scheduled"]
    scheduled = story.last.body
    assert (scheduled.attempt, scheduled.max_attempts, scheduled.delay_ms) == (1, MAX_RERUNS, 0)
    assert scheduled.cause == "interrupted"
    assert [item.kind for item in ready_now(story.run, story.now)] == [DueKind.START_STEP]
    story.drive()
    assert story.step(1).attempt == 2
    assert [event.event_type for event in story.events].count("approval_requested") == 1


def test_rerun_ends_after_three_times_and_says_so() -> None:
    story = Story(a_step(RERUN)).drive()
    for _ in range(MAX_RERUNS):
        assert story.interrupt(1)[-1] == "step_retry_scheduled"
        story.drive()
    assert story.interrupt(1) == ["step_interrupted", "run_paused"]
    told = story.latest("step_interrupted").body
    assert (told.on_interrupt, told.then) == ("rerun", "")
    assert "run again 3 times after interruptions" in told.because
    assert told.because in story.last.body.reason


def test_a_retry_by_a_person_gives_no_new_reruns_in_the_same_visit() -> None:
    story = Story(a_step(RERUN)).drive()
    for _ in range(MAX_RERUNS):
        story.interrupt(1)
        story.drive()
    story.interrupt(1)
    story.when(cmd.Retry)
    story.drive()
    assert story.interrupt(1) == ["step_interrupted", "run_paused"]


def test_a_new_visit_may_be_rerun_as_often_again() -> None:
    story = Story(a_step(RERUN)).drive()
    for _ in range(MAX_RERUNS):
        story.interrupt(1)
        story.drive()
    story.interrupt(1)
    story.when(cmd.Retry, from_step=1)
    story.drive()
    assert story.interrupt(1) == ["step_interrupted", "step_retry_scheduled"]


def test_a_rerun_in_a_run_that_is_to_pause_waits_for_the_resume() -> None:
    story = Story(a_step(RERUN)).drive()
    story.when(cmd.Pause)
    assert story.interrupt(1) == ["step_interrupted", "step_retry_scheduled", "run_paused"]
    assert story.last.body.cause == "asked"
    assert story.owed() == []
    story.when(cmd.Resume)
    assert story.owed() == [(DueKind.START_STEP, 1)]


@pytest.mark.parametrize("rules", [RERUN, FAIL, VERIFY])
def test_a_run_that_is_being_cancelled_does_nothing_more(rules: InterruptRules) -> None:
    story = Story(a_step(rules)).drive()
    story.when(cmd.Cancel)
    assert story.interrupt(1) == ["step_interrupted", "run_cancelled"]
    assert story.statuses == ("interrupted",)


@pytest.mark.parametrize("rules", [RERUN, FAIL, VERIFY])
def test_a_run_whose_time_is_up_does_nothing_more(rules: InterruptRules) -> None:
    story = Story(a_step(rules), timeout_secs=10).drive()
    story.tick(20)
    story.when(cmd.TimeOutRun)
    assert story.interrupt(1) == ["step_interrupted", "run_failed"]
    assert story.statuses == ("interrupted",)


@pytest.mark.parametrize("rules", [RERUN, FAIL, VERIFY])
def test_what_is_held_is_asked_about(rules: InterruptRules) -> None:
    story = Story(a_step(rules)).drive()
    command = {"step": 1, "attempt": 1, "reason": "it was given up", "held": "what would run is not what was recorded"}
    assert story.when(cmd.Interrupt, **command) == ["step_interrupted", "run_paused"]
    assert story.step(1).error == "it was given up; what would run is not what was recorded"


# fail


def test_fail_fails_the_run_and_names_the_interruption() -> None:
    story = Story(a_step(FAIL)).drive()
    assert story.interrupt(1) == ["step_interrupted", "step_failed", "run_failed"]
    failed = story.latest("step_failed").body
    assert (failed.cause, failed.error) == ("interrupted", "interrupted: the machine went down")


def test_fail_is_not_followed_by_the_tries_of_retry() -> None:
    story = Story(a_step(FAIL, retry=RetryRules(max_attempts=5))).drive()
    assert story.interrupt(1) == ["step_interrupted", "step_failed", "run_failed"]


def test_fail_leads_where_on_failure_says() -> None:
    story = Story(a_step(FAIL, on_failure=OnFailure.CONTINUE), shell()).drive()
    assert story.interrupt(1) == ["step_interrupted", "step_failed"]
    assert story.drive().statuses == ("failed", "running")


def test_fail_in_the_last_step_may_complete_the_run() -> None:
    story = Story(a_step(FAIL, on_failure=OnFailure.CONTINUE)).drive()
    assert story.interrupt(1) == ["step_interrupted", "step_failed", "run_completed"]


# verify


def test_a_verification_is_told_with_its_command_and_what_covers_it() -> None:
    told = a_verification().last.body
    assert (told.command, told.attempt, told.limit_ms) == ("test -e done", 1, VERIFY_SECS * 1000)
    assert told.digest == a_verification().latest("step_started").body.digest


def test_exit_0_completes_the_step_without_outputs() -> None:
    story = a_verification()
    assert verified(story) == ["verification_ended", "step_completed"]
    done = story.last.body
    assert (done.verified, done.outputs, done.exit_code) == (True, {}, None)
    assert (story.latest("verification_ended").body.outcome, story.step(1).outputs) == ("done", {})
    assert story.drive().statuses == ("completed", "running")


def test_exit_1_runs_it_again() -> None:
    story = a_verification()
    assert verified(story, exit_code=1) == ["verification_ended", "step_retry_scheduled"]
    assert story.latest("verification_ended").body.outcome == "not_done"
    story.drive()
    assert (story.step(1).attempt, story.step(1).verification) == (2, None)


def test_exit_1_runs_it_again_three_times_and_then_asks() -> None:
    story = a_verification()
    for _ in range(MAX_RERUNS):
        verified(story, exit_code=1)
        story.drive()
        assert story.interrupt(1) == ["step_interrupted", "verification_started"]
    assert verified(story, exit_code=1) == ["verification_ended", "run_paused"]
    assert "found it not done, and it was run again 3 times" in story.latest("verification_ended").body.because


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"exit_code": 2}, "exit status 2"),
        ({"exit_code": 127}, "exit status 127"),
        ({"exit_code": None, "signal": "SIGKILL", "cause": "signal", "error": "killed by SIGKILL"}, "SIGKILL"),
        ({"exit_code": None, "cause": "start", "error": "there is no bash"}, "there is no bash"),
        ({"exit_code": None, "cause": "lost", "error": "its keeper was killed"}, "its keeper was killed"),
        ({"exit_code": 0, "cause": "output", "error": "cannot read $SOP_OUTPUT"}, "cannot read"),
        ({"exit_code": 1, "signal": "SIGTERM", "error": "odd"}, "odd"),
    ],
)
def test_every_other_end_asks_with_what_it_said(result: dict[str, Any], told: str) -> None:
    story = a_verification()
    assert verified(story, **result, output="who knows") == ["verification_ended", "run_paused"]
    ended = story.latest("verification_ended").body
    assert (ended.outcome, ended.then, ended.output) == ("unknown", "", "who knows")
    assert told in ended.because
    assert told in story.last.body.reason
    assert story.statuses == ("interrupted", "pending")
    assert story.step(1).verification.output == "who knows"


def test_a_verification_takes_no_longer_than_its_limit() -> None:
    story = a_verification(timeout_secs=5)
    story.tick(VERIFY_SECS - 5)
    assert DueKind.TIME_OUT not in [item.kind for item in ready_now(story.run, story.now)]
    story.tick(10)
    assert DueKind.TIME_OUT in [item.kind for item in ready_now(story.run, story.now)]
    verified(story, exit_code=None, signal="SIGTERM", cause="cancelled", error="stopped")
    ended = story.latest("verification_ended").body
    assert (ended.cause, ended.outcome) == ("timeout", "unknown")
    assert "not done within 1m" in ended.because


def test_a_jump_of_the_wall_clock_ends_no_verification() -> None:
    story = a_verification()
    story.set_wall_by(3600)
    assert DueKind.TIME_OUT not in [item.kind for item in ready_now(story.run, story.now)]


def test_a_verification_is_watched_and_neither_result_nor_interruption_of_the_step_is_taken_meanwhile() -> None:
    story = a_verification()
    assert (DueKind.WATCH_STEP, 1) in story.owed()
    result = cmd.StepResult(exit_code=0)
    story.refused(IllegalMove, cmd.Finish, step=1, attempt=1, result=result)
    story.refused(IllegalMove, cmd.Interrupt, step=1, attempt=1, reason="again")
    story.refused(IllegalMove, cmd.EndVerification, step=1, attempt=2, result=result)


def test_a_verification_ends_once_and_only_where_there_is_one() -> None:
    story = a_verification()
    result = cmd.StepResult(exit_code=0)
    verified(story)
    story.drive()
    story.refused(IllegalMove, cmd.EndVerification, step=1, attempt=1, result=result)
    story.refused(IllegalMove, cmd.EndVerification, step=2, attempt=1, result=result)


def test_a_pause_lets_a_verification_end() -> None:
    story = a_verification()
    assert story.when(cmd.Pause) == ["run_pause_requested"]
    assert verified(story) == ["verification_ended", "step_completed", "run_paused"]


def test_a_run_that_is_to_pause_begins_no_verification() -> None:
    story = Story(a_step(VERIFY)).drive()
    story.when(cmd.Pause)
    assert story.interrupt(1) == ["step_interrupted", "run_paused"]
    assert "not verified" in story.latest("step_interrupted").body.because


def test_cancel_ends_a_verification_and_nothing_follows() -> None:
    story = a_verification()
    assert story.when(cmd.Cancel) == ["run_cancel_requested"]
    assert story.owed() == [(DueKind.STOP_STEP, 1)]
    assert verified(story, exit_code=None, signal="SIGTERM", cause="cancelled", error="stopped") == [
        "verification_ended",
        "run_cancelled",
    ]
    assert story.latest("verification_ended").body.cause == "cancelled"
    assert story.statuses[0] is StepStatus.INTERRUPTED


def test_a_cancelled_run_is_not_run_again_whatever_the_verification_says() -> None:
    story = a_verification()
    story.when(cmd.Cancel)
    assert verified(story, exit_code=1) == ["verification_ended", "run_cancelled"]


def test_the_limit_of_the_run_ends_a_verification() -> None:
    story = Story(a_step(VERIFY), timeout_secs=10).drive()
    story.interrupt(1)
    story.tick(20)
    story.when(cmd.TimeOutRun)
    assert story.owed() == [(DueKind.STOP_STEP, 1)]
    assert verified(story, exit_code=1) == ["verification_ended", "run_failed"]


@pytest.mark.parametrize("verb", [cmd.Complete, cmd.Skip, cmd.Retry])
def test_nobody_decides_about_a_step_that_is_being_verified(verb: type[cmd.Command]) -> None:
    more = {"reason": "so"} if verb is cmd.Skip else {}
    a_verification().refused(IllegalMove, verb, **more)


@pytest.mark.parametrize(
    ("verb", "status"), [(cmd.Complete, "completed"), (cmd.Skip, "skipped"), (cmd.Retry, "pending")]
)
def test_a_person_decides_where_a_verification_told_nothing(verb: type[cmd.Command], status: str) -> None:
    story = a_verification()
    verified(story, exit_code=3)
    story.when(verb, **({"reason": "so"} if verb is cmd.Skip else {}))
    assert (story.step(1).status, story.run.paused) == (status, False)


# elsewhere


def test_instances_have_their_step_s_policy_each() -> None:
    story = Story(a_step(VERIFY, for_each=("eu", "us"))).drive()
    assert story.interrupt("1:eu") == ["step_interrupted", "verification_started"]
    assert verified(story, "1:eu", exit_code=1) == ["verification_ended", "step_retry_scheduled"]
    assert (story.step("1:eu").reruns, story.step("1:us").reruns) == (1, 0)
    assert story.step("1:us").status is StepStatus.RUNNING


@pytest.mark.parametrize("rules", [RERUN, FAIL, VERIFY])
def test_a_rollback_script_is_never_run_again_nor_verified(rules: InterruptRules) -> None:
    story = Story(a_step(rules, rollback=UNDO), manual()).drive()
    story.finish(1)
    story.drive()
    story.when(cmd.Fail, step=2, reason="no")
    story.when(cmd.Rollback)
    story.drive()
    assert story.interrupt(1) == ["step_rolled_back", "run_failed"]


@pytest.mark.parametrize("rules", [RERUN, FAIL, VERIFY])
def test_what_a_step_says_of_interruptions_is_not_said_of_its_rollback(rules: InterruptRules) -> None:
    """Else a person would be asked to approve an undoing that is run again, and none ever is."""
    story = Story(a_step(rules, rollback=UNDO), shell()).drive()
    assert text_of(definition_of(story.run, 1)).startswith(str(rules.policy))
    story.finish(1)
    story.when(cmd.Pause)
    story.finish(2) if story.step(2).status is StepStatus.RUNNING else None
    story.when(cmd.Rollback)
    assert story.run.rollback is not None
    assert text_of(definition_of(story.run, 1)) == "ask"


def test_a_step_that_a_child_run_carries_out_asks() -> None:
    story = Story(child(on_interrupt=RERUN)).drive()
    assert story.interrupt(1) == ["step_interrupted", "run_paused"]


def test_replay_gives_the_run_with_its_verification() -> None:
    story = a_verification()
    assert replay(story.procedure, story.events) == story.run
    verified(story, exit_code=1)
    story.drive()
    assert replay(story.procedure, story.events) == story.run
