"""The loop whose time is a number: it wakes everybody in the order in which a loop that waits for real would."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from sopwith.testing.virtual_time import Stalled, VirtualClock, VirtualLoop


class _StandardLoop(VirtualLoop):
    """The same world, with the turn that every loop of the standard library makes."""

    _run_once = asyncio.BaseEventLoop._run_once
    call_soon = asyncio.BaseEventLoop.call_soon

    def __init__(self) -> None:
        super().__init__()
        self._selector = self

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None or timeout > 0:
            self.jump()
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        return


class _Story:
    """Timers that meet, make more of them and cancel one another, by seed."""

    def __init__(self, seed: int, loop: asyncio.AbstractEventLoop, timers: int) -> None:
        self._chance = Random(seed)
        self._loop = loop
        self._left = timers
        self._handles: list[asyncio.Handle] = []
        self.told: list[tuple[int, object]] = []
        loop.set_exception_handler(lambda _loop, trouble: self.told.append((-1, repr(trouble))))

    def play(self) -> list[tuple[int, object]]:
        self._more(self._left // 2)
        self._loop.call_later(1000, self._loop.stop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
        return self.told

    def _more(self, count: int) -> None:
        for _ in range(min(count, self._left)):
            self._left -= 1
            number, delay = len(self._handles), self._chance.choice((0, 0, 0.1, 0.2, 0.2, 1, 5, 5 + 1e-12))
            soon = delay == 0 and self._chance.random() < 0.5
            self._handles.append(
                self._loop.call_soon(self._wakes, number) if soon else self._loop.call_later(delay, self._wakes, number)
            )

    def _wakes(self, number: int) -> None:
        self.told.append((number, self._loop.time()))
        for handle in self._chance.sample(self._handles, min(len(self._handles), self._chance.choice((0, 1, 8)))):
            handle.cancel()
        self._more(self._chance.choice((0, 1, 2, 30)))


@pytest.mark.parametrize("timers", [20, 1500])
@pytest.mark.parametrize("seed", range(12))
def test_all_wake_in_the_order_of_the_standard_loop(seed: int, timers: int) -> None:
    story = _Story(seed, VirtualLoop(), timers).play()
    assert story
    assert story == _Story(seed, _StandardLoop(), timers).play()


def test_where_nothing_is_left_that_could_wake_anybody_the_loop_says_so() -> None:
    loop = VirtualLoop()
    with pytest.raises(Stalled):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_the_clock_is_read_anew_when_it_was_changed_and_no_time_has_passed() -> None:
    loop = VirtualLoop()
    clock = VirtualClock(loop)
    first = clock.now()
    assert clock.now() == first
    clock.set_wall_by(60)
    assert ((set_ := clock.now()).at - first.at).total_seconds() == 60
    clock.suspend(2)
    assert (clock.now().boot_ms, (clock.now().at - set_.at).total_seconds()) == (2000, 2)
    clock.reboot()
    assert clock.now().boot_id != first.boot_id
    loop.run_until_complete(clock.sleep(1.5))
    assert clock.now().boot_ms == 3500
    loop.close()
