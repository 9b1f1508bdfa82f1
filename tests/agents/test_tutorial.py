"""The page about MCP, followed to the letter: each host's configuration starts the server, each call does what it says.

What the page marks to be run (a client of one's own) is run with the other pages, in `tests/docs`.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from tests.docs import pages

from sopwith.doors.agent.tools import TOOLS

from .wire import HttpServer, Workshop, end_process, over_http, play

PAGE = pages.ROOT / "docs" / "how-to" / "mcp.md"
TEXT = PAGE.read_text()


@pytest.fixture
def reader(tmp_path: Path) -> pages.Reader:
    """Somebody who has done what the page says up to the first call."""
    found = pages.Reader(tmp_path)
    for block in pages.blocks(PAGE)[:2]:
        found.follow(block)
    return found


def configurations() -> Iterator[tuple[str, list[str]]]:
    """Each way in which the page has a host start the server, and the command that comes of it."""
    for host, command in re.findall(r"^(claude|codex) mcp add sopwith -- (.*)$", TEXT, re.MULTILINE):
        yield host, shlex.split(command)
    for document in json_blocks():
        for key in ("mcpServers", "servers"):
            for server in document.get(key, {}).values():
                if "command" in server:
                    yield key, [server["command"], *server["args"]]


def json_blocks() -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]


def test_the_page_has_a_configuration_for_each_kind_of_host() -> None:
    assert [name for name, _command in configurations()] == ["claude", "codex", "mcpServers", "servers"]


@pytest.mark.parametrize(
    ("host", "command"), list(configurations()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_hosts_configuration_starts_the_server(
    reader: pages.Reader, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, host: str, command: list[str]
) -> None:
    environment = pages.environment(tmp_path_factory.mktemp("home"))
    # hosts start it somewhere else, but where the page says: in the project folder
    where = tmp_path if host == "claude" else tmp_path_factory.mktemp("elsewhere")
    argv = [str(tmp_path) if word == "PROJECT" else word for word in command]
    server = StdioServerParameters(command=argv[0], args=argv[1:], cwd=where, env=environment)

    async def story() -> None:
        async with Client(stdio_client(server)) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == [tool.name for tool in TOOLS]
            result = await client.call_tool("sop_list", {})
            assert [each["name"] for each in result.structured_content["procedures"]] == ["incident"]

    play(story)


def test_the_calls_of_the_page_do_what_it_says(reader: pages.Reader, tmp_path: Path) -> None:
    calls = [
        (tool, json.loads(arguments.replace("…", '"…"')))
        for tool, arguments in re.findall(r"`(sop_\w+) (\{.*?\})`", TEXT[TEXT.index("## Try it") :], re.DOTALL)
    ]
    assert [tool for tool, _arguments in calls] == ["sop_execute", "sop_complete_step", "sop_status"]
    environment = pages.environment(tmp_path)
    server = StdioServerParameters(command="sop", args=["mcp", "--as", "coder"], cwd=tmp_path, env=environment)

    async def story() -> None:
        async with Client(stdio_client(server)) as client:
            run: dict[str, Any] = {}
            said = []
            for tool, arguments in calls:
                known = {"runId": run.get("runId"), "sinceSeq": run.get("revision")}
                given = {key: known[key] if value == "…" else value for key, value in arguments.items()}
                waiting = asyncio.ensure_future(client.call_tool(tool, given))
                if tool == "sop_status":
                    # the person does what the sentence says, word for word, while the agent waits
                    [sentence] = [move["tellHuman"] for move in run["next"] if "tellHuman" in move]
                    look, decide = re.findall(r"(sop approve \S+ --step 2(?: --show)?)[.,]", sentence)
                    for command in (look, decide):
                        done = await asyncio.to_thread(
                            subprocess.run,
                            shlex.split(command),
                            cwd=tmp_path,
                            env=environment,
                            capture_output=True,
                        )
                        assert done.returncode == 0, done
                result = await waiting
                assert not result.is_error, result
                run = result.structured_content
                said.append(run["waitingOn"])
                if tool == "sop_status" and run["status"] != "completed":
                    last = await client.call_tool(tool, {**given, "sinceSeq": 0, "waitMs": 20_000})
                    run = last.structured_content
            assert said[:2] == ["agent", "human"]
            while run["status"] == "running":
                run = (
                    await client.call_tool("sop_status", {"runId": run["runId"], "waitMs": 20_000})
                ).structured_content
            assert run["status"] == "completed"

    play(story)


def test_the_configuration_for_http_gets_in(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    [server] = [each["mcpServers"]["sopwith"] for each in json_blocks() if "url" in str(each)]
    token = "t" * 40
    monkeypatch.setenv("SOPWITH_MCP_TOKEN", token)
    started = HttpServer(workshop, "--as", "coder")
    try:
        assert started.url == server["url"].replace("8765", str(started.port))
        name, value = next(iter(server["headers"].items()))
        assert f"{name}: {value}" == f"Authorization: Bearer {'TOKEN'}"
        assert started.token == token

        async def story() -> None:
            async with over_http(started) as client:
                assert (await client.call_tool("sop_list", {})).structured_content["success"] is True

        play(story)
    finally:
        end_process(started.process)
