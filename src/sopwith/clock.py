"""The only file that reads the clock and throws dice."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from sopwith.core.instant import Instant


class SystemClock:
    """Wall time in whole milliseconds, and the boot clock, which also runs while the machine sleeps."""

    def now(self) -> Instant:
        at = datetime.now(UTC)
        return Instant(at - timedelta(microseconds=at.microsecond % 1000), _boot_ms(), boot_id())

    async def sleep(self, seconds: float) -> None:
        # readers of the clock need no event loop: `sop status` stays quick
        import asyncio

        await asyncio.sleep(seconds)


class RandomIds:
    """Run ids of 60 random bits, nonces of 128."""

    def run_id(self) -> str:
        import base64  # only whoever makes a run needs it

        return "sop_run_" + base64.b32encode(os.urandom(8)).decode().lower()[:12]

    def nonce(self) -> str:
        return os.urandom(16).hex()


@cache
def boot_id() -> str:
    """The kernel's id of this boot; where there is none, the moment of boot to the second."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot-{int(time.time() - time.monotonic())}"


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _boot_ms() -> int:
    return time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000
