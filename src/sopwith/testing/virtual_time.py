"""An event loop whose time is a number: when every task sleeps, it jumps to the moment the first one wakes.

Nothing waits for real, and the same tasks always run in the same order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from datetime import datetime, timedelta
from typing import Any

from sopwith.core.instant import Instant
from sopwith.testing.clock import START


class Stalled(Exception):
    """Every task waits for something that nothing left could bring about."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs tasks in virtual seconds. It has no files, sockets, signals or threads."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self._virtual = 0.0
        self._selector = _NothingToRead(self)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As every loop does it, without what those check who are used by several threads."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def time(self) -> float:
        return self._virtual

    def jump(self) -> None:
        """On to the first timer."""
        if not self._scheduled:
            raise Stalled("every task waits, and nothing is left that could wake one")
        self._virtual = max(self._virtual, self._scheduled[0].when())

    def _process_events(self, event_list: list[Any]) -> None:
        return

    def _write_to_self(self) -> None:
        return


class _NothingToRead:
    """Stands where other loops ask the system for ready files; waiting for them is when time passes."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.turns += 1
        if timeout is None or timeout > 0:
            self._loop.jump()
        return []


class VirtualClock:
    """A Clock on a VirtualLoop, with a wall clock that can be set."""

    def __init__(self, loop: VirtualLoop, at: datetime = START) -> None:
        self._loop = loop
        self._wall = at
        self._boot = 1
        self._slept_ms = 0
        self._read: tuple[object, ...] = ()
        """What the clocks said when `_now` was read off them."""
        self._now = Instant(at, 0, "")

    def now(self) -> Instant:
        # asked for far more often than it changes
        reads = (self._loop.time(), self._slept_ms, self._wall, self._boot)
        if reads != self._read:
            milliseconds = round(self._loop.time() * 1000) + self._slept_ms
            at = self._wall + timedelta(milliseconds=milliseconds)
            self._read, self._now = reads, Instant(at, milliseconds, f"boot-{self._boot}")
        return self._now

    def set_wall_by(self, seconds: float) -> None:
        """Somebody sets the wall clock forward or back; no time passes."""
        self._wall += timedelta(milliseconds=round(seconds * 1000))

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: wall and boot clock go on, and whoever sleeps on the loop does not."""
        self._slept_ms += round(seconds * 1000)

    def reboot(self) -> None:
        """The machine starts anew. Its boot clock goes on as if it had never stopped, which nobody may rely on."""
        self._boot += 1

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
