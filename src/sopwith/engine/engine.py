"""The use cases: one method each, the same for every door. Plain and synchronous; none of them starts a process.

What changes a run returns it as it is afterwards; carrying it on is the driver's work (`driver.py`).

Longer than other files: a door finds all that it may call in one class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.address import StepId
from sopwith.core.approval import TimeoutAction
from sopwith.core.approvers import check_approver, gate_of, why_not
from sopwith.core.decide import check_revision, decide, was_carried_out
from sopwith.core.due import Due, DueKind, overdue
from sopwith.core.events import Event
from sopwith.core.instant import Instant
from sopwith.core.moves_answer import addressed, answered_step
from sopwith.core.people import Directory, Right, check_right
from sopwith.core.procedure import ExecutionMode
from sopwith.core.refusal import verb_of
from sopwith.core.request import Request, run_id_of
from sopwith.core.run import Gate, GateStatus, Run, RunStatus, children, run_left_ms
from sopwith.engine.brought_about import check_no_work_around, check_not_rejected_within, check_outside
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Loaded, Made, Runs, check_run_id
from sopwith.engine.secrets import mask_of
from sopwith.engine.sight import Sight, check_reach, fit_to_tell
from sopwith.errors import (
    IllegalMove,
    InvalidProcedure,
    LimitReached,
    NotAllowed,
    Refused,
    SopwithError,
    WorkspaceError,
)

if TYPE_CHECKING:
    from sopwith.core.admission import Occupancy
    from sopwith.engine.creation import Driving
    from sopwith.engine.evidence import File, Receiving

# what makes runs, keeps files or looks after children is imported by the methods that do so: an answer needs none of it

_C = TypeVar("_C", bound=cmd.Command)


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for when a run is to be made. `queue`: wait for a slot instead of being refused."""

    name: str
    params: Mapping[str, Any] = msgspec.field(default_factory=dict)
    mode: ExecutionMode | None = None
    queue: bool = False
    trigger: str = "manual"
    event: bytes = b""
    """What happened outside and asks for the run, encoded; empty: nothing did."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says about a call besides what is to be done.

    `request`: its own name for it, under which it may be sent again. `expected_seq`: the revision of the run that it
    was decided on; where the run has moved on, nothing is done.
    """

    request: Request | None = None
    expected_seq: int | None = None


