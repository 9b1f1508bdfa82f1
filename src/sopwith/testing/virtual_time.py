"""An event loop whose time is a number: when every task sleeps, it jumps to the moment the first one wakes.

Nothing waits for real, and the same tasks always run in the same order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from datetime import datetime, timedelta
from heapq import heapify, heappop
from typing import Any

from sopwith.core.instant import Instant
from sopwith.testing.clock import START

_MANY_TIMERS = 100
_MOST = 0.5
"""Of many timers, cancelled ones are thrown away together once they are most."""


class Stalled(Exception):
    """Every task waits for something that nothing left could bring about."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs tasks in virtual seconds. It has no files, sockets, signals or threads."""

    _clock_resolution: float
    _ready: deque[asyncio.Handle]
    _stopping: bool
    _timer_cancelled_count: int
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self._virtual = 0.0

    def call_soon(  # type: ignore[override]
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

    def _run_once(self) -> None:
        # what every loop does in one turn, and in that order; where others wait for files, time passes here
        self.turns += 1
        self._drop_what_was_cancelled()
        if not (self._ready or self._stopping or self._is_time()):
            self.jump()
        end = self.time() + self._clock_resolution
        while self._scheduled and self._scheduled[0].when() < end:
            timer: Any = heappop(self._scheduled)
            timer._scheduled = False
            self._ready.append(timer)
        for _ in range(len(self._ready)):
            handle: Any = self._ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _is_time(self) -> bool:
        return bool(self._scheduled) and self._scheduled[0].when() <= self._virtual

    def _drop_what_was_cancelled(self) -> None:
        timers: list[Any] = self._scheduled
        if len(timers) > _MANY_TIMERS and self._timer_cancelled_count / len(timers) > _MOST:
            for timer in timers:
                timer._scheduled = not timer._cancelled
            self._scheduled = [timer for timer in timers if timer._scheduled]
            heapify(self._scheduled)
            self._timer_cancelled_count = 0
            return
        while timers and timers[0]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(timers)._scheduled = False

    def _write_to_self(self) -> None:
        return


class VirtualClock:
    """A Clock on a VirtualLoop, with a wall clock that can be set."""

    def __init__(self, loop: VirtualLoop, at: datetime = START) -> None:
        self._loop = loop
        self._wall = at
        self._boot = 1
        self._slept_ms = 0
        self._rate = 0.0
        self._rated_at = 0.0
        self.drifted = 0.0
        """By how many seconds the wall clock has run ahead of the time by itself."""
        self._now: Instant | None = None
        """What was last read, at `_read_at` by the loop; None: the clock was changed since."""
        self._read_at = 0.0

    def now(self) -> Instant:
        # asked for far more often than it changes
        time = self._loop.time()
        if self._now is None or time != self._read_at:
            milliseconds = round(time * 1000) + self._slept_ms
            drift_ms = round((time - self._rated_at) * self._rate * 1000) if self._rate else 0
            at = self._wall + timedelta(milliseconds=milliseconds + drift_ms)
            self._now = Instant(at, milliseconds, f"boot-{self._boot}")
            self._read_at = time
        return self._now

    def set_wall_by(self, seconds: float) -> None:
        """Somebody sets the wall clock forward or back; no time passes."""
        self._wall += timedelta(milliseconds=round(seconds * 1000))
        self._now = None

    def slew(self, rate: float) -> None:
        """From now on the wall clock runs faster than the boot clock by this part, or slower."""
        drift = (self._loop.time() - self._rated_at) * self._rate
        self.drifted += drift
        self._wall += timedelta(milliseconds=round(drift * 1000))
        self._rate, self._rated_at, self._now = rate, self._loop.time(), None

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: wall and boot clock go on, and whoever sleeps on the loop does not."""
        self._slept_ms += round(seconds * 1000)
        self._now = None

    def reboot(self) -> None:
        """The machine starts anew. Its boot clock goes on as if it had never stopped, which nobody may rely on."""
        self._boot += 1
        self._now = None

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
