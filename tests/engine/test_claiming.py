"""A driver's lease: renewed while it drives, worth nothing to a drive that is soon over, lost to a newer claim."""

from __future__ import annotations

from types import MethodType

import msgspec
import pytest

from sopwith.engine.driver import drive
from sopwith.errors import Conflict, RunBusy, StoreError
from sopwith.ports import LEASE, RENEW_SECS, Claim
from sopwith.testing.executor import Play
from sopwith.testing.memory import MemoryStore
from sopwith.testing.samples import owner

from .bench import Bench

FAR = msgspec.structs.replace(owner("far"), host="far", boot_id="boot-9")


@pytest.fixture
def long(bench: Bench) -> str:
    """A run whose step takes three leases."""
    bench.world.plays[1] = [Play(seconds=3 * LEASE.total_seconds())]
    bench.procedure("deploy", {})
    return bench.create("deploy")


def count_renewals(bench: Bench) -> tuple[list[Claim], object]:
    parts = bench.engine().parts
    renewed: list[Claim] = []
    renew = parts.store.renew

    def counted(self: MemoryStore, claim: Claim, now) -> None:
        renewed.append(claim)
        renew(claim, now)

    parts.store.renew = MethodType(counted, parts.store)
    return renewed, parts


def test_a_drive_that_is_soon_over_renews_nothing(bench: Bench) -> None:
    bench.procedure("deploy", {}, {})
    parts = bench.engine().parts

    def unwanted(self: MemoryStore, claim: Claim, now) -> None:
        raise AssertionError("it renewed what it held for a moment")

    parts.store.renew = MethodType(unwanted, parts.store)
    assert bench.loop.run_until_complete(drive(parts, bench.create("deploy"))).ended == "completed"


def test_a_lease_is_renewed_as_long_as_the_run_is_driven(bench: Bench, long: str) -> None:
    renewed, parts = count_renewals(bench)
    driving = bench.loop.create_task(drive(parts, long))
    for _ in range(8):
        bench.pass_time(RENEW_SECS)
        lease = bench.store.lease(long)
        assert lease is not None
        assert lease.until > bench.clock.now().at + LEASE / 2
    assert bench.finish(driving).ended == "completed"
    assert 8 <= len(renewed) <= 9
    assert bench.store.lease(long) is None


def test_a_driver_whose_renewal_meets_a_newer_claim_stops(bench: Bench, long: str) -> None:
    """Another host, whose clock is ahead, took over. The process goes on; the late driver must not tell its end."""
    parts = bench.engine().parts
    driving = bench.loop.create_task(drive(parts, long))
    bench.pass_time(1)
    bench.store.kill(parts.store.holder(long).owner_id)
    newer = MemoryStore(bench.store)
    assert newer.claim(long, FAR, bench.clock.now().at + LEASE) is not None
    before = bench.events(long)
    with pytest.raises(Conflict, match="claim 2 was made since"):
        bench.finish(driving)
    assert bench.events(long) == before
    assert newer.holder(long) == FAR


def test_a_lease_that_cannot_be_written_now_stops_no_driver(bench: Bench, long: str) -> None:
    parts = bench.engine().parts

    def full(self: MemoryStore, claim: Claim, now) -> None:
        raise StoreError("the disk is full")

    parts.store.renew = MethodType(full, parts.store)
    assert bench.loop.run_until_complete(drive(parts, long)).ended == "completed"


def test_who_is_kept_out_by_another_host_is_told_which_and_until_when(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    far = MemoryStore(bench.store)
    far.claim(run_id, FAR, bench.clock.now().at)
    bench.store.kill(FAR.owner_id)
    until = bench.clock.now().at + LEASE
    with pytest.raises(RunBusy, match=f"process 4711 on far, until {until:%H:%M:%S} UTC"):
        bench.drive(run_id)
    driven = bench.reader.status(run_id)
    assert driven["drivenBy"]["host"] == "far"
    assert driven["drivenBy"]["until"].startswith(f"{until:%Y-%m-%dT%H:%M:%S}")
    assert "undriven" not in driven
    bench.pass_time(LEASE.total_seconds())
    assert bench.reader.status(run_id)["drivenBy"] is None
    assert bench.drive(run_id).ended == "completed"
