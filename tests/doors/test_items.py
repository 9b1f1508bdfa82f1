"""Instances as people and programs see them: 3:eu in words, number and instance in JSON."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from core.given import Story, shell
from sopwith.doors.cli.live import Live

from .workshop import Workshop

SHEET = """\
# Spread

**Execution Mode**: auto

## Steps

### Step 1: Deploy

**For Each**: eu, us
**Approval Required**: Yes

```bash
echo "deployed $SOP_ITEM"
```

### Step 2: Light

**For Each**: north, south

Switch it on.
"""


@pytest.fixture
def waiting(workshop: Workshop) -> str:
    """A run that waits at the gates of both instances."""
    workshop.procedure("spread", SHEET)
    return workshop.started("spread")


def passed(workshop: Workshop, run: str) -> None:
    """Both gates are passed, and step 2 waits for people."""
    workshop.sop("approve", run, "--step", "1:eu")
    workshop.sop("approve", run, "--step", "1:us")


def test_status_names_each_instance(workshop: Workshop, waiting: str) -> None:
    said = workshop.sop("status", waiting).out
    lines = [line.strip() for line in said.splitlines()]
    assert any(line.split()[:3] == ["?", "eu", "awaiting_approval"] for line in lines), said
    assert f"sop approve {waiting} --step 1:eu" in said
    document = workshop.json("status", waiting)
    told = [(each["stepNumber"], each.get("instance"), each["status"]) for each in document["stepResults"]]
    assert told == [
        (1, None, "awaiting_approval"),
        (1, "eu", "awaiting_approval"),
        (1, "us", "awaiting_approval"),
        (2, None, "pending"),
    ]


def test_the_live_view_says_of_which_step_each_instance_is() -> None:
    story = Story(shell(for_each=("eu", "us", "ap"), max_parallel=2), shell(after=(), for_each=("eu",))).drive()
    console = Console(file=io.StringIO(), width=100)
    live = Live(lambda: story.now, console)
    live.show(story.run)
    with console.capture() as going:
        console.print(live._region())
    lines = [line.split()[1:5] for line in going.get().splitlines()]
    assert lines[:3] == [["1", "eu:", "Step", "1"], ["1", "us:", "Step", "1"], ["2", "eu:", "Step", "2"]]
    with console.capture() as ended:
        story.finish("1:us")
        live.on_event(story.last, story.run)
    assert "1 us: Step 1" in ended.get()


def test_the_inbox_names_each_instance(workshop: Workshop, waiting: str) -> None:
    said = workshop.sop("inbox").out
    assert "1:eu" in said
    assert "1:us" in said
    items = workshop.json("inbox")["items"]
    assert [(each["stepNumber"], each["instance"]) for each in items] == [(1, "eu"), (1, "us")]


def test_the_question_shows_the_item(workshop: Workshop, waiting: str) -> None:
    said = workshop.sop("approve", waiting, "--step", "1:us", "--show").out
    assert "1:us" in said
    assert "item" in said
    [gate] = workshop.json("approve", waiting, "--step", "1:us", "--show")["gates"]
    assert (gate["stepNumber"], gate["instance"]) == (1, "us")
    assert (gate["envelope"]["instance"], gate["envelope"]["item"]) == ("us", "us")


def test_an_answer_without_a_name_says_which_there_are(workshop: Workshop, waiting: str) -> None:
    told = workshop.sop("approve", waiting)
    assert (told.code, "1:eu, 1:us" in told.err) == (5, True)
    told = workshop.sop("approve", waiting, "--step", "1:mars")
    assert (told.code, "it is done for eu, us" in told.err) == (2, True)
    told = workshop.sop("approve", waiting, "--step", "eu")
    assert told.code == 2
    assert "3:eu" in told.err


def test_an_answer_is_told_with_its_instance(workshop: Workshop, waiting: str) -> None:
    assert f"approved step 1:eu of {waiting}" in workshop.sop("approve", waiting, "--step", "1:eu").out
    document = workshop.json("reject", waiting, "--step", "1:us", "--reason", "no")
    assert (document["stepNumber"], document["instance"], document["status"]) == (1, "us", "rejected")


def test_logs_are_read_by_instance(workshop: Workshop, waiting: str) -> None:
    passed(workshop, waiting)
    assert "deployed us" in workshop.sop("logs", waiting, "--step", "1:us").out
    assert "deployed eu" not in workshop.sop("logs", waiting, "--step", "1:us").out
    whole = workshop.sop("logs", waiting, "--step", "1").out
    assert "deployed eu" in whole
    assert "deployed us" in whole
    every = workshop.sop("logs", waiting).out
    assert "1:eu" in every
    assert "deployed eu" in every
    assert workshop.sop("logs", waiting, "--step", "1:mars").code != 0


def test_instances_by_hand_are_completed_by_name(workshop: Workshop, waiting: str) -> None:
    passed(workshop, waiting)
    told = workshop.sop("complete", waiting)
    assert "2:north, 2:south" in told.err
    workshop.sop("complete", waiting, "--step", "2:south")
    told = workshop.sop("complete", waiting, "--step", "2")
    assert "name one of its instances: 2:north" in told.err
    workshop.sop("skip", waiting, "--step", "2:north", "--reason", "no light there")
    assert workshop.json("status", waiting)["status"] == "completed"
    assert workshop.sop("retry", waiting, "--from", "2:north").code == 5


def test_the_record_names_each_instance_and_an_export_is_verified(
    workshop: Workshop, waiting: str, tmp_path: Path
) -> None:
    passed(workshop, waiting)
    said = workshop.sop("audit", waiting).out
    assert "step 1:eu" in said
    events = workshop.json("audit", waiting)["events"]
    assert [(e["stepNumber"], e["instance"]) for e in events if e["type"] == "approval_granted"] == [
        (1, "eu"),
        (1, "us"),
    ]
    target = tmp_path / "bundle"
    assert workshop.sop("audit", "export", waiting, "--to", str(target)).code == 0
    verifier = Path(__file__).parents[2] / "tools" / "verify_audit.py"
    verified = subprocess.run([sys.executable, str(verifier), str(target)], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    page = next(target.rglob("*.html")).read_text()
    assert "step 1:eu" in page
    assert "1:us" in page
