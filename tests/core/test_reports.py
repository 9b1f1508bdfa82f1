"""`verify`: a report that a step by hand is done is believed once its script says so, and never by itself."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.due import DueKind, ready_now
from sopwith.core.envelope import step_envelope
from sopwith.core.evolve import replay
from sopwith.core.interruption import REPORT_VERIFY_SECS, as_verification
from sopwith.core.procedure import (
    InterruptRules,
    OnFailure,
    OnInterrupt,
    RollbackScript,
    Script,
    decode_procedure,
    encode_procedure,
)
from sopwith.core.refusal import what_now
from sopwith.core.rollback import definition_of
from sopwith.core.run import RunStatus, StepStatus, busy_processes
from sopwith.errors import IllegalMove, NotAllowed

from .given import AGENT, ALICE, BOB, CHECK, Story, manual, shell

UNDO = RollbackScript(script=Script(interpreter="bash", text="undo\n"))


def a_report(*others: Any, **more: Any) -> Story:
    """A run whose first step was reported done, with an output."""
    story = Story(manual(verify=CHECK), *others, **more).drive()
    assert story.when(cmd.Complete, step=1, actor=AGENT, output="I did it") == ["step_reported"]
    return story


def begin(story: Story, step: Any = 1, **more: Any) -> list[str]:
    return story.when(cmd.BeginVerification, step=step, attempt=story.step(step).attempt, **more)


def ends(story: Story, step: Any = 1, exit_code: int | None = 0, **more: Any) -> list[str]:
    error = "" if exit_code == 0 else f"exit status {exit_code}"
    result = cmd.StepResult(**{"exit_code": exit_code, "error": error, **more})
    return story.when(cmd.EndVerification, step=step, attempt=story.step(step).attempt, result=result)


def stopped(story: Story) -> list[str]:
    return ends(story, 1, None, signal="SIGTERM", cause="cancelled", error="killed by SIGTERM")


def is_open(story: Story) -> bool:
    return story.step(1).status is StepStatus.RUNNING and f"sop complete {story.run.run_id}" in what_now(story.run)


def test_a_report_is_recorded_and_its_verification_is_due() -> None:
    story = a_report(shell())
    assert story.last.body.to_verify
    assert story.owed() == [(DueKind.VERIFY, 1)]
    assert begin(story) == ["verification_started"]
    told = story.last.body
    assert (told.of_report, told.command, told.limit_ms) == (True, CHECK.text, REPORT_VERIFY_SECS * 1000)
    assert told.digest == story.step(1).digest
    assert story.owed() == [(DueKind.WATCH_STEP, 1), (DueKind.TIME_OUT, 1)]
    assert story.status is RunStatus.RUNNING


def test_exit_code_0_completes_the_step_with_the_output_of_the_report() -> None:
    story = a_report(shell())
    begin(story)
    assert ends(story, outputs={"url": "x"}, output="looked") == ["verification_ended", "step_completed"]
    done = story.last.body
    assert (done.verified, done.output, done.outputs) == (True, "I did it", {})
    assert story.last.actor == SYSTEM
    assert story.latest("step_reported").actor.id == AGENT.id
    assert (story.step(1).status, story.step(1).error) == (StepStatus.COMPLETED, "")
    assert replay(story.procedure, story.events) == story.run


@pytest.mark.parametrize("exit_code", [1, 2, 127, 255])
def test_any_other_exit_code_leaves_the_step_open(exit_code: int) -> None:
    story = a_report(shell())
    begin(story)
    assert ends(story, exit_code=exit_code, output="no such file") == ["verification_ended"]
    told = story.last.body
    assert (told.outcome, told.then, told.exit_code, told.output) == ("not_done", "open", exit_code, "no such file")
    assert story.step(1).error.endswith(f"ended with exit code {exit_code}")
    assert is_open(story)
    assert (story.owed(), story.status) == ([], RunStatus.RUNNING)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"exit_code": None, "signal": "SIGKILL", "cause": "signal", "error": "killed by SIGKILL"}, "SIGKILL"),
        ({"exit_code": None, "cause": "lost", "error": "its keeper was killed"}, "its keeper was killed"),
        ({"exit_code": None, "cause": "start", "error": "bash is not there"}, "bash is not there"),
        ({"exit_code": 0, "cause": "lost", "error": "torn"}, "torn"),
        ({"exit_code": 0, "signal": "SIGTERM", "error": "killed"}, "killed"),
        ({"exit_code": 0, "cause": "output", "error": "its outputs cannot be read"}, "cannot be read"),
    ],
)
def test_an_end_that_tells_nothing_is_no_yes(result: dict[str, Any], words: str) -> None:
    story = a_report()
    begin(story)
    assert ends(story, **result) == ["verification_ended"]
    assert (story.last.body.outcome, story.last.body.then) == ("unknown", "open")
    assert words in story.step(1).error
    assert is_open(story)


def test_a_report_after_one_that_was_not_believed_is_verified_anew() -> None:
    story = a_report()
    begin(story)
    ends(story, exit_code=1)
    assert story.when(cmd.Complete, output="now I did") == ["step_reported"]
    begin(story)
    assert story.step(1).verifications == 2
    assert ends(story) == ["verification_ended", "step_completed", "run_completed"]
    assert story.step(1).output == "now I did"


def test_what_must_not_be_run_is_not_believed() -> None:
    story = a_report()
    assert begin(story, held="pins differ") == ["verification_started", "verification_ended"]
    assert story.step(1).error.endswith("was not begun: pins differ")
    assert is_open(story)


def test_nothing_is_verified_that_was_not_reported() -> None:
    story = Story(manual(verify=CHECK), shell(after=())).drive()
    story.refused(IllegalMove, cmd.BeginVerification, step=1, attempt=1)
    story.refused(IllegalMove, cmd.BeginVerification, step=2, attempt=1)
    story.when(cmd.Complete, step=1)
    story.refused(IllegalMove, cmd.BeginVerification, step=1, attempt=2)
    begin(story)
    story.refused(IllegalMove, cmd.BeginVerification, step=1, attempt=1)


def test_a_step_without_verify_is_believed_at_once() -> None:
    story = Story(manual()).drive()
    assert story.when(cmd.Complete) == ["step_reported", "step_completed", "run_completed"]
    assert not story.latest("step_reported").body.to_verify


# what else is said meanwhile


def test_while_it_is_due_a_second_report_is_refused_and_a_failure_is_not() -> None:
    story = a_report()
    error = story.refused(IllegalMove, cmd.Complete)
    assert "was reported done, and that is still to be verified" in error.message
    assert "sop complete" not in what_now(story.run)
    assert story.when(cmd.Fail, reason="no, I did not") == ["step_reported", "step_failed", "run_failed"]
    assert story.owed() == []


def test_a_blocked_report_withdraws_the_one_before_it() -> None:
    story = a_report()
    assert story.when(cmd.Block, reason="no access") == ["step_reported", "run_paused"]
    story.when(cmd.Resume)
    assert story.owed() == []
    assert is_open(story)


@pytest.mark.parametrize("verb", [cmd.Complete, cmd.Fail, cmd.Block, cmd.Skip])
def test_while_it_runs_nothing_is_said_of_the_step(verb: type[cmd.Command]) -> None:
    story = a_report()
    begin(story)
    more = {} if verb is cmd.Complete else {"reason": "so"}
    for step in (1, None):
        error = story.refused(IllegalMove, verb, step=step, **more)
        assert "step 1 is being verified" in error.message


def test_a_person_may_skip_it_and_an_agent_may_not() -> None:
    story = Story(manual(verify=CHECK)).drive()
    error = story.refused(NotAllowed, cmd.Skip, actor=AGENT, reason="it is fine")
    assert "that is a person's decision" in error.message
    assert story.when(cmd.Skip, reason="not needed") == ["step_skipped", "run_completed"]
    # as with any other step
    Story(manual()).drive().refused(NotAllowed, cmd.Skip, actor=AGENT, reason="so")


def test_a_step_that_failed_is_not_done_by_hand_but_tried_again() -> None:
    story = Story(manual(verify=CHECK), shell(after=())).drive()
    story.when(cmd.Fail, step=1, reason="no")
    story.finish(2)
    assert story.status is RunStatus.FAILED
    error = story.refused(IllegalMove, cmd.Complete, step=1, actor=AGENT)
    assert "only a report of an open step can be verified" in error.message
    story.refused(IllegalMove, cmd.Complete)
    story.when(cmd.Retry)
    story.drive()
    assert story.when(cmd.Complete, step=1) == ["step_reported"]
    assert story.owed() == [(DueKind.VERIFY, 1)]


# pause, cancel, limits


def test_a_report_to_a_paused_run_is_verified_when_it_goes_on() -> None:
    story = Story(manual(verify=CHECK)).drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Complete) == ["step_reported"]
    assert (story.status, story.owed()) == (RunStatus.PAUSED, [])
    story.refused(IllegalMove, cmd.BeginVerification, step=1, attempt=1)
    story.when(cmd.Resume)
    assert story.owed() == [(DueKind.VERIFY, 1)]


def test_a_report_of_a_blocked_step_lets_the_run_go_on_to_its_verification() -> None:
    story = Story(manual(verify=CHECK)).drive()
    story.when(cmd.Block, reason="no access", actor=AGENT)
    assert story.when(cmd.Complete, actor=BOB) == ["step_reported", "run_resumed"]
    assert story.owed() == [(DueKind.VERIFY, 1)]


def test_a_pause_waits_for_the_end_of_a_verification() -> None:
    story = a_report()
    begin(story)
    assert story.when(cmd.Pause) == ["run_pause_requested"]
    assert ends(story, exit_code=1) == ["verification_ended", "run_paused"]
    story.when(cmd.Resume)
    assert is_open(story)


def test_it_is_begun_though_a_pause_waits_for_another_step() -> None:
    story = Story(manual(verify=CHECK), shell(after=()), shell()).drive()
    story.when(cmd.Pause)
    story.when(cmd.Complete, step=1)
    assert (DueKind.VERIFY, 1) in story.owed()
    begin(story)
    story.finish(2)
    assert ends(story) == ["verification_ended", "step_completed", "run_paused"]


def test_a_stop_ends_it_and_begins_none() -> None:
    story = a_report()
    begin(story)
    story.when(cmd.Pause, stop=True)
    assert story.owed()[0] == (DueKind.STOP_STEP, 1)
    assert stopped(story) == ["verification_ended", "run_paused"]
    assert story.step(1).error.endswith(f"told nothing: stopped by {ALICE}")
    other = Story(manual(verify=CHECK), shell(after=())).drive()
    other.when(cmd.Pause, stop=True)
    other.when(cmd.Complete, step=1)
    assert (DueKind.VERIFY, 1) not in other.owed()


def test_a_cancel_ends_it_and_the_step_is_cancelled_with_the_run() -> None:
    story = a_report()
    begin(story)
    assert story.when(cmd.Cancel) == ["run_cancel_requested"]
    assert stopped(story) == ["verification_ended", "run_cancelled"]
    assert story.step(1).status is StepStatus.CANCELLED


def test_a_verification_that_is_due_does_not_hold_up_a_cancel() -> None:
    story = a_report()
    assert story.when(cmd.Cancel) == ["run_cancelled"]


def test_a_yes_that_came_in_spite_of_a_cancel_counts() -> None:
    story = a_report()
    begin(story)
    story.when(cmd.Cancel)
    assert ends(story) == ["verification_ended", "step_completed", "run_cancelled"]


def test_the_end_of_the_runs_time_fails_the_step_that_is_being_verified() -> None:
    story = a_report(shell(), timeout_secs=60)
    begin(story)
    story.tick(60)
    assert story.when(cmd.TimeOutRun) == ["run_timed_out"]
    assert stopped(story) == ["verification_ended", "step_failed", "run_failed"]
    assert story.latest("step_failed").body.cause == "timeout"


def test_another_step_that_failed_does_not_keep_it_from_beginning() -> None:
    story = Story(manual(verify=CHECK), shell(after=())).drive()
    story.finish(2, error="no")
    story.when(cmd.Complete, step=1)
    assert story.owed() == [(DueKind.VERIFY, 1)]
    begin(story)
    assert ends(story) == ["verification_ended", "step_completed", "run_failed"]


def test_it_waits_for_room_and_takes_it() -> None:
    story = Story(manual(verify=CHECK), shell(after=()), shell(after=()), max_parallel=1).drive()
    story.when(cmd.Complete, step=1)
    assert (DueKind.VERIFY, 1) not in story.owed()
    story.finish(2)
    assert (DueKind.VERIFY, 1) in story.owed()
    begin(story)
    assert busy_processes(story.run) == (1,)
    assert (DueKind.START_STEP, 3) not in story.owed()


def test_it_takes_no_longer_than_its_limit() -> None:
    story = a_report()
    begin(story)
    story.tick(REPORT_VERIFY_SECS)
    assert [item.kind for item in ready_now(story.run, story.now)] == [DueKind.WATCH_STEP, DueKind.TIME_OUT]
    assert stopped(story) == ["verification_ended"]
    assert (story.last.body.cause, story.last.body.outcome) == ("timeout", "unknown")
    assert is_open(story)


def test_a_report_that_came_in_time_is_verified_first_and_a_no_ends_the_time() -> None:
    story = Story(manual(verify=CHECK, timeout_secs=60)).drive()
    story.when(cmd.Complete)
    story.tick(60)
    assert [item.kind for item in ready_now(story.run, story.now)] == [DueKind.VERIFY]
    assert story.when(cmd.TimeOut, step=1, attempt=1) == []
    begin(story)
    assert story.when(cmd.TimeOut, step=1, attempt=1) == []
    ends(story, exit_code=1)
    assert [item.kind for item in ready_now(story.run, story.now)] == [DueKind.TIME_OUT]
    assert story.when(cmd.TimeOut, step=1, attempt=1) == ["step_failed", "run_failed"]


def test_a_new_attempt_begins_without_the_reports_of_the_last_one() -> None:
    story = Story(manual(verify=CHECK, on_failure=OnFailure.STOP)).drive()
    story.when(cmd.Complete)
    begin(story)
    ends(story, exit_code=1)
    story.when(cmd.Complete)
    story.when(cmd.Fail, reason="no")
    story.when(cmd.Retry)
    story.drive()
    step = story.step(1)
    assert (step.verifications, step.to_verify, step.verification) == (0, False, None)
    assert is_open(story)


def test_each_attempt_counts_its_own_verifications() -> None:
    rules = InterruptRules(policy=OnInterrupt.VERIFY, command="test -e done")
    story = Story(shell(on_interrupt=rules)).drive()
    story.interrupt(1)
    assert story.step(1).verifications == 1
    ends(story, exit_code=1)
    story.drive()
    assert (story.step(1).attempt, story.step(1).verifications) == (2, 0)


def test_an_instance_is_verified_as_a_step_is() -> None:
    story = Story(manual(verify=CHECK, for_each=("eu", "us"))).drive()
    story.when(cmd.Complete, step="1:eu")
    assert story.owed() == [(DueKind.VERIFY, "1:eu")]
    begin(story, "1:eu")
    assert ends(story, "1:eu") == ["verification_ended", "step_completed"]
    assert story.step("1:us").status is StepStatus.RUNNING


def test_a_rollback_is_not_verified() -> None:
    story = Story(manual(verify=CHECK, rollback=UNDO), shell()).drive()
    story.when(cmd.Complete)
    begin(story)
    ends(story)
    story.drive()
    story.finish(2, error="no")
    story.when(cmd.Rollback)
    assert not definition_of(story.run, 1).verify
    story.start(1)
    assert story.finish(1) == ["step_rolled_back", "run_failed"]


# bytes


def test_the_script_belongs_to_the_snapshot_and_to_the_envelope() -> None:
    story = Story(manual(verify=CHECK, gate=True), manual())
    pinned = encode_procedure(story.procedure)
    assert decode_procedure(pinned) == story.procedure
    assert pinned.count(b'"verify"') == 1
    around: dict[str, Any] = {"working_dir": "/", "passed": {}, "pins": {}, "program": None, "given": {}}
    told = step_envelope(story.run, 1, **around, verifier="/usr/bin/bash").verify
    assert told == {
        "script": CHECK.text,
        "interpreter": "bash",
        "program": "/usr/bin/bash",
        "timeout_secs": REPORT_VERIFY_SECS,
    }
    assert not step_envelope(story.run, 2, **around).verify


def test_it_runs_as_a_script_of_its_own_in_the_surroundings_of_the_step() -> None:
    step = Story(manual(verify=CHECK, working_dir="sub", timeout_secs=5)).procedure.step(1)
    found = as_verification(step)
    assert (found.executor, found.script, found.working_dir, found.timeout_secs) == ("shell", CHECK, "sub", None)
