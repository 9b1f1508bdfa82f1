"""What events do to gates: asked, voted on, answered, and their clocks stopped and started again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.approval import TimeoutAction
from sopwith.core.events import Event
from sopwith.core.evolve_rollback import gate_of_rollback
from sopwith.core.instant import Instant, whole_ms
from sopwith.core.run import (
    Gate,
    GateStatus,
    Run,
    StepState,
    StepStatus,
    Vote,
    gate_left_ms,
)
from sopwith.core.steps import with_state


def apply_gate(run: Run, event: Event, body: ev.GateBody) -> Run:
    number = body.step_number
    if number is None:
        # opening the start gate is the end of waiting in the queue
        return replace(run, start_gate=_next_gate(run.start_gate, event, body), queued=False)
    step = run.steps[number]
    ungated = isinstance(body, ev.ApprovalStale) and step.gate is None
    gate = None if ungated else _next_gate(step.gate, event, body)
    if run.rollback is not None:
        return gate_of_rollback(run, step, gate, body)
    match body:
        case ev.ApprovalVoteRecorded() | ev.ApprovalEscalated() | ev.ApprovalReminded() | ev.ApprovalPostponed():
            step = replace(step, gate=gate)
        case ev.ApprovalRequested():
            step = replace(step, status=StepStatus.AWAITING_APPROVAL, gate=gate, gate_void=False)
        case ev.ApprovalRejected(reason=reason, action=action):
            step = _rejected(step, gate, reason, action)
        case ev.ApprovalClosed():
            step = replace(step, status=StepStatus.PENDING, gate=gate, gate_void=True)
        case ev.ApprovalStale():
            step = replace(
                step,
                status=StepStatus.PENDING,
                gate=gate,
                gate_void=gate is not None,
                must_ask=True,
                wake_at=None,
                resting=None,
            )
        case ev.ApprovalTimeout(action=TimeoutAction.REJECT, then=then):
            step = _rejected(step, gate, "nobody answered in time", then)
        case ev.ApprovalTimeout(action=TimeoutAction.PAUSE):
            step = replace(step, status=StepStatus.PENDING, gate=gate, gate_void=True)
        case _:
            step = replace(step, status=StepStatus.PENDING, gate=gate)
    return replace(run, steps=with_state(run.steps, step))


def _rejected(step: StepState, gate: Gate | None, reason: str, action: str) -> StepState:
    led = {"passed_over": action == "goto", "ends_run": action == "failed"}
    return replace(step, status=StepStatus.REJECTED, gate=gate, error=reason, **led)


def _next_gate(gate: Gate | None, event: Event, body: ev.GateBody) -> Gate:
    if isinstance(body, ev.ApprovalRequested):
        return Gate(
            revision=body.revision,
            status=GateStatus.OPEN,
            digest=body.digest,
            nonce=body.nonce,
            requested_at=event.at,
            rollback=body.rollback,
            due_at=body.due_at,
            on_timeout=body.on_timeout,
            remind_at=body.remind_at,
            clock=Instant(event.at, body.boot_ms, body.boot_id),
        )
    assert gate is not None, "a gate opens before it is answered"
    answered = replace(gate, decided_at=event.at, decided_by=event.actor, left_ms=None)
    match body:
        case ev.ApprovalVoteRecorded(form=form, comment=comment):
            return replace(gate, votes=(*gate.votes, Vote(event.actor, event.at, comment)), form=form)
        case ev.ApprovalEscalated():
            return replace(gate, escalated=True, due_at=None, on_timeout=None)
        case ev.ApprovalReminded(due_at=reminded_at):
            return replace(gate, remind_at=tuple(at for at in gate.remind_at if at > reminded_at))
        case ev.ApprovalPostponed():
            return _postponed(gate, event, body)
        case ev.ApprovalGranted(comment=comment, form=form):
            return replace(answered, status=GateStatus.APPROVED, comment=comment, form=form)
        case ev.ApprovalRejected(reason=reason):
            return replace(answered, status=GateStatus.REJECTED, comment=reason)
        case ev.ApprovalTimeout(action=action):
            # what a vote short of the quorum filled in is nobody's decision
            return replace(answered, status=GateStatus.TIMED_OUT, on_timeout=action, form={})
        case ev.ApprovalClosed(reason=reason):
            return replace(answered, status=GateStatus.CLOSED, comment=reason)
        case ev.ApprovalStale():
            return replace(answered, status=GateStatus.CLOSED, comment="what would run has changed")
        case other:
            raise ValueError(f"{type(other).__name__} is not a gate's event")


def each_gate(run: Run, change: Callable[[Gate], Gate]) -> Run:
    steps = {
        number: replace(step, gate=change(step.gate)) if step.gate is not None and step.gate_open else step
        for number, step in run.steps.items()
    }
    start = run.start_gate
    if start is not None and start.status is GateStatus.OPEN:
        start = change(start)
    return replace(run, steps=steps, start_gate=start)


def _postponed(gate: Gate, event: Event, body: ev.ApprovalPostponed) -> Gate:
    jump = timedelta(milliseconds=body.jumped_ms)
    return replace(
        gate,
        due_at=body.due_at,
        remind_at=tuple(at + jump for at in gate.remind_at),
        clock=Instant(event.at, body.boot_ms, body.boot_id),
    )


def stop_clock(gate: Gate, now: Instant) -> Gate:
    """`now`: by the times that are recorded, of which a jump was taken back before."""
    if gate.clock is None:
        return gate
    return replace(
        gate,
        due_at=None,
        left_ms=None if gate.due_at is None else max(0, whole_ms(gate.due_at - now.at)),
        remind_at=(),
        remind_left_ms=tuple(max(0, gate_left_ms(gate, at, now) or 0) for at in gate.remind_at),
        clock=None,
    )


def start_clock(gate: Gate, event: Event) -> Gate:
    if gate.clock is not None:
        return gate
    assert isinstance(event.body, ev.RunResumed | ev.RunRetried)
    return replace(
        gate,
        due_at=None if gate.left_ms is None else _in_ms(gate.left_ms, event),
        left_ms=None,
        remind_at=tuple(_in_ms(left, event) for left in gate.remind_left_ms),
        remind_left_ms=(),
        clock=Instant(event.at, event.body.boot_ms, event.body.boot_id),
    )


def _in_ms(left_ms: int, event: Event) -> datetime:
    return event.at + timedelta(milliseconds=left_ms)
