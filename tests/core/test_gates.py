"""Gates and answers (DESIGN sections 4 and 5): a gate comes before its step, one answer counts, only people approve."""

from __future__ import annotations

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.due import DueKind
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import GateStatus, RunStatus, StepStatus
from sopwith.errors import (
    AlreadyDecided,
    ApproverNotAllowed,
    BadRequest,
    IllegalMove,
    NotAllowed,
    Refused,
    StaleApproval,
)

from .given import AGENT, ALICE, BOB, INSIDE, RUN, TRIGGER, Story, digest_of, manual, shell


def test_a_gate_is_owed_before_its_step() -> None:
    story = Story(shell(gate=True))
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    assert story.ask(1) == ["approval_requested"]
    assert story.owed() == []
    assert story.when(cmd.Approve) == ["approval_granted"]
    assert story.owed() == [(DueKind.START_STEP, 1)]


def test_a_step_does_not_start_before_its_gate_is_asked() -> None:
    Story(shell(gate=True)).refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 1))


def test_a_step_does_not_start_while_its_gate_is_open() -> None:
    story = Story(shell(gate=True), shell(after=())).drive()
    story.refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 1))


def test_a_rejected_gate_does_not_start_the_step() -> None:
    story = Story(shell(gate=True), manual(after=())).drive()
    story.when(cmd.Reject, reason="not today")
    assert story.status is RunStatus.RUNNING
    story.refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 1))


def test_a_step_does_not_start_before_what_it_depends_on_is_finished() -> None:
    story = Story(shell(), shell()).drive()
    story.refused(IllegalMove, cmd.Start, step=2, digest=digest_of(2, 0))


def test_a_step_starts_once() -> None:
    story = Story(shell()).drive()
    story.refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 0))


def test_a_gate_opens_only_before_a_step_that_needs_one() -> None:
    Story(shell()).refused(IllegalMove, cmd.OpenGate, step=1, digest=digest_of(1, 1))


def test_a_gate_opens_once_and_not_again_when_it_was_passed() -> None:
    story = Story(shell(gate=True), manual(after=())).drive()
    story.refused(IllegalMove, cmd.OpenGate, step=1, digest=digest_of(1, 2))
    story.when(cmd.Approve)
    story.refused(IllegalMove, cmd.OpenGate, step=1, digest=digest_of(1, 2))


def test_a_gate_opens_only_once_what_its_step_depends_on_is_finished() -> None:
    story = Story(shell(), shell(gate=True)).drive()
    story.refused(IllegalMove, cmd.OpenGate, step=2, digest=digest_of(2, 1))


def test_no_gate_opens_in_a_failing_run() -> None:
    story = Story(shell(), shell(after=()), shell(gate=True, after=()))
    story.start(1)
    story.start(2)
    story.finish(1, error="exit code 1")
    assert story.status is RunStatus.RUNNING
    story.refused(IllegalMove, cmd.OpenGate, step=3, digest=digest_of(3, 1))


@pytest.mark.parametrize("asked", [cmd.Pause, cmd.Cancel])
def test_no_gate_opens_while_a_pause_or_cancel_waits_for_a_process(asked: type[cmd.Command]) -> None:
    story = Story(shell(), shell(gate=True, after=()))
    story.start(1)
    story.when(asked)
    story.refused(IllegalMove, cmd.OpenGate, step=2, digest=digest_of(2, 1))


def test_the_start_gate_is_asked_for_once() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED)
    story.refused(IllegalMove, cmd.OpenGate, step=None, digest=digest_of(None, 2))
    story.when(cmd.Approve)
    story.refused(IllegalMove, cmd.OpenGate, step=None, digest=digest_of(None, 2))


def test_the_start_approval_starts_the_run() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED)
    assert [event.event_type for event in story.events] == ["run_created", "approval_requested"]
    assert story.status is RunStatus.WAITING_APPROVAL
    assert story.when(cmd.Approve, comment="go") == ["approval_granted", "run_started"]
    assert story.events[-2].actor == ALICE
    assert story.last.actor == SYSTEM


