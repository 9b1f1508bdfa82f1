"""The application: finds the route, asks who calls and whether they may, reads what they send, answers.

Default deny: a route without a declared right makes this refuse to be made, there is no other way to add one, and
whoever has no token that holds is told nothing, not even which paths there are.

Longer than other files: what one request passes on its way, in the order in which it does, is read in one place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path

from sopwith.core.people import RIGHTS, Right, check_grant
from sopwith.core.request import request_of
from sopwith.doors.web import limits
from sopwith.doors.web.entrance import Entrance
from sopwith.doors.web.inputs import ACTOR_KIND, INSIDE, read_body, read_key, read_match, read_query, read_said
from sopwith.doors.web.problems import (
    MEDIA_TYPE,
    Internal,
    NoSuchRoute,
    TooLarge,
    TooSlow,
    WrongMethod,
    headers_of,
    problem,
)
from sopwith.doors.web.streams import Inboxes
from sopwith.doors.web.table import API, Answer, Asked, Proof, Route
from sopwith.engine.access import REFUSED, SIGN_IN, Guests, Refusals, entry_maker
from sopwith.engine.engine import Call
from sopwith.engine.sight import OutOfSight
from sopwith.engine.tokens import Principal, Tokens
from sopwith.errors import BadRequest, SopwithError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from sopwith.core.actor import Actor
    from sopwith.doors.web.office import Desk, Office
    from sopwith.engine.hooks import Answer as HookAnswer
    from sopwith.engine.hooks import Caller, Hook
    from sopwith.engine.library import Library
    from sopwith.ports import Clock

HEALTH = "/healthz"
_SAFE = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_TOLD = frozenset({401, 403, 421, 429})
"""The statuses that the server's own log tells of."""
_ONCE = frozenset(
    {
        *("authorization", "host", "if-match", "idempotency-key", "last-event-id", "content-type", "range"),
        *(INSIDE, ACTOR_KIND),
    }
)


class TakesHooks(Protocol):
    """`engine.hooks.Hooks.receive`."""

    def __call__(self, hook: Hook, *, caller: Caller | None = None) -> Awaitable[HookAnswer]: ...


class Unguarded(Exception):
    """A route that declares no right, or that nobody may leave open."""


