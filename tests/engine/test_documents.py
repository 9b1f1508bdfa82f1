"""The JSON shapes have the specification's keys ("Tool Calls", "Audit Log Format")."""

from __future__ import annotations

import json

import pytest

from sopwith.core.codec import view_line
from sopwith.core.procedure import sha256
from sopwith.core.run import RunStatus
from sopwith.engine.documents import error_document, procedure_document, run_document
from sopwith.engine.planning import plan_document
from sopwith.errors import InvalidProcedure, LimitReached, NotFound
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, Bench


@pytest.fixture
def run_id(bench: Bench) -> str:
    bench.world.plays[1] = [Play(output=b"3 tests passed", seconds=45)]
    bench.procedure("deploy", {"title": "Run Tests"}, {"requiresApproval": True, "approvalTimeoutMins": 5})
    return bench.run("deploy", environment="production").run_id


def test_status_has_the_keys_of_sop_status(bench: Bench, run_id: str) -> None:
    document = bench.reader.status(run_id)
    assert {"runId", "sopName", "status", "currentStep", "totalSteps", "stepResults"} <= document.keys()
    shown = {key: document[key] for key in ("runId", "sopName", "status", "currentStep", "totalSteps")}
    assert shown == {
        "runId": run_id,
        "sopName": "deploy",
        "status": "awaiting_approval",
        "currentStep": 2,
        "totalSteps": 2,
    }
    first, second = document["stepResults"]
    assert (first["status"], first["output"], first["duration"]) == ("completed", "3 tests passed", "45s")
    assert (second["status"], second["approval"]["status"]) == ("awaiting_approval", "open")
    assert document["drivenBy"] is None
    json.dumps(document)


def test_history_has_the_keys_of_sop_list_runs(bench: Bench, run_id: str) -> None:
    document = bench.reader.history()
    assert document["total"] == 1
    assert {"runId", "sopName", "status", "createdAt"} <= document["runs"][0].keys()
    assert bench.reader.history(name="other") == {"runs": [], "total": 0}
    assert bench.reader.history(statuses=(RunStatus.COMPLETED,))["total"] == 0
    other = bench.create("deploy")
    limited = bench.reader.history(limit=1)
    assert ([run["runId"] for run in limited["runs"]], limited["total"]) == ([other], 2)


def test_audit_has_the_keys_of_sop_get_audit(bench: Bench, run_id: str) -> None:
    document = bench.reader.audit(run_id)
    assert document["runId"] == run_id
    assert all({"timestamp", "type", "details"} <= event.keys() for event in document["events"])
    assert [event["type"] for event in document["events"]] == [
        "run_created",
        "run_started",
        "step_started",
        "step_completed",
        "approval_requested",
    ]
    assert [event["seq"] for event in document["events"]] == [1, 2, 3, 4, 5]


def test_the_audit_file_has_the_form_of_the_specification(bench: Bench, run_id: str) -> None:
    event = json.loads(view_line(bench.store.events(run_id)[3]))
    assert event["eventType"] == "step_completed"
    assert (event["runId"], event["stepNumber"]) == (run_id, 1)
    assert event["timestamp"].endswith("Z")
    details = event["details"]
    assert (details["title"], details["duration"], details["output"]) == ("Run Tests", "45s", "3 tests passed")


def test_a_run_document_is_the_same_from_live_state_and_replay(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED)]
    bench.procedure("deploy", {})
    run = bench.run("deploy")
    assert run_document(run) == run_document(bench.now(run.run_id))


def test_an_inbox_entry_says_what_to_do(bench: Bench, run_id: str) -> None:
    (item,) = bench.reader.inbox()["items"]
    assert (item["runId"], item["stepNumber"], item["kind"], item["overdue"]) == (run_id, 2, "approval", False)
    assert item["next"] == f"sop approve {run_id} --step 2"


def test_one_step_is_shown_with_its_definition(bench: Bench, run_id: str) -> None:
    step = bench.reader.step(run_id, 2)
    assert step["script"].strip() == "true"
    assert step["requiresApproval"] is True


def test_a_procedure_document_has_the_steps_as_written(bench: Bench, run_id: str) -> None:
    library = bench.engine().parts.library
    document = procedure_document(library.procedure("deploy"), library.config())
    assert [step["number"] for step in document["steps"]] == [1, 2]
    assert document["steps"][1]["approvalTimeoutMins"] == 5


def test_a_plan_lists_gates_in_order_and_writes_nothing(bench: Bench) -> None:
    bench.procedure("deploy", {"dependsOn": [2]}, {"dependsOn": [], "requiresApproval": True})
    library = bench.engine().parts.library
    library.procedure("deploy")  # which fills the cache
    before = bench.store.version()
    plan = plan_document(bench.workspace, library, "deploy", params={}, mode=None, actor=ANN)
    assert [step["number"] for step in plan["steps"]] == [2, 1]
    assert [step["gate"] is not None for step in plan["steps"]] == [True, False]
    assert plan["startApproval"] is None
    assert bench.world.starts == []
    assert bench.reader.history()["total"] == 0
    assert bench.store.version() == before


def test_errors_are_documents_too(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True}, maxConcurrent=1)
    holder = bench.run("deploy").run_id
    with pytest.raises(LimitReached) as refused:
        bench.create("deploy")
    document = error_document(refused.value)
    assert document["success"] is False
    assert document["error"]["code"] == "limit_reached"
    assert list(document["error"]["holders"]) == [holder]

    bench.procedure("broken", {"tittle": "x"})
    with pytest.raises(InvalidProcedure) as invalid:
        bench.create("broken")
    (problem, *_) = error_document(invalid.value)["error"]["problems"]
    assert {"message", "file"} <= problem.keys()


def test_a_run_hands_out_the_contents_that_it_names_and_no_others(bench: Bench) -> None:
    """A database holds those of all runs, and whoever may see one run need not see the others."""
    bench.procedure("deploy", {"requiresApproval": True})
    bench.procedure("secret", {"run": "echo hidden"})
    run, other = bench.run("deploy"), bench.run("secret")
    reader = bench.reader
    gate = run.steps[1].gate
    assert gate is not None
    for digest in (run.procedure_digest, gate.digest):
        assert sha256(reader.content(run.run_id, digest)) == digest
    assert reader.content(other.run_id, other.procedure_digest)
    for digest in (other.procedure_digest, "0" * 64, "", "../x"):
        with pytest.raises(NotFound, match="names no content"):
            reader.content(run.run_id, digest)


def test_who_is_about_to_drive_a_run_is_told_as_its_driver(bench: Bench) -> None:
    bench.procedure("deploy", {}, {"requiresApproval": True})
    run_id = bench.create("deploy")
    reader = bench.reader
    driver = reader.record(run_id, 0, 100).driver
    assert driver is not None
    assert driver.pid == bench.engine().parts.owner().pid
    bench.drive(run_id)
    found = reader.record(run_id, 0, 2)
    assert (found.driver, len(found.events), found.more) == (None, 2, True)
    assert found.revision == bench.now(run_id).seq
    assert not reader.record(run_id, 2, 100).more
