"""Retention: payloads of runs that ended long ago go, the proof stays, nothing younger is touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.given import Ledger, batches, envelope, put, run_id

from sopwith.audit.graves import Graves
from sopwith.audit.retention import Ended, forget_files, too_old
from sopwith.audit.signing import known_keys
from sopwith.audit.statements import Tombstone, read
from sopwith.core import events as ev
from sopwith.core.procedure import sha256
from sopwith.errors import Conflict, StoreError
from sopwith.ports import DroppedRun
from sopwith.testing.clock import START
from sopwith.testing.memory import MemoryStore

NOW = START + timedelta(days=400)


@pytest.fixture(params=["sqlite", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """Runs 0 to 3 ended 400 days ago, 4 to 7 are young, 8 never ended."""
    ledger = Ledger(tmp_path, MemoryStore() if request.param == "memory" else None)
    ledger.fill(4)
    ledger.fill(4, first=4, at=NOW - timedelta(days=10))
    put(ledger.store, batches(8)[0])
    yield ledger
    ledger.store.close()


def payloads(ledger: Ledger) -> dict[str, bool]:
    """Whether all payloads of a run are there; a run with some only fails."""
    found: dict[str, set[bool]] = {}
    for entry in ledger.log.entries(0, 1000):
        found.setdefault(entry.run_id, set()).add(entry.payload is not None)
    assert all(len(kept) == 1 for kept in found.values())
    return {owner: kept.pop() for owner, kept in found.items()}


ALL = [run_id(number) for number in range(9)]


def test_what_ended_long_ago_is_dropped_and_verification_stays_green(ledger: Ledger) -> None:
    before = ledger.log.leaves(0, 1000)
    dropped = ledger.retention().sweep(ALL, days=30, now=NOW)
    assert dropped.run_ids == tuple(ALL[:4])
    assert dropped.failures == ()
    assert payloads(ledger) == {owner: owner not in dropped.run_ids for owner in ALL}
    report = ledger.verify(trusted=True)
    assert report.fine
    assert (report.events, report.dropped) == (85, 40)
    assert ledger.log.leaves(0, 1000) == before
    assert ledger.verify_run(2).dropped == 10


def test_the_envelopes_of_dropped_runs_go_and_shared_procedures_stay(ledger: Ledger) -> None:
    ledger.retention().sweep(ALL, days=30, now=NOW)
    assert ledger.store.content(sha256(envelope(run_id(1)))) is None
    assert ledger.store.content(sha256(envelope(run_id(5)))) == envelope(run_id(5))
    assert ledger.verify().fine


def test_the_tombstone_is_signed_and_tells_what_went(ledger: Ledger) -> None:
    ledger.retention().sweep(ALL, days=30, now=NOW)
    (line,) = ledger.log.tombstones()
    tombstone = read(Tombstone, line)
    assert (tombstone.days, tombstone.timestamp) == (30, "2027-02-05T12:00:00.000Z")
    assert [(run.run_id, run.first_seq, run.last_seq) for run in tombstone.runs] == [(o, 1, 10) for o in ALL[:4]]
    assert (tombstone.runs[0].first_position, tombstone.runs[0].last_position) == (1, 25)
    assert (ledger.folder / "runs" / "tombstones.jsonl").read_bytes() == line + b"\n"


def test_a_second_sweep_finds_nothing_left(ledger: Ledger) -> None:
    ledger.retention().sweep(ALL, days=30, now=NOW)
    assert ledger.retention().sweep(ALL, days=30, now=NOW).run_ids == ()
    assert len(ledger.log.tombstones()) == 1


def test_what_is_dropped_is_signed_for_first(ledger: Ledger) -> None:
    assert ledger.log.newest_checkpoint() is None
    ledger.retention().sweep(ALL, days=30, now=NOW)
    newest = ledger.log.newest_checkpoint()
    assert newest is not None
    assert newest.size == 85


def test_nothing_is_dropped_that_cannot_be_signed_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger.checkpointer, "take", lambda _: None)
    with pytest.raises(StoreError, match="no checkpoint covers"):
        ledger.retention().sweep(ALL, days=30, now=NOW)
    assert all(payloads(ledger).values())


def test_a_run_that_moved_on_meanwhile_is_not_dropped(ledger: Ledger) -> None:
    retention = ledger.retention()
    drop = ledger.log.drop_payloads

    def moved(runs: list[DroppedRun], line: bytes) -> None:
        drop([DroppedRun(run.run_id, run.seq - 1, run.head) for run in runs], line)

    retention._seals = type("Seals", (), {"drop_payloads": staticmethod(moved)})()
    retention._seals.newest_checkpoint = ledger.log.newest_checkpoint
    with pytest.raises(Conflict):
        retention.sweep(ALL, days=30, now=NOW)
    assert all(payloads(ledger).values())


# the choice


def test_a_run_within_another_goes_with_it_or_after_it(ledger: Ledger) -> None:
    """20 is within a young run, 21 within an old one, 22 within 20; 23 within one that nobody knows."""
    for number, within in ((20, 4), (21, 0), (22, 20), (23, 99)):
        for batch in batches(number, within=within):
            put(ledger.store, batch)
    everything = [*ALL, *(run_id(number) for number in (20, 21, 22, 23))]
    kept = {run_id(number) for number in (20, 22, 23)}
    assert not kept & set(ledger.retention().sweep(everything[4:], days=30, now=NOW).run_ids)
    assert set(ledger.retention().sweep(everything, days=30, now=NOW).run_ids) == {*ALL[:4], run_id(21)}
    later = ledger.retention().sweep(everything, days=30, now=NOW + timedelta(days=30))
    assert {run_id(20), run_id(22)} <= set(later.run_ids)
    assert run_id(23) not in later.run_ids


def test_what_was_within_a_dropped_run_may_go(ledger: Ledger) -> None:
    ledger.retention().sweep(ALL, days=30, now=NOW)
    for batch in batches(21, within=0):
        put(ledger.store, batch)
    assert ledger.retention().sweep([run_id(21)], days=30, now=NOW).run_ids == (run_id(21),)


@pytest.mark.parametrize(
    ("end", "goes"),
    [
        (ev.RunCompleted(), True),
        (ev.RunCancelled(), True),
        (ev.RunFailed(failed_steps=(1,), error="x"), True),
        (ev.RunPaused(cause="asked"), False),
        (ev.RunStarted(), False),
        (ev.ApprovalRequested(step_number=1, revision=1, digest=sha256(envelope(run_id(20)))), False),
    ],
)
def test_only_a_run_whose_last_event_ended_it_is_dropped(tmp_path: Path, end: Any, goes: bool) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(1, first=20, end=end)
    dropped = ledger.retention().sweep([run_id(20)], days=30, now=NOW)
    assert dropped.run_ids == ((run_id(20),) if goes else ())
    assert ledger.verify().fine
    ledger.store.close()


def test_the_row_that_lists_read_does_not_decide(tmp_path: Path) -> None:
    """Somebody who edits a run's row cannot have its record dropped."""
    ledger = Ledger(tmp_path)
    ledger.fill(2, at=NOW - timedelta(days=3))
    ledger.by_hand("update runs set ended_at = 0, updated_at = 0, status = 'completed'", "update events set at = 0")
    assert ledger.retention().sweep(ALL[:2], days=30, now=NOW).run_ids == ()
    ledger.by_hand("update events set payload = cast(replace(payload, '2027-', '2020-') as blob) where seq = 10")
    assert ledger.retention().sweep(ALL[:2], days=30, now=NOW).run_ids == ()
    ledger.store.close()


