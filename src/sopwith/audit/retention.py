"""auditRetentionDays: the payloads of runs that ended long ago go, their hashes stay, a signed tombstone says so.

Completed, cancelled and failed runs have ended; what counts is the event that ended the run, not the row that lists
read. A failed run that is old enough can no longer be retried once its payloads are gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from sopwith.audit.access_retention import DroppedEntries
from sopwith.audit.checkpoints import Checkpointer, copy
from sopwith.audit.statements import Buried, Signer, Tombstone, line_of, signed
from sopwith.core.actor import SYSTEM
from sopwith.core.instant import iso
from sopwith.errors import Refused, StoreError
from sopwith.ports import DroppedRun, Log, LogEntry, Seals

ENDING = frozenset({"run_completed", "run_cancelled", "run_failed"})
_PAGE = 500
_RUNS_PER_TOMBSTONE = 500
IDLE_DAYS = 365
"""After so long without an event or a checkpoint it is likelier that the clock is wrong."""
_TOLERANCE = timedelta(hours=1)
_LAST = 100


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A run as its last event shows it. `contents` are the digests of the envelopes, and of the
    event that started it, that only its events refer to.
    """

    run_id: str
    seq: int
    head: str
    event_type: str
    at: datetime
    first_position: int
    last_position: int
    contents: tuple[str, ...] = ()
    parent: str = ""
    """The run that started it."""


class Dropped(msgspec.Struct, frozen=True):
    """What a sweep did, or would do. `failures`: places that the tombstone or its checkpoint could not be copied to.

    `entries`: of the server's own log.
    """

    runs: tuple[Ended, ...] = ()
    failures: tuple[str, ...] = ()
    entries: DroppedEntries = DroppedEntries()

    def document(self, days: int | None, *, dry_run: bool) -> dict[str, Any]:
        """The JSON form."""
        runs = [{"runId": run.run_id, "endedAt": iso(run.at)} for run in self.runs]
        document = {"auditRetentionDays": days, "dryRun": dry_run, "runs": runs, "total": len(runs)}
        return {**document, **self.entries.document()}

    @property
    def run_ids(self) -> tuple[str, ...]:
        return tuple(run.run_id for run in self.runs)


def too_old(runs: Iterable[Ended], *, days: int, now: datetime) -> tuple[Ended, ...]:
    """The runs that ended more than `days` days ago, by their own last event; nothing younger, nothing that goes on.

    Raises ValueError unless `days` is at least 1.
    """
    if days < 1:
        raise ValueError(f"a record is kept for at least one day, not {days}")
    return tuple(run for run in runs if run.event_type in ENDING and run.at < now - timedelta(days=days))


def check_clock(log: Log, seals: Seals, now: datetime) -> None:
    """Refused if by what was recorded last the clock is wrong: dates would then let go what is young.

    A clock that is ahead by less than IDLE_DAYS, or in which something was recorded since, is not noticed.
    """
    newest = _newest(log, seals)
    if newest is None:
        return
    if newest > now + _TOLERANCE:
        raise Refused(
            f"no record is dropped: the clock is wrong, or was: it says {iso(now)}, and {iso(newest)} was recorded",
            hint="set the clock right; then prune again",
        )
    if newest < now - timedelta(days=IDLE_DAYS):
        raise Refused(
            f"no record is dropped: the clock is wrong, or nothing ran here for {(now - newest).days} days",
            hint="if the clock is right, run something, and then prune again",
        )


def _newest(log: Log, seals: Seals) -> datetime | None:
    """The latest time that the last events, or the newest checkpoint, tell; unverified."""
    said = [entry.payload for entry in log.entries(max(0, log.end().high_water - _LAST), _LAST)]
    checkpoint = seals.newest_checkpoint()
    if checkpoint is not None:
        said.append(checkpoint.line)
    found = []
    for each in filter(None, said):
        with suppress(msgspec.MsgspecError):
            found.append(_DATED.decode(each).timestamp.astimezone(UTC))
    return max(found, default=None)


class _Dated(msgspec.Struct):
    timestamp: datetime


_DATED = msgspec.json.Decoder(_Dated)


