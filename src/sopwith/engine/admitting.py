"""What limits say to a run that a trigger would start: the room in its queue, and what would come of it now.

To find out what would come of it, the run is made as far as its admission, in a transaction that is then taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from sopwith.core.admission import Occupancy
from sopwith.core.decide import Decision
from sopwith.core.instant import Instant
from sopwith.core.procedure import AdmissionRule
from sopwith.core.run import RunStatus
from sopwith.core.trigger_events import encode_event
from sopwith.core.triggers import Outcome, admission_of, max_queued_of, starter_of
from sopwith.engine.armed import Armed
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.runs import Runs
from sopwith.errors import CoolingDown, LimitReached, SopwithError
from sopwith.ports import Deliveries, Owner, RunFilter, RunSummary, Store

Document = dict[str, Any]


class QueueFull(SopwithError):
    """So many runs of a trigger wait that no more may."""

    code = "queue_full"


def queued_of(store: Store, deliveries: Deliveries, armed: Armed) -> list[RunSummary]:
    """The runs of this trigger that wait in the queue, the newest first."""
    which = RunFilter(name=armed.procedure.name, statuses=(RunStatus.PENDING,))
    queued = filter(is_queued, store.summaries(which)[0])
    return [run for run in queued if deliveries.trigger_of(run.run_id) == (armed.procedure.name, armed.name)]


def check_room(store: Store, deliveries: Deliveries, armed: Armed) -> None:
    """Raises QueueFull."""
    most = max_queued_of(armed.trigger)
    pending = RunFilter(name=armed.procedure.name, statuses=(RunStatus.PENDING,), limit=0)
    if store.summaries(pending)[1] < most:
        return  # whosever they are
    waiting = queued_of(store, deliveries, armed)
    if len(waiting) >= most:
        raise QueueFull(f"the queue of {armed.name} is full: {len(waiting)} of its runs wait (maxQueued {most})")


def is_queued(run: RunSummary) -> bool:
    """Whether the run waits for a slot."""
    return run.status is RunStatus.PENDING and not run.holds_slot and run.ended_at is None


def admission_now(
    engine: Engine,
    deliveries: Deliveries,
    armed: Armed,
    *,
    params: dict[str, Any],
    event: dict[str, Any],
    fit_to_tell: Callable[[LimitReached], LimitReached],
) -> Document:
    """`{outcome, reason?, place?, runId?}`: what would become of the event now. Writes nothing.

    `place`: in the queue, from 1. `runId`: of the run that it would join.
    """
    rule, store = admission_of(armed.trigger), engine.parts.store
    if rule is AdmissionRule.COALESCE and (waiting := queued_of(store, deliveries, armed)):
        joined = waiting[-1].run_id
        return {"outcome": Outcome.COALESCED, "reason": f"it would join {joined}", "runId": joined}
    request = RunRequest(
        name=armed.procedure.name, params=params, trigger=armed.trigger.type, event=encode_event(event)
    )
    trial = _Trial(engine)
    try:
        if rule is not AdmissionRule.REJECT:
            check_room(store, deliveries, armed)
        trial.make(request, event, armed)
    except (LimitReached, CoolingDown) as error:
        told = fit_to_tell(error) if isinstance(error, LimitReached) else error
        if rule is AdmissionRule.REJECT:
            return {"outcome": Outcome.REFUSED, "reason": told.message}
        return {"outcome": Outcome.QUEUED, "reason": told.message, "place": trial.place}
    except SopwithError as error:
        return {"outcome": Outcome.REFUSED, "reason": error.message}
    return {"outcome": Outcome.STARTED}


class _TakenBack(Exception):
    """The run would be made; it is not."""


class _Trial(Runs):
    """Makes a run as far as its admission."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.parts)
        self.place = 1
        """What it would have in the queue."""

    def make(self, request: RunRequest, event: dict[str, Any], armed: Armed) -> None:
        """Returns where it would be made. Raises what `Engine.create_run` does."""
        engine = Engine(self._parts)
        engine.runs = self
        try:
            engine.create_run(request, actor=starter_of(armed.procedure.name, armed.trigger, event))
        except _TakenBack:
            return

    def create(
        self,
        name: str,
        plan: Callable[[Occupancy, Instant], tuple[Decision, tuple[bytes, ...]]],
        *,
        group: str = "",
        driver: Owner | None = None,
    ) -> NoReturn:
        def look(occupancy: Occupancy) -> NoReturn:
            self.place = 1 + len({*occupancy.queued_before, *occupancy.queued_in_group})
            plan(occupancy, self._parts.clock.now())
            raise _TakenBack

        self._parts.store.create(name, look, group=group)
        raise AssertionError("what was to be taken back was made")
