"""The promises of `claim`, `release` and `holder`: one living driver, and no writing for a dead one."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from sopwith.errors import Conflict, NotFound
from sopwith.ports import LEASE, Claim, Lease, Owner, Store
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch, owner
from sopwith.testing.store_suite import ANN, BOB, StoreSuite, raises, together

MILLISECOND = timedelta(milliseconds=1)
FAR = msgspec.structs.replace(owner("far"), host="far", boot_id="boot-2")
"""A process of another host."""


def renamed(driver: Owner, **fields: str) -> Owner:
    """Another process that differs from this one in so much."""
    return msgspec.structs.replace(driver, owner_id="other", **fields)


class ClaimContract(StoreSuite):
    def test_a_run_has_one_living_driver(self) -> None:
        self.begin()
        other = self.other()
        claim = self.store.claim("sop_run_1", ANN, START)
        assert claim == Claim(run_id="sop_run_1", epoch=1, owner=ANN)
        assert other.claim("sop_run_1", BOB, START) is None
        assert self.store.claim("sop_run_1", ANN, START) is None
        assert other.holder("sop_run_1") == self.store.holder("sop_run_1") == ANN

    def test_whoever_creates_a_run_may_have_its_first_claim(self) -> None:
        batch = first_batch("sop_run_1")
        created = self.store.create("deploy", lambda _: batch, driver=ANN)
        claim = Claim(run_id="sop_run_1", epoch=1, owner=ANN)
        assert created == msgspec.structs.replace(batch, claim=claim)
        assert self.other().holder("sop_run_1") == ANN
        assert self.other().claim("sop_run_1", BOB, START) is None
        assert self.store.lease("sop_run_1") == Lease(owner=ANN, until=batch.summary.created_at + LEASE)
        self.go_on(batch, claim=claim)
        self.store.release(claim)
        assert self.other().holder("sop_run_1") is None

    def test_a_run_that_is_not_created_is_claimed_by_nobody(self) -> None:
        self.begin("sop_run_1")
        batch = first_batch("sop_run_1")
        with raises(Conflict):
            self.store.create("deploy", lambda _: batch, driver=ANN)
        assert self.store.holder("sop_run_1") is None
        # and nothing keeps the next run from being claimed
        created = self.store.create("deploy", lambda _: first_batch("sop_run_2"), driver=BOB)
        assert created.claim is not None
        assert self.store.holder("sop_run_2") == BOB

    def test_a_run_made_without_a_driver_is_claimed_by_nobody(self) -> None:
        self.begin()
        assert self.store.holder("sop_run_1") is None
        assert self.store.lease("sop_run_1") is None

    def test_a_claim_may_end_with_a_batch(self) -> None:
        batch = self.begin()
        claim = self._claim(self.store, ANN)
        after = next_batch(batch)
        self.store.append("sop_run_1", 1, after, claim=claim, frees=True)
        assert self.store.events("sop_run_1") == (*batch.events, *after.events)
        assert self.store.holder("sop_run_1") is None
        assert self.store.lease("sop_run_1") is None
        assert self._claim(self.other(), BOB).epoch == 2
        self.store.release(claim)
        assert self.store.holder("sop_run_1") == BOB

    def test_a_claim_does_not_end_with_a_batch_that_is_refused(self) -> None:
        batch = self.begin()
        claim = self._claim(self.store, ANN)
        with raises(Conflict):
            self.store.append("sop_run_1", 7, next_batch(batch), claim=claim, frees=True)
        assert self.store.holder("sop_run_1") == ANN
        assert self.other().claim("sop_run_1", BOB, START) is None

    def test_a_late_driver_ends_no_newer_claim_with_its_batch(self) -> None:
        batch = self.begin()
        doomed = self.other()
        old = self._claim(doomed, ANN)
        self.kill(doomed, ANN)
        self._claim(self.store, BOB)
        with raises(Conflict):
            self.store.append("sop_run_1", 1, next_batch(batch), claim=old, frees=True)
        assert self.store.holder("sop_run_1") == BOB

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

        together(8, take)
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

    def test_a_claim_of_another_host_holds_until_its_lease_runs_out(self) -> None:
        self.begin()
        self._die_elsewhere()
        last_moment = START + LEASE - MILLISECOND
        assert self.store.claim("sop_run_1", BOB, last_moment) is None
        assert self.store.holder("sop_run_1") is None
        second = self.store.claim("sop_run_1", BOB, START + LEASE)
        assert second is not None
        assert second.epoch == 2

    def test_a_refused_claim_fences_nobody_off(self) -> None:
        batch = self.begin()
        elsewhere = self.other()
        claim = self._claim(elsewhere, FAR)
        assert self.store.claim("sop_run_1", BOB, START) is None
        elsewhere.append("sop_run_1", 1, next_batch(batch), claim=claim)

    def test_on_the_same_boot_and_on_a_restarted_host_the_lock_alone_decides(self) -> None:
        for number, asking in enumerate((renamed(FAR, host="container"), renamed(FAR, boot_id="boot-3"))):
            run_id = f"sop_run_{number}"
            self.begin(run_id)
            doomed = self.other()
            assert doomed.claim(run_id, FAR, START) is not None
            self.kill(doomed, FAR)
            assert self.store.claim(run_id, asking, START) is not None

    def test_a_living_driver_of_this_host_is_not_pushed_aside_when_its_lease_is_over(self) -> None:
        self.begin()
        self._claim(self.store, ANN)
        assert self.other().claim("sop_run_1", BOB, START + 100 * LEASE) is None

    def test_a_renewed_lease_begins_anew(self) -> None:
        self.begin()
        elsewhere = self.other()
        claim = self._claim(elsewhere, FAR)
        elsewhere.renew(claim, START + LEASE)
        self.kill(elsewhere, FAR)
        assert self.store.lease("sop_run_1") == Lease(owner=FAR, until=START + 2 * LEASE)
        assert self.store.claim("sop_run_1", BOB, START + 2 * LEASE - MILLISECOND) is None
        assert self.store.claim("sop_run_1", BOB, START + 2 * LEASE) is not None

    def test_what_a_late_driver_still_appends_renews_or_releases_changes_nothing(self) -> None:
        batch = self.begin()
        late = self.other()
        old = self._claim(late, FAR)
        self.lose_lock(late, FAR)
        new = self.store.claim("sop_run_1", BOB, START + LEASE)
        assert new is not None
        with raises(Conflict, match="claim 2 was made since"):
            late.append("sop_run_1", 1, next_batch(batch), claim=old)
        with raises(Conflict, match="claim 2 was made since"):
            late.renew(old, START + 5 * LEASE)
        late.release(old)
        assert self.store.lease("sop_run_1") == Lease(owner=BOB, until=START + 2 * LEASE)
        assert self.store.events("sop_run_1") == batch.events
        self.go_on(batch, claim=new)

    def test_a_run_that_was_never_claimed_or_was_given_back_has_no_lease(self) -> None:
        self.begin()
        assert self.store.lease("sop_run_1") is None
        assert self.store.lease("nobody") is None
        self.store.release(self._claim(self.store, FAR))
        assert self.store.lease("sop_run_1") is None
        assert self.store.claim("sop_run_1", BOB, START) is not None

    def _die_elsewhere(self) -> None:
        doomed = self.other()
        self._claim(doomed, FAR)
        self.kill(doomed, FAR)

    def _claim(self, store: Store, driver: Owner) -> Claim:
        claim = store.claim("sop_run_1", driver, START)
        assert claim is not None
        return claim
