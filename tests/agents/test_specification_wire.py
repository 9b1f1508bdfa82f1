"""The six calls of the specification's "Tool Calls" over the wire: these arguments, and results that hold these keys.

A person approves at the first gate with the command, an agent that the gate names at the second, as the story goes.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from tests.doors.workshop import Workshop

from sopwith.doors.agent.tools import BY_NAME
from sopwith.doors.caller import os_actor

from .given import Agent, gated_by
from .wire import Connect, connect, play

__all__ = ["connect"]

RUN: Any = object()
"""Stands for the id of the run."""
START = {
    "sopName": "deploy-production",
    "params": {"environment": "production", "version": "2.1.0"},
    "executionMode": "step_by_step",
}
EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # tool: the arguments, and what the result says; a type stands for any value of it
    "sop_execute": (START, {"success": True, "runId": RUN, "status": "running", "currentStep": 1}),
    "sop_approve": (
        {"runId": RUN, "stepNumber": 2, "comment": "Backup created successfully"},
        {"success": True, "runId": RUN, "stepNumber": 2, "status": "approved"},
    ),
    "sop_reject": (
        {"runId": RUN, "stepNumber": 2, "reason": "Backup failed - insufficient disk space"},
        {"success": True, "runId": RUN, "stepNumber": 2, "status": "rejected", "action": "paused"},
    ),
    "sop_status": (
        {"runId": RUN},
        {
            "success": True,
            "runId": RUN,
            "sopName": "deploy-production",
            "status": str,
            "currentStep": int,
            "totalSteps": 4,
            "stepResults": list,
        },
    ),
    "sop_list_runs": (
        {"sopName": "deploy-production", "status": "awaiting_approval", "limit": 10},
        {"success": True, "runs": list, "total": int},
    ),
    "sop_get_audit": ({"runId": RUN}, {"success": True, "runId": RUN, "events": list}),
}


def fits(expected: Any, got: Any, run_id: str) -> bool:
    if expected is RUN:
        return bool(got == run_id)
    return isinstance(got, expected) if isinstance(expected, type) else bool(got == expected)


@pytest.fixture
def deploy(workshop: Workshop) -> None:
    account = os_actor("cli").id
    titles = ("Run Tests", "Create Backup", "Deploy", "Verify Deployment")
    steps = []
    for number, title in enumerate(titles, 1):
        gate = gated_by("reviewer", title)
        gate["approval"]["approvers"].append(f"user:{account}")
        steps.append({"number": number, **gate})
    workshop.steps("deploy-production", *(f"{title} | true" for title in titles), mode="step_by_step", steps=steps)


def test_the_arguments_are_the_specifications_and_only_what_it_must_is_required() -> None:
    for tool, (arguments, _result) in EXAMPLES.items():
        assert next(iter(BY_NAME[tool].arguments)) == next(iter(arguments))
        assert arguments.keys() <= BY_NAME[tool].arguments.keys()
        assert set(BY_NAME[tool].required) <= arguments.keys()


def test_the_six_calls_as_they_are_written(connect: Connect, workshop: Workshop, deploy: None) -> None:
    async def story() -> None:
        async with connect("coder") as coder, connect("reviewer") as reviewer:

            async def call(client: Any, tool: str, run_id: str = "", **differs: Any) -> dict[str, Any]:
                arguments, expected = EXAMPLES[tool]
                given = {key: run_id if value is RUN else value for key, value in arguments.items()}
                result = await client.call_tool(tool, given)
                document: dict[str, Any] = result.structured_content
                for key, value in {**expected, **differs}.items():
                    assert fits(value, document[key], run_id or document.get("runId", "")), (tool, key, document[key])
                return document

            # every step has a gate in this mode, and the answer comes when the run is at the first: nothing runs
            first = await call(coder, "sop_execute", status="awaiting_approval")
            run_id = first["runId"]
            assert re.fullmatch(r"sop_run_[a-z2-7]{12}", run_id)
            approve = ("approve", run_id, "--step", "1", "--comment", "Tests passed")
            assert (await asyncio.to_thread(workshop.process, *approve)).code == 3
            status = await call(coder, "sop_status", run_id, status="awaiting_approval", currentStep=2)
            assert [(each["stepNumber"], each["status"]) for each in status["stepResults"]] == [
                *((1, "completed"), (2, "awaiting_approval"), (3, "pending"), (4, "pending")),
            ]
            await call(reviewer, "sop_approve", run_id)
            other = (await call(coder, "sop_execute", status="awaiting_approval"))["runId"]
            assert (await asyncio.to_thread(workshop.process, "approve", other, "--step", "1")).code == 3
            await call(coder, "sop_reject", other)
            listed = await call(coder, "sop_list_runs", total=1)
            assert [each["runId"] for each in listed["runs"]] == [run_id]
            audit = await call(coder, "sop_get_audit", run_id)
            for event in audit["events"]:
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
                assert isinstance(event["type"], str)
                assert isinstance(event["details"], dict)
            assert [event["type"] for event in audit["events"]].count("approval_granted") == 2

    play(story)


def test_a_run_that_is_under_way_is_told_as_running_at_its_first_step(workshop: Workshop, coder: Agent) -> None:
    """As the example has it: the answer does not wait for the first step, or for whoever carries it out."""
    workshop.steps("deploy-production", "Run Tests | true", mode="step_by_step")
    coder.desk._writes._carry_on = lambda *_: None
    arguments, expected = EXAMPLES["sop_execute"]
    told = coder("sop_execute", **arguments, waitMs=0)
    assert {key: told[key] for key in expected} == {**expected, "runId": told["runId"]}
