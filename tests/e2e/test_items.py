"""A step for each of several items with real processes: a killed driver in the middle, and nothing is done twice."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from doors.workshop import Workshop, end_process, eventually

from .test_first_path import count, processes_of, signal_process, told

SHEET = """\
# Spread

**Execution Mode**: auto

## Steps

### Step 1: List

**Outputs**: regions: json

```bash
echo 'regions=["eu","us","ap"]' >> "$SOP_OUTPUT"
```

### Step 2: Deploy

**For Each**: steps['1'].outputs.regions
**Max Parallel**: 2
**Outputs**: url

```bash
echo "begin-$SOP_ITEM" >> trace
until [ -e go ]; do sleep 0.02; done
echo "url=https://$SOP_INSTANCE.example.com" >> "$SOP_OUTPUT"
echo "end-$SOP_ITEM" >> trace
```

#### Rollback

```bash
echo "undo-$SOP_ITEM-$SOP_STEP_2_URL" >> trace
```

### Step 3: Tell

**If**: size(steps['2'].outputs.url) == 3

```bash
echo "$SOP_STEP_2_URL" >> trace
```

### Step 4: Check

```bash
test -e fine
```
"""
URLS = '["https://eu.example.com","https://us.example.com","https://ap.example.com"]'


@pytest.fixture
def interrupted(workshop: Workshop) -> str:
    """A run whose driver was killed by SIGKILL in the middle of two instances; the third has not begun."""
    workshop.procedure("spread", SHEET)
    driver = workshop.background("run", "spread")
    try:
        eventually(lambda: sorted(count(workshop, "trace")) == ["begin-eu", "begin-us"])
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    finally:
        end_process(driver)
    return workshop.run_id("spread")


def starts(workshop: Workshop, run: str) -> list[tuple[int, str]]:
    events: list[dict[str, Any]] = told(workshop, "audit", run, code=0)["events"]
    return [(each["stepNumber"], each.get("instance", "")) for each in events if each["type"] == "step_started"]


def test_two_instances_outlive_their_killed_driver_and_none_is_started_twice(
    workshop: Workshop, interrupted: str
) -> None:
    stranded = told(workshop, "status", interrupted, code=0)
    assert (stranded["status"], stranded["undriven"]) == ("running", True)
    (workshop.root / "go").touch()
    (workshop.root / "fine").touch()
    run = told(workshop, "resume", interrupted, code=0)
    assert run["status"] == "completed"
    trace = count(workshop, "trace")
    assert sorted(trace[:-1]) == [
        *(f"begin-{n}" for n in ("ap", "eu", "us")),
        *(f"end-{n}" for n in ("ap", "eu", "us")),
    ]
    assert trace[-1] == URLS
    assert starts(workshop, interrupted) == [(1, ""), (2, "eu"), (2, "us"), (2, "ap"), (3, ""), (4, "")]
    assert told(workshop, "doctor", code=0)["healthy"] is True
    log = workshop.process("logs", interrupted, "--step", "2:us")
    assert log.code == 0


def test_an_instance_that_died_with_its_keeper_is_interrupted_and_the_other_is_not(
    workshop: Workshop, interrupted: str
) -> None:
    for pid in processes_of(interrupted):
        signal_process(pid)
    eventually(lambda: not processes_of(interrupted))
    run = told(workshop, "resume", interrupted, code=3)
    by_instance = {each.get("instance"): each["status"] for each in run["stepResults"] if each["stepNumber"] == 2}
    assert by_instance == {None: "interrupted", "eu": "interrupted", "us": "interrupted", "ap": "pending"}
    (workshop.root / "go").touch()
    told(workshop, "retry", interrupted, code=4)
    assert [s for s in starts(workshop, interrupted) if s[0] == 2] == [
        *((2, "eu"), (2, "us"), (2, "eu"), (2, "us"), (2, "ap")),
    ]


def test_completed_instances_are_undone_one_by_one(workshop: Workshop) -> None:
    workshop.procedure("spread", SHEET)
    (workshop.root / "go").touch()
    assert workshop.process("run", "spread").code == 4
    run = told(workshop, "rollback", workshop.run_id("spread"), code=4)
    assert run["rolledBack"] is True
    undone = [line for line in count(workshop, "trace") if line.startswith("undo")]
    assert sorted(undone) == [f"undo-{n}-https://{n}.example.com" for n in ("ap", "eu", "us")]
    events = workshop.json("audit", workshop.run_id("spread"))["events"]
    done = [each["instance"] for each in events if each["type"] == "step_completed" and each.get("instance")]
    assert [line.split("-")[1] for line in undone] == done[2::-1], "the last that was done is undone first"
    assert run["stepResults"][1]["status"] == "rolled_back"
