"""Who gets in over HTTP: requests as bytes on a real socket, since no client library would send most of these."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from tests.doors.workshop import Workshop, end_process

from sopwith.doors.agent.caller import agent_actor
from sopwith.doors.agent.desk import Desk
from sopwith.doors.mcp.http import application
from sopwith.doors.opened import Opened

from .wire import INITIALIZE, HttpServer

BODY = json.dumps(INITIALIZE).encode()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    started = HttpServer(Workshop(tmp_path_factory.mktemp("w") / "w"), "--as", "coder")
    yield started
    end_process(started.process)


def spoken(door: HttpServer, *lines: str, method: str = "POST", path: str = "/mcp", version: str = "1.1") -> int:
    """The status that this request is answered with. TOKEN and PORT stand for the server's own."""
    head = [
        f"{method} {path} HTTP/{version}",
        *lines,
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Content-Length: {len(BODY)}",
        "Connection: close",
    ]
    text = "\r\n".join(head).replace("TOKEN", door.token).replace("PORT", str(door.port))
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        connection.sendall(text.encode("latin-1") + b"\r\n\r\n" + BODY)
        return int(connection.makefile("rb").readline().split()[1])


HOST = "Host: 127.0.0.1:PORT"
TOKEN = "Authorization: Bearer TOKEN"


@pytest.mark.parametrize("host", [HOST, "Host: localhost:PORT", "host: localhost:PORT"])
def test_the_hosts_that_are_ours(door: HttpServer, host: str) -> None:
    assert spoken(door, host, TOKEN) == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ["Host: rebound.example"],
        ["Host: rebound.example:PORT"],
        ["Host: localhost.rebound.example:PORT"],
        ["Host: 127.0.0.1.rebound.example:PORT"],
        ["Host: 127.0.0.1"],
        ["Host: localhost"],
        ["Host: 127.0.0.1:1"],
        ["Host: 0.0.0.0:PORT"],
        ["Host: [::1]:PORT"],
        ["Host: 127.0.0.1:PORT@rebound.example"],
        ["Host: rebound.example", "X-Forwarded-Host: 127.0.0.1:PORT"],
        ["Host: "],
        ["Host: rebound.example", HOST],
        [HOST, "Host: rebound.example"],
        [],
    ],
    ids=str,
)
def test_a_name_that_was_made_to_point_here_gets_nowhere(door: HttpServer, hosts: list[str]) -> None:
    """DNS rebinding: the page's own name resolves to this machine, and the token may have leaked."""
    assert spoken(door, *hosts, TOKEN) in (400, 421)


@pytest.mark.parametrize(
    "origin",
    [
        "http://rebound.example",
        "null",
        "http://localhost:PORT",
        "http://127.0.0.1:PORT",
        "https://127.0.0.1:PORT",
        "file://",
        "",
        " ",
    ],
)
def test_no_web_page_gets_in_not_even_one_from_here(door: HttpServer, origin: str) -> None:
    assert spoken(door, HOST, TOKEN, f"Origin: {origin}") == 403


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        ["Authorization: "],
        ["Authorization: Bearer"],
        ["Authorization: Bearer "],
        ["Authorization: Bearer wrong"],
        ["Authorization: Bearer TOKENx"],
        ["Authorization: Bearer tTOKEN"],
        ["Authorization: bearer TOKEN"],
        ["Authorization: Basic TOKEN"],
        ["Authorization: TOKEN"],
        ["Authorization: Bearer \xe9\xff"],
        ["X-Token: TOKEN", "Cookie: token=TOKEN"],
        [TOKEN, "Authorization: Bearer wrong"],
        ["Authorization: Bearer wrong", TOKEN],
    ],
    ids=ascii,
)
@pytest.mark.parametrize("path", ["/mcp", "/"])
def test_without_the_token_nobody_gets_further(door: HttpServer, authorization: list[str], path: str) -> None:
    assert spoken(door, HOST, *authorization, path=path) == 401


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_every_method_needs_the_token(door: HttpServer, method: str) -> None:
    assert spoken(door, HOST, method=method) == 401
    assert (
        spoken(door, HOST, "Origin: http://rebound.example", "Access-Control-Request-Method: POST", method=method)
        == 401
    )


@pytest.mark.parametrize("hosts", [[], [b"127.0.0.1:1", b"rebound.example"], [b"127.0.0.1:1", b"127.0.0.1:1"]])
def test_there_is_one_host_whatever_parses_the_request(workshop: Workshop, hosts: list[bytes]) -> None:
    """Some parsers refuse two by themselves, and some take them."""
    opened = Opened(str(workshop.root))
    guarded = application(Desk(opened, agent_actor("coder")), port=1, token="t")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer t"), *((b"host", host) for host in hosts)]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
    asyncio.run(guarded(scope, pytest.fail, send))
    assert sent[0]["status"] == 400
    assert sent[1]["body"] == b"one Host is expected\n"


def test_a_token_in_the_address_is_none(door: HttpServer) -> None:
    assert spoken(door, HOST, path="/mcp?token=TOKEN&access_token=TOKEN&Authorization=Bearer%20TOKEN") == 401


@pytest.mark.parametrize("path", ["/", "/mcp2", "/mcp/..%2f", "//mcp", "/.well-known/oauth-protected-resource"])
def test_there_is_one_address(door: HttpServer, path: str) -> None:
    assert spoken(door, HOST, TOKEN, path=path) in (404, 307)


def test_a_web_socket_is_not_opened(door: HttpServer) -> None:
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13")
    assert spoken(door, HOST, *upgrade, method="GET") in (401, 403)


def test_an_answer_says_little_about_who_gave_it(door: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        connection.sendall(f"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{door.port}\r\nConnection: close\r\n\r\n".encode())
        answer = connection.makefile("rb").read().lower()
    assert answer.startswith(b"http/1.1 401")
    assert b"www-authenticate: bearer" in answer
    assert b"access-control-allow" not in answer
    assert b"server:" not in answer
    assert door.token.lower().encode() not in answer
