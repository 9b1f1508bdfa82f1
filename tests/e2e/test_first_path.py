"""The first whole path through the command, as processes: made, run, killed, resumed, approved, completed, proven;
and the specification's own examples, with harmless scripts in place of npm, git and curl."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from doors.workshop import Workshop, end_process, eventually
from sopwith.core.codec import NO_HASH, link

_EXAMPLES = Path(__file__).with_name("procedures")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def told(workshop: Workshop, *args: str, code: int) -> dict[str, Any]:
    """The document that a process of the command prints."""
    said = workshop.process(*args, "--json")
    assert said.code == code, said
    return said.json


def example(workshop: Workshop, name: str) -> None:
    """One of the specification's examples, as a workspace has it."""
    folder = _EXAMPLES / name
    manifest = folder / "manifest.json"
    workshop.procedure(
        name, (folder / "SOP.md").read_text(), json.loads(manifest.read_text()) if manifest.exists() else None
    )


def count(workshop: Workshop, name: str) -> list[str]:
    """The lines that steps left in a file: one for each time one ran."""
    path = workshop.root / name
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def release(workshop: Workshop) -> str:
    """Made with `sop create`, then given steps that leave traces; step 2 runs until the file `go` exists."""
    assert workshop.process("create", "release").code == 0
    folder = workshop.sops / "release"
    (folder / "SOP.md").write_text(
        "# Release\n\n## Steps\n\n"
        "### Step 1: Build\n\n```bash\necho build | tee -a trace\n```\n\n"
        "### Step 2: Ship\n\n```bash\necho ship >> trace\n"
        "until [ -e go ]; do sleep 0.02; done\necho shipped >> trace\n```\n\n"
        "**Approval Required**: Yes\n\n"
        "### Step 3: Tell\n\n```bash\necho tell >> trace\n```\n\n**Approval Required**: Yes\n"
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {
        "executionMode": "auto",
        "steps": [
            {"number": 1, "title": "Build"},
            {"number": 2, "title": "Ship", "requiresApproval": True},
            {"number": 3, "title": "Tell", "requiresApproval": True},
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert workshop.process("validate", "release").code == 0
    return "release"


def test_a_killed_driver_costs_nothing_and_repeats_nothing(workshop: Workshop, release: str) -> None:
    run = told(workshop, "run", release, code=3)["runId"]
    assert count(workshop, "trace") == ["build"]

    killed_when(workshop, ["build", "ship"], "approve", run)
    stranded = told(workshop, "status", run, code=0)
    assert (stranded["status"], stranded["drivenBy"], stranded["undriven"]) == ("running", None, True)

    (workshop.root / "go").touch()
    resumed = told(workshop, "resume", run, code=3)
    assert (resumed["status"], resumed["currentStep"]) == ("awaiting_approval", 3)
    assert told(workshop, "approve", run, "--comment", "go on", code=0)["run"]["status"] == "completed"
    assert count(workshop, "trace") == ["build", "ship", "shipped", "tell"]

    events = told(workshop, "audit", run, code=0)["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events if event["type"].startswith("step_")] == [
        "step_started",
        "step_completed",
    ] * 3
    assert told(workshop, "doctor", code=0)["healthy"] is True


def test_a_step_that_died_with_its_keeper_is_never_run_again_unasked(workshop: Workshop, release: str) -> None:
    run = told(workshop, "run", release, code=3)["runId"]
    killed_when(workshop, ["build", "ship"], "approve", run)
    for pid in processes_of(run):
        signal_process(pid)
    eventually(lambda: not processes_of(run))
    interrupted = told(workshop, "resume", run, code=3)
    assert (interrupted["status"], interrupted["stepResults"][1]["status"]) == ("paused", "interrupted")
    assert count(workshop, "trace") == ["build", "ship"]
    assert told(workshop, "complete", run, "--comment", "finished it by hand", code=3)["status"] == "awaiting_approval"


def test_the_record_can_be_followed_and_its_views_are_as_specified(workshop: Workshop, release: str) -> None:
    (workshop.root / "go").touch()
    run = told(workshop, "run", release, code=3)["runId"]
    told(workshop, "approve", run, code=3)
    told(workshop, "approve", run, code=0)

    events = told(workshop, "audit", run, code=0)["events"]
    lines = (workshop.sops / "runs" / f"{run}.audit.jsonl").read_bytes().splitlines()
    assert len(lines) == len(events)
    previous = NO_HASH
    for line, event in zip(lines, events, strict=True):
        kept = json.loads(line)
        assert kept.keys() >= {"timestamp", "eventType", "runId", "details", "seq", "actor", "prevHash", "hash"}
        assert _TIMESTAMP.fullmatch(kept["timestamp"])
        assert (kept["eventType"], kept["runId"], kept["prevHash"]) == (event["type"], run, previous)
        assert kept["hash"] == event["hash"]
        previous = kept["hash"]
    completed = next(json.loads(line) for line in lines if b'"step_completed"' in line)
    assert completed["stepNumber"] == 1
    assert completed["details"].keys() >= {"title", "duration", "durationMs", "output"}

    state = json.loads((workshop.sops / "runs" / f"{run}.json").read_text())
    assert state.keys() >= {"runId", "sopName", "status", "currentStep", "totalSteps", "stepResults"}
    assert (state["runId"], state["status"]) == (run, "completed")


def test_a_changed_record_is_found(workshop: Workshop, release: str) -> None:
    run = told(workshop, "run", release, code=3)["runId"]
    log = workshop.sops / "runs" / f"{run}.audit.jsonl"
    before = log.read_bytes()
    log.write_bytes(before.replace(b"run_created", b"run_crooked"))
    findings = told(workshop, "doctor", code=0)["findings"]
    assert any(run in finding["message"] and finding["mended"] for finding in findings)
    assert log.read_bytes() == before


def test_the_hash_of_each_event_covers_the_one_before(workshop: Workshop, release: str) -> None:
    from sopwith.assembly import open_engine
    from sopwith.settings import find_workspace

    run = told(workshop, "run", release, code=3)["runId"]
    store = open_engine(find_workspace(workshop.root)).parts.store
    sealed = store.events(run)
    assert all(link(each.prev_hash, each.payload) == each.hash for each in sealed)
    store.close()


def test_qa_testing_runs_through_by_itself(workshop: Workshop) -> None:
    example(workshop, "qa-testing")
    document = told(workshop, "run", "qa-testing", code=0)
    assert document["status"] == "completed"
    assert document["totalSteps"] == 5
    assert count(workshop, "trace") == ["1", "2", "3", "4", "5"]


def test_incident_response_is_walked_with_approve_and_complete(workshop: Workshop) -> None:
    example(workshop, "incident-response")
    document = told(workshop, "run", "incident-response", code=3)
    run = document["runId"]
    assert document["status"] == "waiting_approval"
    assert (
        "Check monitoring dashboards"
        in told(workshop, "show", "incident-response", code=0)["sop"]["steps"][0]["description"]
    )

    walk = (
        ("approve", 1),
        ("complete", 2),
        ("approve", 2),
        ("complete", 3),
        ("complete", 4),
        ("approve", 4),
        ("complete", 5),
    )
    for verb, step in walk:
        told(workshop, verb, run, code=3)
        now = told(workshop, "status", run, code=0)
        assert now["currentStep"] == step
        (item,) = told(workshop, "inbox", code=0)["items"]
        assert item["stepNumber"] == step
    assert told(workshop, "complete", run, "--comment", "written up", code=0)["status"] == "completed"
    gates = [e for e in told(workshop, "audit", run, code=0)["events"] if e["type"] == "approval_granted"]
    assert [event.get("stepNumber") for event in gates] == [None, 2, 4]


def test_deploy_production_asks_before_each_of_its_four_steps(workshop: Workshop) -> None:
    example(workshop, "deploy-production")
    run = told(
        workshop, "run", "deploy-production", "--param", "environment=production", "--param", "version=2.1.0", code=3
    )["runId"]
    for step, traces in ((1, 0), (2, 1), (3, 2), (4, 3)):
        assert len(count(workshop, "trace")) == traces
        answer = told(workshop, "approve", run, code=0 if step == 4 else 3)
        assert (answer["stepNumber"], answer["status"]) == (step, "approved")
    assert count(workshop, "trace") == ["test", "backup", "deploy-2.1.0", "verify"]
    asked = [e for e in told(workshop, "audit", run, code=0)["events"] if e["type"] == "approval_requested"]
    assert [event["stepNumber"] for event in asked] == [1, 2, 3, 4]
    refused = told(workshop, "run", "deploy-production", code=5)
    assert refused["error"]["code"] == "cooling_down"


def test_the_template_can_be_run_as_it_stands(workshop: Workshop) -> None:
    assert workshop.process("create", "fresh").code == 0
    run = told(workshop, "run", "fresh", code=3)["runId"]
    told(workshop, "approve", run, code=3)
    told(workshop, "approve", run, code=3)
    assert told(workshop, "complete", run, code=0)["status"] == "completed"


def killed_when(workshop: Workshop, trace: list[str], *command: str) -> None:
    """Drives by this command until the steps have written that, and kills it."""
    driver = workshop.background(*command)
    try:
        eventually(lambda: count(workshop, "trace") == trace)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    finally:
        end_process(driver)


def processes_of(run: str) -> list[int]:
    """Every process that carries this run's cookie in its environment, or its folder on its command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            told_by = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if run.encode() in told_by and state != "Z":
            found.append(int(folder.name))
    return found


def signal_process(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
