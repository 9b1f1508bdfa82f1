"""What the events of a rollback do to the state. Part of `evolve.py`: total, and it decides nothing."""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.events import Event
from sopwith.core.instant import Instant
from sopwith.core.run import Gate, Rollback, Run, RunStatus, StepState, StepStatus
from sopwith.core.steps import with_state


def rollback_started(run: Run, body: ev.RollbackStarted) -> Run:
    """Whoever asks for it lets the run go on; one that follows from a failure leaves a paused run paused."""
    rollback = Rollback(left=body.steps, ends=RunStatus(body.ends), reason=body.reason, before=run.reason)
    steps = dict(run.steps)
    for number in body.steps:
        step = steps[number]
        if step.gate is not None and step.gate.rollback:
            # an earlier rollback asked, and this one is another
            steps[number] = replace(step, gate_void=True)
    going = replace(run, rollback=rollback, steps=steps, rolled_back=False, rollback_failed=(), not_rolled_back=())
    if not body.asked:
        return going
    return replace(
        going, ended=None, ended_at=None, paused=False, pause_cause="", pause_requested=False, reason=body.reason
    )


def rollback_begun(step: StepState, event: Event, body: ev.StepStarted) -> StepState:
    """Whatever the step did no longer counts; what it handed on is kept for the script."""
    return replace(
        step,
        status=StepStatus.RUNNING,
        rollback_begun=True,
        attempt=body.attempt,
        started=Instant(event.at, body.boot_ms, body.boot_id),
        digest=body.digest,
        agent="",
        command=(),
        ended_at=None,
        duration_ms=None,
        exit_code=None,
        output="",
        error="",
    )


def rollback_ended(run: Run, event: Event, body: ev.StepRolledBack) -> Run:
    """The step is undone, or stays completed with an error."""
    assert run.rollback is not None
    number = body.step_number
    step = replace(
        run.steps[number],
        status=StepStatus.COMPLETED if body.error else StepStatus.ROLLED_BACK,
        error=f"rollback failed: {body.error}" if body.error else "",
        ended_at=event.at,
        duration_ms=body.duration_ms,
        exit_code=body.exit_code,
        output=body.output,
    )
    rollback = run.rollback.without(number)
    if body.error:
        rollback = replace(rollback, failed=(*rollback.failed, number))
    return replace(run, rollback=rollback, steps=with_state(run.steps, step))


def gate_of_rollback(run: Run, step: StepState, gate: Gate | None, body: ev.GateBody) -> Run:
    """Until its rollback has ended a step stays completed, whatever its gate does."""
    rollback = run.rollback
    assert rollback is not None
    status = StepStatus.AWAITING_APPROVAL if gate is not None and step.gate_open else StepStatus.COMPLETED
    after = replace(step, status=status, gate=gate)
    match body:
        case ev.ApprovalVoteRecorded() | ev.ApprovalEscalated() | ev.ApprovalReminded() | ev.ApprovalPostponed():
            pass
        case ev.ApprovalRequested():
            after = replace(after, status=StepStatus.AWAITING_APPROVAL, gate_void=False)
        case ev.ApprovalStale():
            after = replace(after, status=StepStatus.COMPLETED, gate_void=gate is not None, must_ask=True)
        case ev.ApprovalRejected(reason=reason):
            after = replace(after, status=StepStatus.COMPLETED, error=f"rollback rejected: {reason}")
            rollback = rollback.without(step.number)
            rollback = replace(rollback, declined=(*rollback.declined, step.number))
        case _:
            after = replace(after, status=StepStatus.COMPLETED)
    return replace(run, rollback=rollback, steps=with_state(run.steps, after))
