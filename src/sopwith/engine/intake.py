"""Deliveries into the store, many in one transaction: whoever brings one waits until it is on disk, and no longer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from sopwith.engine.aside import Aside
from sopwith.ports import Accepted, Deliveries, NewDelivery

MOST_WAITING = 10_000
"""So many deliveries of one trigger are kept that nobody has carried out; then no more are taken."""
_AT_ONCE = 1000
_MOST_GATHERED = 5000
"""So many calls wait for the disk at most: while it stands still no more are taken."""


class Intake:
    """What comes while a transaction is under way goes into the next one, all of it together."""

    def __init__(self, deliveries: Deliveries, aside: Aside, *, most_waiting: int = MOST_WAITING) -> None:
        self._deliveries = deliveries
        self._aside = aside
        self._most = most_waiting
        self._gathered: list[tuple[Sequence[NewDelivery], asyncio.Future[tuple[Accepted, ...] | None]]] = []
        self._keeping: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer now."""
        return self._keeping is not None and not self._keeping.done()

    async def accept(self, new: Sequence[NewDelivery]) -> tuple[Accepted, ...] | None:
        """The deliveries as they are kept, durably; None, keeping none of them, where too many wait already."""
        if len(self._gathered) >= _MOST_GATHERED:
            return None
        done: asyncio.Future[tuple[Accepted, ...] | None] = asyncio.get_running_loop().create_future()
        self._gathered.append((new, done))
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.ensure_future(self._keep())
        return await done

    async def _keep(self) -> None:
        while self._gathered:
            batch, self._gathered = self._gathered[:_AT_ONCE], self._gathered[_AT_ONCE:]
            bundles = [new for new, _ in batch]
            try:
                kept = await self._aside.do(lambda bundles=bundles: self._accept(bundles))  # type: ignore[misc]
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for (_, done), accepted in zip(batch, kept, strict=True):
                if not done.done():
                    done.set_result(accepted)

    def _accept(self, bundles: Sequence[Sequence[NewDelivery]]) -> list[tuple[Accepted, ...] | None]:
        waiting = Counter({(new.procedure, new.trigger): 0 for bundle in bundles for new in bundle})
        for procedure, trigger in waiting:
            waiting[procedure, trigger] = self._deliveries.waiting_of(procedure, trigger)
        taken: list[bool] = []
        for bundle in bundles:
            owners = [(new.procedure, new.trigger) for new in bundle if not new.outcome]
            taken.append(all(waiting[owner] < self._most for owner in owners))
            if taken[-1]:
                waiting.update(owners)
        flat = [new for bundle, takes in zip(bundles, taken, strict=True) if takes for new in bundle]
        accepted = iter(self._deliveries.accept(flat) if flat else ())
        return [
            tuple(next(accepted) for _ in bundle) if takes else None
            for bundle, takes in zip(bundles, taken, strict=True)
        ]
