"""What a route is. The router, OpenAPI, the limits and the tests are made from the one table of them (`routes.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from sopwith.core.actor import Actor
from sopwith.core.people import Right
from sopwith.doors.agent.tools import Schema
from sopwith.doors.web import limits
from sopwith.engine.documents import Document
from sopwith.engine.engine import Call
from sopwith.engine.tokens import Principal

if TYPE_CHECKING:
    from sopwith.doors.web.app import Application
    from sopwith.doors.web.office import Desk

API = "/api/v1"


class Proof(StrEnum):
    """What stands in for a token, where a route takes none."""

    NOTHING = "nothing"
    """Only for /healthz, which tells nothing."""
    SIGNATURE = "signature"
    """The handler itself proves who sent it, from the bytes of the body, before it reads anything in them."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as far as it was checked: `path`, `query` and `body` hold what the route declares and nothing else.

    `actor` and `principal` are None where the route takes no token.
    """

    route: Route
    path: Mapping[str, str] = msgspec.field(default_factory=dict)
    query: Mapping[str, Any] = msgspec.field(default_factory=dict)
    body: Mapping[str, Any] = msgspec.field(default_factory=dict)
    data: bytes = b""
    """The body as it came."""
    query_string: bytes = b""
    """What stands behind the `?`, as it came."""
    incoming: AsyncIterator[bytes] | None = None
    """The body as it comes, where the route takes it so."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """By lower-case name, as the caller sent them: proof of nothing."""
    address: str = ""
    principal: Principal | None = None
    actor: Actor | None = None
    call: Call = Call()

    @property
    def who(self) -> Actor:
        """The actor of a route that takes a token."""
        assert self.actor is not None
        return self.actor


class Answer(msgspec.Struct, frozen=True):
    """What a handler answers: a JSON document, or, where `data` is given, bytes of this media type."""

    document: Document = msgspec.field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    data: bytes | None = None
    media_type: str = "application/json"


Handler = Callable[["Desk", Asked], Answer]
"""Runs in a thread with a database connection of its own, one call at a time."""
LiveHandler = Callable[["Application", Asked], Awaitable[Response]]
"""Runs on the event loop: must never wait for anything but sockets and threads."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path. `right` is what a caller's token must give before anything else is looked at; whether it
    holds for the run or procedure that is meant is the engine's to say.
    """

    method: str
    path: str
    right: Right | Proof
    about: str
    handler: Handler | None = None
    live: LiveHandler | None = None
    query: Mapping[str, Schema] = msgspec.field(default_factory=dict)
    body: Mapping[str, Schema] | None = None
    """None: it takes none."""
    required: tuple[str, ...] = ()
    """Of the body's members."""
    answer: Schema = msgspec.field(default_factory=lambda: {"type": "object"})
    media_type: str = "application/json"
    status: int = 200
    repeatable: bool = False
    """Whether it takes an Idempotency-Key."""
    conditional: bool = False
    """Whether it takes If-Match, with the revision that was looked at."""
    long: bool = False
    """Whether it may take long, and is kept out of the way of what changes something."""
    apart: bool = False
    """Whether it may take minutes, and waits its turn among such."""
    most_bytes: int = limits.MOST_BODY_BYTES
    """Of a body."""
    raw: bool = False
    """Whether query and body are the handler's to read, as bytes of any type."""
    piecemeal: bool = False
    """Whether a body of any type is the handler's to take piece by piece: it is never whole in memory."""
    takes: str = "application/json"
    """The type of a body."""

    @property
    def name(self) -> str:
        """As messages and the log name it."""
        return f"{self.method} {self.path}"
