"""Clients that go away, servers that are killed, many at once: what was done is done once, and is found."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import Client
from tests.doors.workshop import Workshop, end_process, eventually, lines, slow

from .given import gated_by
from .wire import INITIALIZE, Connect, Document, HttpServer, connect, over_http, over_stdio, play, server_command, told

__all__ = ["connect", "slow"]

SLOW = "touch begun; until [ -e go ]; do sleep 0.02; done; echo x >> done"


async def until(what: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(eventually, what)


async def race(clients: list[Client], call: Callable[[int, Client], Awaitable[Any]]) -> list[Document]:
    """The answers of all, who call at once."""
    results = await asyncio.gather(*(call(number, client) for number, client in enumerate(clients)))
    return [result.structured_content for result in results]


@pytest.mark.parametrize(("way", "count"), [("http", 32), ("stdio", 8)])
def test_many_clients_race_for_one_gate_and_one_key(workshop: Workshop, way: str, count: int) -> None:
    """Half of them say yes and half say no; each way one decision comes of it, and each start is one run."""
    step = {"number": 1, **gated_by("reviewer", approvers=["agent:reviewer", "agent:other"])}
    tell = {"number": 2, "title": "Tell"}
    workshop.steps("deploy", "Ship | echo x >> shipped", "Tell | echo x >> told", steps=[step, tell])
    workshop.steps("byhand", "Walk", "Run | echo x >> ran")
    servers: list[HttpServer] = []

    async def story() -> None:
        async with AsyncExitStack() as stack:
            if way == "http":
                servers.append(HttpServer(workshop, "--as", "reviewer"))
                opened = [over_http(servers[0]) for _ in range(count)]
            else:
                opened = [over_stdio(workshop, "reviewer") for _ in range(count)]
            # one after the other: so many starts at once would only be slow
            clients = [await stack.enter_async_context(each) for each in opened]
            coder = await stack.enter_async_context(over_stdio(workshop, "coder"))

            # one key, one run, one driver
            start = {"sopName": "byhand", "idempotencyKey": "same", "waitMs": 20_000}
            answers = await race(clients, lambda _n, client: client.call_tool("sop_execute", start))
            [by_hand] = {answer["runId"] for answer in answers}
            assert sum(not answer.get("replayed") for answer in answers) == 1
            # one step, reported by all under one key: the report counts once, and what follows happens once
            report = {"runId": by_hand, "stepNumber": 1, "outcome": "done", "idempotencyKey": "r", "waitMs": 20_000}
            answers = await race(clients, lambda _n, client: client.call_tool("sop_complete_step", report))
            assert {answer["outcome"] for answer in answers} == {"done"}
            assert sum(not answer.get("replayed") for answer in answers) == 1
            # keys of their own: as many runs as keys
            answers = await race(
                clients,
                lambda n, client: client.call_tool("sop_execute", {"sopName": "byhand", "idempotencyKey": f"{n}"}),
            )
            assert len({answer["runId"] for answer in answers} | {by_hand}) == count + 1

            # one gate
            run_id = (await told(coder, "sop_execute", sopName="deploy", waitMs=20_000))["runId"]
            call = {"runId": run_id, "stepNumber": 1, "waitMs": 20_000}
            answers = await race(
                clients,
                lambda n, client: (
                    client.call_tool("sop_reject", {**call, "reason": "no"})
                    if n % 2
                    else client.call_tool("sop_approve", call)
                ),
            )
            decided = {answer["status"] for answer in answers if answer["success"]}
            assert len(decided) == 1, decided
            refused = [answer["error"]["code"] for answer in answers if not answer["success"]]
            assert refused == ["already_decided"] * (count // 2)
            events = (await told(coder, "sop_get_audit", runId=run_id))["events"]
            kinds = [event["type"] for event in events]
            assert kinds.count("approval_granted") + kinds.count("approval_rejected") == 1
            shipped = int(decided == {"approved"})
            if shipped:
                await until(lambda: lines(workshop, "told"))
            assert (lines(workshop, "shipped"), lines(workshop, "told"), lines(workshop, "ran")) == (
                shipped,
                shipped,
                1,
            )

    try:
        play(story)
    finally:
        for each in servers:
            end_process(each.process)
    # nothing was lost, and what is recorded holds together
    assert workshop.json("history")["total"] == count + 2
    assert workshop.json("audit", "--verify-all")["success"] is True


def test_a_cancelled_wait_strands_nothing_and_the_next_call_is_answered(
    connect: Connect, workshop: Workshop, slow: str
) -> None:
    async def story() -> None:
        async with connect("coder") as client:
            call = {"sopName": slow, "idempotencyKey": "k", "waitMs": 20_000}
            for _ in range(3):
                waiting = asyncio.ensure_future(client.call_tool("sop_execute", call))
                await until((workshop.root / "begun").exists)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
            run = await told(client, "sop_execute", **{**call, "waitMs": 0})
            assert run["replayed"] is True
            assert run["waitingOn"] == "engine"
            (workshop.root / "go").touch()
            run = await told(client, "sop_status", runId=run["runId"], waitMs=20_000)
            assert run["status"] == "completed"
            assert (await told(client, "sop_list_runs"))["total"] == 1

    play(story)
    assert (lines(workshop, "done"), lines(workshop, "after")) == (1, 1)


@pytest.mark.parametrize("way", ["stdio", "http"])
def test_a_server_that_is_killed_while_a_step_runs_strands_nothing(workshop: Workshop, slow: str, way: str) -> None:
    if way == "stdio":
        command = [*server_command(), "mcp", "--as", "coder"]
        server = subprocess.Popen(command, cwd=workshop.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin is not None
        start = {"name": "sop_execute", "arguments": {"sopName": slow, "idempotencyKey": "k", "waitMs": 20_000}}
        for message in (
            INITIALIZE,
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": start},
        ):
            server.stdin.write(json.dumps(message).encode() + b"\n")
        server.stdin.flush()
        eventually((workshop.root / "begun").exists)
    else:
        started = HttpServer(workshop, "--as", "coder")
        server = started.process

        async def begin() -> None:
            async with over_http(started) as client:
                await told(client, "sop_execute", sopName=slow, idempotencyKey="k", waitMs=0)
                await until((workshop.root / "begun").exists)
                server.send_signal(signal.SIGKILL)

        with contextlib.suppress(BaseExceptionGroup, OSError):
            play(begin)
    end_process(server)

    async def story() -> None:
        async with over_stdio(workshop, "coder") as client:
            [listed] = (await told(client, "sop_list_runs"))["runs"]
            run = await told(client, "sop_status", runId=listed["runId"])
            assert (run["status"], run["waitingOn"]) == ("running", "engine")
            # the call whose answer was lost, sent again
            again = await told(client, "sop_execute", sopName=slow, idempotencyKey="k", waitMs=0)
            assert (again["runId"], again["replayed"]) == (run["runId"], True)
            (workshop.root / "go").touch()
            run = await told(client, "sop_status", runId=run["runId"], waitMs=20_000)
            assert run["status"] == "completed"

    play(story)
    assert (lines(workshop, "done"), lines(workshop, "after")) == (1, 1)


def test_only_what_is_new_and_as_long_as_was_said(connect: Connect, workshop: Workshop) -> None:
    workshop.steps("byhand", "Walk", "Run")

    async def story() -> None:
        async with connect("coder") as client:
            run = await told(client, "sop_execute", sopName="byhand", waitMs=20_000)
            run_id, seen = run["runId"], run["revision"]
            fresh = await told(client, "sop_status", runId=run_id, sinceSeq=seen)
            assert (fresh["stepResults"], fresh["sinceSeq"], fresh["revision"]) == ([], seen, seen)
            assert (await told(client, "sop_get_audit", runId=run_id, sinceSeq=seen))["events"] == []
            # one that is ahead of the run is told nothing, and waits no longer than it said
            ahead = await told(client, "sop_status", runId=run_id, sinceSeq=seen + 1000, waitMs=30)
            assert (ahead["stepResults"], ahead["revision"]) == ([], seen)
            # a wait for what is new ends with it, long before its time is up
            waiting = asyncio.ensure_future(told(client, "sop_status", runId=run_id, sinceSeq=seen, waitMs=20_000))
            await told(client, "sop_complete_step", runId=run_id, stepNumber=1, outcome="done", output="walked")
            new = await waiting
            assert new["revision"] > seen
            assert new["stepResults"][0]["stepNumber"] == 1
            events = (await told(client, "sop_get_audit", runId=run_id, sinceSeq=seen))["events"]
            assert [event["seq"] for event in events] == list(range(seen + 1, events[-1]["seq"] + 1))

    play(story)
