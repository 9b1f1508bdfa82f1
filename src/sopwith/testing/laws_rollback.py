"""What must hold of a rollback, whatever crashes: read off the events and the processes, by its own bookkeeping.

Each script starts once in one rollback, for a completed step only, the last completed first, alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.events import Event
from sopwith.core.run import Run, StepStatus


class _Undoing(msgspec.Struct):
    """A rollback that goes on: what is still to come, and what was started."""

    left: list[StepId]
    started: set[StepId]


class RollbackLaws:
    """`busy`: whether a process of this run is alive now."""

    def __init__(self, breaks: Callable[[str], None], busy: Callable[[str], bool]) -> None:
        self._breaks = breaks
        self._busy = busy
        self._undoing: dict[str, _Undoing] = {}

    def check(self, before: Run, event: Event, history: Sequence[Event]) -> None:
        """Looks at one event of the run, which stood like this before it."""
        going = self._undoing.get(before.run_id)
        match event.body:
            case ev.RollbackStarted() as body:
                self._begins(before, body, history)
            case ev.StepStarted(rollback=True) as body:
                self._starts(before, body, going, history)
            case ev.StepStarted() | ev.WaitStarted() if going is not None:
                self._breaks(f"{before.run_id}: step {event.step_number} started while the run is rolled back")
            case ev.StepRolledBack(step_number=number):
                self._ends(before, number, going)
            case ev.ApprovalRejected(step_number=number) if going is not None and number is not None:
                self._leaves_out(before, number, going)
            case ev.RunFailed() | ev.RunCancelled() as body:
                if body.rolled_back and going is not None and going.left:
                    self._breaks(f"{before.run_id} is told as rolled back, and {going.left} are left")
                self._undoing.pop(before.run_id, None)
            case _:
                pass

    def _begins(self, before: Run, body: ev.RollbackStarted, history: Sequence[Event]) -> None:
        completed = {n for n, step in before.steps.items() if step.status is StepStatus.COMPLETED}
        wanted: list[StepId] = []
        for past in reversed(history):
            number = past.step_number
            if not isinstance(past.body, ev.StepCompleted) or number is None or number in wanted:
                continue
            step = before.procedure.step(number)
            one = (step.for_each is None) == isinstance(number, int)
            if one and number in completed and step.rollback is not None:
                wanted.append(number)
        if list(body.steps) != wanted:
            self._breaks(f"{before.run_id} is to be rolled back from {body.steps}, and {wanted} were completed")
        if self._busy(before.run_id):
            self._breaks(f"{before.run_id} is to be rolled back, and a process of it still runs")
        self._undoing[before.run_id] = _Undoing(list(body.steps), set())

    def _starts(self, before: Run, body: ev.StepStarted, going: _Undoing | None, history: Sequence[Event]) -> None:
        number = body.step_number
        where = f"{before.run_id}: the rollback of step {number}"
        if going is None or going.left[:1] != [number]:
            self._breaks(f"{where} started, and it is not its turn")
            return
        if number in going.started:
            self._breaks(f"{where} started twice")
        if self._busy(before.run_id):
            self._breaks(f"{where} started beside another process of the run")
        if before.paused or before.pause_requested or before.cancel_requested or before.ended is not None:
            self._breaks(f"{where} started in a run that is paused, being cancelled or ended")
        if _asks(before, number, history) and _approved(number, history) != body.digest:
            self._breaks(f"{where} started without an approval of it")
        going.started.add(number)

    def _ends(self, before: Run, number: StepId, going: _Undoing | None) -> None:
        if going is None or number not in going.started:
            self._breaks(f"{before.run_id}: step {number} is rolled back, and its script never started")
        else:
            going.left.remove(number)

    def _leaves_out(self, before: Run, number: StepId, going: _Undoing) -> None:
        if number in going.started:
            self._breaks(f"{before.run_id}: step {number} is left out, and its rollback had started")
        if number in going.left:
            going.left.remove(number)


def _asks(before: Run, number: StepId, history: Sequence[Event]) -> bool:
    """Whether a person must approve this rollback: the file says so, or something had changed."""
    rollback = before.procedure.step(number).rollback
    changed = any(isinstance(past.body, ev.ApprovalStale) and past.step_number == number for past in history)
    return changed or (rollback is not None and rollback.requires_approval)


def _approved(number: StepId, history: Sequence[Event]) -> str | None:
    """The digest under which this very rollback was approved, or None."""
    digest = None
    for past in history:
        match past.body:
            case ev.RollbackStarted():
                digest = None
            case ev.ApprovalGranted(step_number=asked) as body if asked == number:
                digest = body.digest
            case ev.ApprovalStale(step_number=asked) if asked == number:
                digest = None
            case _:
                pass
    return digest
