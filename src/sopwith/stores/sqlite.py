"""The default store: one SQLite file in WAL mode, each commit on disk before it is acknowledged.

The rules of a batch are in `batches.py`, claims in `claims.py`, the queries in `sql/`. One object may be used from
many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sopwith.core.codec import SealedEvent
from sopwith.core.digest import sha256
from sopwith.core.run import ENDED, RunStatus
from sopwith.errors import StoreError
from sopwith.ports import AskingFilter, Batch, Claim, Lease, Owner, RunFilter, RunSummary
from sopwith.stores import batches
from sopwith.stores.claims import Claims
from sopwith.stores.database import Database
from sopwith.stores.rows import (
    RunIds,
    StoredRun,
    asks_alike,
    event_values,
    instant,
    milliseconds,
    only_progressed,
    run_values,
    sealed_event,
    stored_run,
)

if TYPE_CHECKING:
    from sopwith.core.admission import Occupancy
    from sopwith.stores.asking import SqliteAsking
    from sopwith.stores.deliveries import SqliteDeliveries
    from sopwith.stores.log import SqliteLog
    from sopwith.stores.notices import SqliteCursor, SqliteNotices
    from sopwith.stores.tally import SqliteTally
    from sopwith.stores.tokens import SqliteTokens

_EPOCHS_OF_A_HISTORY = 1_000_000
"""More claims than one run ever sees: those of a restored copy are newer than any of what it replaces."""
_NOT_YET = 2**62
"""Stands for the ordinal of a run that does not exist yet: all others came before it."""


class SqliteStore:
    """Store and Cache on the file at `path`, which is made if there is none. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path)
        self._claims = Claims(self._db)

    # a short command has no use for most of these, and imports none of them

    @cached_property
    def _asking(self) -> SqliteAsking:
        from sopwith.stores.asking import SqliteAsking

        return SqliteAsking(self._db, self._claims)

    @cached_property
    def log(self) -> SqliteLog:
        from sopwith.stores.log import SqliteLog

        return SqliteLog(self._db)

    @cached_property
    def tokens(self) -> SqliteTokens:
        from sopwith.stores.tokens import SqliteTokens

        return SqliteTokens(self._db)

    @cached_property
    def notices(self) -> SqliteNotices:
        from sopwith.stores.notices import SqliteNotices

        return SqliteNotices(self._db)

    @cached_property
    def traced(self) -> SqliteCursor:
        from sopwith.stores.notices import SqliteCursor

        return SqliteCursor(self._db, "traces")

    @cached_property
    def tally(self) -> SqliteTally:
        from sopwith.stores.tally import SqliteTally

        return SqliteTally(self._db)

    @cached_property
    def deliveries(self) -> SqliteDeliveries:
        from sopwith.stores.deliveries import SqliteDeliveries

        return SqliteDeliveries(self._db)

    def create(
        self, name: str, plan: Callable[[Occupancy], Batch], *, group: str = "", driver: Owner | None = None
    ) -> Batch:
        ordinal, claim = 0, None
        try:
            with self._db.writing() as connection:
                batch = plan(self._occupancy(name, group, asking=_NOT_YET))
                summary = batch.summary
                exists = self._db.row("ordinal_of_run", run_id=summary.run_id) is not None
                batches.check_new(batch, name, group, exists=exists)
                self._db.run("insert_run", **run_values(summary, batch.events[-1].hash))
                ordinal = connection.last_insert_rowid()
                self._insert_events(ordinal, batch)
                claim = None if driver is None else self._claims.take_first(ordinal, summary, driver)
        except BaseException:
            if claim is not None:
                self._claims.unlock(ordinal, claim)
            raise
        return batch if claim is None else replace(batch, claim=claim)

    def append(
        self,
        run_id: str,
        after_seq: int,
        batch: Batch,
        *,
        claim: Claim | None = None,
        admit: Callable[[Occupancy], None] | None = None,
        frees: bool = False,
    ) -> None:
        with self._db.writing():
            run = self._run(run_id)
            if run is None:
                raise batches.unknown_run(run_id, after_seq)
            stored = run.summary
            batches.check_next(batch, after_seq, stored, head=run.head)
            # only what has ended is ever dropped, so nothing else needs the look
            if stored.ended_at is not None and self._db.value("is_dropped", run=run.ordinal, seq=stored.seq):
                raise batches.dropped_run(run_id, after_seq)
            if claim is not None:
                self._claims.check(run, claim)
            if admit is not None:
                admit(self._occupancy(stored.name, stored.concurrency_group, asking=run.ordinal))
            self._update(run, batch.summary, batch.events[-1].hash)
            self._insert_events(run.ordinal, batch)
            if claim is not None and frees:
                self._claims.record_end(run.ordinal, claim)
        if claim is not None and frees:
            self._claims.unlock(run.ordinal, claim)

    def correct(self, summary: RunSummary, head: str) -> bool:
        with self._db.writing():
            run = self._run(summary.run_id)
            if run is None or (run.summary.seq, run.head) != (summary.seq, head) or run.summary == summary:
                return False
            self._update(run, summary, head)
            self._db.run("correct_run", ordinal=run.ordinal, **_origin(summary))
        return True

    def events(self, run_id: str, after_seq: int = 0) -> tuple[SealedEvent, ...]:
        return tuple(sealed_event(row) for row in self._db.rows("events_after", run_id=run_id, after_seq=after_seq))

    def summary(self, run_id: str) -> RunSummary | None:
        run = self._run(run_id)
        return None if run is None else run.summary

    def summaries(self, which: RunFilter) -> tuple[tuple[RunSummary, ...], int]:
        """One index lookup for each status asked for, merged by age."""
        limit = -1 if which.limit is None else which.limit
        found: list[StoredRun] = []
        total = 0
        with self._db.snapshot():
            before = _NOT_YET if which.before is None else self._db.value("ordinal_of_run", run_id=which.before) or 0
            for kind, values in _lookups(which):
                found += map(stored_run, self._db.rows(f"newest_{kind}", limit=limit, before=before, **values))
            for query, values in _counts(which):
                total += self._db.value(query, **values)
        found.sort(key=lambda run: run.ordinal, reverse=True)
        return tuple(run.summary for run in found[: which.limit]), total

    def recount(self, *, mend: bool) -> bool:
        with self._db.snapshot():
            counted, true = self._db.rows("ended_runs"), self._db.rows("recount_ended_runs")
        if counted == true or not mend:
            return counted != true
        with self._db.writing():
            self._db.run("forget_ended_runs")
            for name, status, count in self._db.rows("recount_ended_runs"):
                self._db.run("keep_ended_runs", name=name, status=status, count=count)
        return True

    def names(self) -> tuple[str, ...]:
        return tuple(row[0] for row in self._db.rows("names_of_runs"))

    def asking(self, which: AskingFilter) -> tuple[RunSummary, ...]:
        return self._asking.runs(which)

    def asked(self, which: AskingFilter) -> int:
        return self._asking.count(which)

    def due(self, now: datetime, limit: int) -> tuple[str, ...]:
        return tuple(row[0] for row in self._db.rows("due_runs", now=milliseconds(now), limit=limit))

    def content(self, digest: str) -> bytes | None:
        try:
            stored: bytes | None = self._db.value("content_of_digest", digest=bytes.fromhex(digest))
        except ValueError:
            return None
        return stored

    def claim(self, run_id: str, owner: Owner, now: datetime) -> Claim | None:
        """As the port says. Raises NotFound for an unknown run."""
        return self._claims.take(run_id, owner, now)

    def renew(self, claim: Claim, now: datetime) -> None:
        self._claims.renew(claim, now)

    def lease(self, run_id: str) -> Lease | None:
        return self._claims.lease(run_id)

    def release(self, claim: Claim) -> None:
        self._claims.free(claim)

    def holder(self, run_id: str) -> Owner | None:
        return self._claims.holder(run_id)

    def version(self) -> int:
        return self._db.version()

    def recall(self, key: str) -> bytes | None:
        cached: bytes | None = self._db.value("recall", key=key)
        return cached

    def remember(self, key: str, value: bytes) -> None:
        with suppress(StoreError), self._db.writing():
            self._db.run("remember", key=key, value=value)

    def check(self) -> list[str]:
        """What is wrong with the file, one sentence each, for `sop doctor`; empty when all is well."""
        from sopwith.stores.integrity import findings

        try:
            with self._db.snapshot() as connection:
                return list(findings(connection))
        except StoreError as error:
            return [error.message]

    def copy_to(self, path: Path) -> None:
        """One state of the whole database in a new file, which belongs to nobody yet; others may write meanwhile."""
        self._db.copy_to(path)

    def begin_anew(self, restoration: bytes, now: datetime) -> None:
        """In a restored copy: who claimed a run in another history is fenced off; the restoration's line is kept.

        No token holds there: one of them may have been revoked since.
        What waited to start a run may have done so in that history: it starts none now, and all triggers begin anew.
        """
        from sopwith.stores.tokens import RESTORED

        with self._db.writing():
            self._db.run("void_deliveries", now=milliseconds(now))
            self._db.run("forget_trigger_cursors")
            self._db.run("forget_watched_files")
            self._db.run("void_claims", epochs=_EPOCHS_OF_A_HISTORY, now=milliseconds(now))
            self._db.run("insert_restoration", line=restoration)
            self._db.run("revoke_all_tokens", at=milliseconds(now), by=RESTORED)
            self.notices.void(now)
            self.traced.moved(None)

    def damage(self) -> str:
        """What is first found to be wrong with the file itself; empty if nothing is. Reads it all: 2 ms for a MiB."""
        try:
            with self._db.snapshot() as connection:
                line = connection.execute("pragma quick_check(1)").fetchall()[0][0]
        except StoreError as error:
            return error.message
        return "" if line == "ok" else str(line)

    def close(self) -> None:
        """As the port says; in a forked child it does nothing, since the parent may go on."""
        if not self._db.is_foreign:
            self._db.close()
            self._claims.close()

    def _run(self, run_id: str) -> StoredRun | None:
        row = self._db.row("run_by_id", run_id=run_id)
        return None if row is None else stored_run(row)

    def _update(self, run: StoredRun, summary: RunSummary, head: str) -> None:
        """Brings the row up to date, and writes no index that nothing changes in."""
        update = "progress_run" if only_progressed(run.summary, summary) else "update_run"
        self._db.run(update, ordinal=run.ordinal, **run_values(summary, head))
        if not asks_alike(run.summary, summary):
            self._db.run("ask_of_run", ordinal=run.ordinal, **run_values(summary, head))

    def _occupancy(self, name: str, group: str, *, asking: int) -> Occupancy:
        from sopwith.core.admission import Occupancy

        ended = self._db.value("last_executed_end", name=name)
        return Occupancy(
            # there may be thousands, and most procedures have no limit
            of_procedure=RunIds(lambda: self._run_ids("slots_of_name", name=name, asking=asking)),
            of_workspace=RunIds(lambda: self._run_ids("slots_of_workspace", asking=asking)),
            of_group=self._run_ids("slots_of_group", group=group, asking=asking) if group else (),
            queued_before=self._run_ids("queued_before", name=name, asking=asking),
            queued_in_group=self._run_ids("queued_in_group", group=group, asking=asking) if group else (),
            last_executed_end=None if ended is None else instant(ended),
        )

    def _run_ids(self, query: str, **values: str | int | None) -> tuple[str, ...]:
        return tuple(row[0] for row in self._db.rows(query, **values))

    def _insert_events(self, ordinal: int, batch: Batch) -> None:
        for event in batch.events:
            self._db.run("insert_event", **event_values(ordinal, event))
        for data in batch.contents:
            self._db.run("insert_content", digest=sha256(data).digest(), data=data)


