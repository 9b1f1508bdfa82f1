"""What the tests of the store contract share: handles on one set of data, and short ways to write to it."""

from __future__ import annotations

import tempfile
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sopwith.core.admission import Occupancy
from sopwith.core.codec import SealedEvent, link
from sopwith.ports import Batch, Claim, Owner, Store
from sopwith.testing.samples import first_batch, next_batch, owner

ANN, BOB = owner("ann"), owner("bob")


def raises(error: type[Exception], match: str | None = None) -> AbstractContextManager[Any]:
    """`pytest.raises`, imported when a test runs, so that the fakes work without pytest."""
    import pytest

    return pytest.raises(error, match=match)


class StoreSuite:
    """`self.store` is empty at the start of each test; `self.other()` is what another process would open."""

    def make_store(self, folder: Path) -> Any:
        """A new handle on the data that belongs to this folder, which is the same for a whole test."""
        raise NotImplementedError

    def lose_lock(self, store: Any, driver: Owner) -> None:
        """Another host can't see the lock of `store`, which lives on and goes on writing."""
        raise NotImplementedError

    def kill(self, store: Any, driver: Owner) -> None:
        """The process that opened `store` and claimed as `driver` dies without a word."""
        raise NotImplementedError

    def setup_method(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sopwith-contract-")
        self._opened: list[Store] = []
        self.store = self.other()

    def teardown_method(self) -> None:
        for store in self._opened:
            store.close()
        self._folder.cleanup()

    def other(self) -> Any:
        store = self.make_store(Path(self._folder.name))
        self._opened.append(store)
        return store

    def begin(self, run_id: str = "sop_run_1", **summary: Any) -> Batch:
        batch = first_batch(run_id, **summary)
        group = batch.summary.concurrency_group
        created: Batch = self.store.create(batch.summary.name, lambda _: batch, group=group)
        return created

    def go_on(self, before: Batch, *, claim: Claim | None = None, **summary: Any) -> Batch:
        batch = next_batch(before, **summary)
        self.store.append(before.summary.run_id, before.summary.seq, batch, claim=claim)
        return batch

    def occupancy(self, name: str, group: str = "") -> Occupancy:
        """What a new run of `name` in this concurrency group would be told."""
        seen: list[Occupancy] = []
        with raises(_EnoughError):
            self.store.create(name, lambda occupancy: _stop(seen, occupancy), group=group)
        return seen[0]


class _EnoughError(Exception):
    """Ends a plan that only wanted to look."""


def _stop(seen: list[Occupancy], occupancy: Occupancy) -> Batch:
    seen.append(occupancy)
    raise _EnoughError


def is_linear(events: tuple[SealedEvent, ...]) -> bool:
    """Whether seqs count from 1 and each event follows from the one before."""
    prev_hash = "0" * 64
    for seq, event in enumerate(events, start=1):
        if (event.seq, event.prev_hash, event.hash) != (seq, prev_hash, link(prev_hash, event.payload)):
            return False
        prev_hash = event.hash
    return True


def together(count: int, act: Any) -> None:
    """Calls `act(number)` in so many threads at once, and raises what any of them raised."""
    barrier, failures = threading.Barrier(count), list[BaseException]()

    def body(number: int) -> None:
        barrier.wait()
        try:
            act(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
