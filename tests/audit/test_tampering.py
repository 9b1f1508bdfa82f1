"""Whatever somebody does to a log of 1,000 events, verification finds it and names the first bad event."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.audit.given import Ledger, put, run_id
from tests.audit.listed import ListedLog

from sopwith.audit.statements import Checkpoint, line_of, signed
from sopwith.core.codec import link
from sopwith.errors import StoreError
from sopwith.ports import LogEntry
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch

FAKE = bytes(range(32))


@pytest.fixture(scope="module")
def entries(thousand: Path) -> ListedLog:
    ledger = Ledger(thousand)
    listed = ListedLog(ledger)
    assert listed.first_bad() is None
    ledger.store.close()
    for digest in [*listed.contents]:
        assert listed.contents[digest] is not None
    return listed


@pytest.fixture
def listed(entries: ListedLog) -> Iterator[ListedLog]:
    before = (list(entries.all), list(entries.kept), entries.high_water, dict(entries.contents))
    yield entries
    entries.all, entries.kept, entries.high_water, entries.contents = before


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def edits(entry: LogEntry) -> dict[str, object]:
    """Another value for every column of an event's row."""
    return {
        "position": 5000 + entry.position,
        "run_id": run_id(77 if entry.run_id != run_id(77) else 78),
        "seq": entry.seq + 1,
        "event_type": "run_paused" if entry.event_type != "run_paused" else "run_resumed",
        "at_ms": entry.at_ms + 1,
        "prev_hash": FAKE,
        "hash": FAKE,
        "payload": b"{}",
    }


def moved(listed: ListedLog, index: int, column: str, value: object) -> None:
    listed.change(index, **{column: value})
    listed.all.sort(key=lambda entry: entry.position)


# one row


def test_a_sound_log_is_fine_and_counted(ledger: Ledger) -> None:
    report = ledger.verify(trusted=True)
    assert report.fine
    assert (report.events, report.runs, report.dropped) == (1000, 100, 0)
    assert (report.checkpoints, report.signed_size, report.trusted_size) == (20, 1000, 1000)


def test_every_column_of_every_row_is_guarded_within_its_run(listed: ListedLog) -> None:
    """All 1,000 rows, all columns but the position, which counts over all runs."""
    for index, entry in enumerate(list(listed.all)):
        for column, value in edits(entry).items():
            if column == "position":
                continue
            listed.change(index, **{column: value})
            found = listed.first_bad(str(entry.run_id))
            listed.all[index] = entry
            assert found is not None, (entry, column)
            if column not in ("run_id", "seq"):
                assert (found.position, found.seq) == (entry.position, entry.seq), (entry, column, found)


def test_every_column_is_guarded_in_the_whole_log_and_the_first_bad_event_named(listed: ListedLog) -> None:
    for number, index in enumerate(range(1000)):
        entry = listed.all[index]
        columns = list(edits(entry).items())
        for column, value in columns[number % 8 : number % 8 + 1]:
            moved(listed, index, column, value)
            found = listed.first_bad()
            moved(listed, index if column != "position" else 999, column, getattr(entry, column))
            assert listed.all[index] == entry
            assert found is not None, (entry, column)
            assert found.position == entry.position, (entry, column, found)
            if column not in ("run_id", "seq", "position"):
                assert (found.run_id, found.seq) == (entry.run_id, entry.seq), (entry, column, found)


def test_every_byte_flip_of_a_payload_is_found(listed: ListedLog) -> None:
    """Every byte of an approval's and of a step's payload, one bit each in turn."""
    for index in (500 + listed.all[500].seq % 3, 612):
        entry = listed.all[index]
        assert entry.payload is not None
        for at in range(len(entry.payload)):
            listed.change(index, payload=flipped(entry.payload, at, at % 8))
            found = listed.first_bad(str(entry.run_id))
            assert found is not None
            assert (found.position, found.run_id, found.seq) == (entry.position, entry.run_id, entry.seq)
        listed.all[index] = entry


def test_every_byte_flip_of_a_hash_is_found(listed: ListedLog) -> None:
    entry = listed.all[321]
    for column in ("hash", "prev_hash"):
        for at in range(32):
            listed.change(321, **{column: flipped(getattr(entry, column), at, at % 8)})
            found = listed.first_bad()
            assert found is not None
            assert (found.position, found.run_id, found.seq) == (entry.position, entry.run_id, entry.seq)
            listed.all[321] = entry


def test_a_deleted_event_is_named(listed: ListedLog) -> None:
    for index in range(0, 1000, 13):
        entry = listed.all.pop(index)
        found = listed.first_bad()
        listed.all.insert(index, entry)
        assert found is not None
        assert (found.position, found.run_id, found.seq) == (entry.position, entry.run_id, entry.seq)