def _origin(summary: RunSummary) -> dict[str, str | int | None]:
    """What a run was created as."""
    return {
        "name": summary.name,
        "created_at": milliseconds(summary.created_at),
        "created_by": summary.created_by,
        "concurrency_group": summary.concurrency_group or None,
        "parent": summary.parent or None,
    }


def _lookups(which: RunFilter) -> Iterator[tuple[str, dict[str, str]]]:
    """The name of the query for each procedure and status asked for, with its bindings."""
    statuses = dict.fromkeys(which.statuses)
    for name in which.procedures:
        of_name, values = ("", {}) if name is None else ("_of_name", {"name": name})
        if not statuses:
            yield f"runs{of_name}", values
        joint = "_and_status" if of_name else "_of_status"
        for status in statuses:
            yield f"runs{of_name}{joint}", {**values, "status": status}


def _counts(which: RunFilter) -> Iterator[tuple[str, dict[str, str]]]:
    """The same of what counts them. Ended runs are counted along, by triggers: there may be millions."""
    for name in which.procedures:
        of_name, values = ("", {}) if name is None else ("_of_name", {"name": name})
        for status in dict.fromkeys(which.statuses or RunStatus):
            kind = "ended" if status in ENDED else "open"
            yield f"count_{kind}_runs{of_name}", {**values, "status": status}
