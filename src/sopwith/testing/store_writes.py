"""The promises of `create` and `append`: one transaction, one history, limits asked inside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from sopwith.core.admission import Occupancy
from sopwith.core.procedure import sha256
from sopwith.core.run import RunStatus
from sopwith.errors import Conflict, LimitReached, StoreError
from sopwith.ports import Batch, RunFilter
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch
from sopwith.testing.store_suite import StoreSuite, is_linear, raises, together

_QUEUED: dict[str, Any] = {"status": RunStatus.PENDING, "holds_slot": False}


class WriteContract(StoreSuite):
    def test_a_run_within_another_counts_for_its_procedure_and_not_for_the_workspace(self) -> None:
        self.begin("a")
        self.begin("b", parent="a")
        assert self.occupancy("deploy").of_procedure == ("a", "b")
        assert self.occupancy("deploy").of_workspace == ("a",)

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

    def test_the_plan_sees_who_holds_slots_oldest_first(self) -> None:
        for run_id, name, holds in (("c", "deploy", True), ("b", "release", True), ("a", "deploy", True)):
            self.begin(run_id, name=name, holds_slot=holds)
        self.begin("d", holds_slot=False, status=RunStatus.COMPLETED)
        seen = self.occupancy("deploy")
        assert (seen.of_procedure, seen.of_workspace) == (("c", "a"), ("c", "b", "a"))

    def test_a_summary_is_corrected_where_it_differs_and_no_event_changes(self) -> None:
        batch = self.begin("a", count=2)
        true, head = batch.summary, batch.events[-1].hash
        wrong = msgspec.structs.replace(
            true,
            status=RunStatus.FAILED,
            name="release",
            created_by="eve",
            holds_slot=False,
            ended_at=START,
            concurrency_group="production",
        )
        assert self.store.correct(wrong, head)
        assert self.store.summary("a") == wrong
        assert not self.store.correct(wrong, head)
        assert self.store.correct(true, head)
        assert self.store.summary("a") == true
        assert self.store.events("a") == batch.events

    def test_a_summary_of_another_state_of_the_run_corrects_nothing(self) -> None:
        before = self.begin("a")
        after = self.go_on(before)
        wrong = msgspec.structs.replace(before.summary, status=RunStatus.FAILED)
        assert not self.store.correct(wrong, before.events[-1].hash)
        assert not self.store.correct(msgspec.structs.replace(after.summary, version="9"), before.events[-1].hash)
        assert not self.store.correct(msgspec.structs.replace(wrong, run_id="nobody"), before.events[-1].hash)
        assert self.store.summary("a") == after.summary

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

    def test_the_plan_sees_who_holds_the_slot_of_its_group_whatever_the_procedure(self) -> None:
        self.begin("a", concurrency_group="production")
        self.begin("b", name="release", concurrency_group="production")
        self.begin("c", concurrency_group="staging")
        self.begin("d", concurrency_group="production", holds_slot=False, status=RunStatus.COMPLETED, ended_at=START)
        self.begin("e", concurrency_group="production", holds_slot=False, status=RunStatus.PENDING)
        self.begin("f")
        assert self.occupancy("other", "production").of_group == ("a", "b")
        assert self.occupancy("deploy", "elsewhere").of_group == ()
        assert self.occupancy("deploy").of_group == self.occupancy("deploy").queued_in_group == ()

    def test_the_plan_sees_the_queue_of_its_group_whatever_the_procedure(self) -> None:
        self.begin("a", **_QUEUED, concurrency_group="production")
        self.begin("b", **_QUEUED, concurrency_group="production", name="release")
        self.begin("c", **_QUEUED, concurrency_group="staging")
        self.begin("d", **_QUEUED)
        assert self.occupancy("other", "production").queued_in_group == ("a", "b")

    def test_a_run_sees_its_own_group_when_it_asks_again(self) -> None:
        self.begin("a", **_QUEUED, concurrency_group="production", name="release")
        second = self.begin("b", **_QUEUED, concurrency_group="production")
        self.begin("c", **_QUEUED, concurrency_group="production")
        self.begin("d", concurrency_group="production")
        seen: list[Occupancy] = []
        self.store.append("b", 1, next_batch(second), admit=seen.append)
        assert (seen[0].queued_in_group, seen[0].of_group) == (("a",), ("d",))

    def test_a_queued_run_whose_group_holds_it_up_holds_up_nobody_else(self) -> None:
        self.begin("holder", name="release", concurrency_group="production")
        self.begin("held", **_QUEUED, concurrency_group="production")
        self.begin("first", **_QUEUED, name="release", concurrency_group="staging")
        self.begin("behind", **_QUEUED, concurrency_group="staging")
        self.begin("free", **_QUEUED, concurrency_group="test")
        self.begin("plain", **_QUEUED)
        assert self.occupancy("deploy", "elsewhere").queued_before == ("free", "plain")

    def test_a_run_stays_in_the_group_it_was_created_in(self) -> None:
        created = self.begin("a", concurrency_group="production")
        assert self.go_on(created).summary == self.store.summary("a")
        with raises(ValueError, match="production"):
            self.store.append("a", 2, next_batch(next_batch(created), concurrency_group="staging"))
        with raises(ValueError, match="production"):
            self.store.create("deploy", lambda _: first_batch("b", concurrency_group="production"), group="staging")

    def test_of_eight_procedures_that_want_one_group_one_gets_it(self) -> None:
        refused: list[str] = []

        def start(number: int) -> None:
            def plan(occupancy: Occupancy) -> Batch:
                if occupancy.of_group:
                    raise LimitReached("taken")
                return first_batch(f"run_{number}", name=f"deploy-{number}", concurrency_group="production")

            try:
                stores[number].create(f"deploy-{number}", plan, group="production")
            except LimitReached:
                refused.append(f"run_{number}")

        stores = [self.other() for _ in range(8)]
        together(8, start)
        assert len(refused) == 7
        assert self.store.summaries(RunFilter())[1] == 1

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
        together(8, start)
        assert len(refused) == 7
        assert self.store.summaries(RunFilter())[1] == 1

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
        created = self.begin("a", parent="p", created_by="bob", created_at=START - timedelta(days=1), **values)
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

    def test_nothing_else_is_written_inside_a_transaction(self) -> None:
        first = self.begin()

        def admit(_: Occupancy) -> None:
            self.store.append("sop_run_1", 1, next_batch(first, current_step=2))

        with raises(StoreError):
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

            together(8, write)
            (winner,) = set(range(8)) - set(lost)
            history = batches[winner]
            assert self.store.summary("sop_run_1") == history.summary
        assert is_linear(self.store.events("sop_run_1"))
