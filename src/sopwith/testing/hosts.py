"""Several hosts on one store: none sees the locks of another, so that only the lease of a claim keeps it out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from sopwith.ports import LEASE, RENEW_SECS, Claim, Owner
from sopwith.testing.memory import MemoryStore
from sopwith.testing.mortal import Process
from sopwith.testing.shelf import Kept, Shelf

HOSTS = ("here", "here", "far")
"""Where processes begin; more on the one than on the other."""

_SLACK_SECS = 10


class HostStore(MemoryStore):
    """A handle of a process of one host."""

    def __init__(self, beside: MemoryStore, owner: Owner) -> None:
        super().__init__(beside)
        self._boot_id = owner.boot_id

    def unlock(self, claim: Claim) -> None:
        """Whoever claimed was told that it failed: it holds no lock, and the row stays."""
        with self._using() as shelf:
            shelf.runs[claim.run_id].claimed_by = None

    def _driver(self, shelf: Shelf, run: Kept) -> Owner | None:
        driver = super()._driver(shelf, run)
        return driver if driver is not None and driver.boot_id == self._boot_id else None


class LeaseLaws:
    """That a lease keeps other hosts out while it holds, and that whoever lives renews it. Counted here once more."""

    def __init__(self, breaks: Callable[[str], None], awake_secs: Callable[[], float]) -> None:
        self._breaks = breaks
        self._awake_secs = awake_secs
        self._held: dict[str, _Held] = {}

    def claimed(self, process: Process, claim: Claim, now: datetime) -> Process | None:
        """Somebody got a claim; the living process of another host that it was taken from, if any."""
        before = self._held.get(claim.run_id)
        self._held[claim.run_id] = _Held(claim, process, now + LEASE, self._awake_secs())
        if before is None or before.claim.owner.boot_id == claim.owner.boot_id:
            return None
        former = before.process
        if now < before.until:
            self._breaks(f"{claim.run_id}: {process.name} took it, and the lease of {former.name} on another host held")
        if not former.alive:
            return None
        # where a clock was set or the machine slept a lease may run out before anybody could renew it
        idle = self._awake_secs() - before.since > RENEW_SECS + _SLACK_SECS
        if idle and not (former.hurt or former.superseded):
            self._breaks(f"{claim.run_id}: {former.name} lives, and has not renewed its lease")
        return former

    def renewed(self, claim: Claim, now: datetime) -> None:
        """The lease begins anew."""
        held = self._held.get(claim.run_id)
        if held is None or held.claim != claim:
            self._breaks(f"{claim.run_id}: {claim.owner.owner_id} renewed claim {claim.epoch}, which is over")
        else:
            held.until, held.since = now + LEASE, self._awake_secs()

    def released(self, claim: Claim) -> None:
        """The claim was given back."""
        held = self._held.get(claim.run_id)
        if held is not None and held.claim == claim:
            del self._held[claim.run_id]


class _Held(msgspec.Struct):
    claim: Claim
    process: Process
    until: datetime
    since: float
    """When it was claimed or renewed, in seconds that were not slept."""
