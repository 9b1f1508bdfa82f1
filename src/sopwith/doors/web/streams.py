"""Server-sent events: the record of a run as it grows, and the inbox as it changes.

A stream asks again at each batch whether its token still holds and what its principal may see, takes up from the id
that the client had last, and ends when the server stops, so that nothing keeps the process.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from sopwith.doors.web import limits
from sopwith.doors.web.inbox import inbox_page
from sopwith.doors.web.problems import Busy, Unauthenticated
from sopwith.errors import BadRequest, SopwithError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from sopwith.doors.web.app import Application
    from sopwith.doors.web.office import Desk
    from sopwith.doors.web.table import Asked
    from sopwith.engine.documents import Document
    from sopwith.ports import Clock

LOOK_SECS = 15.0
"""How often a stream looks and says that it lives, where nothing is told to have happened."""
BATCH = 200
PAUSE_SECS = 0.05
INBOX_PAUSE_SECS = 0.5
"""So long after a batch what comes in is gathered for the next one."""


class Frame(msgspec.Struct, frozen=True):
    """One event of a stream."""

    id: str
    event: str
    data: Document

    def encoded(self) -> bytes:
        # JSON has no line feed of its own, so nothing that others wrote can end the frame
        data = msgspec.json.encode(self.data)
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (self.id.encode(), self.event.encode(), data)


class Batch(msgspec.Struct, frozen=True):
    """What is new, and whether there is more at once, or no more for good."""

    frames: tuple[Frame, ...]
    last: str
    more: bool = False
    over: bool = False
    again_secs: float = LOOK_SECS
    """What was told may be out of date by then."""


MOST_ID = 64
"""Characters of an event's id."""
_SHARE = 10
_MOST_KNOWN = 1000


Look = Callable[["Desk", str], Batch]
"""What is new after this id."""