def test_nothing_starts_before_the_start_approval() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED)
    assert story.owed() == []
    story.refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 0))


def test_rejecting_the_start_cancels_the_run_with_the_reason() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED)
    assert story.when(cmd.Reject, reason="wrong version") == ["approval_rejected", "run_cancelled"]
    assert story.events[-2].body.action == "cancelled"
    assert (story.status, story.run.reason) == (RunStatus.CANCELLED, "wrong version")


def test_rejecting_a_step_pauses_the_run() -> None:
    story = Story(shell(gate=True)).drive()
    assert story.when(cmd.Reject, reason="not yet") == ["approval_rejected", "run_paused"]
    assert story.events[-2].body.action == "paused"
    assert story.last.body.cause == "rejected"
    assert (story.status, story.statuses) == (RunStatus.PAUSED, (StepStatus.REJECTED,))


def test_the_first_answer_wins_and_the_second_is_told_who_when_and_what() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Approve, comment="looks right")
    decided_at = story.last.at
    error = story.refused(AlreadyDecided, cmd.Reject, step=1, reason="no", actor=BOB)
    for part in ("approved by alice", f"{decided_at:%Y-%m-%dT%H:%M:%S}.000Z", "looks right", RUN, "step 1"):
        assert part in error.message


def test_the_second_answer_is_told_of_a_timeout_too() -> None:
    story = Story(shell(gate=True, approval_timeout_mins=1), manual(after=())).drive()
    story.tick(60)
    story.expire(1)
    error = story.refused(AlreadyDecided, cmd.Approve, step=1)
    assert "settled by its timeout by sopwith (system)" in error.message


@pytest.mark.parametrize("address", [{"step": 1}, {"digest": digest_of(1, 1)}, {"digest": digest_of(1, 1)[:12]}])
def test_the_same_answer_again_to_an_addressed_gate_makes_no_event(address: dict[str, object]) -> None:
    approved = Story(shell(gate=True)).drive()
    approved.when(cmd.Approve)
    assert approved.when(cmd.Approve, actor=BOB, **address) == []
    rejected = Story(shell(gate=True)).drive()
    rejected.when(cmd.Reject, reason="no")
    assert rejected.when(cmd.Reject, actor=BOB, reason="never", **address) == []


def test_the_same_answer_again_is_a_success_after_the_run_has_ended_too() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(1)
    assert story.status is RunStatus.COMPLETED
    assert story.when(cmd.Approve, step=1) == []
    story.refused(AlreadyDecided, cmd.Reject, step=1, reason="too late")


def test_a_bare_approve_without_an_open_gate_is_refused_with_exit_code_5() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Approve)
    error = story.refused(IllegalMove, cmd.Approve)
    assert error.exit_code == 5
    assert error.message == f"cannot approve {RUN}: it is running and no gate is open"


def test_several_open_gates_need_a_step() -> None:
    story = Story(shell(gate=True), shell(gate=True, after=())).drive()
    error = story.refused(Refused, cmd.Approve)
    assert "before steps 1, 2" in error.message
    assert "--step" in error.hint
    assert story.when(cmd.Approve, step=2) == ["approval_granted"]
    assert story.gate(1).status is GateStatus.OPEN


def test_a_digest_finds_its_gate() -> None:
    story = Story(shell(gate=True), shell(gate=True, after=())).drive()
    story.when(cmd.Approve, digest=digest_of(2, 1)[:12].upper())
    assert (story.gate(1).status, story.gate(2).status) == (GateStatus.OPEN, GateStatus.APPROVED)


def test_a_digest_has_twelve_characters_or_more() -> None:
    story = Story(shell(gate=True)).drive()
    for short in ("", digest_of(1, 1)[:11]):
        error = story.refused(BadRequest, cmd.Approve, digest=short)
        assert "at least 12 characters" in error.message
        story.refused(BadRequest, cmd.Approve, step=1, digest=short)


