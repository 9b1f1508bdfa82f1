"""The times of a schedule: five fields of cron, or `@daily` and the like, in a time zone.

Debian's cron: in the hour that a zone skips, a job at a fixed time comes once, right after the gap; in the hour that
comes twice, once, the first time; `*` and `*/n` jobs follow real time in both. Pure: the present is an argument. The
time zone data, which changes with the world, is the one of this installation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from typing import Any

import msgspec

from sopwith.core.procedure import Misfire

WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MOST_MISSED = 100
"""So many times that came while nobody served are made up for at most, the latest ones."""
_ON_TIME = timedelta(seconds=60)
"""A time that is found no later than this is not one that was missed."""


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """A time of the schedule that is to be acted on. `missed`: how many before it were not."""

    at: datetime
    missed: int = 0


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be acted on, and how far the schedule has been looked at."""

    firings: tuple[Firing, ...]
    cursor: datetime


def fields_of(expression: str) -> str:
    """The five fields. Raises ValueError, whose text says what an expression looks like."""
    stated = expression.strip()
    fields = WORDS.get(stated.lower(), stated)
    if stated.startswith("@") and fields is stated:
        raise ValueError(f"one of {', '.join(WORDS)}")
    if len(fields.split()) != 5:
        raise ValueError("five fields: minute, hour, day, month, weekday")
    return fields


def zone_of(timezone: str) -> tzinfo:
    """The time zone of this name. Raises ValueError where this installation knows none."""
    if timezone.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(timezone)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"there is no time zone {timezone}") from None


def check_expression(expression: str) -> None:
    """Raises ValueError, with what was expected, unless this is a schedule whose times come."""
    fields = fields_of(expression)
    if next(_simulated(fields, datetime(2026, 1, 1, tzinfo=UTC)), None) is None:
        raise ValueError("a time that comes")


def explain(expression: str) -> str:
    """The schedule in words."""
    return str(_cronsim().CronSim(fields_of(expression), datetime(2026, 1, 1, tzinfo=UTC)).explain())


def times_after(expression: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The times of the schedule after this one, in UTC, each once, in order."""
    last = after.astimezone(UTC)
    for time in _simulated(fields_of(expression), after.astimezone(zone_of(timezone))):
        found = time.astimezone(UTC)
        # between the two passes of an hour that comes twice local times seem to come again
        if found > last:
            last = found
            yield found


def fire(expression: str, timezone: str, misfire: Misfire, *, cursor: datetime, now: datetime) -> Fired:
    """What is to be acted on of the times after `cursor` and up to `now`.

    The latest is on time if it came within the last minute. What came before it was missed, and `misfire` says what
    becomes of it. A clock that was set back moves no cursor back: what was looked at never comes again.
    """
    if now <= cursor:
        return Fired(firings=(), cursor=cursor)
    due = _up_to(expression, timezone, cursor, now)
    on_time = due[-1:] if due and now - due[-1] <= _ON_TIME else []
    missed = due[: len(due) - len(on_time)]
    match misfire:
        case Misfire.SKIP:
            firings = [Firing(at=each, missed=len(missed)) for each in on_time]
        case Misfire.ONCE:
            firings = [Firing(at=each, missed=len(due) - 1) for each in due[-1:]]
        case Misfire.ALL:
            firings = [Firing(at=each) for each in due[-MOST_MISSED:]]
    return Fired(firings=tuple(firings), cursor=now)


_LOOKING_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))
"""After a long time only as much of it is gone through as may hold what can be made up for."""


def _up_to(expression: str, timezone: str, cursor: datetime, now: datetime) -> list[datetime]:
    """The times after `cursor` and not after `now`; where there are very many, more than are ever made up for."""
    for span in _LOOKING_BACK:
        if now - span <= cursor:
            break
        found = _between(expression, timezone, now - span, now)
        if len(found) > MOST_MISSED:
            return found
    return _between(expression, timezone, cursor, now)


def _between(expression: str, timezone: str, after: datetime, until: datetime) -> list[datetime]:
    return list(takewhile(lambda time: time <= until, times_after(expression, timezone, after)))


def _simulated(fields: str, start: datetime) -> Iterator[datetime]:
    cronsim = _cronsim()
    try:
        yield from cronsim.CronSim(fields, start)
    except cronsim.CronSimError as error:
        raise ValueError(f"a schedule that can be read ({str(error)[:1].lower()}{str(error)[1:]})") from None
    except OverflowError:
        return  # past the year 9999


def _cronsim() -> Any:
    # only procedures that have a schedule pay for the import
    import cronsim

    return cronsim
