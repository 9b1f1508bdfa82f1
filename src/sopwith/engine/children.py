"""Child runs at the edge: made as their parent pinned them, kept in line with it, and watched for it.

A child's own commits tell its parent (`runs.py`): before it goes on from rest, and after it came to rest or ended. So
whatever dies in between, the parent either knows how the child stands, or knows that it has to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId
from sopwith.core.admission import Occupancy, admit
from sopwith.core.child import EXECUTOR, given_by, is_to_be_retried, told_of
from sopwith.core.events import ParentRun
from sopwith.core.gates import is_gated
from sopwith.core.instant import Instant
from sopwith.core.parameters import resolve_parameters
from sopwith.core.procedure import Procedure, decode_procedure, sha256
from sopwith.core.run import GateStatus, Run, RunStatus, StepStatus, children
from sopwith.engine.creation import Order, Within, limits_now, make_run
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Runs
from sopwith.engine.uses import used_by
from sopwith.errors import BadParameter, IllegalMove, LimitReached, NotFound, RecordDropped, StoreError

PARENT = "parent"
"""The cause of a pause that the parent's pause brings."""


class Next(msgspec.Struct, frozen=True):
    """The run that the next attempt of a step is: a new one, or one that has `seq` events and is gone on with."""

    run_id: str
    seq: int = 0


def is_there(parts: Parts, run_id: str) -> bool:
    """Whether the run was made, whatever became of its record."""
    return parts.store.summary(run_id) is not None


def make(parts: Parts, runs: Runs, run: Run, number: StepId) -> None:
    """The child run that an intent names and that is not there yet. Raises as `make_run`."""
    uses = {name: _pinned(parts, used.digest) for name, used in run.uses.items()}
    procedure = uses[run.procedure.step(number).uses or ""]
    within = Within(
        run_id=run.steps[number].child,
        parent=ParentRun(run_id=run.run_id, step=number),
        environment=run.environment,
        umask=run.umask,
        used=run.uses[procedure.name],
        uses=run.uses,
    )
    order = Order(
        procedure=procedure,
        uses=used_by(procedure, uses.__getitem__),
        params=given_by(run, number).parameters,
        queue=True,
        trigger=EXECUTOR,
        within=within,
    )
    make_run(parts, runs, order, actor=run.created_by)


NO_CHILD = Next("")


def next_child(parts: Parts, runs: Runs, run: Run, number: StepId) -> Next:
    """An earlier attempt's run where it can go on with the same parameters: what it has done is not done again."""
    step = run.steps[number]
    before = _loaded(runs, step.child) if step.child else None
    if before is not None and before.ended is not RunStatus.CANCELLED and _has_the_same(before, run, number):
        return Next(before.run_id, before.seq)
    return Next(parts.ids.run_id())


def _has_the_same(child: Run, parent: Run, number: StepId) -> bool:
    try:
        return child.params == resolve_parameters(child.procedure, given_by(parent, number).parameters)
    except BadParameter:
        return False


def bring_in_line(parts: Parts, runs: Runs, run: Run, *, watched: StepId | None = None) -> bool:
    """Pauses, resumes, retries and cancels what the run's steps have started, and what runs within that, as it stands.

    Tells whether anything changed. Raises LimitReached where the retry of `watched` finds no slot; of the others that
    is told when they are watched.
    """
    changed = False
    for step in children(run):
        child = _loaded(runs, step.child)
        if child is not None and (command := _word(run, step.number, child, parts.clock.now())) is not None:
            try:
                changed |= _said(parts, runs, child, command)
            except LimitReached:
                if step.number == watched:
                    raise
    return changed


def going_on_besides(runs: Runs, run: Run) -> tuple[tuple[StepId, str], ...]:
    """Child runs of steps that have ended, which somebody brought back by themselves."""
    kept = ((step.number, step.child) for step in run.steps.values() if step.child)
    busy = {step.number for step in children(run)}
    loaded = ((number, _loaded(runs, child)) for number, child in kept if number not in busy)
    return tuple((number, child.run_id) for number, child in loaded if child is not None and child.ended is None)


def gates_not_passed(runs: Runs, run: Run, number: StepId) -> Iterator[tuple[Run, StepId | None]]:
    """The gates within the child run of this step, and within its children, that nobody has passed."""
    child = _loaded(runs, run.steps[number].child) if run.steps[number].child else None
    if child is None or child.ended is RunStatus.COMPLETED:
        return
    if child.start_gate is not None and child.start_gate.status is not GateStatus.APPROVED:
        yield child, None
    for step in child.steps.values():
        if is_gated(child, step.number) and not step.gate_passed and step.status is not StepStatus.COMPLETED:
            yield child, step.number
        yield from gates_not_passed(runs, child, step.number)


