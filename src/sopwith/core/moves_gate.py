"""What becomes of a gate by itself: opened, reminded of, timed out, postponed, or beyond anybody's reach."""

from __future__ import annotations

from datetime import datetime, timedelta

from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.approval import TimeoutAction
from sopwith.core.approvers import approvers_at, gate_of, rules_of, votes_left
from sopwith.core.commands import Command, Expire, OpenGate, Remind
from sopwith.core.conclude import pause_asked, paused
from sopwith.core.detour import passed_by
from sopwith.core.gates import always_asks, gate_terms, is_gated, needs_start_gate
from sopwith.core.instant import Instant, iso, whole_ms
from sopwith.core.procedure import OnReject
from sopwith.core.refusal import gate_name, refuse
from sopwith.core.run import (
    Gate,
    GateStatus,
    Run,
    StepStatus,
    asks_items,
    busy_processes,
    dependencies_met,
    gate_left_ms,
    held_back,
    may_start,
    open_gates,
    recorded_at,
    running_processes,
    starts_nothing,
)

CLOCK_TOLERANCE_MS = 100
"""How far the wall clock may run ahead of the boot clock while a gate is open, before that counts as a jump."""


def open_gate(run: Run, command: OpenGate) -> list[ev.EventBody]:
    """Asks for approval, unless the gate's own condition says that nobody need be asked.

    Refused unless the step waits behind a gate that is not open and not passed.
    """
    if starts_nothing(run) or not _is_owed(run, command.step):
        raise refuse(run, command)
    condition = _condition(run, command.step)
    if condition is not None and condition.result is False:
        return [condition]
    return [*([condition] if condition else []), *request_approval(run, command.step, command)]


def _is_owed(run: Run, number: StepId | None) -> bool:
    if number is None:
        return needs_start_gate(run.mode) and not may_start(run) and run.rollback is None
    step = run.steps[number]
    if run.rollback is not None:
        gated = is_gated(run, number) and not step.rollback_approved
        return gated and not step.gate_open and run.rollback.left[:1] == (number,) and not running_processes(run)
    gated = is_gated(run, number) and not step.gate_passed
    waits = step.status is StepStatus.PENDING and dependencies_met(run, number) and number not in held_back(run)
    one = step.instances is None and not asks_items(run, step)
    held = run.procedure.step(number).condition is None or step.condition_held is True
    return gated and waits and one and held and may_start(run)


def _condition(run: Run, number: StepId | None) -> ev.ConditionEvaluated | None:
    """What `approval.when` comes to, where it decides anything."""
    expression = rules_of(run, number).when
    if number is None or expression is None or run.rollback is not None or always_asks(run, number):
        return None
    # CEL is imported only where a procedure has a condition
    from sopwith.core.conditions import evaluate
    from sopwith.core.scope import scope_of, values_for

    verdict = evaluate(expression, scope_of(run.procedure, number, item=True), values_for(run, number))
    return ev.ConditionEvaluated(
        step_number=number,
        title=title_of(run, number),
        condition=ev.WHEN,
        expression=expression,
        result=verdict.result,
        reason=verdict.reason,
    )


def request_approval(run: Run, number: StepId | None, command: OpenGate) -> list[ev.EventBody]:
    """The next revision of a gate, with its deadline; rejected at once where nobody could ever pass it."""
    terms = gate_terms(run, number)
    rules = rules_of(run, number)
    gate = gate_of(run, number)
    # the time that the event will bear, also where the clock was set back
    asked_at = recorded_at(run, command.now)
    requested = ev.ApprovalRequested(
        step_number=number,
        title=title_of(run, number),
        revision=1 if gate is None else gate.revision + 1,
        digest=command.digest,
        nonce=command.nonce,
        rollback=run.rollback is not None,
        approvers=approvers_at(run, number, None),
        votes_needed=rules.votes_needed,
        due_at=terms.due_at(asked_at),
        on_timeout=terms.action,
        remind_at=tuple(asked_at + timedelta(milliseconds=round(mins * 60_000)) for mins in rules.remind_after_mins),
        boot_id=command.now.boot_id,
        boot_ms=command.now.boot_ms,
    )
    opened = Gate(
        revision=requested.revision,
        status=GateStatus.OPEN,
        digest=requested.digest,
        requested_at=asked_at,
        due_at=requested.due_at,
    )
    return [requested, *closed_as_unreachable(run, number, opened, command)]


