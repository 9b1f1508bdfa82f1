"""Gates: opening, answering and timing out. One answer counts: the first valid one."""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.approval import TimeoutAction
from sopwith.core.commands import Answer, Approve, Expire, OpenGate, Reject
from sopwith.core.gates import check_approver, gate_terms, is_gated, needs_start_gate
from sopwith.core.instant import iso
from sopwith.core.refusal import gate_name, no_such_step, refuse
from sopwith.core.run import (
    Gate,
    GateStatus,
    Run,
    RunStatus,
    StepStatus,
    dependencies_met,
    open_gates,
    running_processes,
    starts_nothing,
    status_of,
)
from sopwith.errors import AlreadyDecided, BadRequest, Refused, StaleApproval

MIN_DIGEST_CHARACTERS = 12


def open_gate(run: Run, command: OpenGate) -> list[ev.EventBody]:
    """Asks for approval. Refused unless the step waits behind a gate that is not open and not passed."""
    if starts_nothing(run) or not _is_owed(run, command.step):
        raise refuse(run, command)
    gate = run.start_gate if command.step is None else run.steps[command.step].gate
    return [request_approval(run, command.step, gate, command)]


def _is_owed(run: Run, number: int | None) -> bool:
    if number is None:
        return needs_start_gate(run.mode) and run.started_at is None
    step = run.steps[number]
    gated = is_gated(run, number) and not step.gate_passed
    waits = step.status is StepStatus.PENDING and dependencies_met(run, number)
    return gated and waits and run.started_at is not None


def request_approval(run: Run, number: int | None, gate: Gate | None, command: OpenGate) -> ev.ApprovalRequested:
    """The next revision of a gate, with its deadline."""
    terms = gate_terms(run, number)
    return ev.ApprovalRequested(
        step_number=number,
        title=_title(run, number),
        revision=1 if gate is None else gate.revision + 1,
        digest=command.digest,
        # the time that the event will bear, also where the clock was set back
        due_at=terms.due_at(max(command.now.at, run.updated_at)),
        on_timeout=terms.action,
        boot_id=command.now.boot_id,
        boot_ms=command.now.boot_ms,
    )


def answer(run: Run, command: Answer) -> list[ev.EventBody]:
    """Approve or reject; no event when the same answer was given to this addressed gate before."""
    if isinstance(command, Approve):
        check_approver(run, command.actor)
    if isinstance(command, Reject) and not command.reason.strip():
        raise BadRequest(
            f"a rejection needs a reason: {run.run_id} was left as it is",
            hint=f'sop reject {run.run_id} --reason "what is wrong"',
        )
    number, gate = _addressed(run, command)
    _check_digest(run, number, gate, command)
    if gate.status is not GateStatus.OPEN:
        return _second_answer(run, number, gate, command)
    if run.paused:
        raise refuse(run, command, hint=f"sop resume {run.run_id} first")
    return (
        _granted(run, number, gate, command) if isinstance(command, Approve) else _rejected(run, number, gate, command)
    )


def expire(run: Run, command: Expire) -> list[ev.EventBody]:
    """Settles a gate whose deadline has passed; nothing if it was answered in the meantime or has time left."""
    gate = run.start_gate if command.step is None else run.steps[command.step].gate
    if gate is None or gate.status is not GateStatus.OPEN or gate.revision != command.revision:
        return []
    if gate.due_at is None or gate.on_timeout is None or command.now.at < gate.due_at:
        return []
    title = _title(run, command.step)
    events: list[ev.EventBody] = [
        ev.ApprovalTimeout(
            step_number=command.step,
            revision=gate.revision,
            title=title,
            digest=gate.digest,
            action=gate.on_timeout,
            due_at=gate.due_at,
        )
    ]
    where = gate_name(command.step)
    if gate.on_timeout is TimeoutAction.PAUSE:
        pausing = ev.RunPauseRequested if running_processes(run) else ev.RunPaused
        events.append(pausing(cause="approval_timeout", reason=f"nobody answered {where} by {iso(gate.due_at)}"))
    elif command.step is None and gate.on_timeout is TimeoutAction.APPROVE:
        events.append(ev.RunStarted())
    elif command.step is None:
        events.append(ev.RunCancelled(reason=f"nobody answered {where} by {iso(gate.due_at)}"))
    return events


def addressed(run: Run, command: Answer) -> Answer:
    """The answer with the digest of the one gate that is open, where it names none."""
    gates = open_gates(run)
    if command.step is not None or command.digest is not None or len(gates) != 1:
        return command
    return replace(command, digest=gates[0][1].digest)


