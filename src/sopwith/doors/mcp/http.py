"""The server for clients of this machine over streamable HTTP, on the loopback interface only.

Any user of the machine, and any page in a browser, can reach a loopback port. So a request needs the token, its Host
must be ours (a name that is made to point here is not), and one that a web page sends (it has an Origin) is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from sopwith.doors.agent.desk import Desk
from sopwith.doors.mcp.server import make_server
from sopwith.errors import BadRequest, WorkspaceError

HOST = "127.0.0.1"
PATH = "/mcp"
TOKEN_VARIABLE = "SOPWITH_MCP_TOKEN"  # noqa: S105 the name of a variable
_SHORTEST_TOKEN = 32
_GRACE_SECS = 2
_KEEP_ALIVE_SECS = 75
"""Longer than clients keep a connection for their next call: one that is closed under a call fails it."""
_BACKLOG = 256

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


def chosen_token() -> str:
    """The token of the environment, else a new one of 256 random bits. Raises BadRequest for one that is short."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii()):
        raise BadRequest(
            f"{TOKEN_VARIABLE} is too short: a token has {_SHORTEST_TOKEN} ASCII characters or more",
            hint="unset it to have one made",
        )
    return token or secrets.token_urlsafe(32)


def listen(port: int) -> socket.socket:
    """A socket on the loopback interface; 0 takes any free port. Raises WorkspaceError."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(_BACKLOG)  # who reads the address may connect at once
    except OSError as error:
        listening.close()
        raise WorkspaceError(
            f"cannot listen on {HOST}:{port}: {error.strerror}", hint="choose another port: sop mcp --http --port N"
        ) from error
    return listening


def application(desk: Desk, *, port: int, token: str) -> Application:
    """The whole of it as ASGI; what has not got the token gets no further."""
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[])
    app = make_server(desk).streamable_http_app(streamable_http_path=PATH, transport_security=security)
    expected = f"Bearer {token}".encode()

    async def guarded(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "http":
            # not every parser of HTTP refuses two, and only the first is compared with ours
            if len(_given(scope, b"host")) != 1:
                await _refuse(send, 400, b"one Host is expected\n")
                return
            given = _given(scope, b"authorization")
            if len(given) != 1 or not hmac.compare_digest(given[0], expected):
                await _refuse(send, 401, b"the token is missing or wrong\n", (b"www-authenticate", b"Bearer"))
                return
            # an empty one is one too: whoever sends it is a browser
            if _given(scope, b"origin"):
                await _refuse(send, 403, b"web pages may not call\n")
                return
        await app(scope, receive, send)

    return guarded


def _given(scope: Message, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]


async def _refuse(
    send: Callable[[Message], Awaitable[None]], status: int, why: bytes, *headers: tuple[bytes, bytes]
) -> None:
    told = [*headers, (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": why})


async def serve_http(desk: Desk, listening: socket.socket, token: str) -> None:
    """Serves until the process is told to end."""
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        application(desk, port=port, token=token),
        # the parser that refuses a second Host, whatever else is installed
        http="h11",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECS,
        timeout_keep_alive=_KEEP_ALIVE_SECS,
        server_header=False,
    )
    await _Server(config).serve(sockets=[listening])


class _Server(uvicorn.Server):
    """One that ends well when it is told to end, where uvicorn would die of the signal afterwards."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
