"""A moment, read once at the edge: wall time, and the boot-time clock with the boot it belongs to.

Wall time dates events; durations use the boot clock while both ends lie in one boot, so that a clock that is set
forward or back in between changes no duration.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec


class Instant(msgspec.Struct, frozen=True):
    """`at` is aware, UTC, whole milliseconds; `boot_ms` counts milliseconds since the boot named by `boot_id`."""

    at: datetime
    boot_ms: int
    boot_id: str


def whole_ms(span: timedelta) -> int:
    """The span in milliseconds, the unit of all recorded times."""
    return round(span.total_seconds() * 1000)


def elapsed_ms(start: Instant, end: Instant) -> int:
    """Milliseconds from start to end, never negative."""
    if start.boot_id == end.boot_id:
        return max(0, end.boot_ms - start.boot_ms)
    return max(0, whole_ms(end.at - start.at))


class Held(msgspec.Struct, frozen=True):
    """How long a clock was stopped, in all: as the wall clock tells it, and as the boot clock does."""

    wall_ms: int = 0
    boot_ms: int = 0

    def and_from(self, start: Instant, end: Instant) -> Held:
        """With one stop more."""
        wall_ms = whole_ms(end.at - start.at)
        # where the boot clock began anew, or an older record has no reading of it, the wall clock has to do
        return Held(self.wall_ms + wall_ms, self.boot_ms + elapsed_ms(start, end))


UNHELD = Held()


def lived_ms(start: Instant, held: Held, end: Instant) -> int:
    """What of the time from start to end was not held, both measured by one clock."""
    return elapsed_ms(start, end) - (held.boot_ms if start.boot_id == end.boot_id else held.wall_ms)


def iso(at: datetime) -> str:
    """UTC ISO 8601 with milliseconds and Z, the only form in which a time leaves the program."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat("T", "milliseconds").removesuffix("+00:00") + "Z"


def duration_text(milliseconds: int) -> str:
    """`45s`, `0.3s`, `0.04s`, `2m 5s`, `1h 3m`: for people; `durationMs` carries the number."""
    seconds = milliseconds / 1000
    if seconds < 10:
        text = f"{seconds:.1f}" if seconds >= 0.1 else f"{seconds:.2f}"
        return text.rstrip("0").rstrip(".") + "s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    return f"{whole // 3600}h {whole % 3600 // 60}m"