def answered_step(run: Run, command: Answer) -> int | None:
    """The step whose gate the answer addresses; None is the start gate. Raises as `answer` does."""
    return _addressed(run, command)[0]


def _addressed(run: Run, command: Answer) -> tuple[int | None, Gate]:
    if command.step is not None:
        step = run.steps.get(command.step)
        if step is None:
            raise no_such_step(run, command.step)
        if step.gate is None or (step.gate_void and not step.gate_open):
            raise refuse(run, command, because=f"step {command.step} has no open gate")
        return command.step, step.gate
    if command.digest is not None:
        return _by_digest(run, command, command.digest)
    gates = open_gates(run)
    if len(gates) == 1:
        return gates[0]
    if not gates:
        raise refuse(run, command, because="no gate is open")
    listed = ", ".join(str(number) for number, _ in gates)
    raise Refused(
        f"{run.run_id} has {len(gates)} open gates, before steps {listed}: say which one", hint="name it with --step N"
    )


def _by_digest(run: Run, command: Answer, digest: str) -> tuple[int | None, Gate]:
    every: list[tuple[int | None, Gate | None]] = [(None, run.start_gate)]
    every.extend((step.number, step.gate) for step in run.steps.values() if not step.gate_void)
    for number, gate in every:
        if gate is not None and _matches(digest, gate.digest):
            return number, gate
    gates = open_gates(run)
    if gates:
        raise _stale(run, digest, gates[0][1])
    raise refuse(run, command, because="no gate is open")


def _check_digest(run: Run, number: int | None, gate: Gate, command: Answer) -> None:
    if command.digest is not None and not _matches(command.digest, gate.digest):
        raise _stale(run, command.digest, gate)


def _stale(run: Run, digest: str, gate: Gate) -> StaleApproval:
    asked, given = gate.digest[:MIN_DIGEST_CHARACTERS], digest[:MIN_DIGEST_CHARACTERS]
    return StaleApproval(
        f"{run.run_id} asks for approval of {asked}, not of {given}",
        hint=f"look again: sop approve {run.run_id} --show",
    )


def _matches(given: str, digest: str) -> bool:
    if len(given) < MIN_DIGEST_CHARACTERS:
        raise BadRequest(
            f"a digest is at least {MIN_DIGEST_CHARACTERS} characters long, {given!r} is shorter",
            hint="copy it as it is shown",
        )
    return digest.startswith(given.lower())


def _second_answer(run: Run, number: int | None, gate: Gate, command: Answer) -> list[ev.EventBody]:
    same = GateStatus.APPROVED if isinstance(command, Approve) else GateStatus.REJECTED
    addressed = command.step is not None or command.digest is not None
    if gate.status is same and addressed:
        return []
    verbs = {
        GateStatus.APPROVED: "approved",
        GateStatus.REJECTED: "rejected",
        GateStatus.TIMED_OUT: "settled by its timeout",
        GateStatus.CLOSED: "closed",
    }
    when = iso(gate.decided_at) if gate.decided_at else "earlier"
    comment = f" ({gate.comment})" if gate.comment else ""
    raise AlreadyDecided(
        f"{gate_name(number)} of {run.run_id} was {verbs[gate.status]} by {gate.decided_by} at {when}{comment}",
        hint=f"sop status {run.run_id} shows where the run is now",
    )


def _granted(run: Run, number: int | None, gate: Gate, command: Approve) -> list[ev.EventBody]:
    events: list[ev.EventBody] = [
        ev.ApprovalGranted(
            step_number=number,
            revision=gate.revision,
            title=_title(run, number),
            digest=gate.digest,
            comment=command.comment,
        )
    ]
    if number is None:
        events.append(ev.RunStarted())
    return events


def _rejected(run: Run, number: int | None, gate: Gate, command: Answer) -> list[ev.EventBody]:
    assert isinstance(command, Reject)
    at_start = status_of(run) is RunStatus.WAITING_APPROVAL and number is None
    events: list[ev.EventBody] = [
        ev.ApprovalRejected(
            step_number=number,
            revision=gate.revision,
            title=_title(run, number),
            digest=gate.digest,
            reason=command.reason,
            action="cancelled" if at_start else "paused",
        )
    ]
    if at_start:
        events.append(ev.RunCancelled(reason=command.reason))
    return events


def _title(run: Run, number: int | None) -> str:
    return run.procedure.title if number is None else run.procedure.step(number).title
