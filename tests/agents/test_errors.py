"""Every error that a tool can answer with: its code, whether to try again, and what to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.doors.workshop import Workshop
from tools.error_page import error_types

from sopwith import errors
from sopwith.clock import SystemClock
from sopwith.core.instant import Instant
from sopwith.doors.agent.arguments import check_arguments
from sopwith.doors.agent.desk import Growing
from sopwith.doors.agent.failures import REMEDIES, failure_document
from sopwith.doors.agent.frames import Frames
from sopwith.doors.agent.tools import BY_NAME, TOOLS

from .given import Agent, gated_by


def test_every_error_has_a_remedy() -> None:
    assert {kind.code for kind in error_types()} | {"internal"} == set(REMEDIES)


@pytest.mark.parametrize("kind", error_types(), ids=lambda kind: kind.code)
def test_every_error_becomes_a_result(kind: type[errors.SopwithError]) -> None:
    more: dict[str, Any] = {"problems": ()} if kind is errors.InvalidProcedure else {}
    document = failure_document(kind("it did not work", hint="do so", **more), Frames())
    assert document["success"] is False
    assert document["error"].keys() == {"code", "message", "retryable", "remedy"}
    assert "it did not work" in document["error"]["message"]


@pytest.mark.parametrize(
    ("code", "tool", "arguments"),
    [
        ("unknown_tool", "sop_aprove", {}),
        ("bad_argument", "sop_execute", {}),
        ("bad_argument", "sop_execute", {"sopName": 3}),
        ("bad_argument", "sop_execute", {"sopName": "x", "sopname": "x"}),
        ("bad_argument", "sop_execute", {"sopName": "x", "params": []}),
        ("bad_argument", "sop_execute", {"sopName": "x", "executionMode": "yolo"}),
        ("bad_argument", "sop_execute", {"sopName": "x", "waitMs": 20_001}),
        ("bad_argument", "sop_execute", {"sopName": "x", "waitMs": -1}),
        ("bad_argument", "sop_execute", {"sopName": "x", "waitMs": True}),
        ("bad_argument", "sop_execute", {"sopName": "x", "idempotencyKey": ""}),
        ("bad_argument", "sop_execute", {"sopName": "x", "idempotencyKey": "k" * 65}),
        ("bad_argument", "sop_reject", {"runId": "sop_run_x", "reason": "\ud800"}),
        ("bad_argument", "sop_reject", {"runId": "sop_run_x", "reason": "x" * 4001}),
        ("bad_argument", "sop_reject", {"runId": "sop_run_x", "reason": "x", "instance": "eu"}),
        ("bad_argument", "sop_list_runs", {"status": "happy"}),
        ("bad_argument", "sop_get_audit", {"runId": "sop_run_x", "sinceSeq": 2**60}),
        ("identity_claimed", "sop_approve", {"runId": "sop_run_x", "approver": "ann"}),
        ("bad_name", "sop_execute", {"sopName": "../x"}),
        ("bad_name", "sop_describe", {"sopName": "../x"}),
        ("bad_name", "sop_list_runs", {"sopName": "../x"}),
        ("bad_name", "sop_status", {"runId": "../x"}),
        ("not_found", "sop_status", {"runId": "sop_run_aaaaaaaaaaaa"}),
        ("not_found", "sop_get_audit", {"runId": "sop_run_aaaaaaaaaaaa"}),
        ("not_found", "sop_cancel", {"runId": "sop_run_aaaaaaaaaaaa"}),
        ("not_found", "sop_execute", {"sopName": "nothing"}),
        ("not_found", "sop_describe", {"sopName": "nothing"}),
        ("invalid_procedure", "sop_execute", {"sopName": "wrong"}),
        ("bad_parameter", "sop_execute", {"sopName": "typed", "params": {"n": "many"}}),
        ("cooling_down", "sop_execute", {"sopName": "cold"}),
        ("limit_reached", "sop_execute", {"sopName": "single"}),
        ("illegal_move", "sop_retry", {"runId": "single"}),
        ("illegal_move", "sop_cancel", {"runId": "cold"}),
        ("refused", "sop_reject", {"runId": "twice", "reason": "no"}),
        ("approver_not_allowed", "sop_approve", {"runId": "gated", "stepNumber": 1}),
        ("not_found", "sop_status", {"runId": "gated", "stepNumber": 7}),
    ],
)
def test_a_call_that_fails_tells_its_code(
    workshop: Workshop, coder: Agent, code: str, tool: str, arguments: dict[str, Any]
) -> None:
    workshop.procedure("wrong", "# Wrong\n\n## Steps\n\n### Step 1: One\n\n### Step 1: Two\n")
    workshop.steps("typed", "Do | true", params=[{"name": "n", "type": "integer"}])
    workshop.steps("cold", "Do | true", cooldownSecs=600)
    workshop.steps("single", "Walk", maxConcurrent=1)
    workshop.steps("gated", "?Ship | true")
    twice = [{"number": n, "title": f"Gate {n}", "requiresApproval": True, "dependsOn": []} for n in (1, 2)]
    workshop.steps("twice", "?Gate 1 | true", "?Gate 2 | true", steps=twice)
    runs = {}
    if arguments.get("runId") in ("cold", "single", "gated", "twice") or code in ("cooling_down", "limit_reached"):
        runs = {name: coder("sop_execute", sopName=name)["runId"] for name in ("cold", "single", "gated", "twice")}
    if "runId" in arguments:
        arguments = {**arguments, "runId": runs.get(arguments["runId"], arguments["runId"])}
    told = coder.refused(code, tool, **arguments)
    assert told["error"]["retryable"] is (code in ("limit_reached", "cooling_down"))
    assert told["error"]["remedy"] == REMEDIES[code].sentence
    if code == "limit_reached":
        assert told["error"]["holders"] == [runs["single"]]
    if code == "cooling_down":
        assert 0 < told["error"]["secondsLeft"] <= 600


def test_an_approval_of_what_has_changed_is_stale(workshop: Workshop, agents: Any) -> None:
    (workshop.root / "pinned").write_text("before")
    step = {"number": 1, **gated_by("reviewer"), "pins": ["pinned"]}
    workshop.steps("deploy", "Ship | true", steps=[step])
    run_id = agents("coder")("sop_execute", sopName="deploy")["runId"]
    reviewer = agents("reviewer")
    reviewer.refused("approval_stale", "sop_approve", runId=run_id, stepNumber=1, digest="0" * 16)
    (workshop.root / "pinned").write_text("after")
    told = reviewer.refused("approval_stale", "sop_approve", runId=run_id, stepNumber=1)
    look = next(move for move in told["next"] if "call" in move)
    assert (look["call"], look["arguments"]) == ("sop_status", {"runId": run_id, "stepNumber": 1})


def test_a_second_answer_is_told_of_the_first(workshop: Workshop, agents: Any) -> None:
    workshop.steps("deploy", "Ship | true", steps=[{"number": 1, **gated_by("reviewer")}])
    run_id = agents("coder")("sop_execute", sopName="deploy")["runId"]
    agents("coder")("sop_reject", runId=run_id, stepNumber=1, reason="no")
    agents("reviewer").refused("already_decided", "sop_approve", runId=run_id, stepNumber=1)


def test_a_folder_without_a_workspace_is_told(workshop: Workshop, agents: Any, tmp_path: Any) -> None:
    agent = agents()
    agent.opened.override = str(tmp_path)
    agent.refused("no_workspace", "sop_list")


def test_a_database_that_cannot_be_used_is_told(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("byhand", "Walk")
    (workshop.sops / "runs.db").write_bytes(b"not a database" * 1000)
    coder.refused("store_error", "sop_execute", sopName="byhand")


def test_a_file_that_cannot_be_read_is_told(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("byhand", "Walk")
    (workshop.sops / "config.json").mkdir()
    coder.refused("workspace_error", "sop_execute", sopName="byhand")


def test_a_fault_of_our_own_is_an_answer_too(workshop: Workshop, coder: Agent) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("boom")

    workshop.steps("byhand", "Walk")
    coder.desk._writes._carry_on = breaks
    coder.refused("internal", "sop_execute", sopName="byhand")


def test_a_record_that_retention_took_is_told(
    workshop: Workshop, coder: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.steps("deploy", "Ship | true")
    run_id = coder("sop_execute", sopName="deploy", idempotencyKey="k")["runId"]
    (workshop.sops / "config.json").write_text('{"auditRetentionDays": 1}')
    later = SystemClock().now()
    later = Instant(later.at + timedelta(days=3), later.boot_ms, later.boot_id)
    monkeypatch.setattr(SystemClock, "now", lambda _clock: later)
    workshop.json("audit", "prune")
    assert coder("sop_get_audit", runId=run_id)["events"][0]["contentGone"] is True
    coder.refused("record_dropped", "sop_status", runId=run_id)
    coder.refused("record_dropped", "sop_execute", sopName="deploy", idempotencyKey="k")


def test_the_text_beside_an_answer_is_short(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("long", *(f"Step {number} | true" for number in range(30)), "?Ship | true", "Look")
    run_id = coder("sop_execute", sopName="long")["runId"]
    for tool in ("sop_status", "sop_get_audit", "sop_cancel"):
        answer = coder.answer(tool, runId=run_id)
        assert 1 <= len(answer.text.splitlines()) <= 15
        assert run_id in answer.text


def test_looking_makes_no_database(workshop: Workshop, coder: Agent) -> None:
    coder("sop_list")
    coder("sop_list_runs")
    coder.refused("not_found", "sop_status", runId="sop_run_aaaaaaaaaaaa")
    assert not (workshop.sops / "runs.db").exists()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_argument_is_checked_as_its_schema_says(tool: Any) -> None:
    """Each argument with a value of every other kind."""
    values = {"string": "x", "integer": 1, "object": {}, "array": []}
    fitting = {name: values[schema["type"]] for name, schema in tool.arguments.items()}
    for name, schema in tool.arguments.items():
        if "enum" in schema:
            fitting[name] = schema["enum"][0]
    check_arguments(tool, fitting)
    for name, schema in tool.arguments.items():
        for kind, value in values.items():
            if kind != schema["type"]:
                with pytest.raises(errors.BadArgument, match=name):
                    check_arguments(tool, {**fitting, name: value})


def test_an_object_that_json_cannot_carry_is_refused(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("deploy", "Ship | true")
    deep: Any = "x"
    for _ in range(16):
        deep = [deep]
    for value in (float("nan"), float("-inf"), {"b": [float("inf")]}, [deep], {"b": {"c": deep}}):
        coder.refused("bad_argument", "sop_execute", sopName="deploy", params={"a": value}, idempotencyKey="k")
        coder.refused("bad_argument", "sop_approve", runId="sop_run_x", form={"a": value})
    for _ in range(5000):
        deep = [deep]
    coder.refused("bad_argument", "sop_execute", sopName="deploy", params={"a": deep})
    assert coder("sop_execute", sopName="deploy", params={"a": 1.5}, idempotencyKey="k")["status"] == "completed"


def test_schemas_say_no_more_than_hosts_take() -> None:
    for tool in BY_NAME.values():
        assert set(tool.required) <= tool.arguments.keys()
        for schema in tool.arguments.values():
            assert schema["type"] in ("string", "integer", "object", "array")
            assert not {"anyOf", "oneOf", "allOf", "$ref"} & schema.keys()


def test_a_whole_number_may_come_with_a_point(workshop: Workshop, coder: Agent) -> None:
    """As some hosts send every number."""
    params = [{"name": "count", "type": "integer"}]
    workshop.steps("byhand", "Walk", params=params)
    run = coder("sop_execute", sopName="byhand", params={"count": 2.0}, waitMs=0.0)
    assert coder.opened.engine.runs.load(run["runId"]).run.params["count"] == 2
    assert len(coder("sop_list_runs", limit=2.0)["runs"]) == 1
    call = {"runId": run["runId"], "outcome": "done", "idempotencyKey": "a"}
    coder("sop_complete_step", stepNumber=1.0, **call)
    assert coder("sop_complete_step", stepNumber=1, **call)["replayed"]
    for value in (1.5, float("inf"), float("nan"), 2.0**60, True, "2"):
        coder.refused("bad_argument", "sop_list_runs", limit=value)


def test_progress_only_ever_grows() -> None:
    growing = Growing()
    told = [growing.after(done) for done in (0, 0, 0, 1, 1, 3, 2, 0, 3, 4)]
    assert told == sorted(set(told))
    assert [told[0], told[3], told[5], told[9]] == [0, 1, 3, 4]


def test_an_empty_text_is_to_be_left_out_where_it_can_be() -> None:
    with pytest.raises(errors.BadArgument, match="idempotencyKey: expected at least 1 character; leave it out instead"):
        check_arguments(BY_NAME["sop_execute"], {"name": "deploy", "idempotencyKey": ""})