@pytest.mark.parametrize("what", ["rows", "payloads", "hashes", "rows of one run"])
def test_of_two_swapped_events_the_first_is_named(listed: ListedLog, what: str) -> None:
    chance = random.Random(7)
    for _ in range(60):
        first, second = sorted(chance.sample(range(1000), 2))
        one, other = listed.all[first], listed.all[second]
        if what == "rows of one run":
            second = (
                next(index for index in range(first + 1, 1000) if listed.all[index].run_id == one.run_id)
                if (one.seq < 10)
                else first
            )
            if second == first:
                continue
            other = listed.all[second]
        if what.startswith("rows"):
            listed.all[first] = msgspec.structs.replace(other, position=one.position)
            listed.all[second] = msgspec.structs.replace(one, position=other.position)
        elif what == "payloads":
            listed.change(first, payload=other.payload)
            listed.change(second, payload=one.payload)
        else:
            listed.change(first, hash=other.hash)
            listed.change(second, hash=one.hash)
        found = listed.first_bad()
        listed.all[first], listed.all[second] = one, other
        assert found is not None
        assert found.position is not None
        latest = first + 1
        if what == "rows" and other.seq == 1:
            # a run's first event fits in anywhere: the first of its own run that comes too late shows it, or, if no
            # run is torn, the next checkpoint
            latest = next((e.position for e in listed.all[first + 1 :] if e.run_id == one.run_id), 1000)
        assert found.position <= latest <= 1000
        assert first + 1 <= (found.to_position or found.position), (found, first, second)


@pytest.mark.parametrize("count", [1, 2, 10, 500, 1000])
def test_a_log_that_was_cut_short_is_found(listed: ListedLog, count: int) -> None:
    entry = listed.all[-count]
    del listed.all[-count:]
    found = listed.first_bad()
    assert found is not None
    assert found.position == entry.position
    if count == 1:
        assert (found.run_id, found.seq) == (entry.run_id, entry.seq)


# the file, as somebody with sqlite3 would


@pytest.mark.parametrize(
    ("position", "statement", "says"),
    [
        (400, "update events set payload = x'7b7d' where position = 400", "not what its hash says"),
        (400, "update events set payload = null where position = 400", "no valid tombstone"),
        (400, "update events set hash = randomblob(32) where position = 400", "not what its hash says"),
        (400, "update events set prev_hash = randomblob(32) where position = 400", "does not follow"),
        (400, "update events set event_type = 'x' where position = 400", "another type or time"),
        (400, "update events set at = at + 1 where position = 400", "another type or time"),
        (400, "pragma foreign_keys=off; update events set run = 999 where position = 400", "no run"),
        (400, "update events set seq = 99 where position = 400", "it has seq 99"),
        (400, "update events set position = 4000 where position = 400", "missing"),
        (400, "delete from events where position = 400", "missing"),
        (400, "delete from events where position between 400 and 500", "missing"),
        (
            1001,
            (
                "insert into events select 1001, run, 11, event_type, at, hash, randomblob(32), payload from events "
                "where position = 1000"
            ),
            "seq 11",
        ),
        (
            1000,
            (
                "update events set position = 1001 where position = 1000; insert into events select 1000, run, "
                "seq + 100, event_type, at, prev_hash, hash, payload from events where position = 1"
            ),
            "seq 101",
        ),
        (1000, "delete from events where position = 1000", "missing"),
        (901, "delete from events where position > 900", "they are missing"),
        (
            901,
            (
                "pragma foreign_keys=off; delete from events where position > 900; "
                "delete from runs where ordinal not in (select run from events)"
            ),
            "missing",
        ),
        (1, "update runs set run_id = 'sop_run_x' where ordinal = 1", "says that it is"),
        (1, "pragma foreign_keys=off; delete from runs where ordinal = 1", "belongs to no run"),
        (1, "pragma foreign_keys=off; delete from events where run = 1", "missing"),
        (1001, "update runs set seq = 11 where ordinal = 100", "missing"),
        (1000, "update runs set head = randomblob(32) where ordinal = 100", "row names as the last"),
        (
            1001,
            (
                "insert into runs select 101, 'sop_run_new', name, version, status, seq, head, mode, priority, "
                "current_step, total_steps, created_at, created_by, updated_at, ended_at, due_at, holds_slot, "
                "executed, procedure_digest, concurrency_group, parent, asks, left_at from runs where ordinal = 1"
            ),
            "missing",
        ),
        (1001, "update sqlite_sequence set seq = 1003 where name = 'events'", "missing"),
        (
            None,
            "update checkpoints set line = cast(replace(line, ':500', ':501') as blob) where size = 500",
            "signature is wrong",
        ),
        (None, "update checkpoints set frontier = zeroblob(length(frontier)) where size = 500", "frontier was changed"),
        (None, "update checkpoints set size = 501 where size = 500", "over 500 events"),
        (None, "insert into tombstones (line) values (x'7b7d')", "tombstone 1 is not valid"),
        (1, "update contents set data = cast(data || ' ' as blob)", "was changed"),
        (1, "delete from contents", "is missing"),
    ],
)
def test_a_change_by_hand_is_found(ledger: Ledger, position: int | None, statement: str, says: str) -> None:
    ledger.by_hand(statement)
    report = ledger.verify()
    assert report.first_bad is not None
    assert report.first_bad.position == position
    assert says in str(report.first_bad)