_ANY = Call()


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The run after an answer, and the step whose gate it was; None is the start gate."""

    run: Run
    step: StepId | None

    @property
    def gate(self) -> Gate:
        """The gate after the answer: still open where it was a vote that is not the last."""
        gate = gate_of(self.run, self.step)
        assert gate is not None
        return gate

    @property
    def led_to(self) -> str:
        """What a rejection did, as `approval_rejected.action` has it."""
        if self.step is None:
            return "cancelled"
        step = self.run.steps[self.step]
        if self.gate.rollback:
            return "rollback_skipped"
        return "goto" if step.passed_over else "failed" if step.ends_run else "paused"


class Engine:
    """All that can be done to runs in one workspace."""

    def __init__(self, parts: Parts, call: Call = _ANY) -> None:
        self.parts = parts
        self.runs = Runs(parts)
        self._call = call
        self.replayed = False
        """The call had been carried out before, under the name that it has; nothing was done now."""
        self.on_settled: Callable[[Event, Run], None] = _tell_nobody
        """Told of what a driving verb settled before it did its own work."""

    def for_call(self, call: Call) -> Engine:
        """The same engine for one call: its methods raise RevisionConflict and KeyReused too, and tell `replayed`."""
        engine = Engine(self.parts, call)
        engine.on_settled = self.on_settled
        return engine

    def create_run(self, request: RunRequest, *, actor: Actor) -> Run:
        """A new run, admitted or queued. Raises NotFound, InvalidProcedure, BadParameter, LimitReached, CoolingDown.

        Of several calls that have one name, at once or one after the other, one makes the run.
        """
        return self.begin_run(request, actor=actor).loaded.run

    def begin_run(self, request: RunRequest, *, actor: Actor, driving: Driving | None = None) -> Made:
        """The same, for whoever drives it on at once: with its claim, where it could be had."""
        Sight(self.parts.library, actor).check_procedure(request.name)
        if (made := self._made_before()) is not None:
            return Made(made)
        try:
            return self._create_run(request, actor, driving)
        except SopwithError as error:
            # perhaps it was made meanwhile, and has the last slot
            made = self._made_before()
            if made is None:
                raise self._fit_to_tell(actor, error) from None
            return Made(made)

    def _fit_to_tell(self, actor: Actor, error: SopwithError) -> SopwithError:
        """The error, which names no run that the actor may not know of."""
        if not isinstance(error, LimitReached):
            return error
        return fit_to_tell(self.parts.store, self.parts.library, actor, error)

    def _made_before(self) -> Loaded | None:
        """The run that this very call has made already."""
        request = self._call.request
        if request is None or self.parts.store.summary(run_id_of(request)) is None:
            return None
        made = self.runs.load(run_id_of(request))
        was_carried_out(made.run, request)
        self.replayed = True
        return made

    def _create_run(self, request: RunRequest, actor: Actor, driving: Driving | None) -> Made:
        from sopwith.engine.creation import Order, make_run
        from sopwith.engine.uses import used_by

        procedure = self.parts.library.procedure(request.name)
        order = Order(
            procedure=procedure,
            uses=used_by(procedure, self.parts.library.procedure),
            params=request.params,
            mode=request.mode,
            queue=request.queue,
            trigger=request.trigger,
            event=request.event,
            request=self._call.request,
        )
        return make_run(self.parts, self.runs, order, actor=actor, driving=driving)

    def approve(
        self,
        run_id: str,
        *,
        actor: Actor,
        step: StepId | None = None,
        digest: str | None = None,
        comment: str = "",
        form: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answered:
        """Answers the open gate, or the addressed one. Raises AlreadyDecided, StaleApproval, ApproverNotAllowed …

        `form`: what the gate's form asks for, by name. What is overdue is settled first, unless it would be approved.
        """
        self._settle(run_id, actor, all_but=TimeoutAction.APPROVE)
        command = partial(cmd.Approve, actor=actor, step=step, digest=digest, seen=digest is not None)
        return self._answer(run_id, lambda now: command(now=now, comment=comment, form=form))

    def reject(
        self, run_id: str, *, actor: Actor, reason: str, step: StepId | None = None, digest: str | None = None
    ) -> Answered:
        """Answers no, with a reason: the step is rejected, and `onReject` says what that does; at the start gate the
        run is cancelled.
        """
        self._check_outside(run_id, actor)
        command = partial(cmd.Reject, actor=actor, step=step, digest=digest, seen=digest is not None)
        return self._answer(run_id, lambda now: command(now=now, reason=reason))

    def leave(self, run: Run) -> None:
        """Says that this process drives neither the run on nor what it runs within: a server need not wait for it."""
        self.parts.bell.ring(run.run_id, left=True)
        if run.parent is not None:
            with suppress(SopwithError):
                self.leave(self.runs.load(run.parent.run_id).run)

    def why_not(self, run: Run, step: StepId | None, *, actor: Actor) -> str:
        """Why this actor may not approve at this gate now, in words; empty if nothing stands in the way."""
        try:
            self._check_outside(run.run_id, actor)
            if not (because := why_not(run, step, actor, self._people())):
                self._check_agent(run, step, actor)
        except Refused as refusal:
            return refusal.message
        return because

    def refusal(self, run: Run, make: Callable[[Instant], cmd.Command]) -> SopwithError | None:
        """Why the command would be refused now; None if it would be carried out, as far as limits let it."""
        try:
            command = self._with_people(make(self.parts.clock.now()))
            self._check_outside(run.run_id, command.actor)
            decide(run, self._checked(run, command))
        except SopwithError as error:
            return error
        return None

    def pause(self, run_id: str, *, actor: Actor, reason: str = "", stop: bool = False) -> Run:
        """Starts nothing more; running processes end by themselves, or whoever drives the run ends them: `stop`."""
        self._check_outside(run_id, actor)
        return self._in_line(self._do(run_id, lambda now: cmd.Pause(actor=actor, now=now, reason=reason, stop=stop)))

    def resume(self, run_id: str, *, actor: Actor) -> Run:
        """Lets a paused run go on. A run that is not paused, not final and not driven only needs a driver: no event.

        So does one that is being stopped: whoever drives it ends what runs, and it is paused.
        """
        run = self._settle(run_id, actor)
        if run.ended is None and not run.paused and (run.stopping or not run.pause_requested):
            check_revision(run, self._call.expected_seq)
            check_right(actor, Right.STEER, self._people(), f"resume {run_id}", procedure=run.name)
            return run
        return self._in_line(self._do(run_id, lambda now: cmd.Resume(actor=actor, now=now)))

    def cancel(self, run_id: str, *, actor: Actor, reason: str = "") -> Run:
        """Ends the run for good, at once or when its running processes have been ended."""
        from sopwith.engine.children import going_on_besides

        self._check_outside(run_id, actor)
        run = self._do(run_id, lambda now: cmd.Cancel(actor=actor, now=now, reason=reason))
        for _step, child in going_on_besides(self.runs, run):
            # it belongs to the run: whoever may end that one may end all of it
            Engine(self.parts).cancel(child, actor=actor.recorded, reason=f"{run_id} is cancelled")
        return self._in_line(run)

    def retry(
        self,
        run_id: str,
        *,
        actor: Actor,
        from_step: StepId | None = None,
        reason: str = "",
        params: Mapping[str, Any] | None = None,
    ) -> Run:
        """Again from the stuck steps, or from an earlier one. A failed run needs a free slot.

        `params` replace those of the same name; what was asked with the old ones is asked again. Raises BadParameter.
        """
        from sopwith.core.parameters import check_chooser, resolve_parameters
        from sopwith.engine.children import going_on_besides
        from sopwith.engine.secrets import secrets_at_creation

        self._settle(run_id, actor)
        command = partial(cmd.Retry, actor=actor, from_step=from_step, reason=reason)

        def make(run: Run, now: Instant) -> cmd.Retry:
            changed = resolve_parameters(run.procedure, {**run.params, **params}) if params else None
            secrets = {}
            if changed is not None:
                check_chooser(run.procedure, changed, actor, before=run.params)
                secrets = secrets_at_creation(self.parts, run.procedure, changed)
            besides = going_on_besides(self.runs, run) if params or from_step is not None else ()
            if besides:
                # what it does would be done twice
                step, child = besides[0]
                raise IllegalMove(
                    f"cannot retry {run_id}: {child}, which began as its step {step}, goes on by itself",
                    hint=f"sop status {child} --watch, or sop cancel {child} first",
                )
            return self._with_people(command(now=now, params=changed, secrets=secrets))

        return self._change(run_id, make, admit=self._readmission)[0].run

    def rollback(self, run_id: str, *, actor: Actor, reason: str = "") -> Run:
        """Begins to undo what was completed and has a rollback script. A run that has ended needs a free slot."""
        self._settle(run_id, actor)
        return self._do(run_id, lambda now: cmd.Rollback(actor=actor, now=now, reason=reason))

    def skip(self, run_id: str, *, actor: Actor, reason: str, step: StepId | None = None) -> Run:
        """Passes over a step, with a reason."""
        self._settle(run_id, actor)
        return self._do(run_id, lambda now: cmd.Skip(actor=actor, now=now, step=step, reason=reason))

    def complete(
        self,
        run_id: str,
        *,
        actor: Actor,
        step: StepId | None = None,
        comment: str = "",
        output: str = "",
        evidence: tuple[File, ...] = (),
    ) -> Run:
        """Reports a manual step done, or a stuck one as done by hand. Copies of the evidence stay with the run."""
        make = partial(cmd.Complete, actor=actor, step=step, comment=comment, output=output)
        return self._report(run_id, actor, make, evidence)

    def fail(
        self,
        run_id: str,
        *,
        actor: Actor,
        reason: str,
        step: StepId | None = None,
        output: str = "",
        evidence: tuple[File, ...] = (),
    ) -> Run:
        """Reports that a manual step did not work out."""
        make = partial(cmd.Fail, actor=actor, step=step, reason=reason, output=output)
        return self._report(run_id, actor, make, evidence)

    def block(
        self,
        run_id: str,
        *,
        actor: Actor,
        reason: str,
        step: StepId | None = None,
        output: str = "",
        evidence: tuple[File, ...] = (),
    ) -> Run:
        """Reports that a manual step cannot be done as things are: the run pauses, the step stays open."""
        make = partial(cmd.Block, actor=actor, step=step, reason=reason, output=output)
        return self._report(run_id, actor, make, evidence)

    def _report(
        self,
        run_id: str,
        actor: Actor,
        make: Callable[..., cmd.Complete | cmd.Fail | cmd.Block],
        evidence: tuple[File, ...],
    ) -> Run:
        from sopwith.engine.evidence import forget_sent, keep_evidence

        # a report that would be refused, or was made before, leaves no copies behind
        if not decide(self._settle(run_id, actor), self._with_people(make(now=self.parts.clock.now()))).events:
            evidence = ()
        mask = mask_of(self.parts, self.runs.load(run_id).run) if evidence else None
        folder = self.parts.workspace.run_folder(run_id)
        kept = keep_evidence(folder, evidence, mask=mask)
        run = self._do(run_id, lambda now: make(now=now, evidence=kept))
        forget_sent(folder, evidence)
        return run

    def receive(self, run_id: str, *, actor: Actor) -> Receiving:
        """A file on its way from afar, to be named as evidence in a report. Raises NotFound, NotAllowed, Refused."""
        from sopwith.engine.evidence import Receiving

        self._check_outside(run_id, actor)
        run = self.runs.load(run_id).run
        check_right(actor, Right.STEER, self._people(), f"report on {run_id}", procedure=run.name)
        if run.ended in (RunStatus.COMPLETED, RunStatus.CANCELLED):
            raise IllegalMove(
                f"cannot take evidence for {run_id}: it has ended, nothing in it can be reported",
                hint=f"sop status {run_id} shows how it ended",
            )
        return Receiving(self.parts.workspace.run_folder(run_id), self.parts.clock.now().at)

    def decided_at(self, run: Run) -> int:
        """The revision that this call led to: when it was carried out, where that was before. `run`: what it gave."""
        request = self._call.request
        return run.requests[request.key].seq if self.replayed and request is not None else run.seq

    def _answer(self, run_id: str, make: Callable[[Instant], cmd.Answer]) -> Answered:
        meant: list[cmd.Answer] = []

        def pinned(run: Run, now: Instant) -> cmd.Answer:
            # an answer means what was asked when it came, also where it has to be decided again
            if not meant:
                meant.append(_as_asked(run, make(now)))
            return self._with_people(meant[0])

        loaded, events = self._change(run_id, pinned)
        if self.replayed:
            assert self._call.request is not None
            return self._answered_before(run_id, loaded.run.requests[self._call.request.key].seq)
        if events:
            return Answered(run=loaded.run, step=events[0].step_number)
        # the same answer was given before
        return Answered(run=loaded.run, step=answered_step(loaded.run, meant[0]))

    def _answered_before(self, run_id: str, seq: int) -> Answered:
        """The answer as it was when it was given, whatever the run has come to since."""
        run, event = self.runs.as_of(run_id, seq)
        return Answered(run=run, step=event.step_number)

    def _change(
        self,
        run_id: str,
        make: Callable[[Run, Instant], cmd.Command],
        *,
        admit: Callable[[Run], Callable[[Occupancy], None] | None] | None = None,
    ) -> tuple[Loaded, tuple[Event, ...]]:
        """`Runs.change`, and whether it was this call's doing."""
        actors: list[Actor] = []

        def checked(run: Run, now: Instant) -> cmd.Command:
            command = make(run, now)
            actors[:] = [command.actor]
            return self._checked(run, command)

        try:
            loaded, events = self.runs.change(run_id, checked, admit=admit)
        except LimitReached as error:
            raise self._fit_to_tell(actors[0], error) from None
        request = self._call.request
        self.replayed = not events and request is not None and request.key in loaded.run.requests
        return loaded, events

    def _checked(self, run: Run, command: _C) -> _C:
        """The command, where nothing outside the run stands against it."""
        if isinstance(command, cmd.Skip | cmd.Complete):
            self._check_gates_within(run, command)
        if isinstance(command, cmd.Retry | cmd.Rollback) and command.actor.kind is ActorKind.AGENT:
            self._check_whole(run, command)
        if isinstance(command, cmd.Approve | cmd.Retry):
            self._check_around(run, command)
        return command

    def _check_around(self, run: Run, command: cmd.Approve | cmd.Retry) -> None:
        """ApproverNotAllowed or NotAllowed where other runs, or what an agent can be shown, forbid it to an agent."""
        if command.actor.kind is not ActorKind.AGENT:
            return
        try:
            events = decide(run, command).events
        except SopwithError:
            return  # it is refused anyway
        if events and isinstance(command, cmd.Retry):
            check_not_rejected_within(self.runs, run, command)
        elif events:
            self._check_agent(run, events[0].step_number, command.actor)

    def _check_agent(self, run: Run, step: StepId | None, actor: Actor) -> None:
        """ApproverNotAllowed where an agent has a part in how it came to this, or cannot have seen what is asked."""
        if actor.kind is ActorKind.AGENT:
            from sopwith.engine.asked import check_shown

            check_no_work_around(self.runs, run, actor, f"ask a person to look at it: sop approve {run.run_id}")
            check_shown(self.parts, run, step, actor)

    def _check_gates_within(self, run: Run, command: cmd.Skip | cmd.Complete) -> None:
        """ApproverNotAllowed where a step is settled for whose child run somebody else was to be asked."""
        stuck = [step.number for step in run.steps.values() if step.stuck]
        numbers = stuck if command.step is None else [command.step] if command.step in run.steps else []
        if not numbers:
            return
        from sopwith.engine.children import gates_not_passed

        for number in numbers:
            for child, gate in gates_not_passed(self.runs, run, number):
                check_approver(child, gate, command.actor, self._people())

    def _check_whole(self, run: Run, command: cmd.Command) -> None:
        """NotAllowed where an agent would begin again what may have been done since the backup that was restored."""
        restored_at = self.parts.auditing.restored_at()
        if restored_at is not None and run.updated_at <= restored_at:
            raise NotAllowed(
                f"{command.actor} may not {verb_of(command)} {run.run_id}: its record was restored, and may lack what "
                "has run since",
                hint="a person may, who has found that out",
            )

    def _do(self, run_id: str, make: Callable[[Instant], cmd.Command]) -> Run:
        loaded, _events = self._change(run_id, lambda _run, now: self._with_people(make(now)), admit=self._readmission)
        return loaded.run

    def _in_line(self, run: Run) -> Run:
        """What the run's steps have started goes with it; tells the run after that."""
        if not children(run):
            return run
        from sopwith.engine.children import bring_in_line

        # a child that finds no slot is told of by whoever drives this run
        bring_in_line(self.parts, self.runs, run)
        return self.runs.load(run.run_id).run

    def _settle(self, run_id: str, actor: Actor, *, all_but: TimeoutAction | None = None) -> Run:
        """Settles what of this run is overdue, its own limit and its gates, each on its own; tells the run after that.

        Not for a step of the run itself, which may not even do that.
        """
        self._check_outside(run_id, actor)
        run = self.runs.load(run_id).run
        while actor.inside != run_id and (item := self._unsettled(run, all_but)) is not None:
            try:
                loaded, events = self.runs.settle(run_id, item)
                run = loaded.run
                for event in events:
                    self.on_settled(event, run)
            except IllegalMove:
                before, run = run, self.runs.load(run_id).run
                if run.seq == before.seq:
                    raise
                # somebody stopped the run meanwhile, and the clocks of its gates with it
        return run

    def _check_outside(self, run_id: str, actor: Actor) -> None:
        """NotAllowed where the actor is a step of a run that has to do with this one, or was brought about by it.

        NotFound where the actor may not know of the run.
        """
        check_run_id(run_id)
        check_reach(self.parts.store, self.parts.library, actor, run_id)
        check_outside(self.runs, run_id, actor)

    def _unsettled(self, run: Run, all_but: TimeoutAction | None) -> Due | None:
        """The first deadline that has passed; settling one may end the run, or close the others."""
        now = self.parts.clock.now()
        left_ms = run_left_ms(run, now)
        if left_ms is not None and left_ms <= 0:
            return Due(DueKind.TIME_OUT_RUN)
        for item in overdue(run, now.at):
            # what the wall clock alone makes overdue is not
            if item.kind is DueKind.TIME_OUT_RUN:
                continue
            gate = gate_of(run, item.step)
            if gate is not None and gate.on_timeout is not all_but:
                return item
        return None

    def _people(self) -> Directory:
        return Directory(self.parts.library.config())

    def _with_people(self, command: _C) -> _C:
        """The command with who is who now, read anew for every try.

        To stop something must be easy: where config.json cannot be read, a rejection, pause or cancel needs no people.
        """
        command = msgspec.structs.replace(command, request=self._call.request, expected_seq=self._call.expected_seq)
        try:
            return msgspec.structs.replace(command, people=self._people())
        except (InvalidProcedure, WorkspaceError):
            if isinstance(command, cmd.Reject | cmd.Pause | cmd.Cancel):
                return command
            raise

    def _readmission(self, run: Run) -> Callable[[Occupancy], None] | None:
        """A run that ended gave its slot back; what brings it back to life takes one again, but owes no cooldown."""
        if run.ended not in (RunStatus.FAILED, RunStatus.CANCELLED):
            return None
        from sopwith.core.admission import admit
        from sopwith.engine.creation import limits_now

        limits = limits_now(self.runs, run, self.parts.library.config())

        def check(occupancy: Occupancy) -> None:
            admit(run.name, limits, occupancy, self.parts.clock.now().at, cooldown=False)

        return check


def _as_asked(run: Run, command: cmd.Answer) -> cmd.Answer:
    """The answer with the digest of the open gate that it means, where it names none."""
    if command.digest is None and command.step in run.steps:
        gate = run.steps[command.step].gate
        if gate is not None and gate.status is GateStatus.OPEN:
            return msgspec.structs.replace(command, digest=gate.digest)
    return addressed(run, command)


def _tell_nobody(event: Event, run: Run) -> None:
    pass
