"""Every code that a tool can answer with, met by the SDK's own client, over stdio and over HTTP.

The codes are those of the source: a new error without a case here, or without a reason why no tool meets it, is red.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from tests.doors.workshop import Workshop
from tools.error_page import error_types

import sopwith
from sopwith.clock import SystemClock
from sopwith.core.instant import Instant
from sopwith.doors.agent.failures import REMEDIES
from sopwith.doors.agent.tools import TOOLS

from . import wire
from .given import Agent, gated_by
from .wire import Connect, Document, connect, play

__all__ = ["connect"]

Make = Callable[..., Agent]
OLD = {"expectedRevision": 1}
STEP = {"stepNumber": 1}
GATED = {"runId": "gated", **STEP}
BYHAND = {"runId": "byhand", **STEP}
NOBODY = {"runId": "sop_run_aaaaaaaaaaaa"}
TYPED: dict[str, Any] = {"sopName": "typed", "params": {"n": "many"}}

ABOUT_A_RUN: dict[str, dict[str, Any]] = {
    "sop_approve": STEP,
    "sop_reject": {"reason": "no"},
    "sop_status": {},
    "sop_get_audit": {},
    "sop_complete_step": {**STEP, "outcome": "done"},
    "sop_cancel": {},
    "sop_retry": {},
}

CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    # code, who calls, tool, arguments; a runId without sop_run_ is a run of the scene
    ("unknown_tool", "coder", "sop_aprove", {}),
    ("bad_request", "coder", "sop_complete_step", {**BYHAND, "outcome": "failed"}),
    ("bad_request", "coder", "sop_complete_step", {**BYHAND, "outcome": "blocked", "output": " "}),
    ("bad_request", "coder", "sop_complete_step", {**BYHAND, "outcome": "done", "evidence": ["/etc/hostname"]}),
    ("bad_request", "coder", "sop_complete_step", {"runId": "byhand", "stepNumber": 9, "outcome": "done"}),
    ("bad_request", "coder", "sop_reject", {**GATED, "reason": " "}),
    ("bad_request", "reviewer", "sop_approve", {**GATED, "stepNumber": 7}),
    ("bad_request", "coder", "sop_retry", {"runId": "broken", "fromStep": 9}),
    ("bad_name", "coder", "sop_execute", {"sopName": "../x"}),
    ("bad_name", "coder", "sop_describe", {"sopName": "../x"}),
    ("bad_name", "coder", "sop_list_runs", {"sopName": "../x"}),
    ("bad_parameter", "coder", "sop_execute", TYPED),
    ("not_found", "coder", "sop_execute", {"sopName": "nothing"}),
    ("not_found", "coder", "sop_describe", {"sopName": "nothing"}),
    ("not_found", "coder", "sop_status", {"runId": "byhand", "stepNumber": 7}),
    ("record_dropped", "coder", "sop_status", {"runId": "dropped"}),
    ("record_dropped", "coder", "sop_execute", {"sopName": "dropped", "idempotencyKey": "kept"}),
    ("invalid_procedure", "coder", "sop_execute", {"sopName": "wrong"}),
    ("invalid_procedure", "coder", "sop_describe", {"sopName": "wrong"}),
    ("refused", "coder", "sop_reject", {"runId": "twice", "reason": "no"}),
    ("refused", "coder", "sop_approve", {"runId": "twice"}),
    ("illegal_move", "coder", "sop_retry", {"runId": "byhand"}),
    ("illegal_move", "coder", "sop_cancel", {"runId": "ended"}),
    ("illegal_move", "coder", "sop_reject", {"runId": "byhand", "reason": "no"}),
    ("illegal_move", "coder", "sop_approve", {"runId": "byhand"}),
    ("illegal_move", "coder", "sop_complete_step", {**GATED, "outcome": "done"}),
    ("limit_reached", "coder", "sop_execute", {"sopName": "single"}),
    ("limit_reached", "coder", "sop_retry", {"runId": "single-broken"}),
    ("cooling_down", "coder", "sop_execute", {"sopName": "cold"}),
    ("already_decided", "reviewer", "sop_approve", {"runId": "decided", **STEP}),
    ("already_decided", "coder", "sop_reject", {"runId": "approved", **STEP, "reason": "no"}),
    ("approval_stale", "reviewer", "sop_approve", {**GATED, "digest": "0" * 16}),
    ("approval_stale", "coder", "sop_reject", {**GATED, "digest": "0" * 16, "reason": "no"}),
    ("approver_not_allowed", "coder", "sop_approve", GATED),
    ("not_allowed", "viewer", "sop_execute", {"sopName": "byhand"}),
    ("not_allowed", "viewer", "sop_complete_step", {**BYHAND, "outcome": "done"}),
    ("not_allowed", "viewer", "sop_retry", {"runId": "broken"}),
    ("not_allowed", "coder", "sop_execute", {"sopName": "gated", "executionMode": "auto"}),
    ("not_allowed", "coder", "sop_describe", {"sopName": "gated", "detail": "full"}),
    ("revision_conflict", "reviewer", "sop_approve", {**GATED, **OLD}),
    ("revision_conflict", "coder", "sop_reject", {**GATED, **OLD, "reason": "no"}),
    ("revision_conflict", "coder", "sop_complete_step", {**BYHAND, **OLD, "outcome": "done"}),
    ("revision_conflict", "coder", "sop_cancel", {"runId": "byhand", **OLD}),
    ("revision_conflict", "coder", "sop_retry", {"runId": "broken", **OLD}),
    ("key_reused", "coder", "sop_execute", {"sopName": "byhand", "idempotencyKey": "byhand", "params": {"a": "b"}}),
    ("key_reused", "coder", "sop_cancel", {"runId": "keyed", "idempotencyKey": "report"}),
    *(("identity_claimed", "coder", tool.name, {"onBehalfOf": "ann"}) for tool in TOOLS),
    *(("bad_argument", "coder", tool.name, {"favourite": 1}) for tool in TOOLS),
    *(("bad_argument", "coder", tool.name, dict.fromkeys(tool.required)) for tool in TOOLS if tool.required),
    *(("bad_name", "coder", name, {"runId": "../x", **more}) for name, more in ABOUT_A_RUN.items()),
    *(("not_found", "coder", name, {**NOBODY, **more}) for name, more in ABOUT_A_RUN.items()),
    *(("bad_argument", "coder", name, {"runId": "byhand", **more, "waitMs": wait})
      for name, more in ABOUT_A_RUN.items() for wait in (-1, 20_001, 1.5, "1", True)),
    *(("bad_argument", "coder", "sop_execute", {"sopName": "byhand", "waitMs": wait})
      for wait in (-1, 20_001, 1.5, "1", True)),
)  # fmt: skip
BROKEN = {
    # what is wrong with the machine; `case` is what is met then
    "workspace_error": ("sop_execute", {"sopName": "byhand"}),
    "store_error": ("sop_list_runs", {}),
    "unreadable_record": ("sop_status", {"runId": "byhand"}),
    "conflict": ("sop_cancel", {"runId": "byhand"}),
    "internal": ("sop_list", {"query": "a fault"}),
}
RECORDED = {
    # what is refused and leaves a trace: the report stays in the record, and is not believed
    "verification_failed": ("sop_complete_step", {**BYHAND, "outcome": "done", "waitMs": 20_000}),
}
NEVER = {
    # codes that no tool answers with, and the only files that make them; all are out of a tool's way
    # the words of a server about itself
    "error": ("doors/cli/server_health.py", "doors/cli/server_log.py", "doors/cli/serving.py", "engine/ticker.py"),
    # told before anybody connects
    "missing_extra": ("doors/cli/agents.py", "doors/cli/listening.py", "telemetry/metrics.py", "telemetry/otlp.py"),
    # messages are a server's to send
    "not_sent": (
        *("assembly.py", "engine/postman.py", "engine/tracer.py", "notify/address.py", "notify/apprise.py"),
        *("notify/command.py", "notify/webhook.py", "telemetry/otlp.py"),
    ),
    "no_workspace": ("doors/opened.py", "settings.py"),
    "no_scenario": ("rehearsal/rehearse.py",),
    "run_busy": ("doors/cli/foreground.py", "engine/claiming.py"),
}


def test_every_code_of_the_source_has_a_case_or_a_reason() -> None:
    codes = {kind.code for kind in error_types()} | {"internal"}
    assert codes == set(REMEDIES)
    met = {case[0] for case in CASES} | set(BROKEN) | set(RECORDED)
    assert met | set(NEVER) == codes
    assert not met & set(NEVER)


def test_every_tool_meets_every_kind_of_wrong_call() -> None:
    for tool in TOOLS:
        met = {code for code, _who, name, _arguments in CASES if name == tool.name}
        assert {"bad_argument", "identity_claimed"} <= met, tool.name
        if "runId" in tool.arguments:
            assert {"bad_name", "not_found"} <= met, tool.name
        if "expectedRevision" in tool.arguments:
            assert "revision_conflict" in met, tool.name


@pytest.mark.parametrize("code", NEVER)
def test_a_code_that_no_tool_answers_with_is_made_elsewhere(code: str) -> None:
    [kind] = [each for each in error_types() if each.code == code]
    source = Path(sopwith.__file__).parent
    makes = tuple(
        str(path.relative_to(source))
        for path in sorted(source.rglob("*.py"))
        if any(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind.__name__
            for node in ast.walk(ast.parse(path.read_text()))
        )
    )
    assert makes == NEVER[code]


@pytest.fixture
def scene(workshop: Workshop, agents: Make, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Runs in every state that a call can be refused in."""
    coder, reviewer = agents("coder"), agents("reviewer")
    config = workshop.sops / "config.json"
    workshop.steps("dropped", "Build | true")
    runs = {"dropped": coder("sop_execute", sopName="dropped", idempotencyKey="kept")["runId"]}
    config.write_text('{"auditRetentionDays": 1}')
    with monkeypatch.context() as patched:
        now = SystemClock().now()
        later = Instant(now.at + timedelta(days=3), now.boot_ms, now.boot_id)
        patched.setattr(SystemClock, "now", lambda _clock: later)
        workshop.json("audit", "prune")
    roles = '{"roles": {"runner": ["agent:coder", "agent:reviewer"]}}'
    twice = [{"number": n, "title": f"Gate {n}", "requiresApproval": True, "dependsOn": []} for n in (1, 2)]
    workshop.steps("twice", "?Gate 1 | true", "?Gate 2 | true", steps=twice)
    config.unlink()
    runs["twice"] = coder("sop_execute", sopName="twice")["runId"]
    config.write_text(roles)
    gate = {"number": 1, **gated_by("reviewer")}
    workshop.procedure("wrong", "# Wrong\n\n## Steps\n\n### Step 1: One\n\n### Step 1: Two\n")
    workshop.steps("typed", "Do | true", params=[{"name": "n", "type": "integer"}])
    workshop.steps("cold", "Do | true", cooldownSecs=600)
    workshop.steps("single", "Try | test -e fine", "Walk", maxConcurrent=1)
    workshop.steps("gated", "Ship | true", mode="step_by_step", steps=[gate])
    workshop.steps("byhand", "Walk")
    workshop.steps("keyed", "Walk", "Run")
    workshop.steps("broken", "Break | false")
    workshop.steps("ended", "Build | true")
    for name in ("cold", "gated", "byhand", "keyed", "broken", "ended"):
        runs[name] = coder("sop_execute", sopName=name, idempotencyKey=name)["runId"]
    runs["single-broken"] = coder("sop_execute", sopName="single")["runId"]
    (workshop.root / "fine").touch()
    runs["single"] = coder("sop_execute", sopName="single")["runId"]
    coder("sop_complete_step", runId=runs["keyed"], stepNumber=1, outcome="done", idempotencyKey="report")
    for name, decide in (("decided", "sop_reject"), ("approved", "sop_approve")):
        runs[name] = coder("sop_execute", sopName="gated")["runId"]
        more = {"reason": "no"} if decide == "sop_reject" else {}
        reviewer(decide, runId=runs[name], stepNumber=1, **more)
    return runs