def test_every_byte_flip_of_a_checkpoint_in_the_store_is_found(listed: ListedLog) -> None:
    listed.all = listed.all[:100]
    listed.kept = [kept for kept in listed.kept if kept.size <= 100]
    kept = listed.kept[-1]
    sound = listed.first_bad()  # the runs that go on after event 100
    assert sound is not None
    assert sound.position == 101
    for column in ("line", "frontier"):
        for at in range(len(getattr(kept, column))):
            listed.kept[-1] = msgspec.structs.replace(kept, **{column: flipped(getattr(kept, column), at, at % 8)})
            found = listed.first_bad()
            assert found is not None
            assert found.position is None, at


# histories written anew, with every hash in its place


def rewrite(ledger: Ledger, position: int) -> None:
    """Changes one event and computes anew all that hangs on it, as somebody without the key can."""
    entry = ledger.log.entries(position - 1, 1)[0]
    prev_hash = entry.prev_hash.hex()
    for each in ledger.log.run_entries(entry.run_id, entry.seq - 1, 100):
        payload = each.payload.replace(b'"ann"', b'"bob"').replace(b'"sopwith"', b'"someone"')
        digest = link(prev_hash, payload)
        ledger.by_hand(
            "update events set payload = :payload, prev_hash = :prev_hash, hash = :hash where position = :position",
            payload=payload,
            prev_hash=bytes.fromhex(prev_hash),
            hash=bytes.fromhex(digest),
            position=each.position,
        )
        prev_hash = digest
    ledger.by_hand("update runs set head = :h where run_id = :r", h=bytes.fromhex(prev_hash), r=entry.run_id)


def test_a_rewritten_history_is_found_by_the_next_checkpoint(ledger: Ledger) -> None:
    rewrite(ledger, 440)
    found = ledger.verify().first_bad
    assert found is not None
    assert (found.position, found.to_position) == (401, 500)
    assert "one of them is not what it was" in str(found)


def test_without_the_checkpoints_of_the_store_the_copy_outside_finds_it(ledger: Ledger) -> None:
    rewrite(ledger, 440)
    ledger.by_hand("delete from checkpoints")
    assert ledger.verify().fine  # nothing is left to compare with: this is why there is a copy
    found = ledger.verify(trusted=True).first_bad
    assert found is not None
    assert found.position is not None
    assert found.position <= 440 <= (found.to_position or 0)


def test_a_new_checkpoint_over_a_rewritten_history_does_not_hide_it(ledger: Ledger) -> None:
    """The key may be at hand too: what was signed before and lies outside still speaks."""
    rewrite(ledger, 440)
    ledger.by_hand("delete from checkpoints")
    ledger.local.unlink()
    ledger.checkpointer._places = (ledger.local,)
    assert ledger.checkpointer.take(START) is not None
    assert ledger.verify().fine
    assert not ledger.verify(trusted=True).fine


def test_a_run_that_was_taken_out_without_a_gap_is_found(ledger: Ledger) -> None:
    ledger.by_hand(
        "pragma foreign_keys = off",
        "delete from events where run = 37",
        "delete from runs where ordinal = 37",
        "create temp table dense as select position as old, row_number() over (order by position) as new from events",
        "update events set position = (select new from dense where old = position) + 100000",
        "update events set position = position - 100000",
        "update sqlite_sequence set seq = 990 where name = 'events'",
    )
    found = ledger.verify().first_bad
    assert found is not None
    assert found.position is not None
    assert "checkpoint" in found.what


def test_a_cut_off_end_with_all_rows_mended_is_found_by_a_checkpoint(ledger: Ledger) -> None:
    ledger.by_hand(
        "pragma foreign_keys = off",
        "delete from events where run > 92",
        "delete from runs where ordinal > 92",
        "update sqlite_sequence set seq = 920 where name = 'events'",
    )
    found = ledger.verify().first_bad
    assert found is not None
    assert found.position == 921
    assert "cut short or restored" in found.what
    ledger.by_hand("delete from checkpoints where size > 920")
    assert ledger.verify().fine
    outside = ledger.verify(trusted=True).first_bad
    assert outside is not None
    assert outside.position == 921


