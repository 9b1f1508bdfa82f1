"""Whoever waits for a file or a folder of the workspace asks again soon, then ever more rarely, and not for ever."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from sopwith.turns import Patience, take_turn

PATIENCE_SECS = 0.5


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The folder as another has it, and as it is waited for."""
    another, mine = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(another, fcntl.LOCK_EX)
    yield another, mine
    os.close(mine)
    os.close(another)


def test_one_asks_soon_at_first_and_ever_more_rarely(waiting: tuple[int, int]) -> None:
    slept: list[float] = []
    with pytest.raises(TimeoutError, match="another process keeps it"):
        take_turn(waiting[1], Patience(PATIENCE_SECS, sleep=slept.append))
    assert slept[0] < 0.001, "a turn mostly lasts less than a millisecond"
    assert all(one <= other for one, other in pairwise(slept))
    assert len(slept) < 200, "nobody asks a thousand times a second for long"
    assert PATIENCE_SECS <= sum(slept) < PATIENCE_SECS + 0.01, "none of the waits is long"


def test_a_turn_begins_when_the_one_before_ends(waiting: tuple[int, int]) -> None:
    another, mine = waiting
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            fcntl.flock(another, fcntl.LOCK_UN)

    take_turn(mine, Patience(PATIENCE_SECS, sleep=sleep))
    assert len(slept) == 3
    with pytest.raises(BlockingIOError):
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_each_wait_begins_anew_with_what_patience_is_left(waiting: tuple[int, int]) -> None:
    slept: list[float] = []
    patience = Patience(PATIENCE_SECS, sleep=slept.append)
    with pytest.raises(TimeoutError):
        take_turn(waiting[1], patience)
    asked = len(slept)
    with pytest.raises(TimeoutError):
        take_turn(waiting[1], patience)
    assert len(slept) == asked
