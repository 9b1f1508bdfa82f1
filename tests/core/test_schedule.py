"""Schedules against the written policy: all zones of this installation at each of their changes of 2026 to 2028."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest

from sopwith.core.procedure import Misfire
from sopwith.core.schedule import MOST_MISSED, WORDS, Firing, check_expression, explain, fire, times_after

FROM, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def between(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    return list(takewhile(lambda time: time <= until, times_after(expression, zone, after)))


def changes(zone: ZoneInfo) -> list[datetime]:
    """When the zone's offset changes, to the minute."""
    found = []
    start = FROM
    while start < UNTIL:
        end = start + timedelta(days=7)
        if start.astimezone(zone).utcoffset() != end.astimezone(zone).utcoffset():
            low, high = start, end
            while high - low > MINUTE:
                middle = low + timedelta(minutes=(high - low) // MINUTE // 2)
                same = middle.astimezone(zone).utcoffset() == start.astimezone(zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        start = end
    return found


def zones_by_behaviour() -> dict[tuple[object, ...], list[str]]:
    """Zones that do the same in these years are one case."""
    found: dict[tuple[object, ...], list[str]] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        moments = changes(zone)
        offsets = tuple((moment, moment.astimezone(zone).utcoffset()) for moment in moments)
        found.setdefault((FROM.astimezone(zone).utcoffset(), offsets), []).append(name)
    return found


ZONES = {
    names[0]: (names, tuple(when for when, _ in behaviour[1])) for behaviour, names in zones_by_behaviour().items()
}  # type: ignore[union-attr, attr-defined]


def test_all_zones_are_looked_at() -> None:
    assert sum(len(names) for names, _ in ZONES.values()) == len(available_timezones()) > 400
    assert sum(len(moments) for _, moments in ZONES.values()) > 150


@pytest.mark.parametrize("name", [name for name, (_, moments) in ZONES.items() if moments])
def test_a_fixed_time_comes_once_each_day_and_right_after_a_gap(name: str) -> None:
    """For each change: a time in the middle of what is skipped or comes twice, the day of the change and around it."""
    zone = ZoneInfo(name)
    for change in ZONES[name][1]:
        before = (change - MINUTE).astimezone(zone)
        after = change.astimezone(zone)
        jump = after.utcoffset() - before.utcoffset()  # type: ignore[operator]
        # local wall time of the change by the old offset, and half a jump further, or back
        wall = (change + before.utcoffset()).replace(tzinfo=None)  # type: ignore[operator]
        middle = wall + jump / 2
        expression = f"{middle.minute} {middle.hour} * * *"
        found = between(expression, name, change - timedelta(hours=36), change + timedelta(hours=36))
        apart = [later - earlier for earlier, later in pairwise(found)]
        assert len(found) == 3, (name, change, found)
        assert all(abs(each - 24 * HOUR) <= abs(jump) for each in apart), (name, change, found)
        [near] = [time for time in found if abs(time - change) <= abs(jump)]
        if jump > timedelta(0):
            assert near == change, (name, "right after the gap")
        else:
            assert near < change, (name, "the first time of two")
            assert near.astimezone(zone).replace(tzinfo=None) == middle


@pytest.mark.parametrize("name", [name for name, (_, moments) in ZONES.items() if moments])
def test_a_star_follows_real_time_through_every_change(name: str) -> None:
    for change in ZONES[name][1]:
        start, end = change - 4 * HOUR, change + 4 * HOUR
        found = between("*/10 * * * *", name, start, end)
        zone = ZoneInfo(name)
        asked = (start + MINUTE * minute for minute in range(1, 8 * 60 + 1))
        assert found == [time for time in asked if time.astimezone(zone).minute % 10 == 0], (name, change)


def test_the_changes_of_paris_as_the_page_tells_them() -> None:
    paris = "Europe/Paris"
    assert between("30 2 * * *", paris, at("2027-03-27T12:00+01:00"), at("2027-03-29T12:00+02:00")) == [
        at("2027-03-28T03:00+02:00"),
        at("2027-03-29T02:30+02:00"),
    ]
    assert between("30 2 * * *", paris, at("2026-10-24T12:00+02:00"), at("2026-10-26T12:00+01:00")) == [
        at("2026-10-25T02:30+02:00"),
        at("2026-10-26T02:30+01:00"),
    ]


def test_two_jobs_of_one_skipped_hour_come_once() -> None:
    found = between("15,45 2 * * *", "Europe/Paris", at("2027-03-28T00:00+01:00"), at("2027-03-28T12:00+02:00"))
    assert found == [at("2027-03-28T03:00+02:00")]


def test_whoever_looks_between_the_two_passes_of_an_hour_gets_no_time_that_has_been() -> None:
    """02:30 comes twice; at 02:15 the second time it has been, and the next is tomorrow's."""
    second = at("2026-10-25T02:15+01:00")
    assert next(times_after("30 2 * * *", "Europe/Paris", second)) == at("2026-10-26T02:30+01:00")


def test_what_is_no_schedule_is_refused_with_what_was_expected() -> None:
    odd = ("", "* * * *", "* * * * * *", "60 * * * *", "@dayly", "0 0 30 2 *", "*/0 * * * *", "x")
    for expression in odd:
        with pytest.raises(ValueError, match=r"five fields|one of @|schedule|time that comes"):
            check_expression(expression)
    for word in WORDS:
        check_expression(word)
    check_expression("0 9 * * MON#2")
    assert explain("30 2 * * *") == "At 02:30 every day"


NIGHTLY = ("0 2 * * *", "UTC")
DUE = at("2026-12-04T02:00+00:00")


@pytest.mark.parametrize(
    ("misfire", "firings"),
    [
        (Misfire.SKIP, ()),
        (Misfire.ONCE, (Firing(at=DUE, missed=2),)),
        (Misfire.ALL, tuple(Firing(at=DUE - timedelta(days=days)) for days in (2, 1, 0))),
    ],
)
def test_what_was_due_while_nobody_served(misfire: Misfire, firings: tuple[Firing, ...]) -> None:
    cursor, now = at("2026-12-01T12:00+00:00"), at("2026-12-04T12:00+00:00")
    fired = fire(*NIGHTLY, misfire, cursor=cursor, now=now)
    assert fired.firings == firings
    assert fired.cursor == now


@pytest.mark.parametrize("misfire", Misfire)
def test_on_time_each_comes_once(misfire: Misfire) -> None:
    fired = fire(*NIGHTLY, misfire, cursor=DUE - HOUR, now=DUE + timedelta(seconds=2))
    assert fired.firings == (Firing(at=DUE),)
    assert fire(*NIGHTLY, misfire, cursor=fired.cursor, now=DUE + HOUR).firings == ()


def test_a_schedule_that_came_while_others_were_missed_tells_how_many() -> None:
    fired = fire(*NIGHTLY, Misfire.SKIP, cursor=DUE - timedelta(days=3), now=DUE + timedelta(seconds=2))
    assert fired.firings == (Firing(at=DUE, missed=2),)


def test_a_clock_that_was_set_back_fires_nothing_again() -> None:
    fired = fire(*NIGHTLY, Misfire.ALL, cursor=DUE - HOUR, now=DUE)
    back = fire(*NIGHTLY, Misfire.ALL, cursor=fired.cursor, now=DUE - HOUR)
    assert (back.firings, back.cursor) == ((), DUE)
    assert fire(*NIGHTLY, Misfire.ALL, cursor=back.cursor, now=DUE + HOUR).firings == ()


def test_a_long_time_without_a_server_is_made_up_for_in_part() -> None:
    years = at("2023-12-04T12:00+00:00")
    fired = fire("* * * * *", "UTC", Misfire.ALL, cursor=years, now=DUE)
    assert len(fired.firings) == MOST_MISSED
    assert fired.firings[-1].at == DUE
    once = fire("0 0 1 1 *", "UTC", Misfire.ONCE, cursor=years, now=DUE)
    assert once.firings == (Firing(at=at("2026-01-01T00:00+00:00"), missed=2),)
