"""Summaries and events as rows and back. Instants are milliseconds since 1970 UTC, digests raw bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, overload

import msgspec

from sopwith.core.codec import SealedEvent
from sopwith.core.run import RunStatus
from sopwith.ports import RunSummary

Row = tuple[Any, ...]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class StoredRun(msgspec.Struct, frozen=True):
    """A run's row: what its events and its next batch must fit to."""

    ordinal: int
    head: str
    summary: RunSummary


class RunIds(Sequence[str]):
    """Ids of runs that are read when somebody looks at them, once."""

    def __init__(self, read: Callable[[], tuple[str, ...]]) -> None:
        self._read = read

    @cached_property
    def _ids(self) -> tuple[str, ...]:
        return self._read()

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._ids[index]

    def __eq__(self, other: object) -> bool:
        return self._ids == (other._ids if isinstance(other, RunIds) else other)

    __hash__ = None  # type: ignore[assignment]


class _Head(msgspec.Struct, rename="camel"):
    timestamp: datetime
    event_type: str


_head = msgspec.json.Decoder(_Head)


def milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MILLISECOND


def instant(stored: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=stored)


def run_values(summary: RunSummary, head: str) -> dict[str, Any]:
    """The bindings of `insert_run` and `update_run`."""
    values = msgspec.structs.asdict(summary)
    values.update(
        head=bytes.fromhex(head),
        parent=summary.parent or None,
        procedure_digest=bytes.fromhex(summary.procedure_digest),
        created_at=milliseconds(summary.created_at),
        updated_at=milliseconds(summary.updated_at),
        ended_at=None if summary.ended_at is None else milliseconds(summary.ended_at),
        due_at=None if summary.due_at is None else milliseconds(summary.due_at),
        concurrency_group=summary.concurrency_group or None,
        left_at=None if summary.left_at is None else milliseconds(summary.left_at),
    )
    return values


def stored_run(row: Row) -> StoredRun:
    """A row of the `run_by_id` and `newest_runs` queries."""
    ordinal, head, run_id, name, version, status, seq, mode, priority, current, total, *rest = row
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, *last = rest
    group, parent, asks, left_at = last
    summary = RunSummary(
        run_id=run_id,
        name=name,
        version=version,
        status=RunStatus(status),
        seq=seq,
        mode=mode,
        priority=priority,
        current_step=current,
        total_steps=total,
        created_at=instant(created_at),
        created_by=created_by,
        updated_at=instant(updated_at),
        ended_at=None if ended_at is None else instant(ended_at),
        due_at=None if due_at is None else instant(due_at),
        holds_slot=bool(holds_slot),
        executed=bool(executed),
        procedure_digest=procedure_digest.hex(),
        concurrency_group=group or "",
        parent=parent or "",
        asks=asks,
        left_at=None if left_at is None else instant(left_at),
    )
    return StoredRun(ordinal, head.hex(), summary)


def only_progressed(before: RunSummary, after: RunSummary) -> bool:
    """Whether nothing differs that lists, limits and timers look runs up by."""
    progress = {"seq": after.seq, "current_step": after.current_step, "updated_at": after.updated_at}
    asked = {"asks": after.asks, "left_at": after.left_at}  # has a statement of its own
    return msgspec.structs.replace(before, **progress, **asked) == after


def asks_alike(before: RunSummary, after: RunSummary) -> bool:
    """Whether the inbox finds and counts the run as it did."""
    return (before.asks, before.left_at) == (after.asks, after.left_at)


def event_values(run: int, event: SealedEvent) -> dict[str, Any]:
    """The bindings of `insert_event`."""
    head = _head.decode(event.payload)
    return {
        "run": run,
        "seq": event.seq,
        "event_type": head.event_type,
        "at": milliseconds(head.timestamp),
        "prev_hash": bytes.fromhex(event.prev_hash),
        "hash": bytes.fromhex(event.hash),
        "payload": event.payload,
    }


def sealed_event(row: Row) -> SealedEvent:
    """A row of `events_after`; a payload that retention dropped is empty."""
    seq, payload, prev_hash, digest = row
    return SealedEvent(seq, payload or b"", prev_hash.hex(), digest.hex())
