"""Streams: resumed without loss or doubling, bounded in number, and never for who may not see."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.doors.workshop import Workshop, eventually

from sopwith.core.actor import Actor, ActorKind
from sopwith.doors.web.office import Desk
from sopwith.doors.web.streams import LOOK_SECS, Inboxes
from sopwith.testing.clock import FakeClock

from .given import Event, Served
from .house import House

Serve = Callable[..., Served]
RUNS = "/api/v1/runs"


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_that_is_cut_off_again_and_again_reads_every_event_once(
    serve: Serve, workshop: Workshop, seed: int
) -> None:
    workshop.steps("many", *(f"S{n} | true" for n in range(12)))
    served = serve()
    runner = served.token("ann", "runner")
    chance = random.Random(seed)
    run = served.call("POST", RUNS, runner, body={"sopName": "many"}).json["runId"]
    seen: list[Event] = []
    while True:
        stream = served.stream(f"{RUNS}/{run}/events", runner, **({"Last_Event_ID": seen[-1].id} if seen else {}))
        if stream.status == 204:
            stream.close()
            break
        events = stream.take(chance.randint(1, 5))
        stream.close()
        seen += [event for event in events if event.event != "end"]
    record = workshop.json("audit", run)["events"]
    assert [int(event.id) for event in seen] == [event["seq"] for event in record]
    assert [event.data for event in seen] == record


def test_a_stream_tells_what_happens_as_it_happens(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    run = workshop.started("wait")
    served = serve()
    stream = served.stream(f"{RUNS}/{run}/events", served.token("ann", "viewer"))
    there = len(workshop.json("audit", run)["events"])
    assert len(stream.take(there)) == there
    workshop.json("pause", run, "--reason", "lunch")
    assert stream.take(1)[0].event == "run_paused"
    workshop.json("cancel", run)
    rest = [event.event for event in stream]
    assert rest[-2:] == ["run_cancelled", "end"]
    stream.close()


def test_the_inbox_is_told_when_it_is_another(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    served = serve()
    viewer = served.token("ann", "viewer")
    stream = served.stream("/api/v1/inbox/events", viewer)
    first = stream.take(1)[0]
    assert first.data["items"] == []
    run = workshop.started("wait")
    second = stream.take(1)[0]
    while not second.data["items"]:
        second = stream.take(1)[0]
    assert second.data["items"][0]["runId"] == run
    stream.close()
    again = served.stream("/api/v1/inbox/events", viewer, Last_Event_ID=second.id)
    workshop.json("cancel", run)
    assert again.take(1)[0].data["items"] == [], "what the reader had already is not told again"
    again.close()


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 16, "١"])
def test_an_id_that_no_event_had_is_refused(house: House, last: str) -> None:
    headers = {"Last-Event-ID": last.encode().decode("latin-1")}
    reply = house.call("GET", f"{RUNS}/{house.runs['deploy']}/events", house.tokens["viewer"], headers=headers)
    assert reply.code == "bad_request"


def test_only_so_many_streams_are_open(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    run = workshop.started("wait")
    served = serve(before="from sopwith.doors.web import limits as l; l.STREAMS_EACH, l.MOST_STREAMS = 2, 3")
    ann, bob = served.token("ann", "viewer"), served.token("bob", "viewer")
    path = f"{RUNS}/{run}/events"
    streams = [served.stream(path, token) for token in (ann, ann, bob)]
    assert [stream.status for stream in streams] == [200] * 3
    for stream in streams:
        stream.take(1)
    assert served.call("GET", path, ann).code == "too_many_requests"
    assert served.call("GET", path, bob).code == "busy"
    streams[0].close()
    workshop.json("pause", run)

    def opens() -> bool:
        stream = served.stream(path, ann)
        opened = stream.status == 200
        stream.close()
        return opened

    eventually(opens)
    for stream in streams[1:]:
        stream.close()


def test_many_streams_of_one_look_once_and_are_told_when_to_look_again() -> None:
    """However many runs wait: to look takes a tenth of the time at most."""
    clock = FakeClock()
    looked: list[str] = []

    class Shown:
        def inbox(self, _who: object, **which: object) -> dict[str, object]:
            looked.append(str(which["limit"]))
            clock.advance(0.2)
            return {"items": [len(looked)], "total": len(looked), "nextAfter": None}

    class At:
        def reader(self, _asked: object) -> Shown:
            return Shown()

    def by(token: str, **query: int) -> Any:
        who = Actor(token, ActorKind.HUMAN, "http")
        return SimpleNamespace(principal=SimpleNamespace(token=SimpleNamespace(id=token)), who=who, query=query)

    inboxes, desk = Inboxes(clock), cast(Desk, At())
    first, again = inboxes.look(desk, by("ann"))
    assert again == LOOK_SECS
    second, again = inboxes.look(desk, by("ann"))
    assert (second.digest, len(looked)) == (first.digest, 1)
    assert again == pytest.approx(2.0)
    other, _ = inboxes.look(desk, by("ben"))
    assert (other.inbox["total"], len(looked)) == (2, 2)
    clock.advance(2.0)
    third, _ = inboxes.look(desk, by("ann"))
    assert (third.digest != first.digest, len(looked)) == (True, 3)
    inboxes.look(desk, by("ann", limit=7))
    assert looked == ["20", "20", "20", "7"], "another page is another look"