class Retention:
    """Drops what is too old. `places` are files that tombstones are appended to."""

    def __init__(
        self, log: Log, seals: Seals, signer: Signer, *, checkpointer: Checkpointer, places: tuple[Path, ...] = ()
    ) -> None:
        self._log = log
        self._seals = seals
        self._signer = signer
        self._checkpointer = checkpointer
        self._places = places

    def choose(self, candidates: Iterable[str], *, days: int, now: datetime) -> tuple[Ended, ...]:
        """Those of the candidates that are too old. Changes nothing.

        A run that a step of another one started goes with that one or after it, which still may ask how it ended.
        """
        chosen = too_old(filter(None, map(self._ended, candidates)), days=days, now=now)
        return self._with_those_around(chosen)

    def _with_those_around(self, chosen: tuple[Ended, ...]) -> tuple[Ended, ...]:
        while True:
            going = {run.run_id for run in chosen}
            left = tuple(run for run in chosen if not run.parent or run.parent in going or self._is_gone(run.parent))
            if len(left) == len(chosen):
                return left
            chosen = left

    def _is_gone(self, run_id: str) -> bool:
        """Whether the run has lost its payloads; one that cannot be found has not."""
        entries = list(self._entries(run_id))
        return bool(entries) and entries[-1].payload is None

    def sweep(self, candidates: Iterable[str], *, days: int, now: datetime, by: str = SYSTEM.id) -> Dropped:
        """Drops those of the candidates that are too old. Raises Conflict if one of them moved on meanwhile.

        A checkpoint is taken first: what loses its payload must be signed for.
        """
        chosen = self.choose(candidates, days=days, now=now)
        if not chosen:
            return Dropped()
        self._checkpointer.take(now)
        failures = self._checkpointer.failures
        newest = self._seals.newest_checkpoint()
        if newest is None or newest.size < max(run.last_position for run in chosen):
            raise StoreError("cannot drop payloads that no checkpoint covers", hint="see: sop audit --verify-all")
        for start in range(0, len(chosen), _RUNS_PER_TOMBSTONE):
            failures += self._bury(chosen[start : start + _RUNS_PER_TOMBSTONE], days=days, now=now, by=by)
        return Dropped(chosen, failures)

    def _bury(self, runs: tuple[Ended, ...], *, days: int, now: datetime, by: str) -> tuple[str, ...]:
        buried = tuple(_buried(run) for run in runs)
        line = line_of(signed(Tombstone, self._signer, timestamp=iso(now), days=days, by=by, runs=buried))
        dropped = [DroppedRun(run.run_id, run.seq, run.head, run.contents) for run in runs]
        self._seals.drop_payloads(dropped, line)
        return tuple(copy(self._places, line))

    def _ended(self, run_id: str) -> Ended | None:
        """The run; None if it has no payloads any more, or a changed one: its date proves nothing then."""
        first = last = None
        contents: list[str] = []
        for last in self._entries(run_id):
            first = first or last
            if last.payload is None or sha256(last.prev_hash + last.payload).digest() != last.hash:
                return None
            contents += _envelopes(last)
        if first is None or last is None or last.payload is None:
            return None
        # the payload, not the row beside it, is what the hash covers
        said = _SAID.decode(last.payload)
        return Ended(
            run_id=run_id,
            seq=last.seq,
            head=last.hash.hex(),
            event_type=said.event_type,
            at=said.timestamp.astimezone(UTC),
            first_position=first.position,
            last_position=last.position,
            contents=tuple(dict.fromkeys(contents)),
            parent=_parent(first),
        )

    def _entries(self, run_id: str) -> Iterator[LogEntry]:
        seq = 0
        while page := self._log.run_entries(run_id, seq, _PAGE):
            yield from page
            seq = page[-1].seq


class _Said(msgspec.Struct, rename="camel"):
    event_type: str
    timestamp: datetime
    details: dict[str, Any]


_SAID = msgspec.json.Decoder(_Said)


def forget_files(folder: Path, run_ids: Iterable[str]) -> tuple[str, ...]:
    """Removes what `runs/` shows and keeps of these runs: views, logs, evidence. Tells what could not be removed."""
    failures: list[str] = []
    for run_id in run_ids:
        for path in (folder / f"{run_id}.audit.jsonl", folder / f"{run_id}.json"):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                failures.append(f"cannot remove {path}: {error.strerror}")
        if (folder / run_id).is_dir():
            try:
                shutil.rmtree(folder / run_id)
            except OSError as error:
                failures.append(f"cannot remove {folder / run_id}: {error}")
    return tuple(failures)


def _envelopes(entry: LogEntry) -> list[str]:
    """Envelopes name their run, and events their delivery, so no other run refers to the same one. Procedures are
    shared, and stay.
    """
    if entry.event_type == "run_created" and entry.payload is not None:
        started_by = str(_SAID.decode(entry.payload).details.get("eventDigest", ""))
        return [started_by] if started_by else []
    if entry.event_type != "approval_requested" or entry.payload is None:
        return []
    return [str(_SAID.decode(entry.payload).details["digest"])]


def _parent(first: LogEntry) -> str:
    if first.payload is None:
        return ""
    above = _SAID.decode(first.payload).details.get("parent")
    return str(above["runId"]) if isinstance(above, dict) else ""


def _buried(run: Ended) -> Buried:
    return Buried(
        run_id=run.run_id,
        first_seq=1,
        last_seq=run.seq,
        head=run.head,
        first_position=run.first_position,
        last_position=run.last_position,
        ended_at=iso(run.at),
    )
