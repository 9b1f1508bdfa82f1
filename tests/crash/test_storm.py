"""Many processes write at once: nobody is refused, nobody waits for ever, and a long reader costs only room."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from tools.crash import storm

from sopwith.stores import patience
from sopwith.stores.patience import Patience, pause

MIB = 1024 * 1024


def test_many_writers_beside_a_long_reader_lose_nothing_and_nobody_is_refused(tmp_path: Path) -> None:
    report = storm.campaign(tmp_path, writers=12, readers=1, seconds=0, least=12)
    assert report["breaches"] == []
    assert report["leastByOneWriter"] >= 12
    assert report["seenByReaders"] == [1], "a long reader sees one state"


def test_the_log_grows_under_a_long_reader_and_is_cut_when_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sopwith.stores.opening._WAL_LIMIT_BYTES", MIB)
    report = storm.campaign(tmp_path, writers=2, readers=1, seconds=0, least=100)
    assert report["breaches"] == []
    assert report["largestLogBytes"] > 2 * MIB
    assert report["logBytesAfterwards"] <= MIB


def test_a_writer_that_is_refused_and_an_event_that_is_gone_are_breaches(tmp_path: Path) -> None:
    storm.campaign(tmp_path, writers=1, readers=0, seconds=0, least=2)
    notes = tmp_path / "0.notes"
    notes.write_text(notes.read_text() + f"sop_run_of_0 99 {'0' * 64}\n")
    with storm.closing(storm.SqliteStore(tmp_path / "runs.db")) as store:
        assert storm._breaches(store, tmp_path) == ["event 99 of sop_run_of_0 was acknowledged and is not there"]


def test_whoever_has_waited_long_asks_the_most_often() -> None:
    assert pause(9, patience.LONG_SECS) < pause(9, 0)
    first = [pause(tries, 0) for tries in range(8)]
    assert all(one <= other for one, other in pairwise(first))
    assert sum(first[:3]) < 0.001, "of two that write, neither sleeps through transactions of the other"


def test_patience_ends_and_begins_anew_with_each_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("time.sleep", sleep)
    handler = Patience()
    for began in (100.0, 200.0):
        now = began
        tries = 0
        while handler(tries):
            tries += 1
        assert patience.MOST_SECS <= now - began < patience.MOST_SECS + 0.1
        assert tries > 1000
