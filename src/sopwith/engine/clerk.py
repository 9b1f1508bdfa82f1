"""Makes runs of deliveries, in their order, through the same `create_run` as `sop run`.

It may die at any point: a delivery that was not settled is taken up again, and its run has one id, whoever makes it.
"""

from __future__ import annotations

from collections.abc import Callable

from sopwith.core.actor import Actor
from sopwith.core.procedure import AdmissionRule
from sopwith.core.run import Run
from sopwith.core.trigger_events import decode_event
from sopwith.core.triggers import Outcome, admission_of, match, request_for, starter_of
from sopwith.engine.admitting import check_room, is_queued, queued_of
from sopwith.engine.armed import Armed, Armory
from sopwith.engine.delivery_checks import why_unfit
from sopwith.engine.engine import Call, Engine, RunRequest
from sopwith.errors import Conflict, SopwithError, StoreError, WorkspaceError
from sopwith.ports import Deliveries, Delivery

_AT_ONCE = 20
"""So many deliveries are read at a time."""
_TRIES = 8


class Clerk:
    """`told` hears of each delivery that it has settled, `troubled` of one that cannot be carried out now."""

    def __init__(
        self,
        engine: Engine,
        deliveries: Deliveries,
        armory: Armory,
        *,
        told: Callable[[Delivery], None],
        troubled: Callable[[Delivery, Exception], None],
    ) -> None:
        self._engine = engine
        self._deliveries = deliveries
        self._armory = armory
        self._told = told
        self._troubled = troubled
        self._after = 0

    def carry_on(self) -> bool:
        """Carries out the next deliveries; tells whether there may be more. Raises StoreError."""
        waiting = self._deliveries.waiting(self._after, _AT_ONCE)
        for delivery in waiting:
            try:
                self._carry_out(delivery)
            except (StoreError, WorkspaceError, Conflict) as error:
                self._troubled(delivery, error)
            # what is in trouble is tried again when all others have had their turn
            self._after = delivery.number
        if len(waiting) < _AT_ONCE:
            self._after = 0
        return len(waiting) == _AT_ONCE

    def _carry_out(self, delivery: Delivery) -> None:
        try:
            if (wrong := why_unfit(delivery)) is not None:
                self._settle(delivery, Outcome.REFUSED, reason=f"what it brought {wrong}")
                return
            armed = self._armory.find(delivery.procedure, delivery.trigger)
            event = decode_event(delivery.event)
            matched = match(armed.procedure, armed.trigger, event)
            if matched.outcome is not None:
                self._settle(delivery, matched.outcome, reason=matched.reason)
            elif not self._joined(armed, delivery):
                actor = starter_of(armed.procedure.name, armed.trigger, event)
                self._create(armed, delivery, matched.params, actor)
        except (StoreError, WorkspaceError, Conflict):
            raise
        except SopwithError as error:
            self._settle(delivery, Outcome.REFUSED, reason=error.message)

    def _create(self, armed: Armed, delivery: Delivery, params: dict[str, object], actor: Actor) -> None:
        is_made = self._engine.parts.store.summary(delivery.run_id) is not None
        rule = admission_of(armed.trigger)
        if not is_made and rule is not AdmissionRule.REJECT:
            check_room(self._engine.parts.store, self._deliveries, armed)
        call = Call(request=request_for(armed.procedure.name, armed.trigger, delivery.delivery))
        request = RunRequest(
            name=armed.procedure.name,
            params=params,
            queue=rule is not AdmissionRule.REJECT,
            trigger=armed.trigger.type,
            event=delivery.event,
        )
        run = self._engine.for_call(call).create_run(request, actor=actor)
        self._settle(delivery, Outcome.QUEUED if run.queued else Outcome.STARTED, run=run)
        # whoever serves drives it on: nobody else will
        self._engine.leave(run)

    def _joined(self, armed: Armed, delivery: Delivery) -> bool:
        """Whether the delivery joined a run that waits in the queue. One that has begun is never joined: it may be past
        what the event asks for.
        """
        if admission_of(armed.trigger) is not AdmissionRule.COALESCE:
            return False
        store = self._engine.parts.store
        if store.summary(delivery.run_id) is not None:
            return False
        for _ in range(_TRIES):
            queued = queued_of(store, self._deliveries, armed)
            if not queued:
                return False
            first = queued[-1].run_id

            def still_waits(run_id: str = first) -> bool:
                summary = store.summary(run_id)
                return summary is not None and is_queued(summary)

            if self._settle(delivery, Outcome.COALESCED, reason=f"joined {first}", run_id=first, holds=still_waits):
                return True
            if (kept := self._deliveries.delivery(delivery.number)) is None or kept.outcome:
                return True
        return False

    def _settle(
        self,
        delivery: Delivery,
        outcome: Outcome,
        *,
        reason: str = "",
        run: Run | None = None,
        run_id: str = "",
        holds: Callable[[], bool] = lambda: True,
    ) -> bool:
        settled = self._deliveries.settle(
            delivery.number,
            outcome,
            run_id=run_id or (delivery.run_id if run is None else run.run_id),
            reason=reason,
            now=self._engine.parts.clock.now().at,
            holds=holds,
        )
        kept = self._deliveries.delivery(delivery.number) if settled else None
        if kept is not None:
            self._told(kept)
        return settled
