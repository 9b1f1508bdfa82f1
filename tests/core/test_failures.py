"""Failures, rejections and interruptions, and the ways out: retry, skip, complete (DESIGN section 4)."""

from __future__ import annotations

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM, Actor
from sopwith.core.due import DueKind
from sopwith.core.events import Evidence
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import GateStatus, RunStatus, StepStatus, descendants, holds_slot, is_failing, open_gates
from sopwith.errors import ApproverNotAllowed, BadRequest, IllegalMove, NotAllowed, Refused

from .given import AGENT, ALICE, NOON, RUN, TRIGGER, MakeStep, Story, digest_of, manual, procedure, shell

FAILED = "exit code 1"


def _rejected() -> Story:
    story = Story(shell(gate=True), shell()).drive()
    story.when(cmd.Reject, reason="not yet")
    return story


def _failed() -> Story:
    story = Story(shell(), shell()).drive()
    story.finish(1, error=FAILED)
    return story


def _interrupted() -> Story:
    story = Story(shell(), shell()).drive()
    story.interrupt(1)
    return story


def _branches() -> Story:
    """1 and 2 run, 3 waits at its gate, 4 was approved and not started, 5 waits for 4."""
    story = Story(
        shell(), shell(after=()), shell(gate=True, after=()), shell(gate=True, after=()), shell(after=(4,))
    ).drive()
    story.when(cmd.Approve, step=4)
    return story


def test_a_failed_step_fails_the_run_and_names_the_step() -> None:
    story = Story(shell(), shell()).drive()
    assert story.finish(1, error=FAILED) == ["step_failed", "run_failed"]
    assert story.last.actor == SYSTEM
    assert story.last.body.failed_steps == (1,)
    assert story.last.body.error == "step 1: exit code 1"
    assert (story.status, story.owed(), holds_slot(story.run)) == (RunStatus.FAILED, [], False)


def test_an_interrupted_step_pauses_the_run() -> None:
    story = Story(shell(), shell()).drive()
    assert story.interrupt(1) == ["step_interrupted", "run_paused"]
    assert (story.last.body.cause, story.statuses[0]) == ("interrupted", StepStatus.INTERRUPTED)


@pytest.mark.parametrize("make", [_rejected, _interrupted])
def test_resume_does_not_pass_a_stuck_step(make: object) -> None:
    story = make()  # type: ignore[operator]
    error = story.refused(IllegalMove, cmd.Resume)
    assert f"step 1 was {story.statuses[0]}" in error.message
    assert f"sop retry {RUN}" in error.hint


def test_resume_does_not_pass_a_failed_step_in_a_paused_run() -> None:
    story = Story(shell(), manual(after=())).drive()
    story.finish(1, error=FAILED)
    story.when(cmd.Pause)
    error = story.refused(IllegalMove, cmd.Resume)
    assert "step 1 was failed" in error.message


def test_a_failed_run_is_not_resumed_but_retried() -> None:
    error = _failed().refused(IllegalMove, cmd.Resume)
    assert error.message == f"cannot resume {RUN}: it is failed at step 1"
    assert f"sop retry {RUN}" in error.hint


def test_retry_after_a_rejection_asks_again_with_the_next_revision() -> None:
    story = _rejected()
    assert story.when(cmd.Retry) == ["run_retried"]
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    story.drive()
    assert (story.gate(1).revision, story.gate(1).status, story.step(1).visit) == (2, GateStatus.OPEN, 1)


def test_retry_after_a_failure_asks_again_and_is_the_next_attempt_of_the_same_visit() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(1, error=FAILED)
    story.when(cmd.Retry)
    story.refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 1))
    story.drive()
    assert (story.gate(1).revision, story.gate(1).status) == (2, GateStatus.OPEN)
    story.when(cmd.Approve)
    story.drive()
    assert (story.step(1).visit, story.step(1).attempt) == (1, 2)
    assert story.finish(1) == ["step_completed", "run_completed"]


def test_retry_takes_all_failed_rejected_and_interrupted_steps() -> None:
    story = Story(shell(), shell(after=()), shell(gate=True, after=()), manual(after=())).drive()
    story.when(cmd.Reject, reason="no")
    story.interrupt(1)
    story.finish(2, error=FAILED)
    assert story.when(cmd.Complete, step=4) == ["step_reported", "step_completed", "run_failed"]
    assert story.when(cmd.Retry) == ["run_retried"]
    assert story.last.body.steps == (1, 2, 3)
    assert story.owed() == [(DueKind.START_STEP, 1), (DueKind.START_STEP, 2), (DueKind.OPEN_GATE, 3)]


