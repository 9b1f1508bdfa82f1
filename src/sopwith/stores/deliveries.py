"""Deliveries in the SQLite file: what happened outside, until it has been carried out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sopwith.ports import Accepted, Delivery, Move, NewDelivery
from sopwith.stores.database import Database
from sopwith.stores.rows import Row, instant, milliseconds


class SqliteDeliveries:
    """Deliveries on an open database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def accept(self, new: Sequence[NewDelivery], moves: Sequence[Move] = ()) -> tuple[Accepted, ...]:
        with self._db.writing():
            accepted = tuple(self._accept(each) for each in new)
            for move in moves:
                self._move(move)
        return accepted

    def waiting(self, after: int, limit: int) -> tuple[Delivery, ...]:
        return tuple(_delivery(row) for row in self._db.rows("waiting_deliveries", after=after, limit=limit))

    def waiting_of(self, procedure: str, trigger: str) -> int:
        return int(self._db.value("count_waiting_of_trigger", procedure=procedure, trigger=trigger))

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
        with self._db.writing():
            if not holds():
                return False
            values = {"outcome": outcome, "reason": reason, "run_id": run_id, "now": milliseconds(now)}
            return self._db.value("settle_delivery", id=number, **values) is not None

    def delivery(self, number: int) -> Delivery | None:
        row = self._db.row("delivery_by_id", id=number)
        return None if row is None else _delivery(row)

    def trigger_of(self, run_id: str) -> tuple[str, str] | None:
        row = self._db.row("trigger_of_run", run_id=run_id)
        return None if row is None else (row[0], row[1])

    def newest(self, before: int, limit: int) -> tuple[Delivery, ...]:
        return tuple(_delivery(row) for row in self._db.rows("newest_deliveries", before=before, limit=limit))

    def prune(self, before: datetime) -> None:
        with self._db.writing():
            self._db.run("prune_deliveries", before=milliseconds(before))

    def cursor(self, name: str) -> str | None:
        found: str | None = self._db.value("trigger_cursor", name=name)
        return found

    def files(self, name: str) -> Mapping[str, str]:
        return dict(self._db.rows("watched_files", trigger=name))

    def _accept(self, new: NewDelivery) -> Accepted:
        number = self._db.value(
            "insert_delivery",
            procedure=new.procedure,
            trigger=new.trigger,
            delivery=new.delivery,
            received_at=milliseconds(new.received_at),
            event=new.event,
            run_id=new.run_id,
            outcome=new.outcome or None,
            reason=new.reason,
            settled_at=milliseconds(new.received_at) if new.outcome else None,
            digest=hashlib.sha256(new.event).digest(),
        )
        row = self._db.row("delivery_by_name", procedure=new.procedure, trigger=new.trigger, delivery=new.delivery)
        assert row is not None
        return Accepted(_delivery(row), number is not None)

    def _move(self, move: Move) -> None:
        if not move.path:
            self._db.run("move_trigger_cursor", name=move.name, value=move.value)
        elif move.value is None:
            self._db.run("forget_watched_file", trigger=move.name, path=move.path)
        else:
            self._db.run("keep_watched_file", trigger=move.name, path=move.path, value=move.value)


def _delivery(row: Row) -> Delivery:
    number, procedure, trigger, delivery, received_at, event, run_id, outcome, reason, settled_at, digest = row
    return Delivery(
        number=number,
        procedure=procedure,
        trigger=trigger,
        delivery=delivery,
        received_at=instant(received_at),
        event=event,
        run_id=run_id,
        outcome=outcome or "",
        reason=reason,
        settled_at=None if settled_at is None else instant(settled_at),
        digest=digest or b"",
    )
