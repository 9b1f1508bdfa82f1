"""An agent approves nothing in a run in which it did a step, and brings back nothing that a person rejected."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.evolve import replay
from sopwith.core.procedure import OnReject
from sopwith.core.run import RunStatus, StepStatus
from sopwith.errors import ApproverNotAllowed, NotAllowed

from .given import AGENT, ALICE, BOB, Story, manual, shell

OTHER = Actor("codex", ActorKind.AGENT, "mcp")
NAMED = ApprovalRules(approvers=("agent:claude", "user:bob"), on_timeout=TimeoutAction.REJECT)
REPORTS = {
    "done": (cmd.Complete, {}),
    "failed": (cmd.Fail, {"reason": "it rained"}),
    "blocked": (cmd.Block, {"reason": "the door is locked"}),
}


def worked(reporter: Actor, *, how: str = "done", rules: ApprovalRules = NAMED) -> Story:
    """A run in which somebody has reported the first step, and a gate beside or after it asks."""
    after = None if how == "done" else ()
    story = Story(manual(), shell(gate=True, after=after, approval=rules)).drive()
    command, more = REPORTS[how]
    story.when(command, step=1, actor=reporter, **more)
    if how == "blocked":
        story.when(cmd.Resume)
    return story.drive()


@pytest.mark.parametrize("how", ["done", "blocked"])
def test_who_reported_a_step_does_not_approve(how: str) -> None:
    story = worked(AGENT, how=how)
    refused = story.refused(ApproverNotAllowed, cmd.Approve, step=2, actor=AGENT)
    assert "has reported a step of it" in refused.message
    assert "bob" in refused.hint
    assert story.when(cmd.Approve, step=2, actor=BOB) == ["approval_granted"]


def test_nor_after_a_report_that_it_failed() -> None:
    story = worked(AGENT, how="failed")
    story.when(cmd.Retry, actor=BOB)
    story.drive()
    story.refused(ApproverNotAllowed, cmd.Approve, step=2, actor=AGENT)


def test_nor_one_of_the_same_name() -> None:
    story = worked(replace(ALICE, id="claude"))
    refused = story.refused(ApproverNotAllowed, cmd.Approve, step=2, actor=AGENT)
    assert "claude" in refused.message


def test_who_reported_nothing_does() -> None:
    assert worked(OTHER).when(cmd.Approve, step=2, actor=AGENT) == ["approval_granted"]


def test_a_person_who_did_the_work_approves_as_before() -> None:
    assert worked(BOB).when(cmd.Approve, step=2, actor=BOB) == ["approval_granted"]


def test_it_may_still_say_no() -> None:
    assert worked(AGENT).when(cmd.Reject, step=2, actor=AGENT, reason="no")[0] == "approval_rejected"


def test_a_gate_that_only_the_worker_could_pass_says_so_itself() -> None:
    alone = ApprovalRules(approvers=("agent:claude",), on_timeout=TimeoutAction.REJECT)
    story = worked(AGENT, rules=alone)
    assert story.step(2).status is StepStatus.REJECTED
    assert "nobody could still approve" in story.step(2).error


def test_the_record_alone_says_who_worked() -> None:
    story = worked(AGENT)
    again = replay(story.procedure, story.events)
    assert again == story.run
    assert again.reporters == {"claude"}


def rejected(by: Actor, **step: Any) -> Story:
    story = Story(shell(), shell(gate=True, **step), shell()).drive()
    story.finish(1)
    story.drive().when(cmd.Reject, step=2, actor=by, reason="not today")
    return story


@pytest.mark.parametrize("from_step", [None, 1, 2])
@pytest.mark.parametrize("led_to", [OnReject.PAUSE, OnReject.FAIL])
def test_what_a_person_rejected_only_a_person_brings_back(from_step: int | None, led_to: OnReject) -> None:
    story = rejected(BOB, on_reject=led_to)
    refused = story.refused(NotAllowed, cmd.Retry, actor=AGENT, from_step=from_step)
    assert "step 2 was rejected" in refused.message
    assert story.when(cmd.Retry, actor=ALICE, from_step=from_step) == ["run_retried"]


def test_nor_does_an_agent_go_back_before_it_where_the_run_went_on() -> None:
    story = rejected(BOB, on_reject=OnReject.GOTO, reject_goto=3).drive()
    story.finish(3, error="exit status 1")
    story.refused(NotAllowed, cmd.Retry, actor=AGENT, from_step=1)
    assert story.when(cmd.Retry, actor=AGENT) == ["run_retried"]


def test_what_nobody_answered_is_a_persons_to_bring_back_too() -> None:
    rules = ApprovalRules(on_timeout=TimeoutAction.REJECT)
    story = Story(shell(gate=True, approval=rules, approval_timeout_mins=1)).drive()
    story.tick(61)
    story.expire(1)
    assert story.step(1).status is StepStatus.REJECTED
    story.refused(NotAllowed, cmd.Retry, actor=AGENT)


def test_the_no_of_an_agent_is_no_persons() -> None:
    assert rejected(OTHER).when(cmd.Retry, actor=AGENT) == ["run_retried"]


def test_what_failed_an_agent_still_tries_again() -> None:
    story = Story(shell()).drive()
    story.finish(1, error="exit status 1")
    assert story.status is RunStatus.FAILED
    assert story.when(cmd.Retry, actor=AGENT) == ["run_retried"]
