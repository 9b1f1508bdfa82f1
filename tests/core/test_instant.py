"""Instants and durations: one written form, and a clock that is set changes no duration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sopwith.core.instant import Instant, duration_text, elapsed_ms, iso

from .given import NOON, Story, shell


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (3, "0s"),
        (49, "0.05s"),
        (40, "0.04s"),
        (300, "0.3s"),
        (1000, "1s"),
        (1500, "1.5s"),
        (9_949, "9.9s"),
        (9_999, "10s"),
        (10_000, "10s"),
        (45_000, "45s"),
        (59_600, "1m 0s"),
        (125_000, "2m 5s"),
        (3_599_600, "1h 0m"),
        (3_780_000, "1h 3m"),
        (360_000_000, "100h 0m"),
    ],
)
def test_a_duration_reads_as_people_write_it(milliseconds: int, text: str) -> None:
    assert duration_text(milliseconds) == text


def test_a_time_leaves_as_utc_with_milliseconds_and_z() -> None:
    assert iso(datetime(2026, 3, 2, 12, 0, 5, 7_999, tzinfo=UTC)) == "2026-03-02T12:00:05.007Z"
    assert iso(datetime(2026, 3, 2, 1, 0, tzinfo=timezone(timedelta(hours=2)))) == "2026-03-01T23:00:00.000Z"


@pytest.mark.parametrize("jump", [timedelta(hours=-5), timedelta(0), timedelta(days=400)])
def test_a_wall_clock_jump_within_one_boot_changes_no_duration(jump: timedelta) -> None:
    assert elapsed_ms(Instant(NOON, 5_000, "boot"), Instant(NOON + jump, 7_500, "boot")) == 2_500


def test_across_boots_a_duration_is_wall_time_and_never_negative() -> None:
    later = NOON + timedelta(seconds=3)
    assert elapsed_ms(Instant(NOON, 5_000, "boot-1"), Instant(later, 100, "boot-2")) == 3_000
    assert elapsed_ms(Instant(later, 5_000, "boot-1"), Instant(NOON, 100, "boot-2")) == 0


def test_a_steps_duration_survives_a_clock_that_is_set_back_and_its_times_never_run_backwards() -> None:
    story = Story(shell()).drive()
    story.now = Instant(story.now.at - timedelta(hours=1), story.now.boot_ms, story.now.boot_id)
    story.tick(4)
    story.finish(1)
    assert story.latest("step_completed").body.duration == "5s"
    times = [event.at for event in story.events]
    assert times == sorted(times)


def test_a_step_lasts_until_it_ended_not_until_somebody_looked() -> None:
    story = Story(shell()).drive()
    started = story.step(1).started
    assert started is not None
    story.tick(3600)
    story.finish(1, ended_boot_ms=started.boot_ms + 3000)
    assert story.step(1).duration_ms == 3000