def closed_as_unreachable(
    run: Run, number: StepId | None, gate: Gate, command: Command, *, voters: list[str] | None = None
) -> list[ev.EventBody]:
    """A rejection by the system where fewer people are left who could agree than must; else nothing."""
    voted = voters or []
    left = votes_left(run, number, gate, command.people, voted=voted)
    missing = rules_of(run, number).votes_needed - len(voted)
    if left is None or left >= missing:
        return []
    able = "nobody" if not left else f"only {left}"
    named = ", ".join(approvers_at(run, number, gate)) or "those who may approve"
    return rejection(
        run,
        number,
        gate,
        reason=f"{gate_name(number)} needs {missing} more of {named}, and {able} could still approve",
        signed=None,
    )


def rejection(
    run: Run, number: StepId | None, gate: Gate, *, reason: str, signed: ev.Signature | None
) -> list[ev.EventBody]:
    """No: the run is cancelled at its start; what a later step's rejection does is said by the step.

    A rollback that is rejected is left out, and the others go on.
    """
    action, passed = _led_to(run, number)
    events: list[ev.EventBody] = [
        ev.ApprovalRejected(
            step_number=number,
            revision=gate.revision,
            title=title_of(run, number),
            digest=gate.digest,
            reason=reason,
            action=action,
            signature=signed,
        ),
        *passed,
    ]
    if number is None:
        events.append(ev.RunCancelled(reason=reason))
    return events


def _led_to(run: Run, number: StepId | None) -> tuple[str, list[ev.StepSkipped]]:
    """What a rejection at this gate does, and the steps that are passed by because of it."""
    if number is None:
        return "cancelled", []
    if run.rollback is not None:
        return "rollback_skipped", []
    step = run.procedure.step(number)
    if step.on_reject is OnReject.GOTO and step.reject_goto is not None and isinstance(number, int):
        return "goto", passed_by(run, number, step.reject_goto, why="was rejected")
    return "failed" if step.on_reject is OnReject.FAIL else "paused", []


def remind(run: Run, command: Remind) -> list[ev.EventBody]:
    """Records that a gate still waits; several reminders that are overdue are one."""
    gate = gate_of(run, command.step)
    if gate is None or gate.status is not GateStatus.OPEN or gate.revision != command.revision:
        return []
    late = [at for at in gate.remind_at if _has_come(gate, at, command.now)]
    if not late:
        return []
    return [
        ev.ApprovalReminded(
            step_number=command.step,
            revision=gate.revision,
            title=title_of(run, command.step),
            digest=gate.digest,
            due_at=late[-1],
        )
    ]


def _has_come(gate: Gate, at: datetime, now: Instant) -> bool:
    left = gate_left_ms(gate, at, now)
    return at <= now.at if left is None else left <= 0


