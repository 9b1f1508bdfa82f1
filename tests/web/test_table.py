"""Default deny: what declares no right keeps the server from starting."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.core.people import Right
from sopwith.doors.web import limits
from sopwith.doors.web.app import Application, Unguarded
from sopwith.doors.web.entrance import Entrance, hosts_of
from sopwith.doors.web.routes import ROUTES
from sopwith.doors.web.table import Answer, Asked, Proof, Route
from sopwith.engine.access import MINUTE_MS, MOST_SOURCES, OTHERS, Guests, Refusals


def fine(_desk: Any, _asked: Asked) -> Answer:
    return Answer()


GOOD = Route(method="GET", path="/api/v1/new", right=Right.LOOK, about="New.", handler=fine)


def made(*routes: Route) -> Application:
    parts: dict[str, Any] = dict.fromkeys(("office", "tokens", "clock", "library"))
    return Application(routes, entrance=Entrance(()), on_trouble=lambda _error: None, **parts)


def test_the_table_itself_is_fine() -> None:
    assert made(*ROUTES, GOOD).routes[-1] is GOOD


@pytest.mark.parametrize("right", [None, "", "look", True, "public"])
def test_a_route_without_a_declared_right_does_not_start_the_server(right: Any) -> None:
    with pytest.raises(Unguarded, match="GET /api/v1/new declares no right"):
        made(*ROUTES, msgspec.structs.replace(GOOD, right=right))


def test_only_the_health_may_be_open() -> None:
    for method, path in (("GET", "/healthz/more"), ("POST", "/healthz"), ("GET", "/api/v1/healthz")):
        with pytest.raises(Unguarded, match="open to everybody"):
            made(msgspec.structs.replace(GOOD, method=method, path=path, right=Proof.NOTHING))
    made(msgspec.structs.replace(GOOD, path="/healthz", right=Proof.NOTHING))
    made(msgspec.structs.replace(GOOD, method="POST", path="/hooks/{path:path}", right=Proof.SIGNATURE, raw=True))


def test_a_method_of_a_path_stands_once() -> None:
    with pytest.raises(Unguarded, match="twice"):
        made(GOOD, GOOD)


def test_a_route_has_one_handler() -> None:
    with pytest.raises(Unguarded):
        made(msgspec.structs.replace(GOOD, handler=None))


def test_who_listens_everywhere_is_called_by_its_names_alone() -> None:
    assert hosts_of("0.0.0.0", ("sop.example",)) == ("127.0.0.1", "localhost", "::1", "sop.example")
    assert "10.0.0.7" in hosts_of("10.0.0.7", ())


@given(st.lists(st.integers(0, 5_000), max_size=200))
def test_a_bucket_never_gives_more_than_its_rate_and_burst(pauses_ms: list[int]) -> None:
    buckets = limits.Buckets(per_second=10, burst=20)
    now, given_out = 0, 0
    for pause in pauses_ms:
        now += pause
        wait = buckets.take("ann", now)
        if wait:
            assert buckets.take("ann", now) > 0
            later = limits.Buckets(per_second=10, burst=20)
            later._left = dict(buckets._left)
            assert later.take("ann", now + int(wait * 1000) + 1) == 0, "the time that was told is enough"
        given_out += wait == 0
    assert given_out <= 20 + now * 10 / 1000


def test_callers_do_not_share_a_bucket_and_a_full_house_forgets_the_oldest() -> None:
    buckets = limits.Buckets(per_second=0.001, burst=1)
    assert [buckets.take("ann", 0), buckets.take("bob", 0)] == [0, 0]
    assert buckets.take("ann", 0) > 0
    for number in range(20_000):
        buckets.take(str(number), 0)
    assert len(buckets._left) <= 10_000


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 200)), max_size=400))
def test_a_flood_of_refusals_is_counted_and_bounded(calls: list[tuple[int, int]]) -> None:
    refusals, now, written = Refusals(), 0, []
    for pause, source in calls:
        now += pause
        written += [(now, entry) for entry in refusals.note(f"10.0.0.{source}", {"code": "x"}, now)]
    written += [(now, entry) for entry in refusals.rest()]
    assert sum(entry["count"] for _at, entry in written) == len(calls)
    for at, _entry in written:
        within = [each for when, each in written if at <= when < at + MINUTE_MS]
        assert len(within) <= 4 * (MOST_SOURCES + 1)
    assert refusals.rest() == []


def test_sources_beyond_the_bound_share_an_entry() -> None:
    refusals = Refusals()
    for source in range(1_000):
        refusals.note(str(source), {}, 0)
    told = refusals.over(MINUTE_MS)
    assert [(entry["source"], entry["count"]) for entry in told] == [(OTHERS, 1_000 - MOST_SOURCES - 1)]


def test_a_sign_in_is_the_first_use_in_an_hour_from_an_address() -> None:
    guests, hour = Guests(), 3_600_000
    assert [guests.is_new("t", "a", at) for at in (0, 1, hour - 1, hour, hour + 1)] == [True, False, False, True, False]
    assert guests.is_new("t", "b", 1)
    assert guests.is_new("u", "a", 1)
    for number in range(5_000):
        guests.is_new(str(number), "a", 2)
    assert len(guests._seen) <= 2_000
