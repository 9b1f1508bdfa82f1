"""The promises of `ports.Deliveries`, as part of the store contract."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sopwith.ports import Accepted, Move, NewDelivery
from sopwith.testing.clock import START
from sopwith.testing.store_suite import StoreSuite, together


def new_delivery(delivery: str = "1", **keys: Any) -> NewDelivery:
    """A delivery of the trigger `webhook:/a` of `deploy`."""
    given = {"procedure": "deploy", "trigger": "webhook:/a", "event": b"{}", "run_id": f"sop_run_{delivery}"}
    return NewDelivery(delivery=delivery, received_at=START, **{**given, **keys})


class DeliveryContract(StoreSuite):
    def test_a_delivery_is_taken_once_and_stays_as_it_was(self) -> None:
        [first] = self.store.deliveries.accept([new_delivery(event=b"one")])
        [again] = self.other().deliveries.accept([new_delivery(event=b"two")])
        assert (first.is_new, again.is_new) == (True, False)
        assert again.delivery == first.delivery
        assert first.delivery.event == b"one"

    def test_the_same_id_at_another_trigger_is_another_delivery(self) -> None:
        accepted = self.store.deliveries.accept(
            [new_delivery(), new_delivery(trigger="x"), new_delivery(procedure="build"), new_delivery()]
        )
        assert [each.is_new for each in accepted] == [True, True, True, False]

    def test_of_many_at_once_one_takes_it(self) -> None:
        taken: list[Accepted] = []
        together(5, lambda _: taken.extend(self.other().deliveries.accept([new_delivery()])))
        assert sorted(each.is_new for each in taken) == [False] * 4 + [True]
        assert len({each.delivery.number for each in taken}) == 1

    def test_what_waits_comes_oldest_first_until_it_is_settled(self) -> None:
        store = self.store.deliveries
        one, two, three = (each.delivery for each in store.accept([new_delivery(name) for name in "123"]))
        assert store.waiting(0, 10) == (one, two, three)
        assert store.waiting(one.number, 1) == (two,)
        assert store.waiting_of("deploy", "webhook:/a") == 3
        assert store.settle(two.number, "started", run_id="sop_run_2", reason="", now=START)
        assert store.waiting(0, 10) == (one, three)
        assert store.waiting_of("deploy", "webhook:/a") == 2
        assert store.waiting_of("deploy", "webhook:/b") == 0

    def test_a_delivery_is_settled_once(self) -> None:
        store = self.store.deliveries
        [accepted] = store.accept([new_delivery()])
        number, later = accepted.delivery.number, START + timedelta(seconds=1)
        assert store.settle(number, "coalesced", run_id="sop_run_x", reason="joined", now=later)
        assert not self.other().deliveries.settle(number, "started", run_id="sop_run_1", reason="", now=later)
        kept = store.delivery(number)
        assert (kept.outcome, kept.run_id, kept.reason, kept.settled_at) == ("coalesced", "sop_run_x", "joined", later)
        assert store.delivery(number + 1) is None

    def test_what_does_not_hold_any_more_settles_nothing(self) -> None:
        store = self.store.deliveries
        [accepted] = store.accept([new_delivery()])
        number = accepted.delivery.number
        asked = {"run_id": "", "reason": "", "now": START}
        assert not store.settle(number, "coalesced", **asked, holds=lambda: self.store.summary("nobody") is not None)
        assert store.delivery(number).outcome == ""
        assert store.settle(number, "coalesced", **asked, holds=lambda: self.store.summary("nobody") is None)

    def test_what_is_settled_when_it_comes_waits_for_nobody(self) -> None:
        store = self.store.deliveries
        [accepted] = store.accept([new_delivery(outcome="unmatched", reason="no")])
        assert store.waiting(0, 10) == ()
        assert (accepted.delivery.reason, accepted.delivery.settled_at) == ("no", START)

    def test_a_run_tells_which_trigger_it_comes_from(self) -> None:
        store = self.store.deliveries
        [accepted, _] = store.accept([new_delivery("1"), new_delivery("2", trigger="other")])
        assert store.trigger_of("sop_run_1") == ("deploy", "webhook:/a")
        assert store.trigger_of("sop_run_2") == ("deploy", "other")
        store.settle(accepted.delivery.number, "coalesced", run_id="sop_run_7", reason="", now=START)
        assert store.trigger_of("sop_run_7") == ("deploy", "webhook:/a")
        assert store.trigger_of("nobody") is None

    def test_the_log_is_newest_first(self) -> None:
        store = self.store.deliveries
        numbers = [each.delivery.number for each in store.accept([new_delivery(name) for name in "123"])]
        assert [each.number for each in store.newest(2**62, 2)] == numbers[:0:-1]
        assert [each.delivery for each in store.newest(numbers[1], 9)] == ["1"]

    def test_what_was_settled_long_ago_is_forgotten_and_nothing_else(self) -> None:
        store = self.store.deliveries
        old, young, waiting = (each.delivery for each in store.accept([new_delivery(name) for name in "123"]))
        asked = {"run_id": "", "reason": ""}
        store.settle(old.number, "started", now=START, **asked)
        store.settle(young.number, "started", now=START + timedelta(days=1), **asked)
        store.prune(START + timedelta(days=1))
        assert [each.number for each in store.newest(2**62, 9)] == [waiting.number, young.number]

    def test_cursors_and_files_are_moved_with_the_deliveries(self) -> None:
        store = self.store.deliveries
        assert store.cursor("trigger:a") is None
        moves = [Move(name="trigger:a", value="1"), Move(name="trigger:a", path="x", value="2")]
        store.accept([new_delivery()], [*moves, Move(name="trigger:b", path="y", value="3")])
        other = self.other().deliveries
        assert (other.cursor("trigger:a"), other.files("trigger:a")) == ("1", {"x": "2"})
        store.accept([], [Move(name="trigger:a", value="5"), Move(name="trigger:a", path="x", value=None)])
        assert (other.cursor("trigger:a"), other.files("trigger:a")) == ("5", {})
        assert other.files("trigger:b") == {"y": "3"}
