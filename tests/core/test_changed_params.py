"""Retry with other parameters: what counts no longer, what stays, and that a start that was approved asks again."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.config import Config, Role
from sopwith.core.due import DueKind
from sopwith.core.events import Policy
from sopwith.core.evolve import replay
from sopwith.core.procedure import ExecutionMode, RetryRules, RollbackScript, Script
from sopwith.core.run import GateStatus, RunStatus, StepStatus
from sopwith.errors import IllegalMove, NotAllowed

from .given import BOB, NOON, MakeStep, Story, digest_of, manual, shell, wait

SUPERVISED = ExecutionMode.SUPERVISED
NO, YES = {"go": "no"}, {"go": "yes"}
UNDO = RollbackScript(script=Script(interpreter="bash", text="true\n"))
IF_YES = "params.go == 'yes'"


def started(*steps: MakeStep, **more: Any) -> Story:
    """A run with `go` = no, its start approved where it needs that, driven as far as it goes."""
    story = Story(*steps, params=NO, **more)
    if story.status is RunStatus.WAITING_APPROVAL:
        story.when(cmd.Approve)
    return story.drive()


def failed(*steps: MakeStep, **more: Any) -> Story:
    """The same whose first step is done and whose second has failed."""
    story = started(*steps, **more)
    story.finish(1, outputs={"url": "http://one"})
    story.drive()
    story.finish(2, error="exit code 1")
    assert story.status is RunStatus.FAILED
    return story


def test_the_run_goes_on_with_the_new_parameters_and_keeps_what_was_done() -> None:
    story = failed(shell(), shell())
    assert story.when(cmd.Retry, params=YES) == ["run_retried"]
    body = story.last.body
    assert (body.steps, body.params, story.run.params) == ((2,), YES, YES)
    assert story.step(1).outputs == {"url": "http://one"}
    assert story.owed() == [(DueKind.START_STEP, 2)]
    assert replay(story.procedure, story.events) == story.run
    assert story.events[0].body.params == NO


@pytest.mark.parametrize("params", [None, NO])
def test_the_same_values_are_a_plain_retry(params: dict[str, str] | None) -> None:
    story = failed(shell(), shell(), mode=SUPERVISED)
    story.when(cmd.Retry, params=params)
    assert story.last.body.params == {}
    assert story.owed() == [(DueKind.START_STEP, 2)]


def test_an_approved_start_asks_again_before_anything_starts() -> None:
    story = failed(shell(), shell(), mode=SUPERVISED)
    assert story.when(cmd.Retry, params=YES) == ["run_retried"]
    assert story.owed() == [(DueKind.OPEN_GATE, None)]
    story.refused(IllegalMove, cmd.Start, step=2, digest=digest_of(2, 0))
    story.drive()
    assert (story.status, story.gate(None).revision) == (RunStatus.WAITING_APPROVAL, 2)
    assert story.statuses == (StepStatus.COMPLETED, StepStatus.PENDING)
    assert story.when(cmd.Approve) == ["approval_granted", "run_started"]
    assert story.run.started_at == NOON.replace(second=1)
    story.drive()
    story.finish(2)
    assert story.status is RunStatus.COMPLETED
    assert replay(story.procedure, story.events) == story.run


def test_no_step_asks_its_gate_or_its_condition_before_the_start_is_approved_again() -> None:
    asked = shell(condition="params.go != 'never'", gate=True, after=())
    story = started(shell(), shell(gate=True, after=()), asked, mode=SUPERVISED)
    story.finish(1, error="exit code 1")
    story.when(cmd.Retry, params=YES)
    story.refused(IllegalMove, cmd.OpenGate, step=2, digest=digest_of(2, 2))
    story.refused(IllegalMove, cmd.Evaluate, step=3)
    story.drive()
    assert story.status is RunStatus.WAITING_APPROVAL


def test_an_answer_to_the_start_that_was_approved_before_is_none_to_the_new_question() -> None:
    story = failed(shell(), shell(), mode=SUPERVISED)
    before = story.gate(None).digest
    story.when(cmd.Retry, params=YES)
    story.refused(IllegalMove, cmd.Approve, digest=before)
    story.drive()
    assert story.status is RunStatus.WAITING_APPROVAL


def test_silence_at_the_new_start_gate_does_what_it_did_at_the_first() -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=TimeoutAction.APPROVE)
    story = failed(shell(), shell(), mode=SUPERVISED, policy=policy)
    story.when(cmd.Retry, params=YES)
    story.drive()
    story.tick(600)
    assert story.expire(None) == ["approval_timeout", "run_started"]
    assert story.owed() == [(DueKind.START_STEP, 2)]


def test_a_rejected_start_cancels_the_run_and_what_was_done_can_be_rolled_back() -> None:
    story = failed(shell(rollback=UNDO), shell(), mode=SUPERVISED)
    story.when(cmd.Retry, params=YES)
    story.drive()
    assert story.when(cmd.Reject, reason="not with these") == ["approval_rejected", "run_cancelled"]
    assert (story.status, story.run.reason) == (RunStatus.CANCELLED, "not with these")
    story.when(cmd.Rollback)
    assert story.owed() == [(DueKind.START_STEP, 1)]
    story.start(1)
    story.finish(1)
    assert story.statuses[0] is StepStatus.ROLLED_BACK
    assert story.status is RunStatus.CANCELLED


def test_a_rollback_withdraws_the_question_and_a_retry_after_it_asks_it_again() -> None:
    story = failed(shell(rollback=UNDO), shell(), mode=SUPERVISED)
    story.when(cmd.Retry, params=YES)
    story.drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Rollback) == ["approval_closed", "rollback_started"]
    assert story.gate(None).status is GateStatus.CLOSED
    story.start(1)
    story.finish(1)
    assert story.status is RunStatus.FAILED
    story.when(cmd.Retry)
    assert story.owed() == [(DueKind.OPEN_GATE, None)]


def test_a_paused_question_is_not_passed_by_resuming() -> None:
    story = failed(shell(), shell(), mode=SUPERVISED)
    story.when(cmd.Retry, params=YES)
    story.when(cmd.Pause)
    error = story.refused(IllegalMove, cmd.Retry, from_step=1)
    assert "paused and its changed parameters have not been approved" in error.message
    story.when(cmd.Resume)
    assert story.owed() == [(DueKind.OPEN_GATE, None)]


@pytest.mark.parametrize("mode", [ExecutionMode.AUTO, ExecutionMode.STEP_BY_STEP])
def test_where_nobody_approved_the_start_nobody_is_asked_about_it(mode: ExecutionMode) -> None:
    story = Story(shell(), params=NO, mode=mode).drive()
    if mode is ExecutionMode.STEP_BY_STEP:
        story.when(cmd.Approve)
        story.drive()
    story.finish(1, error="exit code 1")
    story.when(cmd.Retry, params=YES)
    owed = DueKind.START_STEP if mode is ExecutionMode.AUTO else DueKind.OPEN_GATE
    assert story.owed() == [(owed, 1)]


def test_a_condition_that_nobody_could_evaluate_is_asked_with_the_new_values() -> None:
    story = Story(shell(condition=IF_YES)).drive()
    assert story.run.pause_cause == "condition"
    hint = story.refused(IllegalMove, cmd.Retry).hint
    assert "sop resume" in hint
    assert "--param" in hint
    assert story.when(cmd.Retry, params=YES) == ["run_retried"]
    assert story.last.body.steps == (1,)
    assert story.owed() == [(DueKind.EVALUATE, 1)]
    story.drive()
    assert story.statuses == (StepStatus.RUNNING,)


def test_a_condition_of_a_step_that_had_not_started_is_asked_again() -> None:
    story = Story(shell(), shell(gate=True, after=(), condition="params.go == 'no'"), params=NO).drive()
    assert story.step(2).condition_held
    story.finish(1, error="exit code 1")
    story.when(cmd.Retry, params=YES)
    story.drive()
    assert story.statuses == (StepStatus.RUNNING, StepStatus.SKIPPED)


def test_a_step_that_was_skipped_before_stays_skipped_unless_somebody_goes_back() -> None:
    story = Story(shell(condition=IF_YES), shell(), params=NO).drive()
    story.finish(2, error="exit code 1")
    story.when(cmd.Retry, params=YES)
    assert story.statuses == (StepStatus.SKIPPED, StepStatus.PENDING)
    story.drive()
    story.finish(2, error="exit code 1")
    story.when(cmd.Retry, params={"go": "yes", "more": "1"}, from_step=1)
    assert story.owed() == [(DueKind.EVALUATE, 1)]


def test_a_gate_that_asks_about_the_old_parameters_is_closed() -> None:
    story = Story(shell(gate=True), shell(condition="params.nothing == '1'", after=()), params=NO).drive()
    assert (story.status, story.step(1).gate_open) == (RunStatus.PAUSED, True)
    assert story.when(cmd.Retry, params={"nothing": "1"}) == ["approval_closed", "run_retried"]
    assert story.last.body.steps == (1, 2)
    story.drive()
    assert story.gate(1).revision == 2


def test_an_approval_with_the_old_parameters_is_void_where_the_step_has_not_started() -> None:
    story = Story(
        shell(gate=True),
        shell(after=()),
        shell(after=(2,), condition="params.nothing == '1'"),
        params=NO,
        max_parallel=1,
    ).drive()
    story.when(cmd.Approve)
    story.finish(2)
    story.when(cmd.Evaluate, step=3)
    assert (story.status, story.step(1).gate_passed) == (RunStatus.PAUSED, True)
    assert story.when(cmd.Retry, params={"nothing": "1"}) == ["approval_closed", "run_retried"]
    assert not story.step(1).gate_passed
    story.refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 1))


def test_a_gate_that_need_not_ask_before_may_have_to_now() -> None:
    rules = ApprovalRules(when=IF_YES)
    waived = shell(gate=True, after=(), approval=rules)
    story = Story(shell(), waived, params=NO, max_parallel=1)
    story.start(1)
    story.ask(2)
    assert story.step(2).waived
    story.finish(1, error="exit code 1")
    story.when(cmd.Retry, params=YES)
    story.drive()
    assert story.step(2).gate_open


def test_what_waits_for_its_next_try_begins_anew() -> None:
    again = RetryRules(max_attempts=2, delay_secs=60)
    story = Story(shell(gate=True, retry=again), shell(after=()), params=NO).drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(1, error="exit code 1")
    story.finish(2, error="exit code 1")
    assert story.statuses == (StepStatus.WAITING, StepStatus.FAILED)
    story.when(cmd.Retry, params=YES)
    assert [each.event_type for each in story.events[-2:]] == ["approval_closed", "run_retried"]
    assert story.last.body.steps == (1, 2)
    assert story.owed() == [(DueKind.OPEN_GATE, 1), (DueKind.START_STEP, 2)]


def test_a_wait_that_has_begun_goes_on() -> None:
    story = Story(wait(60), shell(after=()), params=NO).drive()
    story.finish(2, error="exit code 1")
    story.when(cmd.Retry, params=YES)
    assert (story.last.body.steps, story.statuses[0]) == ((2,), StepStatus.WAITING)


def test_what_somebody_carries_out_with_the_old_parameters_is_ended_first() -> None:
    story = Story(manual(), shell(condition="params.nothing == '1'", after=()), params=NO).drive()
    assert story.status is RunStatus.PAUSED
    error = story.refused(IllegalMove, cmd.Retry, params={"nothing": "1"})
    assert "step 1 is still being carried out" in error.message
    story.when(cmd.Complete)
    story.when(cmd.Retry, params={"nothing": "1"})


def test_a_paused_run_without_a_stuck_step_is_not_given_other_parameters() -> None:
    story = Story(shell(gate=True), params=NO).drive()
    story.when(cmd.Pause)
    story.refused(IllegalMove, cmd.Retry, params=YES)


def test_the_gate_of_a_step_that_failed_is_asked_anew_and_not_closed_first() -> None:
    story = Story(shell(gate=True), params=NO).drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(1, error="exit code 1")
    assert story.when(cmd.Retry, params=YES) == ["run_retried"]
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]


def test_other_parameters_take_who_may_start_the_procedure() -> None:
    story = failed(shell(), shell())
    story.config = Config(roles={Role.RUNNER: ("user:bob", "user:alice")})
    story.run = replace(story.run, procedure=replace(story.procedure, runners=("user:alice",)))
    story.refused(NotAllowed, cmd.Retry, actor=BOB, params=YES)
    story.when(cmd.Retry, actor=BOB, params=NO)
