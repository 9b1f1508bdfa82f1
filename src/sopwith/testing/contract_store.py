"""What every store must keep: one test for each promise of `ports.Store`, and those of `ports.Cache`.

An adapter's test file subclasses `StoreContract`, says how to make a store, and lets pytest collect it:

    class TestMyStore(StoreContract):
        def make_store(self, folder): return MyStore(folder / "runs")
        def kill(self, store, owner): ...
"""

from __future__ import annotations

from datetime import timedelta

from sopwith.core.procedure import sha256
from sopwith.core.run import RunStatus
from sopwith.errors import StoreError
from sopwith.ports import Cache, RunFilter
from sopwith.testing.clock import START
from sopwith.testing.store_asking import AskingContract
from sopwith.testing.store_claims import ClaimContract
from sopwith.testing.store_deliveries import DeliveryContract
from sopwith.testing.store_log import LogContract
from sopwith.testing.store_notices import NoticeContract
from sopwith.testing.store_suite import ANN, raises
from sopwith.testing.store_writes import WriteContract


class StoreContract(WriteContract, ClaimContract, AskingContract, LogContract, NoticeContract, DeliveryContract):
    """The whole suite: what is here, and the promises of writing, claiming, asking, the log, notices and deliveries."""

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

    def test_summaries_go_on_from_a_place_that_does_not_move_when_runs_come_in(self) -> None:
        for run_id in "abcd":
            self.begin(run_id)
        self.begin("e", status=RunStatus.PAUSED)
        assert self._found(RunFilter(limit=2)) == (["e", "d"], 5)
        self.begin("f")
        assert self._found(RunFilter(limit=2, before="d")) == (["c", "b"], 6)
        assert self._found(RunFilter(before="b")) == (["a"], 6)
        assert self._found(RunFilter(before="e", statuses=(RunStatus.PAUSED,))) == ([], 1)
        assert self._found(RunFilter(before="no such run")) == ([], 6)

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

    def test_the_version_does_not_change_when_the_handle_itself_commits(self) -> None:
        """Whoever waits for news of others is not woken by what it did itself, and must not rely on that."""
        other = self.other()
        before = self.store.version()
        batch = self.begin()
        claim = self.store.claim("sop_run_1", ANN, START)
        assert claim is not None
        self.go_on(batch, claim=claim)
        self.store.renew(claim, START)
        self.store.release(claim)
        self.store.remember("key", b"value")
        assert self.store.version() == before
        other.remember("key", b"another value")
        assert self.store.version() != before

    def test_the_cache_gives_back_what_it_remembers_or_nothing(self) -> None:
        cache: Cache = self.store
        assert cache.recall("key") is None
        cache.remember("key", b"one")
        cache.remember("key", b"two")
        assert cache.recall("key") in (b"two", None)

    def test_a_sound_store_has_no_findings(self) -> None:
        assert self.store.check() == []
        self.go_on(self.begin(count=2))
        assert self.store.check() == []

    def test_a_store_may_be_closed_twice_and_used_no_more(self) -> None:
        store = self.other()
        store.close()
        store.close()
        with raises(StoreError, match="closed"):
            store.summary("sop_run_1")

    def _found(self, which: RunFilter) -> tuple[list[str], int]:
        found, total = self.store.summaries(which)
        return [run.run_id for run in found], total
