"""`--json`: one document on stdout and nothing else, with the specification's keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .workshop import Workshop

RUN_KEYS = {"success", "runId", "sopName", "status", "currentStep", "totalSteps", "stepResults"}


@pytest.fixture
def gated(workshop: Workshop) -> str:
    """A run that has done step 1 and waits at the gate of step 2."""
    workshop.steps("gated", "Look | echo looked", "?Act | echo acted", "Check | echo checked")
    return workshop.started("gated", "--param", "version=2.1.0")


def is_run(document: dict[str, Any], status: str) -> None:
    assert document.keys() >= RUN_KEYS
    assert (document["success"], document["status"]) == (True, status)
    assert [step["stepNumber"] for step in document["stepResults"]] == [1, 2, 3]
    assert all(step.keys() >= {"title", "status", "output", "exitCode", "approval"} for step in document["stepResults"])


def test_status_and_run_print_the_run(workshop: Workshop, gated: str) -> None:
    document = workshop.json("status", gated)
    is_run(document, "awaiting_approval")
    assert (document["currentStep"], document["totalSteps"], document["params"]) == (2, 3, {"version": "2.1.0"})
    is_run(workshop.json("run", "gated", code=3), "awaiting_approval")


def test_approve_says_what_was_approved_and_adds_the_run(workshop: Workshop, gated: str) -> None:
    document = workshop.json("approve", gated, "--step", "2", "--comment", "fine")
    assert {k: document[k] for k in ("success", "runId", "stepNumber", "status")} == {
        "success": True,
        "runId": gated,
        "stepNumber": 2,
        "status": "approved",
    }
    assert document["run"]["status"] == "completed"


def test_reject_says_what_came_of_it(workshop: Workshop, gated: str) -> None:
    document = workshop.json("reject", gated, "--reason", "no space left")
    wanted = {"success": True, "runId": gated, "stepNumber": 2, "status": "rejected", "action": "paused"}
    assert {key: document[key] for key in wanted} == wanted


def test_a_rejected_start_cancels(workshop: Workshop) -> None:
    workshop.steps("asked", "Do | echo done", mode="supervised")
    document = workshop.json("reject", workshop.started("asked"), "--reason", "not today")
    assert (document["stepNumber"], document["action"]) == (None, "cancelled")


def test_the_steering_verbs_print_the_run(workshop: Workshop, gated: str) -> None:
    is_run(workshop.json("pause", gated), "paused")
    is_run(workshop.json("resume", gated, code=3), "awaiting_approval")
    workshop.json("reject", gated, "--reason", "no")
    is_run(workshop.json("retry", gated, code=3), "awaiting_approval")
    is_run(workshop.json("skip", gated, "--step", "2", "--reason", "not needed"), "completed")
    again = workshop.started("gated")
    is_run(workshop.json("cancel", again), "cancelled")


def test_manual_steps_are_reported(workshop: Workshop) -> None:
    workshop.steps("byhand", "Walk over", "Look", "Leave")
    run = workshop.started("byhand")
    is_run(workshop.json("complete", run, "--comment", "there", code=3), "running")
    is_run(workshop.json("fail", run, "--reason", "dark", code=4), "failed")
    assert workshop.json("status", run)["stepResults"][1]["error"]


def test_history_counts_all_and_shows_the_newest_first(workshop: Workshop, gated: str) -> None:
    second = workshop.started("gated")
    document = workshop.json("history", "gated", "--limit", "1")
    assert (document["success"], document["total"]) == (True, 2)
    assert [run["runId"] for run in document["runs"]] == [second]
    assert workshop.json("history", "--status", "completed")["total"] == 0


def test_audit_events_carry_type_and_files_say_event_type(workshop: Workshop, gated: str) -> None:
    document = workshop.json("audit", gated)
    assert document.keys() >= {"success", "runId", "events"}
    assert all(event.keys() >= {"timestamp", "type", "actor", "details"} for event in document["events"])
    assert not any("eventType" in event for event in document["events"])
    assert document["events"][0]["type"] == "run_created"
    lines = (workshop.sops / "runs" / f"{gated}.audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == [event["type"] for event in document["events"]]


def test_show_prints_the_procedure_as_its_files_say(workshop: Workshop, gated: str) -> None:
    sop = workshop.json("show", "gated")["sop"]
    assert sop["name"] == "gated"
    assert [step["requiresApproval"] for step in sop["steps"]] == [False, True, False]
    assert sop["steps"][0].keys() >= {"number", "title", "requiresApproval", "approvalTimeoutMins", "suggestedTools"}


def test_list_inbox_logs_doctor_and_validate_have_documents_of_their_own(workshop: Workshop, gated: str) -> None:
    assert workshop.json("list")["sops"][0].keys() >= {"name", "version", "priority", "executionMode", "valid"}
    (item,) = workshop.json("inbox")["items"]
    assert (item["runId"], item["stepNumber"], item["kind"]) == (gated, 2, "approval")
    assert workshop.json("logs", gated)["logs"][0]["sizeBytes"] == len("looked\n")
    assert workshop.json("status", gated, "--step", "1")["step"]["output"] == "looked\n"
    assert workshop.json("doctor")["healthy"] is True
    assert workshop.json("validate")["valid"] is True
    assert workshop.json("approve", gated, "--show")["gates"][0]["stepNumber"] == 2


@pytest.mark.parametrize("kind", ["manifest", "config"])
def test_schema_is_a_document_with_and_without_json(workshop: Workshop, kind: str) -> None:
    plain = json.loads(workshop.sop("schema", kind).out)
    assert workshop.json("schema", kind)["schema"] == plain


def test_init_create_and_completion_print_documents(workshop: Workshop) -> None:
    assert workshop.json("create", "fresh")["name"] == "fresh"
    assert workshop.json("init", "elsewhere")["created"]
    assert "sop" in workshop.json("completion", "bash")["script"]


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (("status", "sop_run_nobody"), "not_found", 6),
        (("status",), "usage", 2),
        (("history", "--limit", "0"), "usage", 2),
        (("--nonsense",), "usage", 2),
        (("token",), "usage", 2),
        ((), "usage", 2),
        (("show", "../../etc"), "bad_name", 2),
        (("run", "gated", "--param", "novalue"), "bad_parameter", 2),
        (("reject", "sop_run_nobody"), "not_found", 6),
    ],
)
def test_errors_are_documents_too(workshop: Workshop, args: tuple[str, ...], code: str, exit_code: int) -> None:
    document = workshop.json(*args, code=exit_code)
    assert document["success"] is False
    assert document["error"].keys() >= {"code", "message", "hint"}
    assert document["error"]["code"] == code
    assert document["error"]["hint"]


def test_json_may_stand_before_the_verb(workshop: Workshop, gated: str) -> None:
    assert workshop.sop("--json", "status", gated).json["runId"] == gated


def test_json_is_utf_8_whatever_the_locale_says(workshop: Workshop) -> None:
    workshop.procedure("wide", "# 日本語 ✔\n\n## Steps\n\n### Step 1: Ü\n")
    told = workshop.process("show", "wide", "--json", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert json.loads(told.out)["sop"]["title"] == "日本語 ✔"


def test_what_steps_print_stays_out_of_the_document(workshop: Workshop) -> None:
    workshop.steps("noisy", 'Talk | echo "{"; echo noise >&2')
    told = workshop.process("run", "noisy", "--json")
    assert told.json["stepResults"][0]["output"] == "{\nnoise\n"


def test_the_inbox_names_every_run_that_needs_a_person(workshop: Workshop, gated: str) -> None:
    rejected, paused = workshop.started("gated"), workshop.started("gated")
    workshop.json("reject", rejected, "--reason", "no")
    workshop.json("pause", paused)
    workshop.steps("byhand", "Walk over")
    manual = workshop.started("byhand")
    items = {item["runId"]: item for item in workshop.json("inbox")["items"]}
    kinds = {run: items[run]["kind"] for run in (gated, rejected, paused, manual)}
    assert list(kinds.values()) == ["approval", "rejected", "paused", "manual"]
    assert all(item["requestedAt"] and item["next"].startswith("sop ") for item in items.values())
    assert "since 2" in workshop.sop("inbox").out