class _Path:
    """One path and its methods."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.pattern: re.Pattern[str] = compile_path(routes[0].path)[0]
        self.by_method = {route.method: route for route in routes}

    def methods(self) -> str:
        return ", ".join(sorted({*self.by_method, *(["HEAD"] if "GET" in self.by_method else [])}))


class Application:
    """ASGI, made of the table of routes."""

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        office: Office,
        tokens: Tokens,
        clock: Clock,
        entrance: Entrance,
        library: Library,
        on_trouble: Callable[[BaseException], None],
    ) -> None:
        """`tokens`, `library`: on the loop's own connection. Raises Unguarded."""
        self.routes = tuple(routes)
        self._paths = _paths(self.routes)
        self.office = office
        self.clock = clock
        self.entrance = entrance
        self.stopping = asyncio.Event()
        self.stirs = 0
        """How often somebody may have committed."""
        self.hooks: TakesHooks | None = None
        """Takes webhooks, once triggers are served."""
        self.library = library
        self.inboxes = Inboxes(clock)
        self.streams: dict[str, int] = {}
        """How many are open, by token."""
        self._tokens = tokens
        self._on_trouble = on_trouble
        self._buckets = limits.Buckets(per_second=limits.PER_SECOND, burst=limits.BURST)
        self._refusals = Refusals()
        self._guests = Guests()
        self._waiting: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        visit = _Visit(request, scope["client"][0] if scope.get("client") else "")
        try:
            response = await self._answered(visit)
        except ClientDisconnect:
            return
        except SopwithError as error:
            await visit.take_what_is_left()
            response = self._refused(visit, self._fit_to_tell(visit, error))
        except Exception as error:
            self._on_trouble(error)
            response = self._refused(visit, Internal())
        for name, value in _SAFE.items():
            response.headers.setdefault(name, value)
        try:
            await response(scope, receive, send)
        except (ClientDisconnect, OSError):
            return
        except Exception as error:
            self._on_trouble(error)
            raise  # the connection is closed: what came is not all

    # what streams use

    def stir(self) -> None:
        """Somebody may have committed: streams look again."""
        self.stirs += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def stirred(self, seen: int, secs: float) -> None:
        """Returns when somebody may have committed since `stirs` was `seen`, the server stops, or after so long."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            if seen == self.stirs and not self.stopping.is_set():
                await asyncio.wait((waiting,), timeout=secs)
        finally:
            self._waiting.discard(waiting)

    def close(self) -> None:
        """Ends all streams, and writes down what was gathered."""
        self.stopping.set()
        self.stir()
        for details in self._refusals.rest():
            self._tell(details)

    def tend(self) -> None:
        """Writes down the refusals of minutes that are over."""
        for details in self._refusals.over(self.clock.now().boot_ms):
            self._tell(details)

    def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        """Who calls, by the token alone. Raises Unauthenticated or TooMany."""
        principal = self.entrance.principal(self._tokens, headers, address, self.clock.now().boot_ms)
        now = self.clock.now()
        if self._guests.is_new(principal.token.id, address, now.boot_ms):
            token = principal.token
            details = {"tokenId": token.id, "name": token.name, "kind": token.kind, "address": address}
            self.office.later(lambda desk: _sign_in(desk, token.id, now.at, details))
        return principal

    def guest(self, asked: Asked) -> Actor | None:
        """Who calls a route that takes no token, where one came that holds all the same."""
        principal = self.entrance.guest(self._tokens, asked.headers)
        return None if principal is None else principal.actor(asked.address, read_said(asked.headers))

    def unproven(self, address: str) -> SopwithError:
        """What a handler raises that finds no proof of who sent it: told and bounded as a token that does not hold."""
        return self.entrance.unproven(address, self.clock.now().boot_ms)

    def still_holds(self, asked: Asked) -> bool:
        """Whether the token that a stream was opened with still holds."""
        return self.entrance.still_holds(self._tokens, asked.headers)

    # one request

    async def _answered(self, visit: _Visit) -> Response:
        self.entrance.check_host(visit.headers)
        if visit.doubled:
            raise BadRequest(f"the header {visit.doubled} is given twice", hint="give it once")
        path = self._path(visit.path)
        route = None if path is None else self._route(path, visit.method)
        visit.route = route
        principal = None
        if route is None or not isinstance(route.right, Proof):
            principal = self.authenticate(visit.headers, visit.address)
            visit.principal = principal
        if route is None or route.right is not Proof.SIGNATURE:
            # who may send how much to the others is known only once it is proven who it is
            self._check_rate(visit)
        if path is None:
            raise NoSuchRoute(f"nothing is served under {visit.path[:200]}", hint=f"{API}/openapi.json tells what is")
        if route is None:
            raise WrongMethod(
                f"{visit.method[:20]} is not for this path",
                hint=f"it takes {path.methods()}",
                headers={"allow": path.methods()},
            )
        if principal is not None and isinstance(route.right, Right):
            check_route(principal, route, visit.address)
        return await self._handled(visit, route, principal)

    async def _handled(self, visit: _Visit, route: Route, principal: Principal | None) -> Response:
        data = b"" if route.piecemeal else await _body(visit.request, route.most_bytes)
        visit.body_is_read = not route.piecemeal
        headers = visit.headers
        asked = Asked(
            route=route,
            path=visit.path_parameters,
            query={} if route.raw else read_query(route, visit.request.scope.get("query_string", b"")),
            data=data,
            incoming=_file(visit, route.most_bytes) if route.piecemeal else None,
            query_string=visit.request.scope.get("query_string", b""),
            headers=headers,
            address=visit.address,
            principal=principal,
            actor=None if principal is None else principal.actor(visit.address, read_said(headers)),
        )
        if route.live is not None:
            if visit.method == "HEAD":
                raise WrongMethod("HEAD is not for a stream", hint="it takes GET", headers={"allow": "GET"})
            if route.body is not None:
                asked = await self.office.read(lambda _desk: _read(asked))
            return await route.live(self, asked)
        handler = route.handler
        assert handler is not None
        in_turn = self.office.read if route.method == "GET" or route.long else self.office.write
        if route.apart:
            in_turn = self.office.apart
        answer = await in_turn(lambda desk: handler(desk, asked if route.raw else _read(asked)))
        return _response(answer, route)

    def _check_rate(self, visit: _Visit) -> None:
        caller = visit.principal.token.id if visit.principal is not None else visit.address
        secs = self._buckets.take(caller, self.clock.now().boot_ms)
        if secs:
            raise self.entrance.too_many("calls", secs)

    def _path(self, path: str) -> _Path | None:
        for each in self._paths:
            if each.pattern.fullmatch(path):
                return each
        return None

    def _route(self, path: _Path, method: str) -> Route | None:
        return path.by_method.get("GET" if method == "HEAD" else method)

    def _refused(self, visit: _Visit, error: SopwithError) -> Response:
        document = problem(error)
        if error.http_status in _TOLD or isinstance(error, OutOfSight):
            self._note(visit, error)
        # what is left of the body is nobody's to read
        headers = {**headers_of(error), **({"connection": "close"} if visit.has_body_left else {})}
        return Response(
            msgspec.json.encode(document), status_code=error.http_status, media_type=MEDIA_TYPE, headers=headers
        )

    def _fit_to_tell(self, visit: _Visit, error: SopwithError) -> SopwithError:
        """The error; for somebody who has not proven who they are, no trouble of the server's own: it names files."""
        if error.http_status < 500 or visit.principal is not None:
            return error
        self._on_trouble(error)
        return Internal()

    def _note(self, visit: _Visit, error: SopwithError) -> None:
        token = visit.principal.token if visit.principal is not None else None
        source = visit.address if token is None else f"{token.name} ({token.id})"
        details: dict[str, Any] = {
            "code": error.code,
            "status": error.http_status,
            "address": visit.address,
            "route": visit.route.name if visit.route is not None else "",
        }
        for entry in self._refusals.note(source, details, self.clock.now().boot_ms):
            self._tell(entry)

    def _tell(self, details: Mapping[str, Any]) -> None:
        now = self.clock.now().at
        self.office.later(lambda desk: desk.tokens.store.tell(entry_maker(REFUSED, now, details)))