def test_retry_of_a_run_without_a_stuck_step_is_refused_and_tells_of_from() -> None:
    story = Story(manual()).drive()
    story.when(cmd.Pause)
    error = story.refused(IllegalMove, cmd.Retry)
    assert "no step failed" in error.message
    assert "--from N" in error.hint


def test_retry_keeps_the_outputs_of_finished_steps() -> None:
    story = Story(shell(), shell()).drive()
    story.finish(1, outputs={"url": "http://here"})
    story.drive()
    story.finish(2, error=FAILED)
    story.when(cmd.Retry)
    assert story.step(1).outputs == {"url": "http://here"}
    assert story.statuses == (StepStatus.COMPLETED, StepStatus.PENDING)


def test_retry_from_makes_a_new_visit_of_the_step_and_of_all_that_depends_on_it_and_asks_their_gates_again() -> None:
    story = Story(shell(gate=True), shell(gate=True), shell(after=()), shell(after=(2,))).drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(1, outputs={"url": "http://here"})
    story.drive()
    story.when(cmd.Approve)
    story.drive()
    story.finish(3)
    story.finish(2, error=FAILED)
    assert story.when(cmd.Retry, from_step=1) == ["run_retried"]
    assert [step.visit for step in story.run.steps.values()] == [2, 2, 1, 2]
    assert (story.step(1).outputs, story.step(1).attempt) == ({}, 0)
    assert story.step(3).status is StepStatus.COMPLETED
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    story.drive()
    assert story.gate(1).revision == 2
    story.when(cmd.Approve)
    story.drive()
    assert (story.step(1).visit, story.step(1).attempt) == (2, 1)
    story.finish(1)
    story.drive()
    assert (story.step(2).status, story.gate(2).revision) == (StepStatus.AWAITING_APPROVAL, 2)


def test_retry_from_also_takes_stuck_steps_elsewhere() -> None:
    story = Story(shell(), shell(after=())).drive()
    story.finish(1)
    story.finish(2, error=FAILED)
    story.when(cmd.Retry, from_step=1)
    assert story.statuses == (StepStatus.PENDING, StepStatus.PENDING)
    assert [step.visit for step in story.run.steps.values()] == [2, 1]


def test_retry_from_closes_the_open_gates_of_the_steps_it_goes_back_over() -> None:
    story = Story(shell(), shell(gate=True)).drive()
    story.finish(1)
    story.drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Retry, from_step=1) == ["approval_closed", "run_retried"]
    assert open_gates(story.run) == ()
    story.refused(IllegalMove, cmd.Approve)
    story.refused(IllegalMove, cmd.Approve, step=2)


def test_retry_from_a_step_that_somebody_is_carrying_out_is_refused() -> None:
    story = Story(shell(), manual()).drive()
    story.finish(1)
    story.drive()
    story.when(cmd.Pause)
    error = story.refused(IllegalMove, cmd.Retry, from_step=1)
    assert "step 2 is still being carried out" in error.message


def test_retry_from_before_the_run_has_started_is_refused() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED)
    story.when(cmd.Pause)
    error = story.refused(IllegalMove, cmd.Retry, from_step=1)
    assert "has not started" in error.message


def test_retry_from_an_unknown_step_is_a_bad_request() -> None:
    _failed().refused(BadRequest, cmd.Retry, from_step=3)


def test_what_depends_on_a_step_is_reached_through_others() -> None:
    diamond = procedure(shell(), shell(after=(1,)), shell(after=(1,)), shell(after=(2, 3)), shell(after=()))
    assert descendants(diamond, 1) == {1, 2, 3, 4}
    assert descendants(diamond, 3) == {3, 4}


