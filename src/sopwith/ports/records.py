"""Runs as a store keeps them: summaries, batches, claims, and which of them to list."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from sopwith.core.run import RunStatus

if TYPE_CHECKING:
    from sopwith.core.codec import SealedEvent


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What lists, limits and timers read of a run without replaying it; written with every append."""

    run_id: str
    name: str
    version: str
    status: RunStatus
    seq: int
    mode: str
    priority: str
    current_step: int
    total_steps: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    ended_at: datetime | None = None
    due_at: datetime | None = None
    """The earliest deadline of an open gate."""
    holds_slot: bool
    executed: bool
    procedure_digest: str
    concurrency_group: str = ""
    """As it was created; empty: none."""
    parent: str = ""
    """The run within which it runs."""
    asks: int = 0
    """How many things of it wait for a person, as `core.asking` counts them."""
    left_at: datetime | None = None
    """From when on something is to be carried out that no person need decide (`core.due.left_at`)."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One append: the events in order, the summary after them, and contents they refer to by SHA-256."""

    events: tuple[SealedEvent, ...]
    summary: RunSummary
    contents: tuple[bytes, ...] = ()
    claim: Claim | None = None
    """On the run that it creates, where one was asked for: set by the store."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that drives a run: enough to tell whether it still lives, on this host and this boot."""

    owner_id: str
    host: str
    pid: int
    process_started: str
    boot_id: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to drive a run; `epoch` grows with each new claim and fences off the writers of older ones."""

    run_id: str
    epoch: int
    owner: Owner


LEASE = timedelta(seconds=60)
"""How long a claim keeps other hosts away after it was made or renewed last."""
RENEW_SECS = 20.0
"""How often a driver renews what it still drives."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim tells those who can't see its lock: who made it, and how long it holds without being renewed."""

    owner: Owner
    until: datetime

    def keeps_out(self, asking: Owner, now: datetime) -> bool:
        """Whether `asking` has to wait though the lock can be had: only a process of another host, while it holds.

        The same boot is the same kernel, also under another name (a container), and its lock tells all. The same name
        in a later boot is a restarted host: whoever claimed before is dead.
        """
        is_here = asking.boot_id == self.owner.boot_id or asking.host == self.owner.host
        return not is_here and now < self.until


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which summaries to list; None means any."""

    name: str | None = None
    names: tuple[str, ...] | None = None
    """Of these procedures; not together with `name`."""
    statuses: tuple[RunStatus, ...] = ()
    limit: int | None = None
    before: str | None = None
    """Only runs that were made before this one, which changes nothing in how many there are in all."""

    @property
    def procedures(self) -> tuple[str | None, ...]:
        """The names of those that are meant, each once; None stands for all."""
        return (self.name,) if self.names is None else tuple(dict.fromkeys(self.names))


class AskingFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs the inbox may have something of: those that ask, and those that are left `now`."""

    now: datetime
    names: tuple[str, ...] | None = None
    """Of these procedures only."""
    after: str | None = None
    """Only runs that were made after this one, which changes nothing in how much there is in all."""
    limit: int | None = None
