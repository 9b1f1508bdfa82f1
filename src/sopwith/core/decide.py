"""`decide(run, command) -> Decision`: the events a command makes, and what follows from them. Pure.

A refused command raises and makes no event. The actor of a consequence is the system, except where it is exactly
what the person asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM, Actor
from sopwith.core.address import StepId
from sopwith.core.agents import AgentCommand
from sopwith.core.conclude import conclusion
from sopwith.core.envelope import envelope_bytes, start_envelope
from sopwith.core.events import Event
from sopwith.core.evolve import begin as begin_run
from sopwith.core.evolve import evolve
from sopwith.core.instant import Instant
from sopwith.core.moves import MOVES
from sopwith.core.moves_driver import begin
from sopwith.core.moves_person import changes_params
from sopwith.core.moves_rollback import WHILE_ROLLING_BACK
from sopwith.core.people import NO_PEOPLE, Directory, Right, check_right, check_runner
from sopwith.core.procedure import ExecutionMode, Procedure, sha256
from sopwith.core.refusal import refuse, verb_of
from sopwith.core.request import Request
from sopwith.core.run import Run, recorded_at, status_of
from sopwith.errors import KeyReused, NotAllowed, RevisionConflict

_CONSEQUENCES = (
    ev.RunStarted,
    ev.RunCompleted,
    ev.RunFailed,
    ev.ApprovalRequested,
    ev.ApprovalClosed,
    ev.ApprovalPostponed,
)


_RIGHTS: dict[type[cmd.Command], Right] = {
    **dict.fromkeys(
        (cmd.Resume, cmd.Retry, cmd.Rollback, cmd.Skip, cmd.Complete, cmd.Fail, cmd.Block),
        Right.STEER,
    ),
    **dict.fromkeys((cmd.Reject, cmd.Pause, cmd.Cancel), Right.STOP),
}
"""What takes a right besides those of a gate. To stop something takes none at the machine itself."""


class Decision(msgspec.Struct, frozen=True):
    """The events to append, and the run after them. No events: nothing to do, which is a success."""

    events: tuple[Event, ...]
    run: Run


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """All that fixes a new run. `queued_because` set: it waits for a slot."""

    run_id: str
    procedure: Procedure
    procedure_digest: str
    mode: ExecutionMode
    declared_mode: ExecutionMode
    params: dict[str, ev.ParamValue]
    environment: dict[str, str]
    umask: int
    passed: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    pins: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    uses: dict[str, ev.Used] = msgspec.field(default_factory=dict)
    parent: ev.ParentRun | None = None
    folders: dict[str, str] = msgspec.field(default_factory=dict)
    agents: dict[str, AgentCommand] = msgspec.field(default_factory=dict)
    policy: ev.Policy
    trigger: str
    event_digest: str = ""
    concurrency_group: str = ""
    engine_version: str = ""
    nonce: str = ""
    """Of the start approval."""
    queued_because: str = ""
    request: Request | None = None


def create(new: NewRun, *, actor: Actor, now: Instant, people: Directory = NO_PEOPLE) -> Decision:
    """The first events of a run: created, and then queued, waiting for its start approval, or started.

    Raises NotAllowed where the actor may not start it.
    """
    check_runner(new.procedure, actor, people)
    created = Event(
        run_id=new.run_id,
        seq=1,
        at=now.at,
        actor=actor.recorded,
        body=ev.RunCreated(
            sop_name=new.procedure.name,
            version=new.procedure.version,
            procedure_digest=new.procedure_digest,
            mode=new.mode,
            declared_mode=new.declared_mode,
            total_steps=len(new.procedure.steps),
            params=new.params,
            environment=new.environment,
            umask=new.umask,
            passed=new.passed,
            secrets=new.secrets,
            pins=new.pins,
            folders=new.folders,
            agents=new.agents,
            uses=new.uses,
            parent=new.parent,
            policy=new.policy,
            trigger=new.trigger,
            event_digest=new.event_digest,
            concurrency_group=new.concurrency_group,
            engine_version=new.engine_version,
        ),
        request=new.request,
    )
    run = begin_run(new.procedure, created)
    if new.queued_because:
        following: Iterable[ev.EventBody] = [ev.RunQueued(reason=new.queued_because)]
    else:
        digest = sha256(envelope_bytes(start_envelope(run, asking=new.nonce)))
        following = begin(run, cmd.Admit(actor=SYSTEM, now=now, people=people, start_digest=digest, nonce=new.nonce))
    rest = _record(run, following, actor=SYSTEM, now=now, request=new.request)
    return Decision((created, *rest.events), rest.run)


def decide(run: Run, command: cmd.Command) -> Decision:
    """The outcome of `command`. Raises IllegalMove or another Refused or BadRequest; then nothing has changed."""
    if isinstance(command, cmd.PersonCommand) and command.actor.inside == run.run_id:
        raise NotAllowed(
            f"a step of {run.run_id} may not decide about its own run", hint="let somebody outside the run do it"
        )
    if command.request is not None and was_carried_out(run, command.request):
        return Decision((), run)
    check_revision(run, command.expected_seq)
    right = _RIGHTS.get(type(command))
    if right is not None and not _is_its_parents(run, command):
        check_right(command.actor, right, command.people, f"{verb_of(command)} {run.run_id}", procedure=run.name)
    if isinstance(command, cmd.Retry) and (command.from_step is not None or changes_params(run, command)):
        # to go back, or to ask for something else, is to run it again
        check_runner(run.procedure, command.actor, command.people)
    move = MOVES.get((status_of(run), type(command)))
    if move is None:
        raise refuse(run, command)
    if run.rollback is not None and type(command) not in WHILE_ROLLING_BACK:
        raise refuse(run, command, because="is being rolled back")
    if (gone := _gone(run, command)) is not None:
        raise refuse(run, command, because=f"has no step {gone} now")
    # a timeout is nobody's decision, whoever's verb settles it
    actor = SYSTEM if isinstance(command, cmd.Expire | cmd.Remind | cmd.TimeOutRun) else command.actor.recorded
    decided = _record(run, move.handler(run, command), actor=actor, now=command.now, request=command.request)
    events = list(decided.events)
    run = decided.run
    if any(_is_nobodys(event.body) for event in events):
        actor = SYSTEM  # and what the run comes to because of it
    while events and (body := conclusion(run, command.now)) is not None:
        # what all instances of a step come to is nobody's act
        who = SYSTEM if isinstance(body, ev.StepBody) else actor
        followed = _record(run, [body], actor=who, now=command.now, request=command.request)
        events.extend(followed.events)
        run = followed.run
    return Decision(tuple(events), run)


def _gone(run: Run, command: cmd.Command) -> StepId | None:
    """The instance that it tells of and that is no more, as its step is done anew: whoever says so drives it no more.

    What people say is answered where it is carried out, and a deadline of what is gone is nobody's.
    """
    step: StepId | None = getattr(command, "step", None)
    if isinstance(command, cmd.PersonCommand | cmd.Expire | cmd.Remind) or step in run.steps:
        return None
    return step


def check_revision(run: Run, expected_seq: int | None) -> None:
    """RevisionConflict where the run is not as it was when the caller decided."""
    if expected_seq not in (None, run.seq):
        raise RevisionConflict(
            f"{run.run_id} has moved on: it has revision {run.seq}, not {expected_seq}",
            hint=f"look again before you decide: sop status {run.run_id}",
            revision=run.seq,
        )


def was_carried_out(run: Run, request: Request) -> bool:
    """Whether this run has this request behind it. Raises KeyReused where its name stood for something else."""
    carried = run.requests.get(request.key)
    if carried is not None and carried.digest != request.digest:
        raise KeyReused(
            f"this key was used before, for another request to {run.run_id}",
            hint="a key stands for one request: take a new one",
        )
    return carried is not None


def _is_its_parents(run: Run, command: cmd.Command) -> bool:
    """Whether the run that started this one says so: it is resumed or tried again with it."""
    said = isinstance(command, cmd.Resume | cmd.Retry) and command.actor == SYSTEM
    return said and run.parent is not None


def _is_nobodys(body: ev.EventBody) -> bool:
    """Whether it is a rejection without a signature: nobody was left who could have approved."""
    return isinstance(body, ev.ApprovalRejected) and body.signature is None


def _is_by_itself(run: Run, body: ev.EventBody) -> bool:
    """Whether it is a rollback that nobody asked for, or the end that a rollback comes to."""
    if isinstance(body, ev.RunCancelled):
        return run.rollback is not None and not run.rollback.left and not run.cancel_requested
    return isinstance(body, ev.RollbackStarted) and not body.asked


def _record(
    run: Run, bodies: Iterable[ev.EventBody], *, actor: Actor, now: Instant, request: Request | None
) -> Decision:
    events = []
    for body in bodies:
        if _is_nobodys(body):
            actor = SYSTEM  # and so is what follows from it
        who = SYSTEM if isinstance(body, _CONSEQUENCES) or _is_by_itself(run, body) else actor
        at = recorded_at(run, now)
        event = Event(run_id=run.run_id, seq=run.seq + 1, at=at, actor=who, body=body, request=request)
        run = evolve(run, event)
        events.append(event)
    return Decision(tuple(events), run)
