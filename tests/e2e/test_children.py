"""Runs within runs with real processes and the real store: killed drivers, the server, two doors, the record."""

from __future__ import annotations

from typing import Any

import pytest

from doors.workshop import Workshop, end_process, eventually

from .test_first_path import count, killed_when, told

PARENT = """\
# Release

**Execution Mode**: auto

**Parameters**:

- version (required): what

## Steps

### Step 1: Build it

**Uses**: build
**With**: tag=`params.version + '-rc'`
**Outputs**: url

### Step 2: Tell everybody

```bash
echo "told-$SOP_STEP_1_URL" >> trace
```
"""
BUILD = """\
# Build

**Execution Mode**: auto

**Parameters**:

- tag (required): which

## Steps

### Step 1: Compile

```bash
echo begin >> trace
until [ -e go ]; do sleep 0.02; done
echo "compiled-$SOP_PARAM_TAG" >> trace
echo "url=http://$SOP_PARAM_TAG" >> $SOP_OUTPUT
```

### Step 2: Publish

**Approval Required**: Yes

```bash
echo published >> trace
```
"""
DONE = ["begin", "compiled-v1-rc", "published", "told-http://v1-rc"]


@pytest.fixture
def release(workshop: Workshop) -> Workshop:
    workshop.procedure("build", BUILD)
    workshop.procedure("release", PARENT)
    return workshop


def go(workshop: Workshop) -> None:
    (workshop.root / "go").touch()


def child_of(workshop: Workshop, run: str) -> str:
    found: str = told(workshop, "status", run, code=0)["stepResults"][0]["childRunId"]
    return found


def status(workshop: Workshop, run: str) -> str:
    found: str = told(workshop, "status", run, code=0)["status"]
    return found


@pytest.fixture
def interrupted(release: Workshop) -> str:
    """A run whose driver was killed by SIGKILL in the middle of its child's first step."""
    killed_when(release, ["begin"], "run", "release", "--param", "version=v1")
    return release.run_id("release")


def test_a_run_within_a_run_from_the_start_to_the_end(release: Workshop) -> None:
    go(release)
    run = told(release, "run", "release", "--param", "version=v1", code=3)
    assert run["status"] == "awaiting_approval"
    child = run["stepResults"][0]["childRunId"]
    assert run["stepResults"][0]["childStatus"] == "awaiting_approval"
    assert child in run["next"]
    told(release, "approve", child, code=0)
    after = told(release, "status", child, code=0)
    assert (after["status"], after["parent"]) == ("completed", {"runId": run["runId"], "stepNumber": 1})
    assert status(release, run["runId"]) == "completed"
    assert count(release, "trace") == DONE
    for each in (run["runId"], child):
        assert release.process("audit", each, "--verify").code == 0
    assert release.process("audit", "--verify-all").code == 0
    assert release.process("doctor").code == 0


@pytest.mark.parametrize("which", ["parent", "child"])
def test_both_outlive_their_killed_driver(release: Workshop, interrupted: str, which: str) -> None:
    child = child_of(release, interrupted)
    go(release)
    told(release, "resume", interrupted if which == "parent" else child, code=3)
    assert [status(release, each) for each in (interrupted, child)] == ["awaiting_approval"] * 2
    told(release, "approve", child, code=0)
    assert status(release, interrupted) == "completed"
    assert count(release, "trace") == DONE


def test_the_server_takes_both_over(release: Workshop, interrupted: str) -> None:
    child = child_of(release, interrupted)
    server = release.background("serve")
    try:
        go(release)
        eventually(lambda: [status(release, each) for each in (interrupted, child)] == ["awaiting_approval"] * 2)
        told(release, "approve", child, code=0)
        eventually(lambda: status(release, interrupted) == "completed")
    finally:
        end_process(server)
    assert count(release, "trace") == DONE


def test_a_cancel_ends_the_process_of_the_child(release: Workshop, interrupted: str) -> None:
    child = child_of(release, interrupted)
    told(release, "cancel", interrupted, code=0)
    assert [status(release, each) for each in (interrupted, child)] == ["cancelled"] * 2
    go(release)
    assert count(release, "trace") == ["begin"]


def test_two_doors_at_once_do_nothing_twice(release: Workshop) -> None:
    go(release)
    run = told(release, "run", "release", "--param", "version=v1", code=3)["runId"]
    child = child_of(release, run)
    doors = [release.background("approve", child), release.background("resume", run, "--wait")]
    try:
        for each in doors:
            each.wait(30)
    finally:
        for each in doors:
            end_process(each)
    told(release, "resume", run, code=0) if status(release, run) != "completed" else None
    assert count(release, "trace") == DONE


def test_what_was_edited_since_changes_nothing(release: Workshop, interrupted: str) -> None:
    folder = release.sops / "build"
    (folder / "SOP.md").write_text(BUILD.replace("published", "forged"))
    go(release)
    told(release, "resume", interrupted, code=3)
    told(release, "approve", child_of(release, interrupted), code=0)
    assert count(release, "trace") == DONE


def events(workshop: Workshop, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told(workshop, "audit", run, code=0)["events"]
    return found


def test_the_record_of_the_parent_tells_of_the_child(release: Workshop) -> None:
    go(release)
    run = told(release, "run", "release", "--param", "version=v1", code=3)["runId"]
    child = child_of(release, run)
    told(release, "approve", child, code=0)
    record = events(release, run)
    assert [each["seq"] for each in record] == list(range(1, len(record) + 1))
    started = next(each for each in record if each["type"] == "step_started")
    assert started["details"]["childRunId"] == child
    created = events(release, child)[0]
    assert created["details"]["parent"] == {"runId": run, "step": 1}
    assert created["actor"] == record[0]["actor"]
