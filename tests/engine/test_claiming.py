"""A driver's lease: renewed while it drives, worth nothing to a drive that is soon over, lost to a newer claim."""

from __future__ import annotations

from datetime import datetime
from types import MethodType
from typing import Any

import msgspec
import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.engine.doctor import examine
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine
from sopwith.engine.reading import Reader
from sopwith.engine.runs import Runs
from sopwith.engine.ticker import SWEEP_SECS
from sopwith.engine.waiting import is_undriven
from sopwith.errors import Conflict, IllegalMove, RunBusy, StoreError
from sopwith.ports import LEASE, RENEW_SECS, Claim, Owner
from sopwith.testing.executor import Play
from sopwith.testing.hosts import HostStore
from sopwith.testing.memory import MemoryStore
from sopwith.testing.samples import owner

from .bench import ANN, Bench
from .served import Server

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


@pytest.mark.parametrize("work", [{"onInterrupt": "rerun"}, {"run": None, "uses": "build"}])
def test_a_driver_that_was_replaced_meets_the_end_of_an_instance_that_is_gone(
    bench: Bench, work: dict[str, Any]
) -> None:
    """It slept, and meanwhile the step failed elsewhere, was to be done anew, and rests: nothing is its to record."""
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("build", {})
    bench.procedure("deploy", {"forEach": ["eu"], **work})
    run_id = bench.create("deploy")
    driving = bench.loop.create_task(drive(_at(bench, owner("here")), run_id))
    bench.pass_time(1)
    [key] = bench.world.starts
    runs = Runs(_at(bench, FAR))
    newer = MemoryStore(bench.store).claim(key[0], FAR, bench.clock.now().at + LEASE)
    failed = cmd.StepResult(error="exit status 1", exit_code=1)
    told = cmd.Finish(actor=SYSTEM, now=bench.clock.now(), step=key[1], attempt=1, result=failed)
    runs.commit(runs.load(key[0]), told, claim=newer)
    bench.engine().retry(run_id, actor=ANN, from_step=1)
    bench.engine().pause(run_id, actor=ANN)
    bench.pass_time(60)
    before = bench.events(run_id)
    assert not driving.done()
    bench.world.lose(key)
    bench.pass_time(60)
    assert driving.done()
    assert isinstance(driving.exception(), IllegalMove | None)
    assert bench.events(run_id) == before


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


def test_nothing_stands_still_that_another_host_drives(bench: Bench, long: str) -> None:
    """Its lock cannot be seen from here: the inbox, `sop wait` and `sop doctor` go by its lease."""
    elsewhere = bench.loop.create_task(drive(_at(bench, FAR), long))
    bench.pass_time(1)
    bench.store.kill(FAR.owner_id)
    here = _at(bench, owner("here"))
    bench.pass_time(60)
    engine = Engine(here)
    reader = Reader(engine)
    run = engine.runs.load(long).run
    assert (reader.inbox()["items"], is_undriven(engine, run)) == ([], False)
    assert reader.record(long, 0, 100).driver == FAR
    assert [each.message for each in examine(engine)] == []
    elsewhere.cancel()
    bench.pass_time(2 * LEASE.total_seconds())
    assert is_undriven(engine, run)
    assert [each["runId"] for each in reader.inbox()["items"]] == [long]
    assert [each.message for each in examine(engine)] == [f"{long} is running and nobody drives it"]


def test_a_child_run_that_another_host_drives_is_not_claimed_over_and_over(bench: Bench) -> None:
    """Its lock cannot be seen from here; only its lease tells. The driver of the run around it waits for it."""
    bench.world.plays[1] = [Play(seconds=100)]
    bench.procedure("build", {})
    bench.procedure("deploy", {"run": None, "uses": "build"})
    run_id = bench.create("deploy")
    first = bench.loop.create_task(drive(bench.engine().parts, run_id))
    bench.pass_time(1)
    first.cancel()
    bench.pass_time(1)
    child = bench.now(run_id).steps[1].child
    far = _at(bench, FAR)
    elsewhere = bench.loop.create_task(drive(far, child, upwards=False))
    bench.pass_time(1)
    here = _at(bench, owner("here"))
    driving = bench.loop.create_task(drive(here, run_id))
    bench.pass_time(30)
    assert (here.store.tried, driving.done()) == ([run_id], False)
    assert bench.finish(driving).ended == "completed"
    assert bench.finish(elsewhere).ended == "completed"


def test_a_child_run_of_a_host_that_is_down_is_driven_when_its_lease_is_over(bench: Bench) -> None:
    bench.procedure("build", {})
    bench.procedure("deploy", {"run": None, "uses": "build"})
    bench.world.plays[1] = [Play(seconds=10)]
    run_id = bench.create("deploy")
    first = bench.loop.create_task(drive(bench.engine().parts, run_id))
    bench.pass_time(1)
    first.cancel()
    bench.pass_time(1)
    child = bench.now(run_id).steps[1].child
    assert _at(bench, FAR).store.claim(child, FAR, bench.clock.now().at) is not None
    driving = bench.loop.create_task(drive(_at(bench, owner("here")), run_id))
    bench.pass_time(LEASE.total_seconds() - 10)
    assert not driving.done()
    assert bench.finish(driving).ended == "completed"


def test_a_server_leaves_a_run_alone_that_another_host_drives(bench: Bench, long: str) -> None:
    """It took it over each few seconds, as it said, and was refused."""
    elsewhere = bench.loop.create_task(drive(_at(bench, FAR), long))
    bench.pass_time(1)
    bench.store.kill(FAR.owner_id)  # as if its lock could not be seen here
    server = Server(bench)
    bench.pass_time(LEASE.total_seconds())
    assert (server.adopted, server.store.claimed) == ([], [])
    elsewhere.cancel()
    bench.pass_time(LEASE.total_seconds() + SWEEP_SECS)
    assert server.adopted == [(long, (1,))]
    assert server.store.claimed == [long]
    server.stop()


class _CountingStore(HostStore):
    """Sees the locks of its own host only."""

    def __init__(self, beside: MemoryStore, who: Owner) -> None:
        super().__init__(beside, who)
        self.tried: list[str] = []

    def claim(self, run_id: str, owner: Owner, now: datetime) -> Claim | None:
        self.tried.append(run_id)
        assert len(self.tried) < 100, "it turns on the spot"
        return super().claim(run_id, owner, now)


def _at(bench: Bench, who: Owner) -> Any:
    """The parts of a process of this host."""
    return msgspec.structs.replace(bench.engine().parts, store=_CountingStore(bench.store, who), owner=lambda: who)
