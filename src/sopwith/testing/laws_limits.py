"""What must hold of limits: how many runs hold a slot at once, and how long a procedure rests between two runs.

Counted over the runs as the events make them, not asked of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import combinations

from sopwith.core import events as ev
from sopwith.core.config import Config
from sopwith.core.events import Event
from sopwith.core.run import Run, holds_slot
from sopwith.testing.laws_children import in_one_line

_COMES_BACK = ev.RunRetried | ev.RunResumed | ev.RollbackStarted
"""What goes on with a run that had its rest before it first began."""


class LimitLaws:
    """`config`: what is the same in every config.json of this simulation."""

    def __init__(self, breaks: Callable[[str], None], runs: Mapping[str, Run]) -> None:
        self._breaks = breaks
        self._runs = runs
        self.config = Config()

    def after(self, before: Run | None, run: Run, events: Sequence[Event]) -> None:
        """These events have brought the run from there to here."""
        if not holds_slot(run) or (before is not None and holds_slot(before)):
            return
        holding = [other for other in self._runs.values() if holds_slot(other)]
        self._check_group(run, holding)
        of_procedure = [other.run_id for other in holding if other.name == run.name]
        if run.procedure.max_concurrent is not None and len(of_procedure) > run.procedure.max_concurrent:
            self._breaks(f"{of_procedure} of {run.name} hold slots, and {run.procedure.max_concurrent} may")
        outermost = [other.run_id for other in holding if other.parent is None]
        limit = self.config.max_concurrent_runs
        if run.parent is None and limit is not None and len(outermost) > limit:
            self._breaks(f"{outermost} hold slots, and {limit} may in this workspace")
        if not any(isinstance(event.body, _COMES_BACK) for event in events):
            self._check_rest(run, events[-1])

    def may_begin(self, run: Run, now: datetime) -> bool:
        """Whether nothing at all stands in the way of a run that waits for its slot. One within another is its own
        matter: that one may rest.
        """
        if not run.queued or run.ended is not None or run.parent is not None:
            return False
        others = [other for other in self._runs.values() if other.run_id != run.run_id]
        holding = [other for other in others if holds_slot(other)]
        rivals = [other for other in others if other.name == run.name or _shares_group(run, other)]
        if any(other.queued and other.ended is None for other in rivals):
            return False
        if any(other.name == run.name or _shares_group(run, other) for other in holding):
            return False
        limit = self.config.max_concurrent_runs
        if limit is not None and len([other for other in holding if other.parent is None]) >= limit:
            return False
        rested = self._rested(run, now)
        return rested is None or rested >= run.procedure.cooldown_secs

    def _check_group(self, run: Run, holding: list[Run]) -> None:
        meeting = [
            other for other in holding if run.concurrency_group and other.concurrency_group == run.concurrency_group
        ]
        for one, other in combinations(meeting, 2):
            if not in_one_line(self._runs, one, other):
                self._breaks(f"{one.run_id} and {other.run_id} hold the slot of {run.concurrency_group} at once")

    def _rested(self, run: Run, now: datetime) -> float | None:
        """For how many seconds its procedure has rested by now; None: it was never at work."""
        ended = [
            other.ended_at
            for other in self._runs.values()
            if other.run_id != run.run_id and other.name == run.name and other.executed and other.ended_at
        ]
        return (now - max(ended)).total_seconds() if ended else None

    def _check_rest(self, run: Run, event: Event) -> None:
        rested = self._rested(run, event.at)
        if rested is not None and rested < run.procedure.cooldown_secs and rested >= 0:
            self._breaks(f"{run.run_id} began {rested} s after the last one of {run.name}, which wants a rest")


def _shares_group(one: Run, other: Run) -> bool:
    return bool(one.concurrency_group) and one.concurrency_group == other.concurrency_group