ended = st.builds(
    Ended,
    run_id=st.just("r"),
    seq=st.just(3),
    head=st.just(""),
    event_type=st.sampled_from(["run_completed", "run_cancelled", "run_failed", "run_paused", "step_started"]),
    at=st.timedeltas(timedelta(days=-30), timedelta(days=500)).map(lambda age: NOW - age),
    first_position=st.just(1),
    last_position=st.just(3),
)


@given(st.lists(ended), st.integers(1, 400))
def test_nothing_younger_than_the_days_is_ever_chosen(runs: list[Ended], days: int) -> None:
    chosen = too_old(runs, days=days, now=NOW)
    for run in runs:
        old = NOW - run.at > timedelta(days=days)
        assert (run in chosen) == (old and run.event_type in ("run_completed", "run_cancelled", "run_failed"))


@pytest.mark.parametrize("days", [0, -1])
def test_less_than_a_day_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="at least one day"):
        too_old([], days=days, now=NOW)


# what a missing payload means without a valid tombstone


@pytest.mark.parametrize(
    ("statement", "position", "says"),
    [
        ("delete from tombstones", 1, "no valid tombstone covers it"),
        ("update tombstones set line = cast(replace(line, ':30,', ':31,') as blob)", 1, "no valid tombstone covers it"),
        ("update events set payload = null where run = 6", 41, "no valid tombstone covers it"),
        ("update events set hash = zeroblob(32) where run = 2 and seq = 3", None, "does not follow"),
    ],
)
def test_a_missing_payload_needs_a_valid_tombstone(
    tmp_path: Path, statement: str, position: int | None, says: str
) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(4)
    ledger.fill(4, first=4, at=NOW - timedelta(days=10))
    ledger.retention().sweep(ALL, days=30, now=NOW)
    assert ledger.verify().fine
    ledger.by_hand(statement)
    found = ledger.verify().first_bad
    assert found is not None
    assert says in str(found)
    assert position is None or (found.position or 0) >= position
    ledger.store.close()


