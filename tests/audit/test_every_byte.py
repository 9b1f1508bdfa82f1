"""Every byte of what is stored of 1,000 events, flipped: payloads, hashes, heads, checkpoints, tombstones, contents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tests.audit.given import EVENTS_A_RUN, Ledger, run_id
from tests.audit.listed import ListedLog

from sopwith.testing.clock import START


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.fixture
def listed(thousand: Path) -> Iterator[ListedLog]:
    ledger = Ledger(thousand)
    yield ListedLog(ledger)
    ledger.store.close()


def test_a_flip_in_every_payload_is_found_and_the_event_named(listed: ListedLog) -> None:
    """Each of the 1,000 payloads at eleven places that move from event to event: every offset is met many times."""
    met: set[int] = set()
    for index, entry in enumerate(list(listed.all)):
        assert entry.payload is not None
        for step in range(11):
            at = (index * 7 + step * 83) % len(entry.payload)
            met.add(at)
            listed.change(index, payload=flipped(entry.payload, at, (index + step) % 8))
            found = listed.first_bad(entry.run_id)
            assert found is not None, (entry, at)
            assert (found.position, found.run_id, found.seq) == (entry.position, entry.run_id, entry.seq)
        listed.all[index] = entry
    assert met >= set(range(max(len(entry.payload or b"") for entry in listed.all)))


def test_every_byte_and_bit_of_one_of_each_kind_of_event_is_guarded(listed: ListedLog) -> None:
    for index in range(EVENTS_A_RUN * 4):
        entry = listed.all[index]
        if entry.run_id != run_id(1):
            continue
        assert entry.payload is not None
        for at in range(len(entry.payload)):
            listed.change(index, payload=flipped(entry.payload, at, at % 8))
            found = listed.first_bad(run_id(1))
            assert found is not None
            assert (found.run_id, found.seq) == (run_id(1), entry.seq)
        listed.all[index] = entry


def test_a_flip_in_every_hash_is_found_and_named(listed: ListedLog) -> None:
    """Both hashes of every event, and the head in its run's row, at a place that moves."""
    for index, entry in enumerate(list(listed.all)):
        for column in ("hash", "prev_hash"):
            listed.change(index, **{column: flipped(getattr(entry, column), index % 32, index % 8)})
            found = listed.first_bad(entry.run_id)
            listed.all[index] = entry
            assert found is not None
            assert (found.position, found.seq) == (entry.position, entry.seq)
        assert entry.run_head is not None
        if entry.seq == EVENTS_A_RUN:
            listed.change(index, run_head=flipped(entry.run_head, index % 32, index % 8))
            found = listed.first_bad(entry.run_id)
            listed.all[index] = entry
            assert found is not None
            assert (found.position, found.seq) == (entry.position, EVENTS_A_RUN)


def test_every_deleted_event_is_named_in_its_run(listed: ListedLog) -> None:
    for index in range(1000):
        entry = listed.all.pop(index)
        found = listed.first_bad(entry.run_id)
        listed.all.insert(index, entry)
        assert found is not None
        assert found.run_id == entry.run_id
        assert found.seq in (entry.seq, entry.seq + 1)


def test_every_truncation_is_found(listed: ListedLog) -> None:
    whole = list(listed.all)
    for size in range(0, 1000, 9):
        listed.all = whole[:size]
        found = listed.first_bad()
        assert found is not None
        assert found.position is not None
        assert found.position <= size + 1 <= (found.to_position or found.position)


def test_every_byte_of_an_envelope_and_of_the_procedure_is_guarded(listed: ListedLog) -> None:
    listed.first_bad(run_id(1))
    listed.contents = {digest: data for digest, data in listed.contents.items() if data}
    assert len(listed.contents) == 2
    for digest, data in list(listed.contents.items()):
        assert data is not None
        for at in range(len(data)):
            listed.contents[digest] = flipped(data, at, at % 8)
            found = listed.first_bad(run_id(1))
            assert found is not None
            assert found.seq in (1, 3)
            assert "was changed" in found.what
        listed.contents[digest] = data


def test_every_byte_of_a_tombstone_is_guarded(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(4)
    ledger.retention().sweep([run_id(2)], days=30, now=START + timedelta(days=400))
    listed = ListedLog(ledger)
    assert listed.first_bad() is None
    (line,) = listed.stones
    for at in range(len(line)):
        listed.stones = [flipped(line, at, at % 8)]
        found = listed.first_bad(run_id(2))
        assert found is not None
        assert (found.run_id, found.seq) == (run_id(2), 1)
        assert "no valid tombstone" in found.what
    ledger.store.close()


def test_every_byte_of_a_copy_outside_is_guarded(ledger: Ledger) -> None:
    data = ledger.copy.read_bytes()
    lines = data.splitlines(keepends=True)[:2]
    whole = b"".join(lines)
    ledger.by_hand("delete from checkpoints")
    for at in range(0, len(whole), 5):
        ledger.copy.write_bytes(flipped(whole, at, at % 8))
        found = ledger.verify_run(1, trusted=True).first_bad
        assert found is not None or at == len(whole) - 1, at
    assert msgspec.json.decode(lines[0])["size"] < 1000
