"""Who drives which run. A claim is a byte lock, which dies with its process, a lease for hosts that don't see the
lock, and an epoch, which fences off those before it.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from sopwith.errors import NotFound
from sopwith.ports import LEASE, Claim, Lease, Owner, RunSummary
from sopwith.stores.batches import fenced_off
from sopwith.stores.database import Database
from sopwith.stores.locks import byte_locks
from sopwith.stores.opening import lock_path
from sopwith.stores.rows import StoredRun, instant, milliseconds

_OWNER = msgspec.json.Decoder(Owner)


class _Held(NamedTuple):
    """The lock that goes with a claim, and its epoch."""

    ordinal: int
    epoch: int


class Claims:
    """The claims of one store object; what the methods promise stands in `ports.Store`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._locks = byte_locks(lock_path(db.path))
        self._held: dict[str, _Held] = {}
        """The claims that this object holds, by run: known also while the database cannot be used."""

    def take(self, run_id: str, owner: Owner, now: datetime) -> Claim | None:
        with self._db.reading():
            ordinal = self._db.value("ordinal_of_run", run_id=run_id)
            if ordinal is None:
                raise NotFound(f"cannot drive {run_id}: there is no such run", hint="see: sop list")
            if not self._locks.acquire(ordinal):
                return None
            try:
                epoch = self._record(ordinal, run_id, owner, now)
            except BaseException:
                self._locks.release(ordinal)
                raise
            if epoch is None:
                self._locks.release(ordinal)
                return None
            self._held[run_id] = _Held(ordinal, epoch)
            return Claim(run_id=run_id, epoch=epoch, owner=owner)

    def take_first(self, ordinal: int, run: RunSummary, owner: Owner) -> Claim | None:
        """The claim on a run that this very transaction makes; None where somebody holds the lock that goes with it.

        If the transaction fails, `unlock` it.
        """
        if not self._locks.acquire(ordinal):
            return None
        try:
            epoch = self._insert(ordinal, owner, run.created_at)
        except BaseException:
            self._locks.release(ordinal)
            raise
        self._held[run.run_id] = _Held(ordinal, epoch)
        return Claim(run_id=run.run_id, epoch=epoch, owner=owner)

    def record_end(self, ordinal: int, claim: Claim) -> None:
        """Gives a claim back within a transaction; `unlock` follows when that is committed."""
        self._db.run("free_claim", run=ordinal, epoch=claim.epoch)

    def unlock(self, ordinal: int, claim: Claim) -> None:
        """Frees the lock of a claim whose end is recorded, or that was never committed."""
        if self._held.get(claim.run_id) == (ordinal, claim.epoch):
            del self._held[claim.run_id]
            self._locks.release(ordinal)

    def renew(self, claim: Claim, now: datetime) -> None:
        with self._db.writing():
            ordinal = self._db.value("ordinal_of_run", run_id=claim.run_id)
            newest = self._db.value("claim_epoch", run=ordinal) or 0
            if newest != claim.epoch:
                raise fenced_off(claim.run_id, claim.epoch, newest)
            self._db.run("renew_claim", run=ordinal, epoch=claim.epoch, lease_until=milliseconds(now + LEASE))

    def lease(self, run_id: str) -> Lease | None:
        """The newest claim's, if it was not given back and has one: those of older versions have none."""
        row = self._db.row("claim_lease", run_id=run_id)
        if row is None or row[1] is None:
            return None
        return Lease(owner=_OWNER.decode(row[0]), until=instant(row[1]))

    def free(self, claim: Claim) -> None:
        held = self._held.get(claim.run_id)
        if held is None or held.epoch != claim.epoch:
            return
        try:
            with self._db.writing():
                self._db.run("free_claim", run=held.ordinal, epoch=held.epoch)
        finally:
            # also where that cannot be recorded: the lock would keep all others out. A fork shares it with its parent
            if not self._db.is_foreign:
                self.unlock(held.ordinal, claim)

    def holder(self, run_id: str) -> Owner | None:
        with self._db.reading():
            row = self._db.row("claim_owner", run_id=run_id)
            alive = row is not None and self._locks.is_held(row[0])
        return _OWNER.decode(row[1]) if row is not None and alive else None

    def is_held(self, ordinal: int) -> bool:
        """Whether whoever claimed the run of this ordinal is alive."""
        return self._locks.is_held(ordinal)

    def check(self, run: StoredRun, claim: Claim) -> None:
        """Raises Conflict if a newer claim on the run was made."""
        if claim.run_id != run.summary.run_id:
            raise ValueError(f"a claim on {claim.run_id} is none on {run.summary.run_id}")
        newest = self._db.value("claim_epoch", run=run.ordinal) or 0
        if newest != claim.epoch:
            raise fenced_off(claim.run_id, claim.epoch, newest)

    def close(self) -> None:
        self._locks.close()
        self._held.clear()

    def _record(self, ordinal: int, run_id: str, owner: Owner, now: datetime) -> int | None:
        """The epoch of the new claim; None, recording nothing, while a lease keeps this owner out."""
        with self._db.writing():
            lease = self.lease(run_id)
            if lease is not None and lease.keeps_out(owner, now):
                return None
            return self._insert(ordinal, owner, now)

    def _insert(self, ordinal: int, owner: Owner, now: datetime) -> int:
        epoch = self._db.value(
            "take_claim",
            run=ordinal,
            owner=msgspec.json.encode(owner).decode(),
            claimed_at=milliseconds(now),
            lease_until=milliseconds(now + LEASE),
        )
        return int(epoch)
