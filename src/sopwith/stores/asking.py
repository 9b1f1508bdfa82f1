"""What the inbox reads of the SQLite file: the runs that ask for somebody, in their order, and how much they ask."""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.ports import AskingFilter, RunSummary
from sopwith.stores.claims import Claims
from sopwith.stores.database import Database
from sopwith.stores.rows import milliseconds, stored_run

_AFTER_ALL = 2**62
"""Stands for the ordinal of a run that is not there: nothing comes after it."""


class SqliteAsking:
    """What `ports.Store` promises of runs that ask, on an open database."""

    def __init__(self, db: Database, claims: Claims) -> None:
        self._db = db
        self._claims = claims

    def runs(self, which: AskingFilter) -> tuple[RunSummary, ...]:
        limit = -1 if which.limit is None else which.limit
        with self._db.snapshot():
            after = 0
            if which.after is not None:
                after = self._db.value("ordinal_of_run", run_id=which.after) or _AFTER_ALL
            rows = self._db.rows(
                "asking_runs", after=after, limit=limit, names=_names(which), now=milliseconds(which.now)
            )
        return tuple(stored_run(row).summary for row in rows)

    def count(self, which: AskingFilter) -> int:
        names = _names(which)
        with self._db.snapshot():
            asked: int = self._db.value("count_asked", names=names)
            left = self._db.rows("left_runs", names=names, now=milliseconds(which.now))
        # a claim whose lock is free is that of a dead driver
        free: int = sum(count for run, count in left if run is None or not self._claims.is_held(run))
        return asked + free


def _names(which: AskingFilter) -> Any:
    return None if which.names is None else msgspec.json.encode(which.names).decode()
