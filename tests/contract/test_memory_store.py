"""The memory store keeps the contract, so a test of the engine on it says something about the real one."""

from pathlib import Path

import pytest

from sopwith.core.admission import Occupancy
from sopwith.errors import StoreError
from sopwith.ports import Owner
from sopwith.testing.contract_store import StoreContract
from sopwith.testing.memory import MemoryStore
from sopwith.testing.samples import next_batch


class TestMemoryStore(StoreContract):
    def make_store(self, folder: Path) -> MemoryStore:
        beside = self._opened[0] if self._opened else None
        assert beside is None or isinstance(beside, MemoryStore)
        return MemoryStore(beside)

    def kill(self, store: MemoryStore, driver: Owner) -> None:
        store.kill(driver.owner_id)

    def lose_lock(self, store: MemoryStore, driver: Owner) -> None:
        store.kill(driver.owner_id)

    def test_another_process_of_the_same_thread_writes_nothing_inside_a_transaction(self) -> None:
        first, other = self.begin(), self.other()

        def admit(_: Occupancy) -> None:
            other.append("sop_run_1", 1, next_batch(first, current_step=2))

        with pytest.raises(StoreError, match="inside a transaction"):
            self.store.append("sop_run_1", 1, next_batch(first), admit=admit)
        assert self.store.events("sop_run_1") == first.events
