"""What became of deliveries, counted for metrics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sopwith.ports import Outcome
from sopwith.stores.database import Database
from sopwith.stores.rows import instant, milliseconds


class SqliteTally:
    """A Tally on an open database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def settled(self, since: datetime, limit: int) -> Sequence[Outcome]:
        rows = self._db.rows("settled_deliveries", since=milliseconds(since), limit=limit)
        return [
            Outcome(id_, procedure, trigger, outcome, instant(settled_at))
            for id_, procedure, trigger, outcome, settled_at in rows
        ]

    def waiting(self) -> tuple[int, datetime | None]:
        row = self._db.row("oldest_waiting_delivery")
        assert row is not None
        count, oldest = row
        return count, None if oldest is None else instant(oldest)
