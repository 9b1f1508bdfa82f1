"""The fake that the engine's tests stand on: what survives a crash of the engine, and what a test can say about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sopwith.errors import Conflict
from sopwith.ports import Lost, WorkOrder
from sopwith.testing.clock import FakeClock, HastyClock
from sopwith.testing.contract_executor import cancelled, ok, run, watched
from sopwith.testing.executor import FAILED, FakeExecutor, FakeWorld, Play, fake_kind, key_of

from .bench import order


@pytest.fixture
def work(tmp_path: Path) -> WorkOrder:
    return order(tmp_path, "")


def quiet(_: bytes) -> None:
    return


def test_an_attempt_takes_as_long_as_its_play_says(work):
    world, clock = FakeWorld(), HastyClock()
    world.plays = {1: [Play(result=FAILED, seconds=30)]}

    async def story() -> None:
        watch = await FakeExecutor(world, clock).start(work, quiet)
        assert ok(await watch.wait()).error == FAILED.error

    run(story())
    assert clock.now().boot_ms == 30_000


def test_a_process_goes_on_while_no_engine_lives(work):
    world, clock = FakeWorld(), FakeClock()
    world.plays = {1: [Play(seconds=30)]}

    async def story() -> None:
        watch = await FakeExecutor(world, clock).start(work, quiet)
        task = asyncio.ensure_future(watch.wait())
        await asyncio.sleep(0)
        await cancelled(task)
        clock.advance(30)
        found = watched(await FakeExecutor(world, clock).recover(work, quiet))
        assert ok(await found.wait()).error == ""

    run(story())
    assert world.started == {key_of(work): 1}


def test_an_attempt_that_never_began_is_started_by_recovery(work):
    world, clock = FakeWorld(), FakeClock()

    async def story() -> None:
        await FakeExecutor(world, clock).start(work, quiet)
        world.unstart(key_of(work))
        await FakeExecutor(world, clock).recover(work, quiet)

    run(story())
    assert world.starts == [key_of(work)]


def test_a_lost_attempt_stays_lost(work):
    world, clock = FakeWorld(), FakeClock()

    async def story() -> None:
        await FakeExecutor(world, clock).start(work, quiet)
        world.lose(key_of(work), "power cut")
        assert await FakeExecutor(world, clock).recover(work, quiet) == Lost("power cut")

    run(story())


def test_an_engine_can_be_killed_on_either_side_of_a_start(work):
    world, clock = FakeWorld(), FakeClock()

    def killed(_: WorkOrder) -> None:
        raise KeyboardInterrupt

    async def begin() -> None:
        await FakeExecutor(world, clock).start(work, quiet)

    world.before_start = killed
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(begin())
    assert world.starts == []
    world.before_start, world.after_start = quiet, killed
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(begin())
    assert world.starts == [key_of(work)]
    with pytest.raises(Conflict):
        asyncio.run(begin())


def test_each_further_start_of_a_step_takes_the_next_play(tmp_path):
    world, clock = FakeWorld(), FakeClock()
    world.plays = {1: [Play(result=FAILED), Play()]}
    kind = fake_kind(world, clock)

    async def attempt(number: int) -> str:
        assert kind.make is not None
        watch = await kind.make().start(order(tmp_path, "", attempt=number), quiet)
        return ok(await watch.wait()).error

    assert [run(attempt(number)) for number in (1, 2, 3)] == [FAILED.error, "", ""]
