"""The promises of `ports.Log` and `ports.Seals`: one dense log over all runs, and what is signed about it."""

from __future__ import annotations

from typing import Any

from sopwith.core.admission import Occupancy
from sopwith.core.procedure import sha256
from sopwith.core.run import RunStatus
from sopwith.errors import Conflict, LimitReached
from sopwith.ports import Batch, DroppedRun, KeptCheckpoint, LogEnd, LogEntry
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch
from sopwith.testing.store_suite import StoreSuite, raises, together


class LogContract(StoreSuite):
    def test_the_log_holds_all_events_in_the_order_of_their_commits(self) -> None:
        first, second = self.begin("a", count=2), self.begin("b")
        third = self.go_on(first)
        events = [*first.events, *second.events, *third.events]
        found = self.store.log.entries(0, 100)
        assert [entry.position for entry in found] == [1, 2, 3, 4]
        assert [(entry.run_id, entry.seq) for entry in found] == [("a", 1), ("a", 2), ("b", 1), ("a", 3)]
        assert [entry.payload for entry in found] == [event.payload for event in events]
        assert [entry.hash.hex() for entry in found] == [event.hash for event in events]
        assert [entry.prev_hash.hex() for entry in found] == [event.prev_hash for event in events]
        assert {entry.event_type for entry in found} == {"run_resumed"}
        assert found[0].at_ms == 1767268800001
        assert self.store.log.leaves(0, 100) == [(entry.position, entry.hash) for entry in found]

    def test_an_entry_tells_what_the_runs_row_says_of_the_last_event(self) -> None:
        last = self.go_on(self.begin("a")).events[-1]
        self.begin("b")
        assert [entry.run_seq for entry in self.store.log.entries(0, 100)] == [2, 2, 1]
        assert self.store.log.entries(0, 1)[0].run_head == bytes.fromhex(last.hash)

    def test_the_log_is_read_in_pages(self) -> None:
        self.begin("a", count=5)
        assert [entry.position for entry in self.store.log.entries(1, 2)] == [2, 3]
        assert [position for position, _ in self.store.log.leaves(3, 9)] == [4, 5]
        assert list(self.store.log.entries(5, 9)) == list(self.store.log.leaves(9, 9)) == []

    def test_one_runs_entries_are_in_the_order_of_their_seq(self) -> None:
        first = self.begin("a", count=2)
        self.begin("b")
        self.go_on(first)
        assert [entry.position for entry in self.store.log.run_entries("a", 0, 9)] == [1, 2, 4]
        assert [entry.seq for entry in self.store.log.run_entries("a", 1, 1)] == [2]
        assert list(self.store.log.run_entries("nobody", 0, 9)) == []

    def test_what_was_refused_leaves_no_gap(self) -> None:
        batch = self.begin("a")

        def refuse(_: Occupancy) -> None:
            raise LimitReached("no")

        with raises(LimitReached):
            self.store.append("a", 1, next_batch(batch, count=3), admit=refuse)
        with raises(Conflict):
            self.begin("a")
        self.begin("b")
        assert [position for position, _ in self.store.log.leaves(0, 9)] == [1, 2]
        assert self.store.log.end() == LogEnd(2)

    def test_many_writers_leave_no_gap(self) -> None:
        stores = [self.other() for _ in range(4)]

        def write(number: int) -> None:
            batch = None
            for _ in range(5):
                batch = _go_on(stores[number], f"run_{number}", batch)

        together(4, write)
        assert [position for position, _ in self.store.log.leaves(0, 99)] == list(range(1, 21))

    def test_reads_in_one_reading_see_one_state(self) -> None:
        self.begin("a")
        with self.store.log.reading():
            assert self.store.log.end() == LogEnd(1)
            assert len(self.store.log.entries(0, 9)) == 1

    def test_an_empty_store_has_an_empty_log(self) -> None:
        assert self.store.log.end() == LogEnd(0)
        assert list(self.store.log.entries(0, 9)) == list(self.store.log.tombstones()) == []
        assert self.store.log.newest_checkpoint() is None

    def test_checkpoints_are_kept_once_for_a_size_and_read_by_size(self) -> None:
        large, small = KeptCheckpoint(12, b"twelve", b"f"), KeptCheckpoint(5, b"five", b"g")
        assert self.store.log.keep_checkpoint(large)
        assert self.other().log.keep_checkpoint(small)
        assert not self.store.log.keep_checkpoint(KeptCheckpoint(5, b"another five", b"h"))
        assert self.other().log.newest_checkpoint() == large
        assert list(self.store.log.checkpoints(0, 9)) == [small, large]
        assert list(self.store.log.checkpoints(5, 9)) == [large]
        assert list(self.store.log.checkpoints(0, 1)) == [small]

    def test_dropping_takes_the_payloads_of_these_runs_alone_and_keeps_every_hash(self) -> None:
        one, other = self.begin("a", count=2, contents=[b"gone"]), self.begin("b", contents=[b"stays"])
        before = self.store.log.entries(0, 9)
        self.store.log.drop_payloads([_dropped(one, sha256(b"gone"))], b"a tombstone")
        after = self.other().log.entries(0, 9)
        assert [entry.payload for entry in after] == [None, None, other.events[0].payload]
        assert [_without_payload(entry) for entry in after] == [_without_payload(entry) for entry in before]
        assert [event.payload for event in self.store.events("a")] == [b"", b""]
        assert [event.hash for event in self.store.events("a")] == [event.hash for event in one.events]
        assert self.store.content(sha256(b"gone")) is None
        assert self.store.content(sha256(b"stays")) == b"stays"
        assert list(self.store.log.tombstones()) == [b"a tombstone"]

    def test_nothing_is_written_to_a_run_whose_payloads_were_dropped(self) -> None:
        """Somebody may have decided to retry it just before."""
        batch = self.go_on(self.begin("a"), status=RunStatus.FAILED, ended_at=START)
        self.store.log.drop_payloads([_dropped(batch)], b"a tombstone")
        with raises(Conflict, match="retention"):
            self.go_on(batch)
        assert len(self.store.events("a")) == 2

    def test_a_run_that_has_moved_on_keeps_its_payloads_and_so_do_the_others(self) -> None:
        one, other = self.begin("a"), self.begin("b")
        self.go_on(other)
        with raises(Conflict, match="b"):
            self.store.log.drop_payloads([_dropped(one), _dropped(other)], b"a tombstone")
        with raises(Conflict, match="nobody"):
            self.store.log.drop_payloads([DroppedRun("nobody", 1, "0" * 64)], b"a tombstone")
        assert all(entry.payload for entry in self.store.log.entries(0, 9))
        assert list(self.store.log.tombstones()) == []


def _go_on(store: Any, run_id: str, before: Batch | None) -> Batch:
    if before is None:
        created: Batch = store.create("deploy", lambda _: first_batch(run_id))
        return created
    batch = next_batch(before)
    store.append(run_id, before.summary.seq, batch)
    return batch


def _dropped(batch: Batch, *contents: str) -> DroppedRun:
    last = batch.events[-1]
    return DroppedRun(batch.summary.run_id, last.seq, last.hash, contents)


def _without_payload(entry: LogEntry) -> tuple[object, ...]:
    return (entry.position, entry.run_id, entry.seq, entry.event_type, entry.at_ms, entry.prev_hash, entry.hash)
