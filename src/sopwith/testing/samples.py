"""Small, true values for tests of adapters: chained events, their summaries, owners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from sopwith.core.actor import SYSTEM
from sopwith.core.codec import NO_HASH, SealedEvent, seal
from sopwith.core.events import Event, RunResumed
from sopwith.core.procedure import sha256
from sopwith.core.run import RunStatus
from sopwith.ports import Batch, Owner, RunSummary
from sopwith.testing.clock import START

SUMMARY = RunSummary(
    run_id="sop_run_aaaaaaaaaaaa",
    name="deploy",
    version="1.0.0",
    status=RunStatus.RUNNING,
    seq=0,
    mode="auto",
    priority="normal",
    current_step=1,
    total_steps=3,
    created_at=START,
    created_by="ann",
    updated_at=START,
    holds_slot=True,
    executed=False,
    procedure_digest=sha256(b"a procedure"),
)


def first_batch(run_id: str, *, count: int = 1, contents: Sequence[bytes] = (), **summary: Any) -> Batch:
    """The batch that creates a run; `summary` replaces fields of `SUMMARY`."""
    begun = msgspec.structs.replace(SUMMARY, run_id=run_id, **summary)
    return _batch(begun, seal(_events(run_id, 0, count), NO_HASH), contents)


def next_batch(before: Batch, *, count: int = 1, contents: Sequence[bytes] = (), **summary: Any) -> Batch:
    """A batch that follows another; `summary` replaces fields of the summary before."""
    last = before.events[-1]
    changed = msgspec.structs.replace(before.summary, **summary)
    return _batch(changed, seal(_events(changed.run_id, last.seq, count), last.hash), contents)


def owner(owner_id: str) -> Owner:
    """A process on this host that drives runs."""
    return Owner(owner_id=owner_id, host="here", pid=4711, process_started="815", boot_id="boot-1")


def _events(run_id: str, after_seq: int, count: int) -> list[Event]:
    return [
        Event(run_id=run_id, seq=seq, at=START + timedelta(milliseconds=seq), actor=SYSTEM, body=RunResumed())
        for seq in range(after_seq + 1, after_seq + count + 1)
    ]


def _batch(summary: RunSummary, events: tuple[SealedEvent, ...], contents: Sequence[bytes]) -> Batch:
    updated_at = START + timedelta(milliseconds=events[-1].seq)
    after = msgspec.structs.replace(summary, seq=events[-1].seq, updated_at=updated_at)
    return Batch(events=events, summary=after, contents=tuple(contents))
