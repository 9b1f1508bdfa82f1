"""A clock that stands still until a test moves it, and ids that count."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec

from sopwith.core.instant import Instant

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


class FakeClock:
    """A Clock. `sleep` returns when `advance` has moved the time that far."""

    def __init__(self, at: datetime = START) -> None:
        self._now = Instant(at, 0, "boot-1")
        self._boots = count(2)
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> Instant:
        return self._now

    @property
    def sleepers(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not woken.done() for _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Time passes: wall and boot clock move, and whoever slept long enough wakes up."""
        milliseconds = round(seconds * 1000)
        self._now = Instant(
            self._now.at + timedelta(milliseconds=milliseconds), self._now.boot_ms + milliseconds, self._now.boot_id
        )
        for wakes_at, woken in self._sleepers:
            if wakes_at <= self._now.boot_ms:
                woken.get_loop().call_soon_threadsafe(_wake, woken)
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now.boot_ms]

    def set_wall(self, at: datetime) -> None:
        """Somebody sets the wall clock; no time passes."""
        self._now = msgspec.structs.replace(self._now, at=at)

    def reboot(self) -> None:
        """The machine starts anew: another boot id, and its boot clock at 0."""
        self._now = Instant(self._now.at, 0, f"boot-{next(self._boots)}")

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now.boot_ms + round(seconds * 1000), woken))
        await woken


class HastyClock(FakeClock):
    """A FakeClock for tests with one sleeper: `sleep` advances the time itself."""

    async def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)


class SequentialIds:
    """Ids in the right form, the same ones in every test."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._nonces = 0

    def run_id(self) -> str:
        number = next(self._numbers)
        return "sop_run_" + "".join(_BASE32[number >> shift & 31] for shift in range(55, -1, -5))

    def nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:032x}"


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
