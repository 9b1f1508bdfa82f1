"""The memory store keeps the contract, so a test of the engine on it says something about the real one."""

from pathlib import Path

from sopwith.ports import Owner
from sopwith.testing.contract_store import StoreContract
from sopwith.testing.memory import MemoryStore


class TestMemoryStore(StoreContract):
    def make_store(self, folder: Path) -> MemoryStore:
        beside = self._opened[0] if self._opened else None
        assert beside is None or isinstance(beside, MemoryStore)
        return MemoryStore(beside)

    def kill(self, store: MemoryStore, driver: Owner) -> None:
        store.kill(driver.owner_id)

    def lose_lock(self, store: MemoryStore, driver: Owner) -> None:
        store.kill(driver.owner_id)
