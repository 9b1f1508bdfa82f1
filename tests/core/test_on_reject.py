"""What a rejection does to the run: it pauses, fails, or goes on at another step, as the step says."""

from __future__ import annotations

import pytest

from sopwith.core import commands as cmd
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.config import Config
from sopwith.core.events import ApprovalRejected, ApprovalTimeout, Policy, RunFailed
from sopwith.core.procedure import ExecutionMode, OnFailure, OnReject, RollbackScript, Script
from sopwith.core.run import RunStatus, is_failing
from sopwith.errors import IllegalMove

from .given import Story, manual, shell

FAIL = {"gate": True, "on_reject": OnReject.FAIL}
UNDO = Script(interpreter="bash", text="undo\n")


def goto(target: int) -> dict[str, object]:
    return {"gate": True, "on_reject": OnReject.GOTO, "reject_goto": target}


def rejected(story: Story, step: int) -> list[str]:
    return story.drive().when(cmd.Reject, step=step, reason="not today")


def action(story: Story) -> str:
    body = story.latest("approval_rejected").body
    assert isinstance(body, ApprovalRejected)
    return body.action


def test_a_rejection_pauses_the_run_where_nothing_else_is_said() -> None:
    story = Story(shell(gate=True))
    assert rejected(story, 1) == ["approval_rejected", "run_paused"]
    assert (action(story), story.step(1).ends_run, story.step(1).passed_over) == ("paused", False, False)


def test_a_rejection_may_fail_the_run() -> None:
    story = Story(shell(**FAIL), shell())
    assert rejected(story, 1) == ["approval_rejected", "run_failed"]
    assert (action(story), story.statuses) == ("failed", ("rejected", "pending"))
    body = story.last.body
    assert isinstance(body, RunFailed)
    assert (body.error, body.failed_steps) == ("step 1 rejected: not today", (1,))


def test_what_runs_beside_it_ends_first_and_other_gates_close() -> None:
    story = Story(shell(**FAIL), shell(after=()), shell(gate=True, after=()))
    assert rejected(story, 1) == ["approval_rejected", "approval_closed"]
    assert is_failing(story.run)
    assert story.finish(2) == ["step_completed", "run_failed"]


def test_a_retry_asks_again() -> None:
    story = Story(shell(**FAIL))
    rejected(story, 1)
    assert story.when(cmd.Retry) == ["run_retried"]
    story.drive()
    assert (story.gate(1).revision, story.step(1).ends_run) == (2, False)
    story.when(cmd.Approve)
    story.drive()
    assert story.finish(1)[-1] == "run_completed"


def test_what_was_rejected_may_be_skipped_after_all() -> None:
    story = Story(shell(**FAIL), shell(**FAIL, after=()))
    rejected(story, 1)
    assert story.when(cmd.Skip, step=1, reason="so") == ["step_skipped", "run_resumed"]
    story = Story(manual(), shell(**FAIL, after=()), shell(**FAIL, after=()))
    rejected(story, 2)
    story.when(cmd.Complete, step=1)
    assert story.run.ended is RunStatus.FAILED
    assert story.when(cmd.Skip, step=2, reason="so")[-1] == "run_resumed"


def test_two_rejections_that_fail_the_run_take_two_answers() -> None:
    story = Story(manual(), shell(gate=True, after=()), shell(**FAIL, after=()), policy=Policy())
    rejected(story, 3)
    story.when(cmd.Fail, step=1, reason="it broke")
    assert story.run.ended is RunStatus.FAILED
    assert story.when(cmd.Skip, step=1, reason="so") == ["step_skipped"]
    assert story.when(cmd.Skip, step=3, reason="so") == ["step_skipped", "run_resumed"]


def test_a_rejection_is_no_failure_and_rolls_nothing_back() -> None:
    undo = RollbackScript(script=UNDO)
    story = Story(shell(rollback=undo), shell(**FAIL, on_failure=OnFailure.ROLLBACK)).drive()
    story.finish(1)
    assert rejected(story, 2) == ["approval_rejected", "run_failed"]


def test_a_rejection_may_lead_to_a_later_step() -> None:
    story = Story(shell(**goto(3)), shell(), manual())
    assert rejected(story, 1) == ["approval_rejected", "step_skipped"]
    assert (action(story), story.statuses) == ("goto", ("rejected", "skipped", "pending"))
    assert story.step(2).comment == "step 1 was rejected, which leads to step 3"
    story.drive()
    assert story.when(cmd.Complete)[-1] == "run_completed"
    assert (story.run.with_failures, story.run.nothing_ran) == (True, False)