def test_a_tombstone_by_a_strange_key_covers_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "strange").mkdir()
    ledger, stranger = Ledger(tmp_path / "mine"), Ledger(tmp_path / "strange")
    for each in (ledger, stranger):
        each.fill(4)
    stranger.retention().sweep([run_id(1)], days=30, now=NOW)
    (line,) = stranger.log.tombstones()
    ledger.checkpointer.take(START)
    ledger.by_hand("update events set payload = null where run = 2")
    ledger.by_hand("insert into tombstones (line) values (:line)", line=line)
    assert "no valid tombstone covers it" in str(ledger.verify().first_bad)


def test_a_tombstone_covers_its_own_events_and_no_later_ones(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(4)
    ledger.retention().sweep([run_id(1)], days=30, now=NOW)
    graves = Graves(ledger.log.tombstones(), known_keys(tmp_path / "keys"))
    assert graves.covers(run_id(1), 1)
    assert graves.covers(run_id(1), 10)
    assert not graves.covers(run_id(1), 11)
    assert not graves.covers(run_id(2), 1)


def test_a_hash_changed_behind_a_tombstone_is_found(tmp_path: Path) -> None:
    """Without payloads a chain can be written anew; the tombstone names its end and the checkpoint all of it."""
    ledger = Ledger(tmp_path)
    ledger.fill(4)
    ledger.retention().sweep(ALL, days=30, now=NOW)
    ledger.by_hand(
        "update events set hash = zeroblob(32) where run = 2 and seq = 3",
        "update events set prev_hash = zeroblob(32) where run = 2 and seq = 4",
    )
    found = ledger.verify().first_bad
    assert found is not None
    assert "checkpoint over 40 events" in found.what
    ledger.by_hand(
        "update events set hash = zeroblob(32) where run = 1 and seq = 10", "update runs set head = zeroblob(32)"
    )
    found = ledger.verify().first_bad
    assert found is not None
    assert "tombstone" in found.what
    ledger.store.close()


def test_after_a_vacuum_dropped_bytes_are_gone_from_the_file_and_the_proof_stays(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(4, comment="a-very-secret-comment", script="echo another-secret\n")
    ledger.retention().sweep(ALL, days=30, now=NOW)
    ledger.store.close()
    ledger.by_hand("vacuum")
    assert Ledger(tmp_path).verify(trusted=True).fine
    left = b"".join(path.read_bytes() for path in tmp_path.glob("runs.db*"))
    assert b"a-very-secret-comment" not in left
    assert b"another-secret" not in left


def test_the_files_of_dropped_runs_can_be_removed_and_others_stay(tmp_path: Path) -> None:
    for owner in ("sop_run_a", "sop_run_b"):
        (tmp_path / f"{owner}.json").write_text("{}")
        (tmp_path / f"{owner}.audit.jsonl").write_text("{}")
        (tmp_path / owner / "evidence").mkdir(parents=True)
        (tmp_path / owner / "evidence" / "x").write_text("x")
    assert forget_files(tmp_path, ["sop_run_a", "sop_run_none"]) == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sop_run_b", "sop_run_b.audit.jsonl", "sop_run_b.json"]
