"""Who may approve at a gate, how many more could, and what stands beside their decision."""

from __future__ import annotations

from collections.abc import Iterable

from sopwith.core.actor import Actor, ActorKind, Session
from sopwith.core.address import StepId
from sopwith.core.approval import NO_RULES, ApprovalRules
from sopwith.core.events import Signature
from sopwith.core.people import USER, Directory, Right, check_grant, check_right, matches
from sopwith.core.run import Gate, Run
from sopwith.errors import ApproverNotAllowed, BadRequest, Refused


def rules_of(run: Run, number: StepId | None) -> ApprovalRules:
    """The rules of a gate: the step's own, else the procedure's; None is the start gate."""
    own = None if number is None else run.procedure.step(number).approval
    return own or run.procedure.approval or NO_RULES


def approvers_of(run: Run, number: StepId | None) -> tuple[str, ...]:
    """Who may approve now, as principals; nobody listed means any person. An escalation adds to a list."""
    return approvers_at(run, number, gate_of(run, number))


def approvers_at(run: Run, number: StepId | None, gate: Gate | None) -> tuple[str, ...]:
    """The same at one revision of the gate: an escalation holds for the revision that was escalated."""
    rules = rules_of(run, number)
    added = rules.escalate_to if gate is not None and gate.escalated and rules.approvers else ()
    return tuple(dict.fromkeys((*rules.approvers, *added)))


def gate_of(run: Run, number: StepId | None) -> Gate | None:
    """The latest revision of a gate; None where there is none, or not any more: a step's items may be others now."""
    step = run.steps.get(number) if number is not None else None
    return run.start_gate if number is None else step.gate if step is not None else None


def check_approver(run: Run, number: StepId | None, actor: Actor, people: Directory) -> None:
    """ApproverNotAllowed unless this actor may approve at this gate, by the rules and the groups as they are now."""
    approvers = approvers_of(run, number)
    others = [principal for principal in approvers if principal != USER + actor.id]
    asked = f"ask {' or '.join(others)}" if others else "ask somebody else"
    look = f"{asked} to look at it: sop approve {run.run_id}"
    is_starter = actor.id == run.created_by.id
    check_grant(actor, Right.APPROVE, f"approve in {run.run_id}", procedure=run.name)
    if actor.kind is ActorKind.AGENT:
        if not matches(approvers, actor, ()):
            raise ApproverNotAllowed(
                f"{actor} may not approve in {run.run_id}: an agent approves only where a gate names it", hint=look
            )
        if is_starter:
            who = "it" if run.created_by.kind is ActorKind.AGENT else "somebody of the same name"
            raise ApproverNotAllowed(f"{actor} may not approve in {run.run_id}: {who} started the run", hint=look)
        if actor.id in run.reporters:
            raise worked_here(run, actor, look)
        return
    if actor.kind is not ActorKind.HUMAN:
        raise ApproverNotAllowed(f"{actor} may not approve in {run.run_id}: approval is a person's decision", hint=look)
    if not approvers:
        check_right(actor, Right.APPROVE, people, f"approve in {run.run_id}", procedure=run.name)
    elif not matches(approvers, actor, people.standing(actor).groups):
        raise ApproverNotAllowed(f"{actor} is none of the approvers of {run.run_id}: {', '.join(approvers)}", hint=look)
    if is_starter and not rules_of(run, number).self_approval:
        raise ApproverNotAllowed(
            f"{actor} started {run.run_id} and may not approve in it: this gate wants somebody else", hint=look
        )


def worked_here(run: Run, actor: Actor, hint: str) -> ApproverNotAllowed:
    """That an agent has done some of the work, or somebody of its name, and is not the one to approve the rest."""
    return ApproverNotAllowed(
        f"{actor} may not approve in {run.run_id}: it, or somebody of its name, has reported a step of it", hint=hint
    )


def why_not(run: Run, number: StepId | None, actor: Actor, people: Directory) -> str:
    """Why this actor may not approve at this gate now, in words; empty if nothing stands in the way."""
    try:
        check_approver(run, number, actor, people)
    except Refused as refusal:
        return refusal.message
    gate = gate_of(run, number)
    if gate is not None and any(vote.actor.id == actor.id for vote in gate.votes):
        return f"{actor} has voted for it already"
    if actor.inside == run.run_id:
        return f"a step of {run.run_id} may not decide about its own run"
    return ""


def check_rejecter(run: Run, actor: Actor) -> None:
    """ApproverNotAllowed for a trigger or the system: a rejection is anybody's decision, and they are nobody."""
    if actor.kind not in (ActorKind.HUMAN, ActorKind.AGENT):
        raise ApproverNotAllowed(
            f"{actor} may not reject in {run.run_id}: an answer is a decision of a person or an agent",
            hint=f"ask a person to look at it: sop status {run.run_id}",
        )


def votes_left(
    run: Run, number: StepId | None, gate: Gate, people: Directory, *, voted: Iterable[str] = ()
) -> int | None:
    """How many could still agree, besides those who did (by id). None: any person may, which nobody can count."""
    escalates = gate.escalated or gate.due_at is not None
    able = people.electorate(
        rules_of(run, number), run.created_by, procedure=run.name, escalates=escalates, workers=run.reporters
    )
    return None if able is None else len(able - set(voted))


def check_comment(run: Run, number: StepId | None, comment: str) -> None:
    """BadRequest where the rules want a comment and there is none."""
    if rules_of(run, number).comment_required and not comment.strip():
        raise BadRequest(
            f"an approval here needs a comment: {run.run_id} was left as it is",
            hint=f'sop approve {run.run_id} --comment "why"',
        )


def signature(
    meaning: str, actor: Actor, people: Directory, *, procedure: str | None = None, seen: bool = False
) -> Signature:
    """What stands beside a decision: who it was, and by which rights."""
    session = actor.session or Session()
    standing = people.standing(actor, procedure)
    return Signature(
        meaning=meaning,
        printed_name=standing.name or session.printed_name,
        user_id=session.user_id,
        host=session.host,
        session=session.session,
        authenticated_by=session.authenticated_by,
        groups=standing.groups,
        roles=standing.roles,
        config_digest=standing.config_digest,
        seen=seen,
    )
