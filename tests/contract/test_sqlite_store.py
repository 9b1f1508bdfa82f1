"""The SQLite store keeps the contract."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from sopwith.errors import StoreError
from sopwith.ports import Move, Owner
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START
from sopwith.testing.contract_store import StoreContract
from sopwith.testing.store_deliveries import new_delivery


class TestSqliteStore(StoreContract):
    def make_store(self, folder: Path) -> SqliteStore:
        return SqliteStore(folder / "runs.db")

    def kill(self, store: SqliteStore, driver: Owner) -> None:
        """Closing frees the same locks; `test_sqlite_processes.py` kills for real."""
        store.close()

    def lose_lock(self, store: SqliteStore, driver: Owner) -> None:
        store._claims._locks.close()

    def test_where_one_delivery_cannot_be_kept_none_is_and_no_cursor_moves(self) -> None:
        store = self.store.deliveries
        bad = replace(new_delivery("2"), run_id=None)
        with pytest.raises(StoreError):
            store.accept([new_delivery("1"), bad], [Move(name="trigger:a", value="1")])
        with pytest.raises(StoreError):
            store.accept([new_delivery("1")], [Move(name="trigger:a", value="1"), Move(name="trigger:b", value=None)])
        assert store.cursor("trigger:a") is None
        assert store.newest(2**62, 9) == ()

    def test_a_restored_copy_starts_nothing_of_what_waited(self) -> None:
        store = self.store.deliveries
        moves = [Move(name="trigger:a", value="1"), Move(name="trigger:a", path="x", value="1")]
        [accepted] = store.accept([new_delivery()], [*moves, Move(name="other", value="7")])
        self.store.begin_anew(b"line", START)
        kept = store.delivery(accepted.delivery.number)
        assert (kept.outcome, kept.reason) == ("refused", "the record was restored from a backup")
        assert (store.cursor("trigger:a"), store.files("trigger:a"), store.cursor("other")) == (None, {}, "7")