class _Visit:
    """What is known of a request so far."""

    def __init__(self, request: Request, address: str) -> None:
        self.request = request
        self.address = address
        self.method: str = request.scope["method"]
        self.path: str = request.scope["path"]
        self.route: Route | None = None
        self.principal: Principal | None = None
        self.body_is_read = False
        self.headers: dict[str, str] = {}
        self.doubled = ""
        for name, value in request.headers.items():
            if name in self.headers and name in _ONCE:
                self.doubled = self.doubled or name
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    @property
    def path_parameters(self) -> dict[str, str]:
        assert self.route is not None
        found = compile_path(self.route.path)[0].fullmatch(self.path)
        return found.groupdict() if found is not None else {}

    @property
    def has_body_left(self) -> bool:
        has_one = self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers
        return has_one and not self.body_is_read

    async def take_what_is_left(self) -> None:
        """Reads a body that is not wanted and throws it away, within bounds: to close on it would lose the answer."""
        if not self.has_body_left or "expect" in self.headers:
            return
        left, secs = limits.MOST_LEFT_BYTES, limits.LEFT_SECS
        if self.principal is not None and self.route is not None and self.route.piecemeal:
            left, secs = self.route.most_bytes, limits.BODY_SECS  # who sends a file hears nothing before its end
        now = asyncio.get_running_loop().time
        ends_at = now() + secs
        with suppress(TimeoutError):
            while left > 0 and not self.body_is_read:
                # who sends nothing more waits for the answer already
                async with asyncio.timeout_at(min(ends_at, now() + limits.LEFT_SECS)):
                    message = await self.request.receive()
                left -= len(message.get("body", b"")) if message["type"] == "http.request" else left
                self.body_is_read = message["type"] == "http.request" and not message.get("more_body", False)


