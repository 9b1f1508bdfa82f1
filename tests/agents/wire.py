"""`sop mcp` as hosts use it: a process of its own, spoken to by the SDK's own client, over stdio and over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from tests.doors.workshop import SOP, Workshop, end_process

from sopwith.doors.mcp.server import make_server

from .given import Agent

PRELUDE = ""
"""What a server does before it begins: a test sets it where something of ours has to go wrong."""
Connect = Callable[..., AbstractAsyncContextManager[Client]]
Document = dict[str, Any]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}


def server_command() -> tuple[str, ...]:
    """The command `sop`, after the prelude."""
    python, option, main = SOP
    return (python, option, f"{PRELUDE}\n{main}")


class HttpServer:
    """`sop mcp --http`, its address and its token."""

    def __init__(self, workshop: Workshop, *args: str) -> None:
        self.process = subprocess.Popen(
            [*server_command(), "mcp", "--http", *args],
            cwd=workshop.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stderr is not None
        self.url = self.process.stderr.readline().decode().strip()
        self.token = self.process.stderr.readline().decode().strip().removeprefix("Authorization: Bearer ")
        self.port = int(self.url.split(":")[2].split("/")[0])

    def ask(self, **headers: str) -> int:
        """The status of an `initialize` with these headers besides the usual ones."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = json.dumps(INITIALIZE)
        usual = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {self.token}",
        }
        usual |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("POST", "/mcp", body, {key: value for key, value in usual.items() if value})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def server(workshop: Workshop) -> Iterator[HttpServer]:
    started = HttpServer(workshop, "--as", "coder")
    yield started
    end_process(started.process)


@pytest.fixture(params=["stdio", "http"])
def connect(request: pytest.FixtureRequest, workshop: Workshop) -> Iterator[Connect]:
    """Connects as the agent that is named, over either way."""
    servers: dict[str, HttpServer] = {}

    def open_client(name: str = "coder", **options: Any) -> AbstractAsyncContextManager[Client]:
        if request.param == "stdio":
            return over_stdio(workshop, name, **options)
        if name not in servers:
            servers[name] = HttpServer(workshop, "--as", name)
        return over_http(servers[name], **options)

    yield open_client
    for each in servers.values():
        end_process(each.process)


@asynccontextmanager
async def over_stdio(workshop: Workshop, name: str, **options: Any) -> AsyncIterator[Client]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SOP")}
    command = StdioServerParameters(
        command=server_command()[0],
        args=[*server_command()[1:], "mcp", "--as", name],
        cwd=workshop.root,
        env=environment,
    )
    async with Client(stdio_client(command), **options) as client:
        yield client


@asynccontextmanager
async def over_http(server: HttpServer, **options: Any) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        create_mcp_http_client(headers=headers) as http_client,
        Client(streamable_http_client(server.url, http_client=http_client), **options) as client,
    ):
        yield client


async def told(client: Client, tool: str, **arguments: Any) -> Document:
    """The structured content of a call that succeeds, which also has a text."""
    result = await client.call_tool(tool, arguments)
    assert result.structured_content is not None
    assert not result.is_error, result.structured_content
    assert result.content[0].text  # type: ignore[union-attr]
    document: Document = result.structured_content
    return document


async def answered(agent: Agent, tool: str, arguments: Document) -> Document:
    """The structured content of a call, whatever comes of it, by a client and our server in this process."""
    async with Client(make_server(agent.desk)) as client:
        result = await client.call_tool(tool, arguments)
    document: Document = result.structured_content or {}
    assert result.is_error is not document["success"]
    return document


def play(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 180))
