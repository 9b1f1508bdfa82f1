"""The fake clock stands still until it is moved, and its ids have the form of real ones."""

import asyncio
import re
from datetime import timedelta

from sopwith.core.instant import elapsed_ms
from sopwith.ports import Clock, Ids
from sopwith.testing.clock import START, FakeClock, HastyClock, SequentialIds


def test_time_passes_only_when_told() -> None:
    clock: Clock = FakeClock()
    assert clock.now() == clock.now()
    assert clock.now().at == START


def test_advancing_moves_both_clocks() -> None:
    clock = FakeClock()
    before = clock.now()
    clock.advance(1.5)
    assert elapsed_ms(before, clock.now()) == 1500
    assert clock.now().at == START + timedelta(seconds=1.5)


def test_setting_the_wall_clock_lets_no_time_pass() -> None:
    clock = FakeClock()
    before = clock.now()
    clock.set_wall(START - timedelta(days=1))
    assert clock.now().at == START - timedelta(days=1)
    assert elapsed_ms(before, clock.now()) == 0


def test_a_reboot_begins_another_boot() -> None:
    clock = FakeClock()
    clock.advance(5)
    before = clock.now()
    clock.reboot()
    assert (clock.now().boot_ms, clock.now().at) == (0, before.at)
    assert clock.now().boot_id != before.boot_id


def test_a_sleeper_wakes_when_its_time_has_come() -> None:
    async def sleeps() -> None:
        clock = FakeClock()
        short, long = asyncio.create_task(clock.sleep(5)), asyncio.create_task(clock.sleep(9))
        await asyncio.sleep(0)
        assert clock.sleepers == 2
        clock.advance(4.9)
        await asyncio.sleep(0)
        assert not short.done()
        clock.advance(0.1)
        await short
        assert clock.sleepers == 1
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        assert clock.sleepers == 0

    asyncio.run(sleeps())


def test_a_hasty_clock_moves_on_by_itself() -> None:
    clock = HastyClock()
    asyncio.run(clock.sleep(60))
    assert clock.now().at == START + timedelta(minutes=1)


def test_ids_count_and_look_like_real_ones() -> None:
    ids: Ids = SequentialIds()
    first, second = ids.run_id(), ids.run_id()
    assert first < second
    assert re.fullmatch(r"sop_run_[a-z2-7]{12}", first)
