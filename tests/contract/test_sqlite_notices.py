"""Notices in the file: the cursor moves with what was made of what was read, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from sopwith.errors import StoreError
from sopwith.ports import NewNotice
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