def expire(run: Run, command: Expire) -> list[ev.EventBody]:
    """Settles a gate whose deadline has passed; nothing if it was answered in the meantime or has time left."""
    gate = gate_of(run, command.step)
    if gate is None or gate.status is not GateStatus.OPEN or gate.revision != command.revision:
        return []
    if gate.due_at is None or gate.on_timeout is None or command.now.at < gate.due_at:
        return []
    jumped_ms = _jumped_ms(run, gate, command)
    if recorded_at(run, command.now) < gate.due_at + timedelta(milliseconds=jumped_ms):
        return [_postponed(run, command.step, gate, command, jumped_ms)]
    if gate.on_timeout is TimeoutAction.ESCALATE:
        return [
            ev.ApprovalEscalated(
                step_number=command.step,
                revision=gate.revision,
                title=title_of(run, command.step),
                digest=gate.digest,
                to=rules_of(run, command.step).escalate_to,
                due_at=gate.due_at,
            )
        ]
    rejects = gate.on_timeout is TimeoutAction.REJECT and command.step is not None
    action, passed = _led_to(run, command.step) if rejects else ("paused", [])
    settled = ev.ApprovalTimeout(
        step_number=command.step,
        revision=gate.revision,
        title=title_of(run, command.step),
        digest=gate.digest,
        action=gate.on_timeout,
        due_at=gate.due_at,
        clock_jump_ms=jumped_ms,
        then="" if action == "paused" else action,
    )
    return [settled, *passed, *_consequence(run, command, gate, gate.on_timeout)]


def pausing(
    run: Run, command: Command, cause: str, reason: str, *, stop: bool = False, but: Gate | None = None
) -> list[ev.EventBody]:
    """A pause by both clocks: at once where no process runs, else asked for until it has ended, or been ended (`stop`).

    `but`: the gate whose deadline it is.
    """
    good = make_good(run, command, but=but)
    if busy_processes(run):
        return [*good, pause_asked(command.now, cause, reason, stop=stop)]
    return [*good, paused(command.now, cause, reason)]


def make_good(run: Run, command: Command, *, but: Gate | None = None) -> list[ev.EventBody]:
    """Before the clocks of the open gates stop: what the wall clock took from them by jumping, given back."""
    return [
        _postponed(run, number, gate, command, jumped_ms)
        for number, gate in open_gates(run)
        if gate is not but and gate.due_at is not None and (jumped_ms := _jumped_ms(run, gate, command))
    ]


def _postponed(run: Run, number: StepId | None, gate: Gate, command: Command, jumped_ms: int) -> ev.EventBody:
    assert gate.due_at is not None
    return ev.ApprovalPostponed(
        step_number=number,
        revision=gate.revision,
        title=title_of(run, number),
        digest=gate.digest,
        jumped_ms=jumped_ms,
        due_at=gate.due_at + timedelta(milliseconds=jumped_ms),
        boot_id=command.now.boot_id,
        boot_ms=command.now.boot_ms,
    )


def _consequence(run: Run, command: Expire, gate: Gate, action: TimeoutAction) -> list[ev.EventBody]:
    assert gate.due_at is not None
    number = command.step
    reason = f"nobody answered {gate_name(number)} by {iso(gate.due_at)}"
    if action is TimeoutAction.PAUSE:
        return pausing(run, command, "approval_timeout", reason, but=gate)
    if number is None:
        return [started(command) if action is TimeoutAction.APPROVE else ev.RunCancelled(reason=reason)]
    if action is TimeoutAction.SKIP:
        return [ev.StepSkipped(step_number=number, title=title_of(run, number), reason=reason)]
    if action is TimeoutAction.FAIL:
        return [ev.StepFailed(step_number=number, title=title_of(run, number), error=reason, cause="approval_timeout")]
    return []


def _jumped_ms(run: Run, gate: Gate, command: Command) -> int:
    """How far recorded times ran ahead of the boot clock since the gate's clock started; 0 where nobody can tell.

    They follow the wall clock forward and never back: what is left of a deadline is counted from the time of an event.
    """
    started = gate.clock
    if started is None or started.boot_id != command.now.boot_id:
        return 0
    by_wall = whole_ms(recorded_at(run, command.now) - started.at)
    ahead = by_wall - (command.now.boot_ms - started.boot_ms)
    return ahead if ahead > CLOCK_TOLERANCE_MS else 0


def started(command: Command) -> ev.RunStarted:
    """The start of a run, from which its time counts."""
    return ev.RunStarted(boot_id=command.now.boot_id, boot_ms=command.now.boot_ms)


def title_of(run: Run, number: StepId | None) -> str:
    return run.procedure.title if number is None else run.procedure.step(number).title
