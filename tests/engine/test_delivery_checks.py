"""What deliveries brought is there and is what was accepted; where it is not, nothing is made of it, and it is told."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.engine.delivery_checks import examine_deliveries

from .bench import Bench
from .triggers import HOOK, SECRET, Desk

OTHER = b'{"type":"webhook","id":"1","at":"2026-01-01T00:00:00.000Z","body":{"ref":"evil"}}'


@pytest.fixture
def desk(bench: Bench) -> Desk:
    bench.environ["HOOK"] = SECRET
    bench.procedure("deploy", {}, triggers=[HOOK])
    return Desk(bench).begin()


def arrived(desk: Desk, *, carried_out: bool = True) -> None:
    if not carried_out:
        desk.triggering._clerk.carry_on = lambda: False  # type: ignore[method-assign]
    desk.github("/deploy", {"ref": "main"})


def forge(desk: Desk, **changes: Any) -> None:
    """As somebody would who can write to the database."""
    shelf = desk.engine.parts.store._shelf  # type: ignore[attr-defined]
    shelf.deliveries[1] = replace(shelf.deliveries[1], **changes)


def troubles(desk: Desk) -> list[str]:
    return [sentence for sentence, _hint in examine_deliveries(desk.deliveries, desk.engine.runs)]


@pytest.mark.parametrize("carried_out", [True, False])
def test_what_is_as_it_was_is_told_of_by_nobody(desk: Desk, carried_out: bool) -> None:
    arrived(desk, carried_out=carried_out)
    assert len(desk.deliveries.newest(99, 9)) == 1
    assert troubles(desk) == []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"event": b""}, "is lost"),
        ({"event": OTHER}, "is not what was accepted"),
        ({"event": b"[]", "digest": b""}, "cannot be read: it is no JSON object"),
    ],
)
@pytest.mark.parametrize("carried_out", [True, False])
def test_what_is_lost_or_changed_is_told(desk: Desk, changes: dict[str, Any], wrong: str, carried_out: bool) -> None:
    arrived(desk, carried_out=carried_out)
    forge(desk, **changes)
    (told,) = troubles(desk)
    assert told.startswith("what delivery 1 (deploy, webhook:/deploy, ")
    assert told.endswith(f"brought {wrong}")


def test_what_was_changed_together_with_its_digest_is_not_what_the_run_was_started_by(desk: Desk) -> None:
    arrived(desk)
    forge(desk, event=OTHER, digest=b"")
    (run,) = desk.runs()
    assert troubles(desk) == [f"{troubles(desk)[0].partition(' is not')[0]} is not what {run.run_id} was started by"]


def test_of_a_delivery_that_is_not_what_was_accepted_no_run_is_made(desk: Desk, bench: Bench) -> None:
    arrived(desk, carried_out=False)
    forge(desk, event=OTHER)
    Desk(bench).begin().look()
    assert desk.outcomes == [("webhook:/deploy", "refused")]
    assert desk.reasons == ["what it brought is not what was accepted"]
    assert desk.runs() == []


def test_one_of_an_older_version_is_carried_out(desk: Desk, bench: Bench) -> None:
    """It has no digest."""
    arrived(desk, carried_out=False)
    forge(desk, digest=b"")
    assert troubles(desk) == []
    Desk(bench).begin().look()
    assert desk.outcomes == [("webhook:/deploy", "started")]
