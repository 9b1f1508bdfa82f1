"""Deliveries of a memory store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec

from sopwith.ports import Accepted, Delivery, Move, NewDelivery
from sopwith.testing.shelf import Shelf


class MemoryDeliveries:
    """Deliveries on the shelf that all handles share."""

    def __init__(
        self, using: Callable[[], AbstractContextManager[Shelf]], writing: Callable[[], AbstractContextManager[Shelf]]
    ) -> None:
        self._using = using
        self._writing = writing

    def accept(self, new: Sequence[NewDelivery], moves: Sequence[Move] = ()) -> tuple[Accepted, ...]:
        with self._writing() as shelf:
            accepted = tuple(_accept(shelf, each) for each in new)
            for move in moves:
                _move(shelf, move)
            shelf.commits += 1
        return accepted

    def waiting(self, after: int, limit: int) -> tuple[Delivery, ...]:
        with self._using() as shelf:
            found = [each for each in shelf.deliveries.values() if not each.outcome and each.number > after]
        return tuple(sorted(found, key=lambda each: each.number)[:limit])

    def waiting_of(self, procedure: str, trigger: str) -> int:
        with self._using() as shelf:
            every = shelf.deliveries.values()
            return sum(not d.outcome and (d.procedure, d.trigger) == (procedure, trigger) for d in every)

    def settle(
        self,
        number: int,
        outcome: str,
        *,
        run_id: str,
        reason: str,
        now: datetime,
        holds: Callable[[], bool] = lambda: True,
    ) -> bool:
        with self._writing() as shelf:
            kept = shelf.deliveries.get(number)
            if not holds() or kept is None or kept.outcome:
                return False
            shelf.deliveries[number] = msgspec.structs.replace(
                kept, outcome=outcome, reason=reason, run_id=run_id, settled_at=now
            )
            shelf.commits += 1
        return True

    def delivery(self, number: int) -> Delivery | None:
        with self._using() as shelf:
            return shelf.deliveries.get(number)

    def trigger_of(self, run_id: str) -> tuple[str, str] | None:
        with self._using() as shelf:
            found = (each for each in shelf.deliveries.values() if each.run_id == run_id)
            return next(((each.procedure, each.trigger) for each in found), None)

    def newest(self, before: int, limit: int) -> tuple[Delivery, ...]:
        with self._using() as shelf:
            found = sorted((each for each in shelf.deliveries.values() if each.number < before), key=_number)
        return tuple(reversed(found))[:limit]

    def prune(self, before: datetime) -> None:
        with self._writing() as shelf:
            for number, each in list(shelf.deliveries.items()):
                if each.settled_at is not None and each.settled_at < before:
                    del shelf.deliveries[number]
            shelf.commits += 1

    def cursor(self, name: str) -> str | None:
        with self._using() as shelf:
            return shelf.cursors.get((name, ""))

    def files(self, name: str) -> Mapping[str, str]:
        with self._using() as shelf:
            return {path: value for (owner, path), value in shelf.cursors.items() if owner == name and path}


def _number(delivery: Delivery) -> int:
    return delivery.number


def _accept(shelf: Shelf, new: NewDelivery) -> Accepted:
    name = (new.procedure, new.trigger, new.delivery)
    for kept in shelf.deliveries.values():
        if (kept.procedure, kept.trigger, kept.delivery) == name:
            return Accepted(kept, False)
    shelf.last_delivery += 1
    made = Delivery(
        number=shelf.last_delivery,
        settled_at=new.received_at if new.outcome else None,
        digest=hashlib.sha256(new.event).digest(),
        **msgspec.structs.asdict(new),
    )
    shelf.deliveries[made.number] = made
    return Accepted(made, True)


def _move(shelf: Shelf, move: Move) -> None:
    if move.value is None:
        shelf.cursors.pop((move.name, move.path), None)
    else:
        shelf.cursors[(move.name, move.path)] = move.value