@pytest.mark.parametrize("kind", ["fail", "reject", "interrupt"])
def test_a_stuck_branch_starts_nothing_new_closes_other_gates_and_voids_what_was_approved(kind: str) -> None:
    story = Story(
        shell(), shell(after=()), shell(gate=True, after=()), shell(gate=True, after=()), shell(gate=True, after=())
    )
    story.start(1)
    story.start(2)
    for number in (3, 4, 5):
        story.ask(number)
    story.when(cmd.Approve, step=4)
    if kind == "fail":
        events = story.finish(1, error=FAILED)
    elif kind == "interrupt":
        events = story.interrupt(1)
    else:
        events = story.when(cmd.Reject, step=5, reason="no")
    closed = ["approval_closed"] * (2 if kind == "reject" else 3)
    assert events[1:] == closed
    assert (story.status, is_failing(story.run)) == (RunStatus.RUNNING, True)
    assert {story.gate(3).status, story.gate(4).status} == {GateStatus.CLOSED}
    assert not story.step(4).gate_passed
    assert {kind for kind, _ in story.owed()} == {DueKind.WATCH_STEP}
    story.refused(IllegalMove, cmd.Start, step=4, digest=digest_of(4, 1))
    if kind == "reject":
        story.finish(1)
    assert story.finish(2)[-1] == ("run_failed" if kind == "fail" else "run_paused")
    story.when(cmd.Retry)
    story.drive()
    assert (story.gate(3).revision, story.gate(4).revision) == (2, 2)


def test_a_failing_run_waits_for_the_steps_that_are_carried_out_by_hand_too() -> None:
    story = Story(shell(), manual(after=())).drive()
    assert story.finish(1, error=FAILED) == ["step_failed"]
    assert (story.status, is_failing(story.run), story.owed()) == (RunStatus.RUNNING, True, [])
    assert story.when(cmd.Complete, step=2) == ["step_reported", "step_completed", "run_failed"]


def test_a_failure_outweighs_a_rejection_in_another_branch() -> None:
    story = Story(shell(), shell(gate=True, after=())).drive()
    story.when(cmd.Reject, reason="no")
    assert story.status is RunStatus.RUNNING
    assert story.finish(1, error=FAILED) == ["step_failed", "run_failed"]


def test_a_rejection_in_a_branch_pauses_the_run_once_the_others_have_ended() -> None:
    story = Story(shell(), shell(gate=True, after=()), shell()).drive()
    assert story.when(cmd.Reject, reason="no") == ["approval_rejected"]
    assert story.finish(1) == ["step_completed", "run_paused"]
    assert (story.last.body.cause, story.owed()) == ("rejected", [])


def test_a_late_result_of_another_attempt_changes_nothing() -> None:
    story = _failed()
    story.when(cmd.Retry)
    story.drive()
    late = cmd.StepResult(exit_code=0)
    error = story.refused(IllegalMove, cmd.Finish, step=1, attempt=1, result=late)
    assert "attempt 1 of step 1 is not running" in error.message
    story.refused(IllegalMove, cmd.Interrupt, step=1, attempt=1, reason="gone")
    story.refused(IllegalMove, cmd.Finish, step=2, attempt=0, result=late)


def test_a_result_says_cancelled_only_where_a_cancel_was_asked() -> None:
    story = Story(shell()).drive()
    events = story.finish(1, error="killed by SIGTERM", cause="cancelled", signal="SIGTERM")
    assert events == ["step_failed", "run_failed"]
    assert (story.status, story.statuses) == (RunStatus.FAILED, (StepStatus.FAILED,))


def test_a_step_carried_out_by_hand_has_no_process_that_could_end() -> None:
    story = Story(manual()).drive()
    story.refused(IllegalMove, cmd.Finish, step=1, attempt=1, result=cmd.StepResult())
    story.refused(IllegalMove, cmd.Interrupt, step=1, attempt=1, reason="gone")


def test_a_manual_step_is_running_until_it_is_reported_with_output_and_evidence() -> None:
    story = Story(manual()).drive()
    assert (story.status, story.owed()) == (RunStatus.RUNNING, [])
    paper = Evidence(name="scan.pdf", sha256="0" * 64, size_bytes=7)
    story.tick(44)
    events = story.when(cmd.Complete, actor=AGENT, comment="looks fine", output="42", evidence=(paper,))
    assert events == ["step_reported", "step_completed", "run_completed"]
    assert (story.step(1).comment, story.step(1).output, story.step(1).evidence) == ("looks fine", "42", (paper,))
    assert story.latest("step_completed").body.duration == "45s"
    assert story.latest("step_reported").actor == AGENT