def test_a_restored_old_database_is_found_and_not_signed_again(ledger: Ledger) -> None:
    ledger.store.close()
    shutil.copy(ledger.database, ledger.folder / "old.db")
    ledger = Ledger(ledger.folder)
    ledger.fill(4, first=200)
    assert ledger.checkpointer.take(START) is not None
    ledger.store.close()
    shutil.copy(ledger.folder / "old.db", ledger.database)
    ledger = Ledger(ledger.folder)
    assert ledger.verify().fine
    found = ledger.verify(trusted=True).first_bad
    assert found is not None
    assert found.position == 1001
    assert "restored from an old copy" in found.what
    with pytest.raises(StoreError, match="cut short or restored"):
        ledger.checkpointer.take(START)
    ledger.fill(4, first=300)  # as long as the lost one, and another
    with pytest.raises(StoreError, match="not those that were signed before"):
        ledger.checkpointer.take(START)
    assert not ledger.verify(trusted=True).fine


# checkpoints from outside


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda text: text.replace(b'"size":500', b'"size":501'), "signature is wrong"),
        (lambda text: b"nonsense\n" + text, "cannot be read"),
        (lambda text: b"", "no checkpoint"),
        (lambda text: text.replace(b'{"format"', b'{ "format"'), "canonical"),
    ],
)
def test_a_copy_that_was_changed_is_told(ledger: Ledger, make: Callable[[bytes], bytes], says: str) -> None:
    ledger.copy.write_bytes(make(ledger.copy.read_bytes()))
    found = ledger.verify(trusted=True).first_bad
    assert found is not None
    assert says in str(found)
    assert str(ledger.copy) in str(found)


def test_a_missing_copy_is_told(ledger: Ledger) -> None:
    ledger.copy.unlink()
    assert "cannot be read" in str(ledger.verify(trusted=True).first_bad)


def test_a_line_that_a_crash_cut_off_is_passed_over(ledger: Ledger) -> None:
    with ledger.copy.open("ab") as file:
        file.write(b'{"format":"sopwith/che')
    assert ledger.verify(trusted=True).fine


def test_a_checkpoint_by_a_strange_key_counts_for_nothing(ledger: Ledger, tmp_path: Path) -> None:
    stranger = Ledger(tmp_path)
    root = "0" * 64
    line = line_of(signed(Checkpoint, stranger.key, size=500, root=root, timestamp="2026-01-01T00:00:00.000Z"))
    ledger.by_hand("update checkpoints set line = :line where size = 500", line=line)
    found = ledger.verify().first_bad
    assert found is not None
    assert "no key of this workspace" in found.what


# one run


def test_one_run_is_verified_alone_and_the_log_by_its_hashes(ledger: Ledger) -> None:
    report = ledger.verify_run(7)
    assert (report.fine, report.events, report.runs, report.signed_size) == (True, 10, 1, 1000)
    ledger.by_hand("update events set payload = x'7b7d' where position = 400")
    assert ledger.verify_run(7).fine
    assert not ledger.verify_run(39).fine
    assert ledger.verify_run(777).first_bad is not None


@pytest.mark.parametrize(
    "statement",
    [
        "delete from events where run = 8 and seq = 10",
        "delete from events where run = 8 and seq = 1",
        "update events set payload = null where run = 8 and seq = 4",
        "update events set position = position + 5000 where run = 8 and seq = 4",
        "delete from events where run = 9 and seq = 4",
        "update events set hash = randomblob(32) where run = 9 and seq = 4",
    ],
)
def test_what_is_wrong_with_a_run_or_around_it_is_found(ledger: Ledger, statement: str) -> None:
    ledger.by_hand(statement)
    assert ledger.verify_run(7).first_bad is not None


def test_a_runs_events_stand_in_the_log_in_their_order_even_where_nothing_is_signed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(4)
    swap = "update events set position = :new where run = 2 and seq = :seq"
    three, four = (entry.position for entry in ledger.log.run_entries(run_id(1), 2, 2))
    for seq, new in ((3, 1000), (4, three), (3, four)):
        ledger.by_hand(swap, seq=seq, new=new)
    for found in (ledger.verify_run(1).first_bad, ledger.verify().first_bad):
        assert found is not None
        assert (found.run_id, found.seq) == (run_id(1), 4)


def test_a_row_that_tells_of_fewer_events_than_there_are_is_found(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    put(ledger.store, first_batch("sop_run_single"))
    assert ledger.verify().fine
    ledger.by_hand("update runs set seq = 0")
    found = ledger.verify().first_bad
    assert found is not None
    assert (found.position, found.run_id, found.seq) == (1, "sop_run_single", 1)
    assert "row ends at event 0" in found.what


def test_an_empty_record_is_fine(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.checkpointer.take(START) is None
    assert ledger.verify().fine
