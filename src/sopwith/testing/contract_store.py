"""What every store must keep: one test for each promise of `ports.Store`, and those of `ports.Cache`.

An adapter's test file subclasses `StoreContract`, says how to make a store, and lets pytest collect it:

    class TestMyStore(StoreContract):
        def make_store(self, folder): return MyStore(folder / "runs")
        def kill(self, store, owner): ...
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from sopwith.core.admission import Occupancy
from sopwith.core.codec import SealedEvent, link
from sopwith.core.procedure import sha256
from sopwith.core.run import RunStatus
from sopwith.errors import Conflict, LimitReached, NotFound, StoreError
from sopwith.ports import Batch, Cache, Claim, Owner, RunFilter, Store
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch, owner

ANN, BOB = owner("ann"), owner("bob")


def raises(error: type[Exception], match: str | None = None) -> AbstractContextManager[Any]:
    """`pytest.raises`, imported when a test runs, so that the fakes work without pytest."""
    import pytest

    return pytest.raises(error, match=match)


class StoreContract:
    """The suite. `self.store` is empty at the start of each test; `self.other()` is what another process would open."""

    def make_store(self, folder: Path) -> Any:
        """A new handle on the data that belongs to this folder, which is the same for a whole test."""
        raise NotImplementedError

    def kill(self, store: Any, driver: Owner) -> None:
        """The process that opened `store` and claimed as `driver` dies without a word."""
        raise NotImplementedError

    def setup_method(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sopwith-contract-")
        self._opened: list[Store] = []
        self.store = self.other()

    def teardown_method(self) -> None:
        for store in self._opened:
            store.close()
        self._folder.cleanup()

    def other(self) -> Any:
        store = self.make_store(Path(self._folder.name))
        self._opened.append(store)
        return store

    def begin(self, run_id: str = "sop_run_1", **summary: Any) -> Batch:
        batch = first_batch(run_id, **summary)
        created: Batch = self.store.create(batch.summary.name, lambda _: batch)
        return created

    def go_on(self, before: Batch, *, claim: Claim | None = None, **summary: Any) -> Batch:
        batch = next_batch(before, **summary)
        self.store.append(before.summary.run_id, before.summary.seq, batch, claim=claim)
        return batch

    def occupancy(self, name: str) -> Occupancy:
        """What a new run of `name` would be told."""
        seen: list[Occupancy] = []
        with raises(_EnoughError):
            self.store.create(name, lambda occupancy: _stop(seen, occupancy))
        return seen[0]

    # create

    def test_create_stores_and_returns_the_planned_batch(self) -> None:
        batch = first_batch("sop_run_1", count=3)
        assert self.store.create("deploy", lambda _: batch) == batch
        assert self.store.events("sop_run_1") == batch.events
        assert self.store.summary("sop_run_1") == batch.summary

    def test_what_the_plan_raises_is_passed_on_and_nothing_is_stored(self) -> None:
        def plan(_: Occupancy) -> Batch:
            raise LimitReached("no")

        with raises(LimitReached):
            self.store.create("deploy", plan)
        assert self.store.summaries(RunFilter()) == ((), 0)
        self.begin()

    def test_a_run_id_is_created_once(self) -> None:
        batch = self.begin()
        with raises(Conflict, match="sop_run_1"):
            self.begin()
        assert self.store.events("sop_run_1") == batch.events

    def test_a_run_begins_at_its_first_event(self) -> None:
        batch = next_batch(first_batch("sop_run_1"))
        with raises(Conflict):
            self.store.create("deploy", lambda _: batch)

    def test_a_batch_without_events_is_a_mistake_of_the_caller(self) -> None:
        batch = self.begin()
        empty = msgspec.structs.replace(batch, events=())
        with raises(ValueError):
            self.store.append("sop_run_1", 1, empty)
        with raises(ValueError):
            self.store.create("deploy", lambda _: empty)

    def test_a_summary_of_another_run_is_a_mistake_of_the_caller(self) -> None:
        batch = next_batch(self.begin())
        for wrong in ({"run_id": "sop_run_2"}, {"name": "release"}, {"seq": 3}):
            mixed = msgspec.structs.replace(batch, summary=msgspec.structs.replace(batch.summary, **wrong))
            with raises(ValueError):
                self.store.append("sop_run_1", 1, mixed)
        assert len(self.store.events("sop_run_1")) == 1

    # what holds slots

    def test_the_plan_sees_who_holds_slots_oldest_first(self) -> None:
        for run_id, name, holds in (("c", "deploy", True), ("b", "release", True), ("a", "deploy", True)):
            self.begin(run_id, name=name, holds_slot=holds)
        self.begin("d", holds_slot=False, status=RunStatus.COMPLETED)
        seen = self.occupancy("deploy")
        assert (seen.of_procedure, seen.of_workspace) == (("c", "a"), ("c", "b", "a"))

    def test_an_ended_run_frees_its_slot(self) -> None:
        self.go_on(self.begin(), holds_slot=False, status=RunStatus.FAILED, ended_at=START)
        assert self.occupancy("deploy").of_workspace == ()

    def test_the_plan_sees_the_queue_of_its_procedure(self) -> None:
        self.begin("a", status=RunStatus.PENDING, holds_slot=False)
        self.begin("b", status=RunStatus.PENDING, holds_slot=False)
        self.begin("c", name="release", status=RunStatus.PENDING, holds_slot=False)
        assert self.occupancy("deploy").queued_before == ("a", "b")

    def test_a_queued_run_sees_only_the_queue_before_it(self) -> None:
        self.begin("a", status=RunStatus.PENDING, holds_slot=False)
        second = self.begin("b", status=RunStatus.PENDING, holds_slot=False)
        self.begin("c", status=RunStatus.PENDING, holds_slot=False)
        seen: list[Occupancy] = []
        self.store.append("b", 1, next_batch(second), admit=seen.append)
        assert seen[0].queued_before == ("a",)

    def test_a_run_does_not_stand_in_its_own_way(self) -> None:
        first, seen = self.begin("a"), list[Occupancy]()
        self.begin("b")
        self.store.append("a", 1, next_batch(first), admit=seen.append)
        assert (seen[0].of_procedure, seen[0].of_workspace) == (("b",), ("b",))

    def test_the_cooldown_counts_from_the_last_end_of_a_run_that_executed_something(self) -> None:
        ended = {"holds_slot": False, "status": RunStatus.COMPLETED}
        late, early = START + timedelta(hours=2), START + timedelta(hours=1)
        self.begin("a", executed=True, ended_at=late, **ended)
        self.begin("b", executed=True, ended_at=early, **ended)
        self.begin("c", executed=False, ended_at=late + timedelta(hours=1), **ended)
        self.begin("d", executed=True, ended_at=None)
        self.begin("e", name="release", executed=True, ended_at=early, **ended)
        assert self.occupancy("deploy").last_executed_end == late
        assert self.occupancy("release").last_executed_end == early
        assert self.occupancy("other").last_executed_end is None

    def test_two_plans_never_see_the_same_free_slot(self) -> None:
        """The callback runs inside the transaction: of eight that want one slot, one gets it."""
        refused: list[str] = []

        def start(number: int) -> None:
            def plan(occupancy: Occupancy) -> Batch:
                if occupancy.of_procedure:
                    raise LimitReached("taken")
                return first_batch(f"run_{number}")

            try:
                stores[number].create("deploy", plan)
            except LimitReached:
                refused.append(f"run_{number}")

        stores = [self.other() for _ in range(8)]
        _together(8, start)
        assert len(refused) == 7
        assert self.store.summaries(RunFilter())[1] == 1

    # append

    def test_append_stores_events_and_summary(self) -> None:
        first = self.begin()
        second = self.go_on(first, count=2, status=RunStatus.PAUSED, current_step=2, due_at=START, executed=True)
        assert self.store.events("sop_run_1") == first.events + second.events
        assert self.store.summary("sop_run_1") == second.summary

    def test_every_field_of_a_summary_comes_back(self) -> None:
        values: dict[str, Any] = {
            "version": "2",
            "status": RunStatus.COMPLETED,
            "mode": "supervised",
            "priority": "high",
            "current_step": 7,
            "total_steps": 9,
            "ended_at": START + timedelta(milliseconds=1),
            "due_at": datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
            "holds_slot": False,
            "executed": True,
            "procedure_digest": sha256(b"another"),
        }
        created = self.begin("a", created_by="bob", created_at=START - timedelta(days=1), **values)
        assert self.store.summary("a") == created.summary
        appended = self.go_on(self.begin("b"), **values)
        assert self.store.summary("b") == appended.summary

    def test_a_late_writer_meets_a_conflict_and_changes_nothing(self) -> None:
        first = self.begin()
        second = self.go_on(first)
        with raises(Conflict, match="after event 1: its last event is 2"):
            self.store.append("sop_run_1", 1, next_batch(first, contents=[b"late"], status=RunStatus.FAILED))
        assert self.store.events("sop_run_1") == first.events + second.events
        assert self.store.summary("sop_run_1") == second.summary
        assert self.store.content(sha256(b"late")) is None

    def test_a_writer_from_the_future_meets_a_conflict(self) -> None:
        first = self.begin()
        third = next_batch(next_batch(first))
        for after_seq in (1, 2):
            with raises(Conflict):
                self.store.append("sop_run_1", after_seq, third)

    def test_an_event_that_follows_another_history_is_a_conflict(self) -> None:
        self.begin()
        stranger = next_batch(first_batch("sop_run_1", count=2))
        other_past = msgspec.structs.replace(stranger.events[0], seq=2)
        batch = Batch(events=(other_past,), summary=msgspec.structs.replace(stranger.summary, seq=2))
        with raises(Conflict, match="another event 1"):
            self.store.append("sop_run_1", 1, batch)

    def test_events_of_one_batch_must_be_a_chain(self) -> None:
        batch = next_batch(self.begin(), count=3)
        holed = msgspec.structs.replace(batch, events=(batch.events[0], batch.events[2]))
        with raises(ValueError, match="no chain"):
            self.store.append("sop_run_1", 1, holed)

    def test_an_unknown_run_is_a_conflict(self) -> None:
        with raises(Conflict, match="no such run"):
            self.store.append("nobody", 1, next_batch(first_batch("nobody")))
        with raises(Conflict, match="no such run"):
            self.store.append("nobody", 0, first_batch("nobody"))

    def test_what_admit_raises_is_passed_on_and_nothing_is_stored(self) -> None:
        def admit(_: Occupancy) -> None:
            raise LimitReached("no")

        first = self.begin()
        with raises(LimitReached):
            self.store.append("sop_run_1", 1, next_batch(first), admit=admit)
        assert self.store.events("sop_run_1") == first.events
        self.go_on(first)

    def test_of_eight_who_append_the_same_event_one_wins(self) -> None:
        lost: list[int] = []
        history = self.begin()
        stores = [self.other() for _ in range(8)]
        for _ in range(5):
            batches = [next_batch(history, current_step=number) for number in range(8)]
            lost.clear()

            def write(number: int, seq: int = history.summary.seq, batches: list[Batch] = batches) -> None:
                try:
                    stores[number].append("sop_run_1", seq, batches[number])
                except Conflict:
                    lost.append(number)

            _together(8, write)
            (winner,) = set(range(8)) - set(lost)
            history = batches[winner]
            assert self.store.summary("sop_run_1") == history.summary
        assert _is_linear(self.store.events("sop_run_1"))

    # reading

    def test_events_can_be_read_from_a_seq_on(self) -> None:
        batch = self.begin(count=4)
        assert self.store.events("sop_run_1", 2) == batch.events[2:]
        assert self.store.events("sop_run_1", 4) == self.store.events("sop_run_1", 99) == ()

    def test_an_unknown_run_has_no_events_no_summary_and_no_driver(self) -> None:
        assert self.store.events("nobody") == ()
        assert self.store.summary("nobody") is None
        assert self.store.holder("nobody") is None

    def test_another_handle_sees_what_was_stored(self) -> None:
        batch = self.begin(contents=[b"a procedure"])
        other = self.other()
        assert other.events("sop_run_1") == batch.events
        assert other.content(sha256(b"a procedure")) == b"a procedure"

    def test_summaries_are_newest_first_and_counted_beyond_the_limit(self) -> None:
        for run_id in "abc":
            self.begin(run_id)
        found, total = self.store.summaries(RunFilter(limit=2))
        assert ([run.run_id for run in found], total) == (["c", "b"], 3)
        assert len(self.store.summaries(RunFilter())[0]) == 3
        assert self.store.summaries(RunFilter(limit=0)) == ((), 3)

    def test_summaries_can_be_chosen_by_name_and_statuses(self) -> None:
        self.begin("a", status=RunStatus.PAUSED)
        self.begin("b", status=RunStatus.FAILED)
        self.begin("c", status=RunStatus.RUNNING)
        self.begin("d", name="release", status=RunStatus.PAUSED)
        stuck = (RunStatus.FAILED, RunStatus.PAUSED, RunStatus.FAILED)
        assert self._found(RunFilter(statuses=stuck)) == (["d", "b", "a"], 3)
        assert self._found(RunFilter(statuses=stuck, limit=2)) == (["d", "b"], 3)
        assert self._found(RunFilter(name="deploy", statuses=stuck)) == (["b", "a"], 2)
        assert self._found(RunFilter(name="deploy")) == (["c", "b", "a"], 3)
        assert self._found(RunFilter(name="nothing")) == ([], 0)

    def test_due_runs_are_the_longest_overdue_first(self) -> None:
        for minutes, run_id in ((3, "a"), (1, "b"), (2, "c"), (None, "d"), (9, "e")):
            self.begin(run_id, due_at=None if minutes is None else START + timedelta(minutes=minutes))
        assert self.store.due(START + timedelta(minutes=3), 10) == ("b", "c", "a")
        assert self.store.due(START + timedelta(minutes=3), 2) == ("b", "c")
        assert self.store.due(START, 10) == ()

    def test_an_answered_deadline_is_due_no_more(self) -> None:
        self.go_on(self.begin(due_at=START), due_at=None)
        assert self.store.due(START, 10) == ()

    def test_contents_are_kept_once_under_their_digest(self) -> None:
        first = self.begin(contents=[b"one", b"two", b"one"])
        self.go_on(first, contents=[b"two", b""])
        assert self.store.content(sha256(b"two")) == b"two"
        assert self.store.content(sha256(b"")) == b""

    def test_an_unknown_content_is_none(self) -> None:
        assert self.store.content(sha256(b"nothing")) is None
        assert self.store.content("no digest") is None

    def test_the_version_changes_when_another_handle_commits(self) -> None:
        other = self.other()
        before = other.version()
        assert other.version() == before
        batch = self.begin()
        after = other.version()
        self.go_on(batch)
        assert len({before, after, other.version()}) == 3

    # claims

    def test_a_run_has_one_living_driver(self) -> None:
        self.begin()
        other = self.other()
        claim = self.store.claim("sop_run_1", ANN, START)
        assert claim == Claim(run_id="sop_run_1", epoch=1, owner=ANN)
        assert other.claim("sop_run_1", BOB, START) is None
        assert self.store.claim("sop_run_1", ANN, START) is None
        assert other.holder("sop_run_1") == self.store.holder("sop_run_1") == ANN

    def test_claims_of_different_runs_do_not_meet(self) -> None:
        self.begin("a")
        self.begin("b")
        assert self.store.claim("a", ANN, START) is not None
        assert self.other().claim("b", BOB, START) is not None

    def test_an_unknown_run_cannot_be_claimed(self) -> None:
        with raises(NotFound):
            self.store.claim("nobody", ANN, START)

    def test_of_eight_who_claim_one_wins(self) -> None:
        self.begin()
        stores, won = [self.other() for _ in range(8)], list[Claim]()

        def take(number: int) -> None:
            claim = stores[number].claim("sop_run_1", owner(f"driver_{number}"), START)
            if claim is not None:
                won.append(claim)

        _together(8, take)
        assert [claim.epoch for claim in won] == [1]

    def test_a_released_run_can_be_claimed_with_a_higher_epoch(self) -> None:
        self.begin()
        first = self._claim(self.store, ANN)
        self.store.release(first)
        assert self.store.holder("sop_run_1") is None
        second = self._claim(self.other(), BOB)
        assert second.epoch > first.epoch

    def test_releasing_twice_or_too_late_changes_nothing(self) -> None:
        self.begin()
        first = self._claim(self.store, ANN)
        self.store.release(first)
        self.store.release(first)
        second = self._claim(self.store, BOB)
        self.store.release(first)
        assert self.store.holder("sop_run_1") == BOB
        self.store.release(second)
        assert self.store.holder("sop_run_1") is None

    def test_only_the_handle_that_claimed_can_release(self) -> None:
        self.begin()
        claim = self._claim(self.store, ANN)
        self.other().release(claim)
        assert self.store.holder("sop_run_1") == ANN

    def test_a_dead_drivers_run_is_free_at_once(self) -> None:
        self.begin()
        doomed = self.other()
        first = self._claim(doomed, ANN)
        self.kill(doomed, ANN)
        assert self.store.holder("sop_run_1") is None
        second = self._claim(self.store, BOB)
        assert second.epoch > first.epoch
        assert self.store.holder("sop_run_1") == BOB

    def test_closing_a_store_ends_its_claims(self) -> None:
        self.begin()
        other = self.other()
        self._claim(other, ANN)
        other.close()
        assert self.store.holder("sop_run_1") is None
        self._claim(self.store, BOB)

    def test_the_claims_driver_may_write(self) -> None:
        batch = self.begin()
        self.go_on(batch, claim=self._claim(self.store, ANN))

    def test_anybody_may_write_without_a_claim(self) -> None:
        """A person who rejects or cancels does not drive; the seq alone decides."""
        batch = self.begin()
        self._claim(self.other(), ANN)
        self.go_on(batch)

    def test_a_driver_whose_claim_was_taken_over_meets_a_conflict(self) -> None:
        batch = self.begin()
        doomed = self.other()
        old = self._claim(doomed, ANN)
        self.kill(doomed, ANN)
        new = self._claim(self.store, BOB)
        with raises(Conflict, match="claim 2 was made since"):
            self.store.append("sop_run_1", 1, next_batch(batch), claim=old)
        assert self.store.events("sop_run_1") == batch.events
        self.go_on(batch, claim=new)

    def test_a_claim_on_another_run_is_a_mistake_of_the_caller(self) -> None:
        batch = self.begin()
        self.begin("sop_run_2")
        claim = self.store.claim("sop_run_2", ANN, START)
        with raises(ValueError):
            self.store.append("sop_run_1", 1, next_batch(batch), claim=claim)

    # the cache

    def test_the_cache_gives_back_what_it_remembers_or_nothing(self) -> None:
        cache: Cache = self.store
        assert cache.recall("key") is None
        cache.remember("key", b"one")
        cache.remember("key", b"two")
        assert cache.recall("key") in (b"two", None)

    # closing

    def test_a_store_may_be_closed_twice_and_used_no_more(self) -> None:
        store = self.other()
        store.close()
        store.close()
        with raises(StoreError, match="closed"):
            store.summary("sop_run_1")

    def _claim(self, store: Store, driver: Owner) -> Claim:
        claim = store.claim("sop_run_1", driver, START)
        assert claim is not None
        return claim

    def _found(self, which: RunFilter) -> tuple[list[str], int]:
        found, total = self.store.summaries(which)
        return [run.run_id for run in found], total


class _EnoughError(Exception):
    """Ends a plan that only wanted to look."""


def _stop(seen: list[Occupancy], occupancy: Occupancy) -> Batch:
    seen.append(occupancy)
    raise _EnoughError


def _is_linear(events: tuple[SealedEvent, ...]) -> bool:
    """Whether seqs count from 1 and each event follows from the one before."""
    prev_hash = "0" * 64
    for seq, event in enumerate(events, start=1):
        if (event.seq, event.prev_hash, event.hash) != (seq, prev_hash, link(prev_hash, event.payload)):
            return False
        prev_hash = event.hash
    return True


def _together(count: int, act: Any) -> None:
    """Calls `act(number)` in so many threads at once, and raises what any of them raised."""
    barrier, failures = threading.Barrier(count), list[BaseException]()

    def body(number: int) -> None:
        barrier.wait()
        try:
            act(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