def test_a_manual_step_that_did_not_work_out_fails_the_run() -> None:
    story = Story(manual()).drive()
    assert story.when(cmd.Fail, reason="no answer") == ["step_reported", "step_failed", "run_failed"]
    assert (story.step(1).error, story.latest("step_failed").body.cause) == ("no answer", "reported")


@pytest.mark.parametrize("command", [cmd.Skip, cmd.Fail])
def test_skip_and_fail_need_a_reason(command: type[cmd.Command]) -> None:
    error = Story(manual()).drive().refused(BadRequest, command, reason=" ")
    assert "needs a reason" in error.message


@pytest.mark.parametrize("command", [cmd.Complete, cmd.Fail])
def test_a_process_is_not_reported_on_by_hand_while_it_runs(command: type[cmd.Command]) -> None:
    more = {} if command is cmd.Complete else {"reason": "no"}
    story = Story(shell()).drive()
    error = story.refused(IllegalMove, command, step=1, **more)
    assert "step 1 is running" in error.message
    story.refused(IllegalMove, command, **more)


def test_a_report_that_could_mean_several_steps_must_name_one() -> None:
    story = Story(manual(), manual(after=())).drive()
    error = story.refused(Refused, cmd.Complete)
    assert ("step 1, 2" in error.message, error.hint) == (True, "name it with --step N")
    assert story.when(cmd.Complete, step=2) == ["step_reported", "step_completed"]


def test_skip_passes_a_step_at_its_gate_and_closes_the_gate() -> None:
    story = Story(shell(gate=True), shell()).drive()
    assert story.when(cmd.Skip, reason="done last week") == ["approval_closed", "step_skipped"]
    assert story.owed() == [(DueKind.START_STEP, 2)]


def test_skip_passes_a_manual_step() -> None:
    story = Story(manual(), shell()).drive()
    story.refused(NotAllowed, cmd.Skip, actor=AGENT, reason="not needed")
    assert story.when(cmd.Skip, reason="not needed") == ["step_skipped"]


@pytest.mark.parametrize("make", [_rejected, _failed, _interrupted])
def test_skip_passes_a_stuck_step_and_the_run_goes_on(make: object) -> None:
    story = make()  # type: ignore[operator]
    assert story.when(cmd.Skip, reason="works without") == ["step_skipped", "run_resumed"]
    assert (story.status, story.owed()) == (RunStatus.RUNNING, [(DueKind.START_STEP, 2)])


def test_skip_leaves_a_running_process_and_a_step_that_is_not_its_turn_alone() -> None:
    story = Story(shell(), shell()).drive()
    for number in (1, 2):
        story.refused(IllegalMove, cmd.Skip, step=number, reason="no")


@pytest.mark.parametrize("make", [_failed, _interrupted])
def test_complete_reports_a_failed_or_interrupted_step_as_done_by_hand(make: object) -> None:
    story = make()  # type: ignore[operator]
    events = story.when(cmd.Complete, comment="did it by hand")
    assert events == ["step_reported", "step_completed", "run_resumed"]
    assert (story.statuses[0], story.owed()) == (StepStatus.COMPLETED, [(DueKind.START_STEP, 2)])


def test_complete_does_not_pass_a_rejected_step() -> None:
    _rejected().refused(IllegalMove, cmd.Complete, step=1)


def test_a_run_with_two_failed_steps_goes_on_once_both_are_resolved() -> None:
    story = Story(shell(), shell(after=()), shell(after=(1, 2))).drive()
    story.finish(1, error=FAILED)
    story.finish(2, error=FAILED)
    assert story.when(cmd.Skip, step=1, reason="no") == ["step_skipped"]
    assert story.status is RunStatus.FAILED
    assert story.when(cmd.Complete) == ["step_reported", "step_completed", "run_resumed"]


def test_a_failed_run_whose_failure_is_resolved_pauses_where_a_rejection_is_left() -> None:
    story = Story(shell(), shell(gate=True, after=())).drive()
    story.when(cmd.Reject, reason="no")
    story.finish(1, error=FAILED)
    assert story.when(cmd.Skip, step=1, reason="no") == ["step_skipped", "run_resumed", "run_paused"]
    assert story.last.body.cause == "rejected"


