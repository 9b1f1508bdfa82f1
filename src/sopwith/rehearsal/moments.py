"""Time in a rehearsal: it stands still until everything is done that is due, then jumps to the next moment.

The driver looks up every fifth of a second whether somebody changed its run. Here it is told, so that an hour of
waiting costs no more than a second.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from sopwith.core.instant import Instant
from sopwith.testing.clock import START
from sopwith.testing.virtual_time import VirtualClock, VirtualLoop

MAX_LOOKS = 200_000
"""So often may the clock be read in one rehearsal. A procedure of a thousand steps takes some 10,000."""


class Endless(Exception):
    """The rehearsal does not come to an end."""


class QuietLoop(VirtualLoop):
    """A loop that can tell when nothing is left to do at this moment."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet: asyncio.Future[None] | None = None

    async def quiet(self) -> None:
        """Returns when every task sleeps, and before any time passes."""
        self._quiet = self.create_future()
        await self._quiet

    def jump(self) -> None:
        """On to the first timer; but first to whoever waits for quiet."""
        if self._quiet is None:
            super().jump()
            return
        told, self._quiet = self._quiet, None
        if not told.done():
            told.set_result(None)


class StageClock(VirtualClock):
    """The clock of engine and driver. Who sleeps on it is woken by `wake`, whatever the time."""

    def __init__(self, loop: QuietLoop, at: datetime | None) -> None:
        super().__init__(loop, at or START)
        self._sleepers: list[asyncio.Future[None]] = []
        self._looks = 0

    def now(self) -> Instant:
        self._looks += 1
        if self._looks > MAX_LOOKS:
            raise Endless
        return super().now()

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append(woken)
        await woken

    def wake(self) -> None:
        """Everybody looks up."""
        sleepers, self._sleepers = self._sleepers, []
        for woken in sleepers:
            if not woken.done():
                woken.set_result(None)
