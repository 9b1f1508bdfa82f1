"""A rollback with real processes: killed drivers and keepers, cancel, and the words that people read."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from doors.workshop import Workshop, end_process, eventually

from .test_first_path import count, processes_of, signal_process, told

SHEET = """\
# Switch

**Execution Mode**: auto

## Steps

### Step 1: First

```bash
echo one >> trace
echo name=first >> $SOP_OUTPUT
```

#### Rollback

```bash
echo "undo-$SOP_STEP_1_NAME-$SOP_ROLLBACK" >> trace
```

### Step 2: Second

```bash
echo two >> trace
```

#### Rollback

```bash
echo begin-undo-two >> trace
until [ -e go ]; do sleep 0.02; done
echo undo-two >> trace
```

### Step 3: Check

**On Failure**: rollback

```bash
exit 7
```
"""
BEGUN = ["one", "two", "begin-undo-two"]


@pytest.fixture
def interrupted(workshop: Workshop) -> str:
    """A run whose driver was killed by SIGKILL in the middle of the rollback of step 2."""
    workshop.procedure("switch", SHEET)
    driver = workshop.background("run", "switch")
    try:
        eventually(lambda: count(workshop, "trace") == BEGUN)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    finally:
        end_process(driver)
    return workshop.run_id("switch")


def types(workshop: Workshop, run: str) -> list[str]:
    events: list[dict[str, Any]] = told(workshop, "audit", run, code=0)["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return [event["type"] for event in events]


def test_a_rollback_outlives_its_killed_driver_and_nothing_is_undone_twice(
    workshop: Workshop, interrupted: str
) -> None:
    stranded = told(workshop, "status", interrupted, code=0)
    assert (stranded["status"], stranded["rollingBack"], stranded["undriven"]) == ("running", [2, 1], True)
    (workshop.root / "go").touch()
    run = told(workshop, "resume", interrupted, code=4)
    assert (run["status"], run["rolledBack"]) == ("failed", True)
    assert "rollbackFailed" not in run
    assert [step["status"] for step in run["stepResults"]] == ["rolled_back", "rolled_back", "failed"]
    assert count(workshop, "trace") == [*BEGUN, "undo-two", "undo-first-1"]
    assert types(workshop, interrupted).count("step_started") == 5
    assert told(workshop, "doctor", code=0)["healthy"] is True


def test_a_script_that_died_with_its_keeper_is_told_as_unknown_and_the_rest_is_undone(
    workshop: Workshop, interrupted: str
) -> None:
    for pid in processes_of(interrupted):
        signal_process(pid)
    eventually(lambda: not processes_of(interrupted))
    run = told(workshop, "resume", interrupted, code=4)
    assert (run["status"], run["rolledBack"], run["rollbackFailed"]) == ("failed", True, [2])
    assert run["stepResults"][1]["status"] == "completed"
    assert "nobody knows" in run["stepResults"][1]["error"]
    assert count(workshop, "trace") == [*BEGUN, "undo-first-1"]


def test_cancel_ends_the_script_and_a_later_rollback_takes_the_rest(workshop: Workshop, interrupted: str) -> None:
    run = told(workshop, "cancel", interrupted, "--reason", "stop", code=0)
    assert (run["status"], run["rollbackFailed"], run["notRolledBack"]) == ("cancelled", [2], [1])
    assert not processes_of(interrupted)
    (workshop.root / "go").touch()
    run = told(workshop, "rollback", interrupted, code=4)
    assert (run["status"], run["rolledBack"], run["reason"]) == ("cancelled", True, "stop")
    assert count(workshop, "trace") == [*BEGUN, "begin-undo-two", "undo-two", "undo-first-1"]


def test_what_people_read(workshop: Workshop) -> None:
    workshop.procedure("switch", SHEET)
    (workshop.root / "go").touch()
    said = workshop.process("run", "switch")
    assert said.code == 4
    for words in (
        "rolling back steps 2, 1: step 3: exit status 7",
        "rolling back step 2/3 Second",
        "step 1/3 rolled back in",
        "(rolled back)",
    ):
        assert words in said.out
    run = workshop.run_id("switch")
    status = workshop.process("status", run).out
    assert "rolled_back" in status
    assert "rolled back" in status
    shown = workshop.process("show", "switch").out
    assert "rollback, bash:" in shown
    assert "on failure: rolls back" in shown
    refused = workshop.process("rollback", run)
    assert (refused.code, refused.err.count("error:")) == (5, 1)
    assert "there is nothing to roll back" in refused.err


def test_a_rollback_that_wants_approval_asks_shows_its_script_and_goes_on_after_a_rejection(
    workshop: Workshop,
) -> None:
    asks = {"number": 2, "title": "Second", "rollback": {"requiresApproval": True}}
    steps = [{"number": 1, "title": "First"}, asks, {"number": 3, "title": "Check"}]
    workshop.procedure("switch", SHEET, {"name": "switch", "executionMode": "auto", "steps": steps})
    said = workshop.process("run", "switch")
    assert said.code == 3
    assert "approval needed, rollback of step 2/3: Second" in said.out
    run = workshop.run_id("switch")
    shown = workshop.process("approve", run, "--show").out
    assert "rollback of step 2" in shown
    assert "begin-undo-two" in shown
    rejected = told(workshop, "reject", run, "--reason", "keep it", code=4)
    assert (rejected["status"], rejected["action"]) == ("rejected", "rollback_skipped")
    assert (rejected["run"]["status"], rejected["run"]["notRolledBack"]) == ("failed", [2])
    assert count(workshop, "trace") == ["one", "two", "undo-first-1"]