@pytest.mark.parametrize("actor", [TRIGGER, SYSTEM])
@pytest.mark.parametrize("end", ["failed", "interrupted"])
def test_a_gated_step_is_done_by_hand_or_skipped_only_by_its_approvers(actor: Actor, end: str) -> None:
    story = Story(shell(gate=True)).drive()
    story.refused(ApproverNotAllowed, cmd.Skip, actor=actor, reason="no")
    story.when(cmd.Approve)
    story.drive()
    _ = story.finish(1, error=FAILED) if end == "failed" else story.interrupt(1)
    story.refused(ApproverNotAllowed, cmd.Complete, actor=actor)
    story.refused(ApproverNotAllowed, cmd.Skip, actor=actor, reason="no")
    assert story.when(cmd.Complete, actor=ALICE) == ["step_reported", "step_completed", "run_resumed", "run_completed"]


@pytest.mark.parametrize("end", ["failed", "interrupted"])
@pytest.mark.parametrize("make", [shell, manual])
def test_an_agent_settles_nothing_that_a_person_is_to_look_at(end: str, make: MakeStep) -> None:
    story = Story(make(), shell()).drive()
    if end == "interrupted" and make is shell:
        story.interrupt(1)
    elif make is shell:
        story.finish(1, error=FAILED)
    else:
        story.when(cmd.Fail, actor=AGENT, reason="no")
    story.refused(NotAllowed, cmd.Complete, actor=AGENT)
    story.refused(NotAllowed, cmd.Skip, actor=AGENT, reason="no")
    if story.run.steps[1].status == "interrupted":
        story.refused(NotAllowed, cmd.Retry, actor=AGENT)
    else:
        assert story.when(cmd.Retry, actor=AGENT)[0] == "run_retried"


def test_an_agent_reports_nothing_while_a_blocked_step_waits_for_a_person() -> None:
    story = Story(manual()).drive()
    story.when(cmd.Block, actor=AGENT, reason="no key")
    story.refused(NotAllowed, cmd.Complete, actor=AGENT)
    story.refused(NotAllowed, cmd.Fail, actor=AGENT, reason="no")
    story.when(cmd.Resume)
    assert story.when(cmd.Complete, actor=AGENT)[:2] == ["step_reported", "step_completed"]


def test_an_agent_reports_a_gated_manual_step_that_was_approved() -> None:
    story = Story(manual(gate=True)).drive()
    story.when(cmd.Approve)
    story.drive()
    assert story.when(cmd.Complete, actor=AGENT)[:2] == ["step_reported", "step_completed"]


def test_step_by_step_makes_every_step_a_gated_one_for_skip_and_complete() -> None:
    story = Story(shell(), mode=ExecutionMode.STEP_BY_STEP).drive()
    story.refused(ApproverNotAllowed, cmd.Skip, actor=TRIGGER, reason="no")


def test_skipping_another_step_does_not_resume_a_run_that_was_paused_for_something_else() -> None:
    story = Story(manual(), shell(after=(1,))).drive()
    story.when(cmd.Halt, reason="DEPLOY_TOKEN is not set")
    assert story.run.pause_cause == "environment"
    assert story.when(cmd.Skip, reason="not needed") == ["step_skipped"]
    assert story.status is RunStatus.PAUSED


def test_a_run_completes_when_every_step_is_finished_and_says_whether_any_ran() -> None:
    story = Story(manual(), manual()).drive()
    story.when(cmd.Skip, reason="no")
    story.drive()
    assert story.when(cmd.Complete)[-1] == "run_completed"
    assert (story.run.nothing_ran, story.last.body.nothing_ran) == (False, False)


def test_a_run_whose_every_step_was_skipped_completes_with_nothing_ran() -> None:
    story = Story(shell(gate=True), manual()).drive()
    story.when(cmd.Skip, reason="no")
    story.drive()
    assert story.when(cmd.Skip, reason="no") == ["step_skipped", "run_completed"]
    assert (story.status, story.run.nothing_ran) == (RunStatus.COMPLETED, True)


def test_the_runs_duration_is_wall_time_from_its_start() -> None:
    story = Story(manual()).drive()
    assert story.run.started_at == NOON
    story.tick(120)
    story.when(cmd.Complete)
    assert (story.last.body.duration, story.last.body.duration_ms) == ("2m 2s", 122_000)
