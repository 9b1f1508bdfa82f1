"""`sop mcp` as hosts use it: a process of its own, spoken to by the SDK's own client, over stdio and over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from tests.doors.workshop import SOP, Workshop, end_process, eventually

from sopwith.doors.agent.tools import TOOLS

from .wire import INITIALIZE, Connect, Document, HttpServer, connect, over_http, over_stdio, play, server, told

__all__ = ["connect", "server"]


def test_the_list_of_tools_is_short_and_says_all(connect: Connect, workshop: Workshop) -> None:
    async def story() -> None:
        async with connect() as client:
            listed = (await client.list_tools()).tools
            assert [tool.name for tool in listed] == [tool.name for tool in TOOLS]
            wire = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed]
            assert len(json.dumps(wire).encode()) < 8 * 1024
            assert all(tool.annotations is not None and tool.description for tool in listed)

    play(story)


def test_a_procedure_from_finding_it_to_its_end(connect: Connect, workshop: Workshop) -> None:
    """Every tool once, by two agents, over the wire."""
    gate = {"approvers": ["agent:reviewer"], "onTimeout": "reject"}
    steps = [{"number": 1, "title": "Look"}, {"number": 2, "title": "Ship", "requiresApproval": True, "approval": gate}]
    workshop.steps("deploy", "Look", "Ship | test -e go && echo shipped >> shipped", steps=steps)

    async def story() -> None:
        async with connect("coder") as coder, connect("reviewer") as reviewer:
            [listed] = (await told(coder, "sop_list"))["procedures"]
            described = await told(coder, "sop_describe", sopName=listed["name"])
            assert [step["title"] for step in described["steps"]] == ["Look", "Ship"]
            run = await told(coder, "sop_execute", sopName="deploy", idempotencyKey="k", waitMs=20_000)
            run_id = run["runId"]
            assert (run["waitingOn"], run["task"]["title"]) == ("agent", "Look")
            run = await told(coder, "sop_complete_step", runId=run_id, stepNumber=1, outcome="done", waitMs=20_000)
            assert run["waitingOn"] == "human"
            refused = await coder.call_tool("sop_approve", {"runId": run_id, "stepNumber": 2})
            assert refused.is_error
            assert refused.structured_content is not None
            assert refused.structured_content["error"]["code"] == "approver_not_allowed"
            run = await told(reviewer, "sop_status", runId=run_id)
            assert run["waitingOn"] == "agent"
            [move] = [each for each in run["next"] if each.get("call") == "sop_approve"]
            decided = await told(reviewer, "sop_approve", **move["arguments"], waitMs=20_000)
            assert (decided["status"], decided["runStatus"]) == ("approved", "failed")
            (workshop.root / "go").touch()
            run = await told(coder, "sop_retry", runId=run_id, waitMs=20_000)
            assert run["status"] == "awaiting_approval"
            rejected = await told(coder, "sop_reject", runId=run_id, stepNumber=2, reason="not now")
            assert (rejected["status"], rejected["action"]) == ("rejected", "paused")
            assert (await told(coder, "sop_cancel", runId=run_id))["status"] == "cancelled"
            assert (await told(coder, "sop_list_runs"))["total"] == 1
            events = (await told(coder, "sop_get_audit", runId=run_id))["events"]
            assert events[-1]["type"] == "run_cancelled"

    play(story)


def test_procedures_and_runs_are_resources(connect: Connect, workshop: Workshop) -> None:
    workshop.steps("byhand", "Walk")

    async def story() -> None:
        async with connect() as client:
            run_id = (await told(client, "sop_execute", sopName="byhand", waitMs=20_000))["runId"]
            uris = {str(resource.uri) for resource in (await client.list_resources()).resources}
            assert uris == {"sop://procedures/byhand", f"sop://runs/{run_id}"}
            for uri in uris:
                [content] = (await client.read_resource(uri)).contents
                assert json.loads(content.text)["sopName"] == "byhand"  # type: ignore[union-attr]
            for uri in ("sop://runs/sop_run_aaaaaaaaaaaa", "sop://procedures/no", "sop://keys/x", "sop://runs/../x"):
                with pytest.raises(Exception, match=r"no (run|procedure|resource)|not a|found|name|id"):
                    await client.read_resource(uri)

    play(story)


def test_a_long_step_is_told_of_while_it_lasts(connect: Connect, workshop: Workshop) -> None:
    workshop.steps("slow", "Wait | while [ ! -e go ]; do sleep 0.02; done", "Look")
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(done: float, total: float | None, words: str | None) -> None:
        seen.append((done, total, words))
        if len(seen) == 4:
            (workshop.root / "go").touch()

    async def story() -> None:
        async with connect() as client:
            result = await client.call_tool(
                "sop_execute", {"sopName": "slow", "waitMs": 20_000}, progress_callback=on_progress
            )
            assert result.structured_content is not None
            assert result.structured_content["task"]["title"] == "Look"

    play(story)
    assert seen[0] == (0, 2, "waiting on: engine")
    assert len(seen) >= 4
    told = [done for done, _total, _words in seen]
    assert all(one < other for one, other in pairwise(told)), told
    assert max(told) < 2


def test_an_elicited_answer_is_never_an_approval(connect: Connect, workshop: Workshop) -> None:
    """A client that would say yes to anything is never asked."""
    workshop.steps("gated", "?Ship | echo shipped >> shipped")
    asked: list[Any] = []

    async def say_yes(_context: Any, params: Any) -> Any:
        from mcp_types import ElicitResult

        asked.append(params)
        return ElicitResult(action="accept", content={"approve": True})

    async def story() -> None:
        async with connect(elicitation_callback=say_yes) as client:
            run = await told(client, "sop_execute", sopName="gated", waitMs=20_000)
            refused = await client.call_tool("sop_approve", {"runId": run["runId"], "stepNumber": 1})
            assert refused.is_error

    play(story)
    assert asked == []
    assert not (workshop.root / "shipped").exists()


def test_a_client_that_dies_leaves_its_run_to_go_on(workshop: Workshop) -> None:
    workshop.steps("slow", "Wait | while [ ! -e go ]; do sleep 0.02; done", "Ship | echo shipped >> shipped")

    async def story() -> None:
        async with over_stdio(workshop, "coder") as client:
            call = client.call_tool("sop_execute", {"sopName": "slow", "waitMs": 20_000})
            waiting = asyncio.ensure_future(call)
            while not workshop.json("history")["total"]:
                await asyncio.sleep(0.05)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

    play(story)
    (workshop.root / "go").touch()
    assert eventually((workshop.root / "shipped").exists)


def test_many_clients_at_once(workshop: Workshop, server: HttpServer) -> None:
    """32 clients start the same call; one run comes of it, and each is told of it."""
    workshop.steps("byhand", "Walk")

    async def one(number: int) -> Document:
        async with over_http(server) as client:
            run = await told(client, "sop_execute", sopName="byhand", idempotencyKey="same", waitMs=20_000)
            call = {"stepNumber": 1, "outcome": "done", "output": f"by {number}"}
            await client.call_tool("sop_complete_step", {"runId": run["runId"], **call})
            return await told(client, "sop_status", runId=run["runId"])

    async def story() -> None:
        documents = await asyncio.gather(*(one(number) for number in range(32)))
        assert len({document["runId"] for document in documents}) == 1
        assert {document["status"] for document in documents} == {"completed"}

    play(story)
    [run] = workshop.json("history")["runs"]
    events = [event["type"] for event in workshop.json("audit", run["runId"])["events"]]
    assert events.count("run_created") == events.count("step_reported") == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content_Type": "text/plain"}, 400),
    ],
)
def test_http_lets_in_who_has_the_token_and_comes_from_no_web_page(
    server: HttpServer, headers: dict[str, str], status: int
) -> None:
    assert server.ask(**headers) == status


def test_http_listens_on_the_loopback_interface_only(server: HttpServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}/mcp"
    listening = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True).stdout
    addresses = [line.split()[1] for line in listening.splitlines()[1:] if line.split()[3] == "0A"]
    assert [each for each in addresses if each.endswith(f":{server.port:04X}")] == [f"0100007F:{server.port:04X}"]


def test_http_ends_when_it_is_told_to(server: HttpServer) -> None:
    assert server.ask() == 200
    server.process.send_signal(signal.SIGTERM)
    server.process.communicate(timeout=30)
    assert server.process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_over_stdio_it_ends_when_it_is_told_to(workshop: Workshop, number: int, code: int) -> None:
    server = subprocess.Popen([*SOP, "mcp"], cwd=workshop.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        server.stdin.flush()
        assert json.loads(server.stdout.readline())["id"] == 1
        server.send_signal(number)
        assert server.wait(30) == code
    finally:
        end_process(server)


def test_a_token_that_can_be_guessed_is_refused(workshop: Workshop) -> None:
    told = workshop.process("mcp", "--http", env={"SOPWITH_MCP_TOKEN": "secret"})
    assert told.code == 2
    assert "too short" in told.err


def test_a_server_that_has_no_workspace_says_so_at_once(workshop: Workshop, tmp_path: Any) -> None:
    told = workshop.process("mcp", "--workspace", str(tmp_path))
    assert told.code == 6
    assert told.out == ""


def test_only_messages_go_to_stdout(workshop: Workshop) -> None:
    told = workshop.process("mcp")
    assert (told.code, told.out) == (0, "")


def test_the_sdk_is_loaded_by_this_verb_alone(workshop: Workshop) -> None:
    script = (
        "import sys; from sopwith.doors.cli.app import run_command\n"
        "for argv in (['tools'], ['list'], ['mcp', '--help']): run_command(argv)\n"
        "assert not {'mcp', 'mcp_types', 'pydantic', 'uvicorn'} & set(sys.modules), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=workshop.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_the_sdk_there_is_a_sentence(workshop: Workshop) -> None:
    script = (
        "import sys; sys.modules['mcp'] = None\n"
        "import importlib.util; importlib.util.find_spec = lambda name: None\n"
        "from sopwith.doors.cli.app import run_command; sys.exit(run_command(['mcp']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=workshop.root, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1].strip().endswith('pip install "sopwith[mcp]"')
