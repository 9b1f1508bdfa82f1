"""Answers at a gate: approve, reject, vote. One decision counts: the first valid one."""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.address import StepId, number_of
from sopwith.core.approvers import check_approver, check_comment, check_rejecter, rules_of, signature
from sopwith.core.commands import Answer, Approve, Reject
from sopwith.core.forms import read_form
from sopwith.core.instant import iso
from sopwith.core.moves_gate import closed_as_unreachable, rejection, started, title_of
from sopwith.core.refusal import by_instance, gate_name, no_such_step, refuse
from sopwith.core.run import Gate, GateStatus, Run, open_gates
from sopwith.errors import AlreadyDecided, BadRequest, Refused, StaleApproval

MIN_DIGEST_CHARACTERS = 12


def answer(run: Run, command: Answer) -> list[ev.EventBody]:
    """Approve or reject; no event when the same answer was given to this addressed gate before."""
    if isinstance(command, Reject) and not command.reason.strip():
        raise BadRequest(
            f"a rejection needs a reason: {run.run_id} was left as it is",
            hint=f'sop reject {run.run_id} --reason "what is wrong"',
        )
    number, gate = _addressed(run, command)
    if isinstance(command, Approve):
        check_approver(run, number, command.actor, command.people)
    else:
        check_rejecter(run, command.actor)
    _check_digest(run, number, gate, command)
    if gate.status is not GateStatus.OPEN:
        return _second_answer(run, number, gate, command)
    if run.paused:
        raise refuse(run, command, hint=f"sop resume {run.run_id} first")
    if isinstance(command, Approve):
        return _approved(run, number, gate, command)
    assert isinstance(command, Reject)
    return _rejected(run, number, gate, command)


def addressed(run: Run, command: Answer) -> Answer:
    """The answer with the digest of the one gate that is open, where it names none."""
    gates = open_gates(run)
    if command.step is not None or command.digest is not None or len(gates) != 1:
        return command
    return replace(command, digest=gates[0][1].digest)


def answered_step(run: Run, command: Answer) -> StepId | None:
    """The step whose gate the answer addresses; None is the start gate. Raises as `answer` does."""
    return _addressed(run, command)[0]


def _addressed(run: Run, command: Answer) -> tuple[StepId | None, Gate]:
    if command.step is not None:
        step = run.steps.get(command.step)
        if step is None:
            raise no_such_step(run, command.step)
        if step.gate is None or (step.gate_void and not step.gate_open):
            hint = by_instance([each for each, gate in open_gates(run) if number_of(each or 0) == command.step])
            raise refuse(run, command, because=f"step {command.step} has no open gate", hint=hint)
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


def _by_digest(run: Run, command: Answer, digest: str) -> tuple[StepId | None, Gate]:
    every: list[tuple[StepId | None, Gate | None]] = [(None, run.start_gate if _counts(run) else None)]
    every.extend((step.number, step.gate) for step in run.steps.values() if not step.gate_void)
    for number, gate in every:
        if gate is not None and _matches(digest, gate.digest):
            return number, gate
    gates = open_gates(run)
    if gates:
        raise _stale(run, digest, gates[0][1])
    raise refuse(run, command, because="no gate is open")


def _counts(run: Run) -> bool:
    """Whether the latest revision of the start gate is about the parameters that the run has now."""
    return not run.start_void or (run.start_gate is not None and run.start_gate.status is GateStatus.OPEN)


def _check_digest(run: Run, number: StepId | None, gate: Gate, command: Answer) -> None:
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


def _second_answer(run: Run, number: StepId | None, gate: Gate, command: Answer) -> list[ev.EventBody]:
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


def _approved(run: Run, number: StepId | None, gate: Gate, command: Approve) -> list[ev.EventBody]:
    """A vote, or the last one that was missing."""
    rules = rules_of(run, number)
    given = read_form(rules.form, command.form, gate.form if gate.votes else None)
    voters = [vote.actor.id for vote in gate.votes]
    if command.actor.id in voters:
        return []
    check_comment(run, number, command.comment)
    voters.append(command.actor.id)
    signed = signature("approved", command.actor, command.people, procedure=run.name, seen=command.seen)
    if len(voters) < rules.votes_needed:
        voted = ev.ApprovalVoteRecorded(
            step_number=number,
            revision=gate.revision,
            title=title_of(run, number),
            digest=gate.digest,
            comment=command.comment,
            form=given,
            votes=len(voters),
            needed=rules.votes_needed,
            signature=signed,
        )
        return [voted, *closed_as_unreachable(run, number, gate, command, voters=voters)]
    events: list[ev.EventBody] = [
        ev.ApprovalGranted(
            step_number=number,
            revision=gate.revision,
            title=title_of(run, number),
            digest=gate.digest,
            comment=command.comment,
            form=given,
            votes=tuple(voters) if rules.votes_needed > 1 else (),
            signature=signed,
        )
    ]
    if number is None:
        events.append(started(command))
    return events


def _rejected(run: Run, number: StepId | None, gate: Gate, command: Reject) -> list[ev.EventBody]:
    signed = signature("rejected", command.actor, command.people, procedure=run.name, seen=command.seen)
    return rejection(run, number, gate, reason=command.reason, signed=signed)
