"""Checkpoints: signed once, kept beside the log and elsewhere, never over a log that is not what was signed before."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.audit.given import Ledger, batches, put

from sopwith.audit import statements
from sopwith.audit.checkpoints import Checkpointer, copy
from sopwith.audit.merkle import Frontier
from sopwith.audit.places import append_line, last_line, lines
from sopwith.audit.signing import SigningKey, known_keys
from sopwith.audit.statements import BadStatement, Checkpoint, Manifest, Tombstone, line_of, origin_of, read, signed
from sopwith.errors import StoreError, WorkspaceError
from sopwith.ports import KeptCheckpoint
from sopwith.testing.clock import START
from sopwith.testing.memory import MemoryStore
from sopwith.turns import Patience


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.store.close()


def sizes(path: Path) -> list[int]:
    return [read(Checkpoint, line).size for _, line in lines(path)]


# taking


def test_a_checkpoint_signs_the_root_over_all_events_and_names_key_and_time(fresh: Ledger) -> None:
    fresh.fill(4)
    taken = fresh.checkpointer.take(START)
    assert taken is not None
    frontier = Frontier()
    for _, digest in fresh.log.leaves(0, 100):
        frontier.append(digest)
    assert (taken.size, taken.root) == (40, frontier.root().hex())
    assert taken.timestamp == "2026-01-01T12:00:00.000Z"
    assert taken.origin == origin_of(bytes.fromhex(taken.public_key))
    assert read(Checkpoint, line_of(taken)) == taken


def test_nothing_new_makes_no_checkpoint(fresh: Ledger) -> None:
    assert fresh.checkpointer.take(START) is None
    fresh.fill(4)
    assert fresh.checkpointer.take(START) is not None
    assert fresh.checkpointer.take(START + timedelta(days=1)) is None
    assert sizes(fresh.local) == sizes(fresh.copy) == [40]


def test_each_checkpoint_reads_only_the_events_since_the_one_before(fresh: Ledger) -> None:
    fresh.fill(4)
    fresh.checkpointer.take(START)
    fresh.by_hand("update events set hash = zeroblob(32) where position = 3")  # would spoil the root, were it read
    put(fresh.store, batches(9)[0])
    taken = fresh.checkpointer.take(START)
    assert taken is not None
    assert taken.size == 45
    found = fresh.verify().first_bad
    assert found is not None
    assert found.position == 3


def test_checkpoints_work_on_a_memory_store_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, MemoryStore())
    ledger.fill(8, checkpoint_every=3)
    assert ledger.checkpointer.take(START) is not None
    report = ledger.verify(trusted=True)
    assert report.fine
    assert (report.events, report.signed_size, report.trusted_size) == (80, 80, 80)


def test_a_log_with_a_gap_is_not_signed(fresh: Ledger) -> None:
    fresh.fill(4)
    fresh.by_hand("delete from events where position = 17")
    with pytest.raises(StoreError, match="event 17 is missing"):
        fresh.checkpointer.take(START)
    assert fresh.log.newest_checkpoint() is None


@pytest.mark.parametrize(
    "statement",
    [
        "update checkpoints set frontier = zeroblob(length(frontier))",
        "update checkpoints set frontier = x''",
        "update checkpoints set line = cast(replace(line, ':40', ':41') as blob)",
        "update checkpoints set size = 41",
    ],
)
def test_nothing_grows_from_a_checkpoint_that_was_changed(fresh: Ledger, statement: str) -> None:
    fresh.fill(4)
    fresh.checkpointer.take(START)
    fresh.fill(4, first=10)
    fresh.by_hand(statement)
    with pytest.raises(StoreError, match="was changed"):
        fresh.checkpointer.take(START)


def test_a_log_shorter_than_its_own_checkpoint_is_not_signed(fresh: Ledger) -> None:
    fresh.fill(4)
    fresh.checkpointer.take(START)
    fresh.local.unlink()
    fresh.copy.unlink()
    fresh.by_hand("delete from events where position > 30")
    with pytest.raises(StoreError, match="cut short"):
        fresh.checkpointer.take(START)


# places


def test_a_place_that_cannot_be_written_is_told_and_harms_nothing(fresh: Ledger, tmp_path: Path) -> None:
    fresh.fill(4)
    os.mkfifo(tmp_path / "pipe")
    places = (tmp_path / "missing" / "copy", tmp_path, tmp_path / "pipe", fresh.local)
    checkpointer = Checkpointer(fresh.log, fresh.log, fresh.key, places)
    assert checkpointer.take(START) is not None
    for place, failure in zip(places[1:3] + places[:1], checkpointer.failures, strict=True):
        assert failure.startswith("cannot ")
        assert str(place) in failure
    assert sizes(fresh.local) == [40]
    assert checkpointer.take(START) is None


def test_copies_are_for_their_owner_alone(fresh: Ledger) -> None:
    fresh.fill(4)
    fresh.checkpointer.take(START)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (fresh.local, fresh.copy)} == {0o600}


def test_a_line_cut_off_by_a_crash_is_taken_away_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, b"one")
    with path.open("ab") as file:
        file.write(b"tw")
    assert list(lines(path)) == [(1, b"one")]
    assert last_line(path) == b"one"
    append_line(path, b"three")
    assert path.read_bytes() == b"one\nthree\n"
    path.write_bytes(b"torn from the start")
    assert last_line(path) is None
    append_line(path, b"one")
    assert path.read_bytes() == b"one\n"
    assert last_line(tmp_path / "none") is None


def test_many_writers_of_one_place_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"

    def write(number: int) -> None:
        for count in range(50):
            append_line(path, f"{number} {count}".encode() * 40)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({line for _, line in lines(path)}) == 200


def test_all_places_together_are_waited_for_no_longer_than_patience_lasts(tmp_path: Path) -> None:
    slept: list[float] = []
    places = (tmp_path / "one", tmp_path / "two", tmp_path / "three")
    with places[0].open("wb") as one, places[1].open("wb") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(two, fcntl.LOCK_EX)
        told = copy(places, b"line", Patience(2.0, sleep=slept.append))
    assert ["another process keeps it" in each for each in told] == [True, True]
    assert 1.9 <= sum(slept) <= 2.1
    assert list(lines(places[2])) == [(1, b"line")]


def test_a_place_that_is_free_after_a_while_is_written(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        append_line(path, b"one", Patience(sleep=lambda _secs: fcntl.flock(other, fcntl.LOCK_UN)))
    assert list(lines(path)) == [(1, b"one")]


def test_a_place_is_a_plain_file() -> None:
    """Others could have no end, or wait for ever."""
    for read_place in (last_line, lambda path: list(lines(path))):
        with pytest.raises(OSError, match="not a regular file"):
            read_place(Path("/dev/null"))


@pytest.mark.parametrize("size", [1, 4094, 4095, 4096, 4097, 40_000])
def test_the_last_line_is_found_however_long_it_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "lines"
    for before in (b"", b"first\n"):
        path.write_bytes(before + b"x" * size + b"\n" + b"y" * size)
        assert last_line(path) == b"x" * size
    append_line(path, b"z")
    assert last_line(path) == b"z"
    assert [line for _, line in lines(path)] == [b"first", b"x" * size, b"z"]


def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines"
    append_line(path, b"one")
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:3], at))
    with pytest.raises(OSError, match="part of a line"):
        append_line(path, b"another")
    assert path.read_bytes() == b"one\n"


# several at once


def test_processes_that_take_checkpoints_at_once_agree_on_key_and_log(fresh: Ledger) -> None:
    argv = [sys.executable, str(Path(__file__).with_name("other_process.py")), str(fresh.folder), "12"]
    processes = [
        subprocess.Popen([*argv, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["", "", ""]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(known_keys(fresh.folder / "keys")) == 1
    report = fresh.verify(trusted=True)
    assert not report.first_bad
    # the RunResumed of a sample run refers to nothing, so all of it verifies
    assert (report.events, report.signed_size, report.trusted_size) == (108, 108, 108)
    kept = [kept.size for kept in fresh.log.checkpoints(0, 1000)]
    assert kept == sorted(set(kept)) == sorted(sizes(fresh.copy)) == sorted(sizes(fresh.local))


def test_of_two_that_sign_the_same_size_one_counts(fresh: Ledger) -> None:
    fresh.fill(4)
    barrier, taken = threading.Barrier(2), []

    def take() -> None:
        from sopwith.stores.sqlite import SqliteStore

        store = SqliteStore(fresh.database)
        checkpointer = Checkpointer(store.log, store.log, SigningKey(fresh.folder / "keys"), (fresh.local,))
        barrier.wait()
        taken.append(checkpointer.take(START))
        store.close()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each is not None for each in taken) == 1
    assert sizes(fresh.local) == [40]


# the key


def test_the_key_is_made_once_for_its_owner_alone_with_the_public_one_beside_it(tmp_path: Path) -> None:
    first = SigningKey(tmp_path / "keys").public_key
    assert SigningKey(tmp_path / "keys").public_key == first
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "checkpoint.key").stat().st_mode) == 0o600
    assert (tmp_path / "keys" / "checkpoint.pub").read_text() == first.hex() + "\n"
    assert known_keys(tmp_path / "keys") == {first.hex()}
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["checkpoint.key", "checkpoint.pub"]


def test_of_many_that_make_the_key_at_once_all_use_one(tmp_path: Path) -> None:
    barrier, keys = threading.Barrier(8), set[bytes]()

    def use() -> None:
        key = SigningKey(tmp_path / "keys")
        barrier.wait()
        with suppress(WorkspaceError):
            keys.add(key.public_key)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == {SigningKey(tmp_path / "keys").public_key}


def test_what_a_lost_key_signed_is_still_known(fresh: Ledger) -> None:
    fresh.fill(4)
    fresh.checkpointer.take(START)
    (fresh.folder / "keys" / "checkpoint.key").unlink()
    fresh.fill(4, first=10)
    fresh.key = SigningKey(fresh.folder / "keys")
    second = Checkpointer(fresh.log, fresh.log, fresh.key, (fresh.local, fresh.copy)).take(START)
    assert second is not None
    assert len(known_keys(fresh.folder / "keys")) == 2
    assert fresh.verify(trusted=True).fine


def test_a_damaged_key_is_told_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.key").write_bytes(b"short")
    with pytest.raises(WorkspaceError, match="damaged"):
        _ = SigningKey(tmp_path).public_key
    assert (tmp_path / "checkpoint.key").read_bytes() == b"short"


# statements


def test_a_statement_of_one_kind_is_none_of_another(tmp_path: Path) -> None:
    key = SigningKey(tmp_path)
    line = line_of(signed(Manifest, key, timestamp="2026-01-01T00:00:00.000Z", files={}))
    for kind in (Checkpoint, Tombstone):
        with pytest.raises(BadStatement, match="cannot be read"):
            read(kind, line)


def test_a_plain_checkpoint_is_read_as_one_that_is_written_anew(tmp_path: Path) -> None:
    """There is a short way for the usual line; it covers the same bytes as the long one."""
    true = signed(Checkpoint, SigningKey(tmp_path), size=1, root="0" * 64, timestamp="2026-01-01T00:00:00.000Z")
    line = line_of(true)
    assert statements._cut(true, line) == statements._unsigned(true)
    for other in (b" " + line, line.replace(b'"size":1', b'"size":01'), line.replace(b":1,", b": 1,"), line + b"\n"):
        assert statements._cut(true, other) is None
        with pytest.raises(BadStatement):
            read(Checkpoint, other)


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\x7f", "\x00", "ä", "%s", '","size":2,"timestamp":"'])
def test_the_short_way_is_taken_only_where_it_leads_to_the_same_bytes(tmp_path: Path, text: str) -> None:
    for fields in ({"timestamp": text}, {"origin": text}, {"root": text}, {"public_key": text}, {"signature": text}):
        key = SigningKey(tmp_path)
        true = signed(Checkpoint, key, size=1, root="0" * 64, timestamp="2026-01-01T00:00:00.000Z")
        odd = msgspec.structs.replace(true, **fields)
        line = line_of(odd)
        assert statements._cut(odd, line) in (None, statements._unsigned(odd))
        # as somebody would write it who does not know that some characters are written in another way
        with pytest.raises(BadStatement):
            read(Checkpoint, line.replace(msgspec.json.encode(text), b'"%s"' % text.encode()))


@pytest.mark.parametrize("size", [-1, 2**53])
def test_a_size_that_no_log_has_is_not_read_the_short_way(tmp_path: Path, size: int) -> None:
    true = signed(Checkpoint, SigningKey(tmp_path), size=1, root="0" * 64, timestamp="2026-01-01T00:00:00.000Z")
    odd = msgspec.structs.replace(true, size=size)
    assert statements._cut(odd, line_of(true).replace(b'"size":1,', b'"size":%d,' % size)) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"size": 2}, "signature is wrong"),
        ({"root": "1" * 64}, "signature is wrong"),
        ({"timestamp": "2027-01-01T00:00:00.000Z"}, "signature is wrong"),
        ({"origin": "0" * 16}, "origin"),
        ({"public_key": "00"}, "origin"),
        ({"public_key": "xx"}, "cannot be read"),
        ({"signature": ""}, "signature is wrong"),
        ({"signature": "?"}, "cannot be read"),
    ],
)
def test_a_statement_with_any_other_value_is_not_valid(tmp_path: Path, fields: dict[str, object], says: str) -> None:
    true = signed(Checkpoint, SigningKey(tmp_path), size=1, root="0" * 64, timestamp="2026-01-01T00:00:00.000Z")
    with pytest.raises(BadStatement, match=says):
        read(Checkpoint, line_of(msgspec.structs.replace(true, **fields)))


def test_a_signature_has_one_way_of_being_written(tmp_path: Path) -> None:
    true = signed(Checkpoint, SigningKey(tmp_path), size=1, root="0" * 64, timestamp="2026-01-01T00:00:00.000Z")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(true.signature[-3]) + 1]
    with pytest.raises(BadStatement):
        read(Checkpoint, line_of(msgspec.structs.replace(true, signature=true.signature[:-3] + other + "==")))


def test_a_checkpoint_is_kept_with_what_the_next_one_grows_from(fresh: Ledger) -> None:
    fresh.fill(4)
    taken = fresh.checkpointer.take(START)
    assert taken is not None
    kept = fresh.log.newest_checkpoint()
    assert isinstance(kept, KeptCheckpoint)
    assert kept.line == line_of(taken)
    assert Frontier.restore(kept.size, kept.frontier).root().hex() == taken.root


def test_a_line_that_store_and_places_share_is_verified_once(fresh: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.fill(1)
    fresh.checkpointer.take(START)
    fresh.fill(1, first=1)
    verified = []
    real = statements._verifies

    def noted(key: bytes, message: bytes, signature: bytes) -> bool:
        verified.append(message)
        return real(key, message, signature)

    monkeypatch.setattr(statements, "_verifies", noted)
    assert fresh.checkpointer.take(START + timedelta(hours=1)) is not None
    assert len(verified) == 1
    # and anew each time: a line that was found to be good is not taken for good later
    for hours in (2, 3):
        assert fresh.checkpointer.take(START + timedelta(hours=hours)) is None
        assert len(verified) == hours


@pytest.mark.parametrize("page", [1, 7, 10, 20, 1000])
def test_the_log_is_read_to_its_end_whatever_a_page_holds(
    fresh: Ledger, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("sopwith.audit.checkpoints.PAGE", page)
    fresh.fill(2)
    taken = fresh.checkpointer.take(START)
    assert taken is not None
    assert taken.size == 20
