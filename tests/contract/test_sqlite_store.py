"""The SQLite store keeps the contract."""

from pathlib import Path

from sopwith.ports import Owner
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.contract_store import StoreContract


class TestSqliteStore(StoreContract):
    def make_store(self, folder: Path) -> SqliteStore:
        return SqliteStore(folder / "runs.db")

    def kill(self, store: SqliteStore, driver: Owner) -> None:
        """Closing frees the same locks; `test_sqlite_processes.py` kills for real."""
        store.close()

    def lose_lock(self, store: SqliteStore, driver: Owner) -> None:
        store._claims._locks.close()