def meant(arguments: dict[str, Any], runs: dict[str, str]) -> dict[str, Any]:
    run_id = arguments.get("runId")
    return {**arguments, "runId": runs.get(run_id, run_id)} if isinstance(run_id, str) else arguments


def check_error(result: Any, code: str, said: str) -> Document:
    """An error as every tool tells it: structured, and with a text that says the same."""
    document: Document = result.structured_content
    assert document is not None, said
    assert result.is_error, said
    error = document["error"]
    assert error["code"] == code, (said, error)
    assert document["success"] is False, said
    assert {"message", "retryable", "remedy"} <= error.keys(), said
    assert (error["remedy"], error["retryable"]) == (REMEDIES[code].sentence, REMEDIES[code].retryable), said
    assert {"revision", "waitingOn", "next"} <= document.keys(), said
    [content] = result.content
    assert content.text.startswith(f"Refused ({code}): "), said
    assert error["remedy"] in content.text, said
    assert len(content.text.splitlines()) <= 15, said
    return document


def test_every_refusal_over_the_wire(connect: Connect, scene: dict[str, str]) -> None:
    async def story() -> None:
        async with connect("coder") as coder, connect("reviewer") as reviewer, connect("viewer") as viewer:
            clients = {"coder": coder, "reviewer": reviewer, "viewer": viewer}
            before = (await coder.call_tool("sop_list_runs", {"limit": 200})).structured_content
            for code, who, tool, arguments in CASES:
                result = await clients[who].call_tool(tool, meant(arguments, scene))
                document = check_error(result, code, f"{who}: {tool} {arguments}")
                if code == "revision_conflict":
                    assert document["error"]["revision"] == document["revision"] > OLD["expectedRevision"]
                if code == "limit_reached":
                    assert document["error"]["holders"] == [scene["single"]]
                if code == "cooling_down":
                    assert 0 < document["error"]["secondsLeft"] <= 600
                if code == "approver_not_allowed":
                    told = [move.get("tellHuman", "") for move in document["next"]]
                    assert any(f"sop approve {scene['gated']}" in sentence for sentence in told)
            # whatever was refused changed nothing
            assert (await coder.call_tool("sop_list_runs", {"limit": 200})).structured_content == before

    play(story)


