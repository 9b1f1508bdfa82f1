"""The six calls of the specification ("Tool Calls"), argument for argument and result for result."""

from __future__ import annotations

import pytest
from tests.doors.workshop import Workshop

from .given import Agent, gated_by


@pytest.fixture
def deploy(workshop: Workshop) -> str:
    """As in the specification: four steps, of which the reviewer answers the first three."""
    titles = ("Run Tests", "Create Backup", "Deploy", "Verify Deployment")
    steps = [{"number": n, **gated_by("reviewer", title)} for n, title in enumerate(titles[:3], 1)]
    workshop.steps(
        "deploy-production",
        *(f"{title} | true" for title in titles),
        mode="step_by_step",
        steps=[*steps, {"number": 4, "title": titles[3], **gated_by("reviewer", titles[3])}],
    )
    return "deploy-production"


def test_sop_execute(coder: Agent, deploy: str) -> None:
    told = coder(
        "sop_execute",
        sopName="deploy-production",
        params={"environment": "production", "version": "2.1.0"},
        executionMode="step_by_step",
    )
    assert (told["success"], told["status"], told["currentStep"]) == (True, "awaiting_approval", 1)
    assert told["runId"].startswith("sop_run_")


def test_sop_approve(coder: Agent, reviewer: Agent, deploy: str) -> None:
    run_id = coder("sop_execute", sopName=deploy)["runId"]
    reviewer("sop_approve", runId=run_id, stepNumber=1, comment="Tests passed")
    told = reviewer("sop_approve", runId=run_id, stepNumber=2, comment="Backup created successfully")
    assert {key: told[key] for key in ("success", "runId", "stepNumber", "status")} == {
        "success": True,
        "runId": run_id,
        "stepNumber": 2,
        "status": "approved",
    }
    assert (told["runStatus"], told["currentStep"]) == ("awaiting_approval", 3)


def test_sop_reject(coder: Agent, reviewer: Agent, deploy: str) -> None:
    run_id = coder("sop_execute", sopName=deploy)["runId"]
    reviewer("sop_approve", runId=run_id, stepNumber=1)
    told = coder("sop_reject", runId=run_id, stepNumber=2, reason="Backup failed - insufficient disk space")
    assert {key: told[key] for key in ("success", "runId", "stepNumber", "status", "action")} == {
        "success": True,
        "runId": run_id,
        "stepNumber": 2,
        "status": "rejected",
        "action": "paused",
    }


def test_sop_status(coder: Agent, deploy: str) -> None:
    run_id = coder("sop_execute", sopName=deploy)["runId"]
    told = coder("sop_status", runId=run_id)
    assert (told["success"], told["runId"], told["sopName"]) == (True, run_id, deploy)
    assert (told["status"], told["currentStep"], told["totalSteps"]) == ("awaiting_approval", 1, 4)
    assert [(step["stepNumber"], step["status"]) for step in told["stepResults"]] == [
        (1, "awaiting_approval"),
        (2, "pending"),
        (3, "pending"),
        (4, "pending"),
    ]


def test_sop_list_runs(coder: Agent, deploy: str) -> None:
    run_ids = [coder("sop_execute", sopName=deploy)["runId"] for _ in range(3)]
    told = coder("sop_list_runs", sopName=deploy, status="awaiting_approval", limit=2)
    assert (told["success"], told["total"]) == (True, 3)
    assert [run["runId"] for run in told["runs"]] == [run_ids[2], run_ids[1]]
    assert coder("sop_list_runs", status="completed")["runs"] == []


def test_sop_get_audit(coder: Agent, deploy: str) -> None:
    run_id = coder("sop_execute", sopName=deploy)["runId"]
    told = coder("sop_get_audit", runId=run_id)
    assert (told["success"], told["runId"]) == (True, run_id)
    assert [event["type"] for event in told["events"]] == ["run_created", "run_started", "approval_requested"]
    assert all({"timestamp", "type", "details"} <= event.keys() for event in told["events"])
    assert [event["seq"] for event in coder("sop_get_audit", runId=run_id, sinceSeq=2)["events"]] == [3]
    assert coder("sop_get_audit", runId=run_id, limit=1)["more"] is True
