"""All events of a workspace in one order, and what was signed over them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec


class LogEntry(msgspec.Struct, frozen=True):
    """One event as it lies in the log, unjudged; `run_seq` and `run_head` are what its run's row says of the last one.

    What belongs to the run is None where that row is missing; `payload` is None where retention dropped it.
    """

    position: int
    run_id: str | None
    seq: int
    event_type: str
    at_ms: int
    """Milliseconds since 1970-01-01 UTC."""
    prev_hash: bytes
    hash: bytes
    payload: bytes | None
    run_seq: int | None
    run_head: bytes | None


class LogEnd(msgspec.Struct, frozen=True):
    """How far the log ever went, by what the store remembers, and a run that has no events at all, if there is one."""

    high_water: int
    empty_run: str | None = None


class Log(Protocol):
    """All events of all runs in the order in which they were stored: positions 1, 2, 3 … without a gap."""

    def reading(self) -> AbstractContextManager[object]:
        """Reads inside all see the same state."""
        ...

    def leaves(self, after_position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Positions and hashes of the next events."""
        ...

    def entries(self, after_position: int, limit: int) -> Sequence[LogEntry]:
        """The next events, whole."""
        ...

    def run_entries(self, run_id: str, after_seq: int, limit: int) -> Sequence[LogEntry]:
        """The next events of one run in the order of their seq."""
        ...

    def end(self) -> LogEnd:
        """What must be there."""
        ...


class KeptCheckpoint(msgspec.Struct, frozen=True):
    """A signed checkpoint over the first `size` events, and the frontier that the next one grows from."""

    size: int
    line: bytes
    frontier: bytes


class DroppedRun(msgspec.Struct, frozen=True):
    """A run whose payloads go, as it was when that was decided; `contents` go with them."""

    run_id: str
    seq: int
    head: str
    contents: tuple[str, ...] = ()


class Seals(Protocol):
    """The signed statements about the log, kept beside it."""

    def newest_checkpoint(self) -> KeptCheckpoint | None:
        """The checkpoint of the greatest size."""
        ...

    def checkpoints(self, after_size: int, limit: int) -> Sequence[KeptCheckpoint]:
        """The next checkpoints by size."""
        ...

    def keep_checkpoint(self, checkpoint: KeptCheckpoint) -> bool:
        """Keeps it durably; False, changing nothing, if there is one of this size."""
        ...

    def tombstones(self) -> Sequence[bytes]:
        """The lines given to `drop_payloads`, oldest first."""
        ...

    def restorations(self) -> Sequence[bytes]:
        """The lines that were kept when this database was restored from a backup, oldest first."""
        ...

    def drop_payloads(self, runs: Sequence[DroppedRun], line: bytes) -> None:
        """Drops all payloads of these runs and their contents, and keeps the line, in one durable transaction.

        Raises Conflict, changing nothing, if a run's last event is not the one named.
        """
        ...