def check_route(principal: Principal, route: Route, address: str) -> None:
    """NotAllowed where the token's role gives the route's right for nothing at all. What it gives for the run or the
    procedure that is meant is the engine's to say.
    """
    right = route.right
    assert isinstance(right, Right)
    if right not in RIGHTS[principal.grant.role]:
        check_grant(principal.actor(address), right, f"call {route.name}")


def _paths(routes: Sequence[Route]) -> tuple[_Path, ...]:
    for route in routes:
        _check_declared(route)
    grouped: dict[str, list[Route]] = {}
    for route in routes:
        grouped.setdefault(route.path, []).append(route)
    for path, group in grouped.items():
        if len({route.method for route in group}) < len(group):
            raise Unguarded(f"{path} has one method twice")
    return tuple(_Path(group) for group in grouped.values())


def _check_declared(route: Route) -> None:
    right: object = route.right
    if not isinstance(right, Right | Proof):
        raise Unguarded(f"{route.name} declares no right")
    if right is Proof.NOTHING and (route.method, route.path) != ("GET", HEALTH):
        raise Unguarded(f"{route.name} would be open to everybody: only {HEALTH} may be")
    if (route.handler is None) == (route.live is None):
        raise Unguarded(f"{route.name} needs one handler")


def _read(asked: Asked) -> Asked:
    """With the body read, and the call as its caller names it; in a thread, since a large body takes its time."""
    route = asked.route
    body = read_body(route, asked.data, asked.headers)
    key, revision = read_key(asked.headers), read_match(asked.headers)
    for header, given, taken in (
        ("Idempotency-Key", key, route.repeatable),
        ("If-Match", revision, route.conditional),
    ):
        if given is not None and not taken and route.method != "GET":
            raise BadRequest(f"{route.name} does not take {header}", hint="leave it out")
    request = None
    if key is not None and route.repeatable:
        request = request_of(asked.who, key, {"call": route.name, "path": dict(asked.path), "body": body})
    call = Call(request=request, expected_seq=revision if route.conditional else None)
    return msgspec.structs.replace(asked, body=body, call=call)


async def _body(request: Request, most: int) -> bytes:
    """Raises TooLarge or TooSlow."""
    _check_declared_size(request, most)
    data = bytearray()
    try:
        async with asyncio.timeout(limits.BODY_SECS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise TooSlow(f"the body did not come within {limits.BODY_SECS:g} seconds", hint="send it at once") from None
    return bytes(data)


async def _file(visit: _Visit, most: int) -> AsyncIterator[bytes]:
    """The body piece by piece. Raises TooLarge or TooSlow."""
    _check_declared_size(visit.request, most)
    stream, size = visit.request.stream(), 0
    ends_at = asyncio.get_running_loop().time() + limits.UPLOAD_SECS
    while True:
        until = min(ends_at, asyncio.get_running_loop().time() + limits.BODY_SECS)
        try:
            async with asyncio.timeout_at(until):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise TooSlow("the file comes too slowly", hint=f"it has {limits.UPLOAD_SECS:g} seconds") from None
        if chunk is None:
            break
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        if chunk:
            yield chunk
    visit.body_is_read = True


def _check_declared_size(request: Request, most: int) -> None:
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        raise _too_large(most)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body may have {most} bytes at most", hint="send less")


def _response(answer: Answer, route: Route) -> Response:
    data = msgspec.json.encode(answer.document) if answer.data is None else answer.data
    status = answer.status if answer.status != 200 else route.status
    return Response(data, status_code=status, media_type=answer.media_type, headers=dict(answer.headers))


def _sign_in(desk: Desk, token_id: str, at: datetime, details: Mapping[str, Any]) -> None:
    desk.tokens.store.used(token_id, at, entry_maker(SIGN_IN, at, details))
