"""Who keeps runs, and who keeps what can be made again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sopwith.core.admission import Occupancy
    from sopwith.core.codec import SealedEvent
    from sopwith.ports.records import AskingFilter, Batch, Claim, Lease, Owner, RunFilter, RunSummary


class Store(Protocol):
    """Keeps runs. The only writes of run state are `create` and `append`; each is one durable transaction."""

    def create(
        self, name: str, plan: Callable[[Occupancy], Batch], *, group: str = "", driver: Owner | None = None
    ) -> Batch:
        """Calls `plan` with what holds slots now, inside the transaction, and stores the batch it returns.

        `group`: the concurrency group of the run that is to be made, empty for none. `driver`: has the run's first
        claim from its creation on, which the batch then has, unless somebody else holds the lock that goes with it.
        What `plan` raises is passed on and nothing is stored.
        """
        ...

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
        """Stores the batch if the run's last event is `after_seq`; raises Conflict otherwise, storing nothing.

        With `claim`, raises Conflict if a newer claim was made; `frees`: gives it back with this batch, as `release`
        does. With `admit`, calls it inside the transaction with what other runs hold and passes on what it raises. An
        acknowledged batch survives any crash.
        """
        ...

    def events(self, run_id: str, after_seq: int = 0) -> tuple[SealedEvent, ...]:
        """The run's events with a greater seq, in order; empty for an unknown run."""
        ...

    def summary(self, run_id: str) -> RunSummary | None:
        """The run's summary, or None."""
        ...

    def correct(self, summary: RunSummary, head: str) -> bool:
        """Puts this summary in place of the stored one, if it differs and the run's last event still is `head`.

        For `sop doctor`: a summary can be made again from the events at any time. Changes no event.
        """
        ...

    def recount(self, *, mend: bool) -> bool:
        """Whether what is counted along, for lists, is not what the runs' summaries say; puts that right if asked."""
        ...

    def summaries(self, which: RunFilter) -> tuple[tuple[RunSummary, ...], int]:
        """The newest first, up to the limit, and how many there are in all."""
        ...

    def names(self) -> tuple[str, ...]:
        """The procedures of which there are runs, in alphabetical order."""
        ...

    def asking(self, which: AskingFilter) -> tuple[RunSummary, ...]:
        """Every run that asks, or is left and perhaps driven, the oldest first, up to the limit."""
        ...

    def asked(self, which: AskingFilter) -> int:
        """How many things all of them ask, and how many more of them are left and driven by nobody."""
        ...

    def due(self, now: datetime, limit: int) -> tuple[str, ...]:
        """Runs with a deadline at or before `now`, the longest overdue first."""
        ...

    def content(self, digest: str) -> bytes | None:
        """The bytes that some batch stored under this SHA-256, or None."""
        ...

    def claim(self, run_id: str, owner: Owner, now: datetime) -> Claim | None:
        """The claim, with a lock that the kernel frees when this process dies; None while a living owner holds it.

        None as well while the lease of a claim that was made on another host has not run out (`Lease.keeps_out`).
        """
        ...

    def renew(self, claim: Claim, now: datetime) -> None:
        """The claim's lease begins anew; raises Conflict, changing nothing, if a newer claim was made."""
        ...

    def lease(self, run_id: str) -> Lease | None:
        """The lease of the newest claim, if it was not given back; who claimed may be dead, and the lease over."""
        ...

    def release(self, claim: Claim) -> None:
        """Gives the claim back; a claim that was taken over is left alone."""
        ...

    def holder(self, run_id: str) -> Owner | None:
        """Who drives the run now, or None if nobody alive does, as far as this host's locks tell."""
        ...

    def version(self) -> int:
        """A number that changes when anybody else commits; cheap enough to ask five times a second.

        Raises StoreError where no commit of anybody else will ever be seen here: the store was taken away.
        """
        ...

    def check(self) -> list[str]:
        """What is wrong with the stored data, a sentence each; empty when all is well."""
        ...

    def close(self) -> None:
        """Frees files and locks; claims of this store end with it."""
        ...


class Cache(Protocol):
    """Keeps what can be made again. The SQLite store is one."""

    def recall(self, key: str) -> bytes | None:
        """A cached value; a cache may forget."""
        ...

    def remember(self, key: str, value: bytes) -> None:
        """Caches a value; failing to is no error."""
        ...