@pytest.mark.parametrize("address", [{}, {"step": 1}])
def test_another_digest_than_the_one_asked_about_is_stale(address: dict[str, object]) -> None:
    story = Story(shell(gate=True)).drive()
    error = story.refused(StaleApproval, cmd.Approve, digest=digest_of(1, 2), **address)
    assert (error.code, error.exit_code) == ("approval_stale", 5)
    assert digest_of(1, 1)[:12] in error.message
    story.refused(StaleApproval, cmd.Approve, digest=digest_of(1, 1) + "0", **address)


def test_an_answer_with_the_digest_of_an_older_revision_is_stale() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Reject, reason="no")
    story.when(cmd.Retry)
    story.drive()
    story.refused(StaleApproval, cmd.Approve, digest=digest_of(1, 1))
    assert story.when(cmd.Approve, digest=digest_of(1, 2)) == ["approval_granted"]


def test_a_digest_without_an_open_gate_is_refused() -> None:
    error = Story(shell()).refused(IllegalMove, cmd.Approve, digest=digest_of(1, 1))
    assert "no gate is open" in error.message


def test_an_unknown_step_is_a_bad_request_that_names_the_steps() -> None:
    story = Story(shell(gate=True), shell()).drive()
    for command in (cmd.Approve, cmd.Reject):
        more = {"reason": "no"} if command is cmd.Reject else {}
        error = story.refused(BadRequest, command, step=3, **more)
        assert (error.exit_code, error.hint) == (2, "its steps are 1 to 2")


def test_a_step_without_a_gate_cannot_be_approved() -> None:
    error = Story(shell(), shell(gate=True)).drive().refused(IllegalMove, cmd.Approve, step=1)
    assert "step 1 has no open gate" in error.message


@pytest.mark.parametrize("actor", [AGENT, TRIGGER, SYSTEM])
def test_only_a_person_approves(actor: object) -> None:
    for story in (Story(shell(gate=True)).drive(), Story(shell(), mode=ExecutionMode.SUPERVISED)):
        error = story.refused(ApproverNotAllowed, cmd.Approve, actor=actor)
        assert error.exit_code == 5


def test_an_agent_may_reject() -> None:
    story = Story(shell(gate=True)).drive()
    assert story.when(cmd.Reject, actor=AGENT, reason="tests are red") == ["approval_rejected", "run_paused"]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (cmd.Approve, {}),
        (cmd.Reject, {"reason": "no"}),
        (cmd.Pause, {}),
        (cmd.Resume, {}),
        (cmd.Cancel, {}),
        (cmd.Retry, {}),
        (cmd.Skip, {"reason": "no"}),
        (cmd.Complete, {}),
        (cmd.Fail, {"reason": "no"}),
    ],
)
def test_a_step_decides_nothing_about_its_own_run(command: type[cmd.Command], more: dict[str, object]) -> None:
    story = Story(shell(), shell(gate=True, after=())).drive()
    error = story.refused(NotAllowed, command, actor=INSIDE, **more)
    assert error.exit_code == 5


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_rejection_needs_a_reason(reason: str) -> None:
    story = Story(shell(gate=True)).drive()
    error = story.refused(BadRequest, cmd.Reject, reason=reason)
    assert "needs a reason" in error.message


def test_another_envelope_than_the_approved_one_starts_nothing_and_asks_again_with_the_next_revision() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Approve)
    assert story.start(1, digest=digest_of(1, 99), changed=("script",)) == ["approval_stale"]
    assert story.last.body.changed == ("script",)
    assert (story.statuses, story.run.executed) == ((StepStatus.PENDING,), False)
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    assert story.ask(1) == ["approval_requested"]
    assert story.gate(1).revision == 2
    story.when(cmd.Approve)
    assert story.start(1) == ["step_started"]
    assert story.last.body.digest == digest_of(1, 2)


def test_an_answer_to_a_gate_that_a_retry_made_void_is_refused() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Approve)
    story.drive()
    digest = story.gate(1).digest
    story.finish(1, error="exit status 1")
    story.when(cmd.Retry)
    story.refused(IllegalMove, cmd.Approve, step=1)
    story.refused(IllegalMove, cmd.Approve, digest=digest)