@pytest.mark.parametrize("code", BROKEN)
def test_what_is_wrong_with_the_machine_over_the_wire(
    connect: Connect, workshop: Workshop, agents: Make, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    workshop.steps("byhand", "Walk")
    agent = agents("coder")
    run_id = agent("sop_execute", sopName="byhand")["runId"]
    agent.close()
    # a fault of our own, and a run that changes under every try, cannot be had from outside
    prelude = {
        "conflict": "import sopwith.engine.runs as runs; runs._TRIES = 0",
        "internal": "from sopwith.doors.agent import reads; reads.list_procedures = None",
    }.get(code, "")
    monkeypatch.setattr(wire, "PRELUDE", prelude)
    tool, arguments = BROKEN[code]

    async def story() -> None:
        async with connect("coder") as client:
            if code == "workspace_error":
                (workshop.sops / "config.json").mkdir()
            elif code == "store_error":
                (workshop.sops / "runs.db").write_bytes(b"not a database" * 1000)
            elif code == "unreadable_record":
                with closing(apsw.Connection(str(workshop.sops / "runs.db"))) as db:
                    db.execute("update events set payload = ? where seq = 1", (b"{",))
            check_error(await client.call_tool(tool, meant(arguments, {"byhand": run_id})), code, code)

    play(story)


@pytest.mark.parametrize("code", RECORDED)
def test_what_is_refused_and_recorded_over_the_wire(
    connect: Connect, workshop: Workshop, agents: Make, code: str
) -> None:
    workshop.steps("byhand", "Walk", steps=[{"number": 1, "title": "Walk", "verify": "test -e walked"}])
    agent = agents("coder")
    run_id = agent("sop_execute", sopName="byhand")["runId"]
    agent.close()
    tool, arguments = RECORDED[code]

    async def story() -> None:
        async with connect("coder") as client:
            told = meant(arguments, {"byhand": run_id})
            document = check_error(await client.call_tool(tool, told), code, code)
            assert document["waitingOn"] == "agent"
            (workshop.root / "walked").touch()
            result = await client.call_tool(tool, told)
            assert not result.is_error
            assert result.structured_content["runStatus"] == "completed"

    play(story)
