"""Notices in the file: the cursor moves with what was made of what was read, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from sopwith.errors import StoreError
from sopwith.ports import NewNotice, NoticeEnd
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START


def test_where_one_notice_cannot_be_kept_none_is_and_the_cursor_stays(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    store.notices.begin(4)
    good = NewNotice(position=5, channel="chat", moment="m", run_id="r", message=b"{}")
    bad = NewNotice(position=6, channel="chat", moment="m", run_id="r", message=cast(Any, "no bytes"))
    with pytest.raises(StoreError):
        store.notices.add([good, bad], read_to=6, now=START)
    assert store.notices.cursor() == 4
    assert list(store.notices.newest(9)) == []
    store.close()


def test_where_the_cursor_cannot_be_moved_no_notice_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    run = store._db.run

    def fail_at_the_cursor(query: str, **values: Any) -> None:
        if query == "move_reading_cursor":
            raise StoreError("the disk is full")
        run(query, **values)

    monkeypatch.setattr(store._db, "run", fail_at_the_cursor)
    good = NewNotice(position=5, channel="chat", moment="m", run_id="r", message=b"{}")
    with pytest.raises(StoreError):
        store.notices.add([good], read_to=5, now=START)
    assert list(store.notices.newest(9)) == []
    store.close()


def test_in_a_restored_copy_nothing_of_the_other_history_is_told_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    store.traced.move(5)
    waits = NewNotice(position=5, channel="chat", moment="m", run_id="r", message=b"{}")
    store.notices.add([waits], read_to=6, now=START)
    store.begin_anew(b"restored", START)
    (kept,) = store.notices.newest(9)
    assert (kept.ended, kept.told) == (NoticeEnd.DROPPED, "the record was restored from a backup")
    assert store.notices.waiting() == {}
    assert store.notices.cursor() is store.traced.read() is None
    store.close()


def test_a_reading_cursor_is_kept(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    assert store.traced.read() is None
    store.traced.move(7)
    assert other.traced.read() == 7
    other.traced.move(None)
    assert store.traced.read() is None
    assert store.notices.cursor() is None
    store.close()
    other.close()
