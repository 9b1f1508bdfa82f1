"""The inbox of many: the first of them, how many more there are, and how to see those."""

from __future__ import annotations

import pytest

from .workshop import Workshop


@pytest.fixture
def gated(workshop: Workshop) -> list[str]:
    workshop.steps("gated", "?Act | true")
    return [workshop.started("gated") for _ in range(3)]


def test_the_first_are_shown_and_the_rest_is_told(workshop: Workshop, gated: list[str]) -> None:
    told = workshop.sop("inbox", "--limit", "2").out
    assert gated[1] in told
    assert gated[2] not in told
    assert told.rstrip().endswith(f"1 more: sop inbox --after {gated[1]}, or --limit 3")


def test_what_is_told_to_be_done_shows_the_rest(workshop: Workshop, gated: list[str]) -> None:
    first = workshop.json("inbox", "--limit", "2")
    assert ([item["runId"] for item in first["items"]], first["total"]) == (gated[:2], 3)
    rest = workshop.json("inbox", "--after", first["nextAfter"])
    assert ([item["runId"] for item in rest["items"]], rest["total"], rest["nextAfter"]) == (gated[2:], 3, None)
    assert "more" not in workshop.sop("inbox", "--limit", "3").out
    assert "more" not in workshop.sop("inbox", "--after", gated[1]).out
    assert workshop.sop("inbox", "--after", gated[2]).out == f"nothing waits for a person after {gated[2]}\n"


def test_how_many_are_mine_is_not_told_before_all_were_looked_at(workshop: Workshop, gated: list[str]) -> None:
    told = workshop.sop("inbox", "--mine", "--limit", "1").out
    assert f"perhaps more: sop inbox --mine --after {gated[0]}" in told
    assert workshop.json("inbox", "--mine", "--limit", "1")["total"] is None
    assert workshop.json("inbox", "--mine")["total"] == 3


def test_a_place_that_is_not_there_is_refused(workshop: Workshop, gated: list[str]) -> None:
    assert workshop.sop("inbox", "--after", "sop_run_nobody").code == 6
    told = workshop.sop("inbox", "--after", "\x1b[31mrm -rf")
    assert told.code == 2
    assert "\x1b" not in told.err


def test_without_a_database_nothing_waits(workshop: Workshop) -> None:
    assert workshop.json("inbox", "--limit", "1") == {"success": True, "items": [], "total": 0, "nextAfter": None}