class EventStream(Response):
    """A response of our own, which ends with the server."""

    def __init__(
        self, app: Application, asked: Asked, look: Look, *, first: Batch, seen: int, pause_secs: float
    ) -> None:
        super().__init__(media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._app = app
        self._asked = asked
        self._look = look
        self._first = first
        self._seen = seen
        self._pause_secs = pause_secs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with _counted(self._app, self._asked):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            gone = _Gone(receive)
            try:
                async for part in self._parts(gone):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                gone.forget()

    async def _parts(self, gone: _Gone) -> AsyncIterator[bytes]:
        app, batch, seen = self._app, self._first, self._seen
        yield b"retry: 1000\n\n"
        while True:
            if batch.frames:
                yield b"".join(frame.encoded() for frame in batch.frames)
            if batch.over:
                yield b"event: end\ndata: {}\n\n"
                return
            if not batch.more:
                await app.clock.sleep(self._pause_secs)
                await app.stirred(seen, 0.0 if gone.is_gone else batch.again_secs)
                if not batch.frames:
                    yield b": \n\n"
            if app.stopping.is_set() or gone.is_gone:
                return
            # before the look: what is told during it is looked at again
            last, seen = batch.last, app.stirs
            try:
                if not app.still_holds(self._asked):
                    raise Unauthenticated
                batch = await app.office.read(partial(_looked, self._look, last))
            except SopwithError as error:
                # the principal may see it no more, or it is gone
                yield b"event: end\ndata: %s\n\n" % msgspec.json.encode({"code": error.code})
                return


def _looked(look: Look, last: str, desk: Desk) -> Batch:
    return look(desk, last)


class _Gone:
    """Whether the client has left, which only reading tells."""

    def __init__(self, receive: Receive) -> None:
        self.is_gone = False
        self._task = asyncio.ensure_future(self._wait(receive))

    async def _wait(self, receive: Receive) -> None:
        while True:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                return

    def forget(self) -> None:
        self._task.cancel()


async def run_events(app: Application, asked: Asked) -> Response:
    """The events of a run after Last-Event-ID, or `after`, or all. An ended run of which all was told is 204."""
    run_id = asked.path["runId"]
    after = _resumed_at(asked)

    def look(desk: Desk, last: str) -> Batch:
        whole = desk.reader(asked).events_after(run_id, int(last), BATCH)
        frames = tuple(Frame(str(event["seq"]), str(event["type"]), event) for event in whole.events)
        return Batch(frames, frames[-1].id if frames else last, more=whole.more, over=whole.over and not whole.more)

    seen = app.stirs
    first = await app.office.read(lambda desk: look(desk, str(after)))
    if first.over and not first.frames:
        return Response(status_code=204)
    return _opened(app, EventStream(app, asked, look, first=first, seen=seen, pause_secs=PAUSE_SECS), asked)


async def inbox_events(app: Application, asked: Asked) -> Response:
    """The first page of the inbox at first, and whenever it or the number of all is another; the id is its digest."""

    def look(desk: Desk, last: str) -> Batch:
        known, again_secs = app.inboxes.look(desk, asked)
        news = () if known.digest == last else (Frame(known.digest, "inbox", known.inbox),)
        return Batch(news, known.digest, again_secs=again_secs)

    last = asked.headers.get("last-event-id", "")
    if len(last) > MOST_ID:
        raise _unreadable_id()
    seen = app.stirs
    first = await app.office.read(lambda desk: look(desk, last))
    return _opened(app, EventStream(app, asked, look, first=first, seen=seen, pause_secs=INBOX_PAUSE_SECS), asked)


class Inboxes:
    """The inbox of each principal, by its limit, as it was found last: many streams of one ask for it once.

    To look takes at most one part in `_SHARE` of the time, however many runs wait and however often they change.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str, str | None, int | None], _Known] = {}

    def look(self, desk: Desk, asked: Asked) -> tuple[_Known, float]:
        """The inbox, and in how many seconds it may be another. Called in the thread that reads."""
        now_ms = self._clock.now().boot_ms
        # whoever says of itself that it is an agent or a step may do less with the same token
        shown = (_owner(asked), asked.who.kind, asked.who.inside, asked.query.get("limit"))
        known = self._known.get(shown)
        if known is not None and now_ms < known.good_until_ms:
            return known, (known.good_until_ms - now_ms) / 1000
        inbox = inbox_page(desk, asked)
        digest = hashlib.sha256(msgspec.json.encode(inbox)).hexdigest()[:32]
        ended_ms = self._clock.now().boot_ms
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[shown] = known = _Known(digest, inbox, ended_ms + (ended_ms - now_ms) * _SHARE)
        return known, LOOK_SECS


class _Known(msgspec.Struct, frozen=True):
    digest: str
    inbox: Document
    good_until_ms: int


def _opened(app: Application, stream: EventStream, asked: Asked) -> EventStream:
    _check_room(app, asked)
    return stream


def _check_room(app: Application, asked: Asked) -> None:
    mine = app.streams.get(_owner(asked), 0)
    if mine >= limits.STREAMS_EACH:
        raise app.entrance.too_many("open streams", 1)
    if sum(app.streams.values()) >= limits.MOST_STREAMS:
        raise Busy("as many streams are open as can be", hint="come again later", headers={"retry-after": "10"})


@contextmanager
def counted(app: Application, asked: Asked) -> Iterator[None]:
    """As one of the caller's open streams. Raises TooMany or Busy."""
    _check_room(app, asked)
    with _counted(app, asked):
        yield


@contextmanager
def _counted(app: Application, asked: Asked) -> Iterator[None]:
    owner = _owner(asked)
    app.streams[owner] = app.streams.get(owner, 0) + 1
    try:
        yield
    finally:
        app.streams[owner] -= 1
        if not app.streams[owner]:
            del app.streams[owner]


def _owner(asked: Asked) -> str:
    return asked.principal.token.id if asked.principal is not None else ""


def _resumed_at(asked: Asked) -> int:
    given = asked.headers.get("last-event-id")
    if given is None:
        return int(asked.query.get("after", 0))
    if not (given.isascii() and given.isdecimal()) or len(given) > 15:
        raise _unreadable_id()
    return int(given)


def _unreadable_id() -> BadRequest:
    return BadRequest("the Last-Event-ID cannot be read", hint="it is the id of the last event that came")
