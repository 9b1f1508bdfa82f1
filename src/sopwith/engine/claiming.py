"""A driver's hold on a run: who has it, in words, and its renewal for hosts that can't see this one's locks."""

from __future__ import annotations

from contextlib import suppress

from sopwith.core.instant import iso
from sopwith.engine.parts import Parts
from sopwith.errors import RunBusy, StoreError
from sopwith.ports import RENEW_SECS, Claim, Lease, Owner


class Renewal:
    """Renews one claim while its run is driven. A drive that is over within `RENEW_SECS` writes nothing for it."""

    def __init__(self, parts: Parts, claim: Claim) -> None:
        self._parts = parts
        self._claim = claim
        self._next_ms = self._soon()

    @property
    def is_due(self) -> bool:
        return self._parts.clock.now().boot_ms >= self._next_ms

    def renew_if_due(self) -> None:
        """Raises Conflict if a newer claim was made: this driver has been overtaken.

        A store that cannot be written to now is no reason to stop. The lock holds on this host whatever the lease
        says, and whoever takes over elsewhere fences this driver off.
        """
        if not self.is_due:
            return
        self._next_ms = self._soon()
        with suppress(StoreError):
            self._parts.store.renew(self._claim, self._parts.clock.now().at)

    def _soon(self) -> int:
        return self._parts.clock.now().boot_ms + round(RENEW_SECS * 1000)


def lease_elsewhere(parts: Parts, run_id: str) -> Lease | None:
    """The lease that keeps this host from driving the run now, or None."""
    lease = parts.store.lease(run_id)
    return lease if lease is not None and lease.keeps_out(parts.owner(), parts.clock.now().at) else None


def driver_of(parts: Parts, run_id: str) -> Owner | None:
    """Who drives the run: by this host's locks, or by a lease that another host has renewed."""
    holder = parts.store.holder(run_id)
    if holder is not None:
        return holder
    lease = lease_elsewhere(parts, run_id)
    return None if lease is None else lease.owner


def is_driven(parts: Parts, run_id: str) -> bool:
    return driver_of(parts, run_id) is not None


def busy(parts: Parts, run_id: str) -> RunBusy:
    """The answer to whoever wants to drive a run that another process drives."""
    holder = parts.store.holder(run_id)
    lease = None if holder is not None else lease_elsewhere(parts, run_id)
    if lease is not None:
        return RunBusy(
            f"{run_id} is driven by process {lease.owner.pid} on {lease.owner.host}, "
            f"until {iso(lease.until)[11:19]} UTC unless it renews that",
            hint="if that host is down, try again then: its claim ends by itself",
            until=iso(lease.until),
        )
    who = f"process {holder.pid} on {holder.host}" if holder else "another process"
    return RunBusy(f"{run_id} is driven by {who}", hint=f"sop status {run_id} --watch follows it")
