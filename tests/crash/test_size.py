"""What the benchmarks of size and of a server measure is what they say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from benchmarks import serving, size
from tests.docs import pages

from sopwith.engine.reading import Reader
from sopwith.ports import RunFilter, Workspace
from sopwith.stores.sqlite import SqliteStore


def test_what_is_measured_is_there_in_the_numbers_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SOP", pages.command())
    monkeypatch.setattr(size, "_SETTLE_SECS", 0.0)
    found = size.measure(tmp_path, waiting=20, past=30, rounds=2, idle_secs=0.1)
    assert (found["past runs"], found["waiting runs"]) == (30, 20)
    asked = ("inbox", "history", "status", "append", "create")
    assert all(found[f"{what} ms"] > 0 for what in asked)
    assert all(found[f"{what} ratio to an empty database"] > 0 for what in ("append", "create"))
    assert "server KB per waiting run" in found
    assert all(isinstance(value, int | float) for value in found.values())
    with closing(SqliteStore(Workspace(tmp_path / "large").database)) as store:
        assert store.check() == []
        assert not store.recount(mend=False)
        of_each = {name: store.summaries(RunFilter(name=name, limit=0))[1] for name in ("past", "timed", "manual")}
    # one more of each is the run that the others were written from
    assert of_each == {"past": 31, "timed": 5, "manual": 3}


def test_the_inbox_of_what_was_written_is_what_waits(tmp_path: Path) -> None:
    from sopwith.assembly import open_engine

    size._make(tmp_path / "here", {**size.mix(20), "past": 3, "appended": 2})
    engine = open_engine(Workspace(tmp_path / "here"))
    with closing(engine.parts.store):
        items = Reader(engine).inbox()["items"]
    kinds = [item["kind"] for item in items]
    # the run that holds the slot of the queue waits at a gate too
    assert (len(kinds), kinds.count("queued"), kinds.count("manual")) == (23, 4, 2)


def test_an_approval_is_followed_to_what_it_lets_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SOP", pages.command())
    monkeypatch.setattr(serving, "_SETTLE_SECS", 0.0)
    found = serving.measure(tmp_path, waiting=1, rounds=2, idle_secs=0.1)
    recorded = found["approval to the recorded start of the step, p95 ms"]
    begun = found["approval to the first line of its script, p95 ms"]
    assert 0 <= recorded <= begun < 30_000
    assert found["approvals"] == 2