def test_only_what_lies_between_is_skipped() -> None:
    story = Story(shell(**goto(3)), shell(after=()), shell(after=(1, 2)))
    assert rejected(story, 1) == ["approval_rejected"]
    assert story.finish(2) == ["step_completed"]
    story.drive()
    assert story.statuses == ("rejected", "completed", "running")


def test_what_two_rejections_lead_past_is_skipped_once() -> None:
    story = Story(shell(**goto(4)), shell(after=(), **goto(4)), shell(after=(1, 2)), manual())
    assert rejected(story, 1) == ["approval_rejected", "step_skipped"]
    assert rejected(story, 2) == ["approval_rejected"]
    assert story.statuses[:3] == ("rejected", "rejected", "skipped")
    assert story.step(3).comment == "step 1 was rejected, which leads to step 4"


def test_a_run_in_which_nothing_but_answers_happened_says_so() -> None:
    story = Story(shell(**goto(2)), manual(gate=True))
    rejected(story, 1)
    story.drive()
    assert story.when(cmd.Skip, step=2, reason="so")[-1] == "run_completed"
    assert (story.run.with_failures, story.run.nothing_ran) == (True, True)


def test_a_step_that_was_passed_over_is_not_asked_about_again() -> None:
    story = Story(shell(**goto(2)), shell())
    rejected(story, 1)
    story.drive()
    story.finish(2, error="exit code 1")
    story.when(cmd.Retry)
    assert story.statuses == ("rejected", "pending")
    story.drive()
    story.finish(2, error="exit code 1")
    story.when(cmd.Retry, from_step=1)
    assert story.drive().statuses == ("awaiting_approval", "pending")


@pytest.mark.parametrize(("says", "then", "status"), [(FAIL, "failed", "failed"), (goto(2), "goto", "running")])
def test_silence_that_rejects_does_the_same(says: dict[str, object], then: str, status: str) -> None:
    policy = Policy(approval_timeout_mins=1, approval_timeout_action=TimeoutAction.REJECT)
    story = Story(shell(**says), shell(), policy=policy).drive()
    story.tick(60)
    story.expire(1)
    body = story.latest("approval_timeout").body
    assert isinstance(body, ApprovalTimeout)
    assert (body.then, story.status, story.step(1).status) == (then, status, "rejected")
    assert story.step(1).error == "nobody answered in time"


def test_silence_that_does_something_else_says_nothing_of_it() -> None:
    policy = Policy(approval_timeout_mins=1, approval_timeout_action=TimeoutAction.FAIL)
    story = Story(shell(**goto(2)), shell(), policy=policy).drive()
    story.tick(60)
    story.expire(1)
    assert story.latest("approval_timeout").body.then == ""  # type: ignore[union-attr]
    assert story.statuses == ("failed", "pending")


@pytest.mark.parametrize(("says", "led", "status"), [(FAIL, "failed", "failed"), (goto(2), "goto", "running")])
def test_a_gate_that_nobody_is_left_for_does_the_same(says: dict[str, object], led: str, status: str) -> None:
    rules = ApprovalRules(approvers=("group:release",))
    story = Story(shell(**says, approval=rules), shell(), config=Config(groups={"release": ()})).drive()
    assert (action(story), story.status) == (led, status) if says is FAIL else (led, "running")
    assert story.latest("approval_rejected").actor.kind == "system"


def test_the_start_approval_and_a_rollbacks_gate_are_as_they_were() -> None:
    story = Story(shell(**FAIL), mode=ExecutionMode.SUPERVISED)
    assert story.when(cmd.Reject, reason="no") == ["approval_rejected", "run_cancelled"]
    asked = RollbackScript(script=UNDO, requires_approval=True)
    story = Story(shell(**FAIL, rollback=asked), shell(on_failure=OnFailure.ROLLBACK)).drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(1)
    story.drive()
    story.finish(2, error="exit code 1")
    story.ask(1)
    assert story.when(cmd.Reject, reason="no") == ["approval_rejected", "run_failed"]
    assert (action(story), story.statuses, story.run.not_rolled_back) == (
        "rollback_skipped",
        ("completed", "failed"),
        (1,),
    )


def test_a_run_that_failed_by_a_rejection_is_not_resumed() -> None:
    story = Story(shell(**FAIL))
    rejected(story, 1)
    story.refused(IllegalMove, cmd.Resume)