def may_begin(runs: Runs, run: Run) -> bool:
    """Whether the run around this one, if there is one, has not been stopped meanwhile."""
    around = _around(runs, run)
    stopped = around is not None and (around.paused or around.pause_requested)
    return not stopped and not is_called_off(around)


def is_over_around(runs: Runs, run: Run) -> bool:
    """Whether the run around this one is being ended, and may not have been able to tell it."""
    return is_called_off(_around(runs, run))


def _around(runs: Runs, run: Run) -> Run | None:
    """The run whose step this one carries out; None where that has ended, and this one goes on by itself."""
    around = _loaded(runs, run.parent.run_id) if run.parent is not None else None
    return around if around is not None and any(step.child == run.run_id for step in children(around)) else None


def is_called_off(run: Run | None) -> bool:
    # whoever brings back by itself what ran within a run that has ended need not ask that one
    return run is not None and run.ended is None and bool(_why_over(run))


def stop(parts: Parts, runs: Runs, run: Run, number: StepId) -> bool:
    """Cancels the child run that carries the step out. Tells whether that is news."""
    child = _loaded(runs, run.steps[number].child)
    reason = _why_over(run) or f"the time of step {number} of {run.run_id} is up"
    command = None if child is None else _cancelling(child, reason, parts.clock.now())
    return child is not None and command is not None and _said(parts, runs, child, command)


def _why_over(run: Run) -> str:
    """Why all that the run has started is ended; empty where it is not."""
    if run.cancel_requested:
        return f"{run.run_id} is cancelled"
    return f"the time of {run.run_id} is up" if run.timed_out else ""


def _cancelling(child: Run, reason: str, now: Instant) -> cmd.Cancel | None:
    """What ends the child; None where that is asked already, or it has ended."""
    if child.ended is not None or child.cancel_requested:
        return None
    return cmd.Cancel(actor=SYSTEM, now=now, reason=reason)


class Found(NamedTuple):
    """What a run has to be told, and whether that still holds."""

    command: cmd.Command
    holds: Callable[[], bool]


def found(runs: Runs, run: Run, number: StepId, now: Instant) -> Found | None:
    """What the run has to be told of the child that carries the step out; None where it goes on."""
    step = run.steps[number]
    try:
        child = runs.load(step.child).run
    except RecordDropped as error:
        lost = cmd.Interrupt(actor=SYSTEM, now=now, step=number, attempt=step.attempt, reason=error.message)
        return Found(lost, lambda: True)
    command = told_of(run, child, number, now)
    return None if command is None else Found(command, runs.unchanged(child))


def _word(run: Run, number: StepId, child: Run, now: Instant) -> cmd.Command | None:
    """What the child must be told, as its parent stands."""
    if reason := _why_over(run):
        return _cancelling(child, reason, now)
    if run.stopping and child.ended is None and not (child.paused or child.stopping or child.queued):
        return cmd.Pause(actor=SYSTEM, now=now, reason=f"{run.run_id} is stopped", cause=PARENT, stop=True)
    if run.pause_requested or run.paused:
        pauses = child.ended is None and not (child.paused or child.pause_requested or child.queued)
        reason = f"{run.run_id} is paused"
        return cmd.Pause(actor=SYSTEM, now=now, reason=reason, cause=PARENT) if pauses else None
    if child.pause_cause == PARENT and (child.paused or child.pause_requested):
        return cmd.Resume(actor=SYSTEM, now=now)
    if is_to_be_retried(run, number, child):
        return cmd.Retry(actor=SYSTEM, now=now, reason=f"step {number} of {run.run_id} is tried again")
    return None


def _said(parts: Parts, runs: Runs, child: Run, command: cmd.Command) -> bool:
    def check(occupancy: Occupancy) -> None:
        limits = limits_now(runs, child, parts.library.config())
        admit(child.name, limits, occupancy, parts.clock.now().at, cooldown=False)

    try:
        loaded, events = runs.change(child.run_id, lambda _run, _now: command, admit=lambda _run: check)
    except IllegalMove:
        return False  # it went on meanwhile
    bring_in_line(parts, runs, loaded.run)
    return bool(events)


def _pinned(parts: Parts, digest: str) -> Procedure:
    data = parts.store.content(digest)
    if data is None or sha256(data) != digest:
        what = "missing from the database" if data is None else "not what its digest says"
        raise StoreError(f"a procedure that was to be run is {what}", hint="sop doctor checks it")
    return decode_procedure(data)


def _loaded(runs: Runs, run_id: str) -> Run | None:
    try:
        return runs.load(run_id).run
    except NotFound:
        return None
