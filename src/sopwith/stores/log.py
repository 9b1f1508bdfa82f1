"""The log and its seals in the SQLite file: what `audit/` reads and keeps. The record itself is written by `sqlite.py`.

`position` is given out by autoincrement inside the one write transaction there can be, and a transaction that fails
takes its numbers back: positions have no gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from sopwith.errors import Conflict, StoreError
from sopwith.ports import DroppedRun, KeptCheckpoint, LogEnd, LogEntry
from sopwith.stores.database import Database
from sopwith.stores.rows import stored_run


class SqliteLog:
    """Log and Seals on an open database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def reading(self) -> AbstractContextManager[object]:
        """As the port says; other threads of this process wait meanwhile, so verify on a store object of its own."""
        return self._db.snapshot()

    def leaves(self, after_position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        return self._db.rows("log_leaves", after=after_position, limit=limit)

    def entries(self, after_position: int, limit: int) -> Sequence[LogEntry]:
        return [LogEntry(*row) for row in self._db.rows("log_entries", after=after_position, limit=limit)]

    def run_entries(self, run_id: str, after_seq: int, limit: int) -> Sequence[LogEntry]:
        rows = self._db.rows("log_entries_of_run", run_id=run_id, after=after_seq, limit=limit)
        return [LogEntry(*row) for row in rows]

    def end(self) -> LogEnd:
        return LogEnd(self._db.value("log_high_water") or 0, self._db.value("run_without_events"))

    def newest_checkpoint(self) -> KeptCheckpoint | None:
        row = self._db.row("newest_checkpoint")
        return None if row is None else KeptCheckpoint(*row)

    def checkpoints(self, after_size: int, limit: int) -> Sequence[KeptCheckpoint]:
        return [KeptCheckpoint(*row) for row in self._db.rows("checkpoints_after", after=after_size, limit=limit)]

    def keep_checkpoint(self, checkpoint: KeptCheckpoint) -> bool:
        with self._db.writing():
            kept = self._db.value(
                "insert_checkpoint", size=checkpoint.size, line=checkpoint.line, frontier=checkpoint.frontier
            )
        return kept is not None

    def tombstones(self) -> Sequence[bytes]:
        return [line for (line,) in self._db.rows("tombstones")]

    def restorations(self) -> Sequence[bytes]:
        return [line for (line,) in self._db.rows("restorations")]

    def drop_payloads(self, runs: Sequence[DroppedRun], line: bytes) -> None:
        """As the port says. What is dropped is overwritten where it lies, in the WAL as soon as readers allow.

        Copies that earlier page splits left in unused parts of the file go with the next VACUUM, not before.
        """
        with self._db.reading() as connection:
            connection.pragma("secure_delete", True)
        with self._db.writing():
            for run in runs:
                self._drop(run)
            self._db.run("insert_tombstone", line=line)
        with suppress(StoreError), self._db.reading() as connection:
            connection.pragma("wal_checkpoint", "truncate")

    def _drop(self, dropped: DroppedRun) -> None:
        row = self._db.row("run_by_id", run_id=dropped.run_id)
        run = None if row is None else stored_run(row)
        if run is None or (run.summary.seq, run.head) != (dropped.seq, dropped.head):
            raise Conflict(
                f"cannot drop the payloads of {dropped.run_id}: event {dropped.seq} is not its last one",
                hint="choose again what is old enough",
            )
        self._db.run("drop_payloads", run=run.ordinal)
        for digest in dropped.contents:
            self._db.run("drop_content", digest=bytes.fromhex(digest))
