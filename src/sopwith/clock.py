"""The only file that reads the clock and throws dice."""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from sopwith.core.instant import Instant

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


class SystemClock:
    """Wall time in whole milliseconds, and the boot clock, which also runs while the machine sleeps."""

    def now(self) -> Instant:
        at = datetime.now(UTC)
        return Instant(at.replace(microsecond=at.microsecond // 1000 * 1000), _boot_ms(), boot_id())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class RandomIds:
    """Run ids of 60 random bits."""

    def run_id(self) -> str:
        return "sop_run_" + "".join(secrets.choice(_BASE32) for _ in range(12))


@cache
def boot_id() -> str:
    """The kernel's id of this boot; where there is none, the moment of boot to the second."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot-{int(time.time() - time.monotonic())}"


def _boot_ms() -> int:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000
