"""The routes of what happens outside: triggers, deliveries, messages."""

from __future__ import annotations

from sopwith.assembly import make_messenger, outside_of
from sopwith.core.people import Right
from sopwith.doors.web.cursors import cursor, read_number
from sopwith.doors.web.office import Desk
from sopwith.doors.web.schemas import OBJECT, number, record, text
from sopwith.doors.web.table import API, Answer, Asked, Route
from sopwith.engine.library import Library
from sopwith.engine.notifying import try_channels
from sopwith.engine.outside import ALL, Outside
from sopwith.errors import NotFound

_LIST = {"type": "array", "items": OBJECT}
_MOST_EVENT = 262_144


def _triggers(desk: Desk, asked: Asked) -> Answer:
    return Answer(_outside(desk, asked).triggers(asked.query.get("sopName")))


def _foresight(desk: Desk, asked: Asked) -> Answer:
    return Answer(_outside(desk, asked).foreseen(asked.path["name"], asked.body["event"].encode()))


def _deliveries(desk: Desk, asked: Asked) -> Answer:
    query = asked.query
    limit, before = query.get("limit", 20), read_number(query["cursor"]) if "cursor" in query else ALL
    found = _outside(desk, asked).deliveries(name=query.get("sopName"), before=before, limit=limit + 1)["deliveries"]
    page = found[:limit]
    following = cursor(str(page[-1]["number"])) if len(found) > limit else None
    return Answer({"deliveries": page, "nextCursor": following})


def _delivery(desk: Desk, asked: Asked) -> Answer:
    given = asked.path["number"]
    if not (given.isascii() and given.isdecimal()) or len(given) > 15:
        raise NotFound(f"there is no delivery {given[:20]}", hint="they are numbered")
    return Answer(_outside(desk, asked).delivery(int(given)))


def _notices(desk: Desk, asked: Asked) -> Answer:
    return Answer(_outside(desk, asked).notices(asked.query.get("limit", 30)))


def _try(desk: Desk, asked: Asked) -> Answer:
    parts = desk.engine.parts
    channel = asked.body.get("channel")
    return Answer({"channels": try_channels(parts, make_messenger(parts), channel, actor=asked.who)})


def _outside(desk: Desk, asked: Asked) -> Outside:
    return outside_of(desk.engine, Library(desk.workspace), desk.engine.parts.clock, asked.who)


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path=f"{API}/triggers",
        right=Right.LOOK,
        about="What may start procedures besides people.",
        handler=_triggers,
        query={"sopName": text(most=64)},
        answer=record(triggers=_LIST, problems=_LIST),
    ),
    Route(
        method="POST",
        path=f"{API}/procedures/{{name}}/foresight",
        right=Right.LOOK,
        about="What an event would start of a procedure, and why not. Starts nothing.",
        handler=_foresight,
        body={"event": text("The event as a JSON text", most=_MOST_EVENT)},
        required=("event",),
        answer=record(triggers=_LIST, wouldStart={"type": "boolean"}),
        long=True,
    ),
    Route(
        method="GET",
        path=f"{API}/deliveries",
        right=Right.LOOK,
        about="What happened outside and what came of it, the newest first.",
        handler=_deliveries,
        query={
            "sopName": text(most=64),
            "limit": number("How many at the most", least=1, most=200),
            "cursor": text("From the page before", most=200),
        },
        answer=record(deliveries=_LIST, nextCursor={"type": ["string", "null"]}),
    ),
    Route(
        method="GET",
        path=f"{API}/deliveries/{{number}}",
        right=Right.LOOK,
        about="One delivery with its event, which is untrusted.",
        handler=_delivery,
        answer=record(number={"type": "integer"}, event=OBJECT),
    ),
    Route(
        method="GET",
        path=f"{API}/notices",
        right=Right.LOOK,
        about="What was told to whom, the newest first: a token for everything.",
        handler=_notices,
        query={"limit": number("How many at the most", least=1, most=1000)},
        answer=record(notices=_LIST),
    ),
    Route(
        method="POST",
        path=f"{API}/notices/test",
        right=Right.MANAGE,
        about="Sends a test message over a channel, or over all.",
        handler=_try,
        body={"channel": text(most=64)},
        answer=record(channels=_LIST),
        long=True,
    ),
)
