"""Log and Seals of a memory store, so that checkpoints, verification and retention can be tested without a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec

from sopwith.core.codec import SealedEvent
from sopwith.errors import Conflict
from sopwith.ports import DroppedRun, KeptCheckpoint, LogEnd, LogEntry
from sopwith.stores.rows import milliseconds
from sopwith.testing.shelf import Kept, Shelf


class _Head(msgspec.Struct, rename="camel"):
    timestamp: datetime
    event_type: str


class MemoryLog:
    """Log and Seals of a memory store."""

    def __init__(self, using: Callable[[], AbstractContextManager[Shelf]]) -> None:
        self._using = using

    def reading(self) -> AbstractContextManager[object]:
        return self._using()

    def leaves(self, after_position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        return [(entry.position, entry.hash) for entry in self.entries(after_position, limit)]

    def entries(self, after_position: int, limit: int) -> Sequence[LogEntry]:
        with self._using() as shelf:
            rows = enumerate(shelf.log[after_position : after_position + limit], start=after_position + 1)
            return [_log_entry(shelf, position, run_id, event) for position, (run_id, event) in rows]

    def run_entries(self, run_id: str, after_seq: int, limit: int) -> Sequence[LogEntry]:
        with self._using() as shelf:
            rows = [
                _log_entry(shelf, position, owner, event)
                for position, (owner, event) in enumerate(shelf.log, start=1)
                if owner == run_id and event.seq > after_seq
            ]
        return rows[:limit]

    def end(self) -> LogEnd:
        with self._using() as shelf:
            return LogEnd(len(shelf.log))

    def newest_checkpoint(self) -> KeptCheckpoint | None:
        with self._using() as shelf:
            return shelf.checkpoints[max(shelf.checkpoints)] if shelf.checkpoints else None

    def checkpoints(self, after_size: int, limit: int) -> Sequence[KeptCheckpoint]:
        with self._using() as shelf:
            return [shelf.checkpoints[size] for size in sorted(shelf.checkpoints) if size > after_size][:limit]

    def keep_checkpoint(self, checkpoint: KeptCheckpoint) -> bool:
        with self._using() as shelf:
            shelf.commits += 1
            return shelf.checkpoints.setdefault(checkpoint.size, checkpoint) is checkpoint

    def tombstones(self) -> Sequence[bytes]:
        with self._using() as shelf:
            return tuple(shelf.tombstones)

    def restorations(self) -> Sequence[bytes]:
        """A memory store is never restored."""
        with self._using():
            return ()

    def drop_payloads(self, runs: Sequence[DroppedRun], line: bytes) -> None:
        with self._using() as shelf:
            for dropped in runs:
                run = shelf.runs.get(dropped.run_id)
                if run is None or (run.summary.seq, run.events[-1].hash) != (dropped.seq, dropped.head):
                    raise Conflict(f"cannot drop the payloads of {dropped.run_id}: it has moved on")
            for dropped in runs:
                _drop(shelf, shelf.runs[dropped.run_id], dropped)
            shelf.tombstones.append(line)
            shelf.commits += 1


def _drop(shelf: Shelf, run: Kept, dropped: DroppedRun) -> None:
    run.events = tuple(msgspec.structs.replace(event, payload=b"") for event in run.events)
    shelf.dropped[dropped.run_id] = dropped.seq
    for digest in dropped.contents:
        shelf.contents.pop(digest, None)


def _log_entry(shelf: Shelf, position: int, run_id: str, event: SealedEvent) -> LogEntry:
    head = msgspec.json.decode(event.payload, type=_Head)
    last = shelf.runs[run_id].events[-1]
    return LogEntry(
        position=position,
        run_id=run_id,
        seq=event.seq,
        event_type=head.event_type,
        at_ms=milliseconds(head.timestamp),
        prev_hash=bytes.fromhex(event.prev_hash),
        hash=bytes.fromhex(event.hash),
        payload=None if event.seq <= shelf.dropped.get(run_id, 0) else event.payload,
        run_seq=last.seq,
        run_head=bytes.fromhex(last.hash),
    )
