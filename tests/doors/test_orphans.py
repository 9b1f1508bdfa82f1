"""`sop doctor`: processes of steps whose keeper was killed are told of, and ended only when asked."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sopwith.executors.launch import Launch
from sopwith.executors.processes import Identity

from .workshop import Workshop, eventually

STEP = "Hold | exec > log 2>&1; trap 'touch asked' TERM; touch begun; while :; do sleep 0.05; done"


def interrupted(workshop: Workshop) -> tuple[str, Identity]:
    """A run whose step was interrupted because its keeper was killed; tells the step's own process."""
    workshop.steps("hold", STEP, "After | echo after")
    process = workshop.background("run", "hold", "--json")
    eventually((workshop.root / "begun").exists)
    run = workshop.run_id("hold")
    marks = Launch(workshop.sops / "runs" / run / "step-1.1.1" / "0").marks()
    assert marks.keeper is not None
    assert marks.child is not None
    os.kill(marks.keeper.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == 3
    return run, marks.child


@pytest.fixture(autouse=True)
def _clean(workshop: Workshop):
    yield
    for folder in (workshop.sops / "runs").glob("*/step-*/0"):
        child = Launch(folder).marks().child
        if child is not None and child.alive():
            os.kill(child.pid, signal.SIGKILL)


def test_an_orphan_is_told_of_and_left_alone(workshop: Workshop) -> None:
    run, child = interrupted(workshop)
    told = workshop.sop("doctor")
    assert told.code == 1
    assert f"process {child.pid} of step 1 of {run} (attempt 1) still runs, and nobody watches it" in told.out
    assert "sop doctor --kill-orphans ends it" in told.out
    assert child.alive()
    assert not (workshop.root / "asked").exists()


def test_an_orphan_is_ended_when_asked(workshop: Workshop) -> None:
    run, child = interrupted(workshop)
    document = workshop.json("doctor", "--kill-orphans", code=0)
    messages = [finding["message"] for finding in document["findings"] if finding["mended"]]
    assert any(
        f"process {child.pid} of step 1 of {run} (attempt 1) was still there: ended" in each for each in messages
    )
    assert not child.alive()
    assert (workshop.root / "asked").exists()
    assert workshop.json("doctor")["findings"] == []


def test_a_run_that_is_still_running_as_far_as_it_knows_is_taken_up_first(workshop: Workshop) -> None:
    workshop.steps("hold", STEP)
    process = workshop.background("run", "hold", "--json")
    eventually((workshop.root / "begun").exists)
    process.terminate()
    process.communicate(timeout=30)
    run = workshop.run_id("hold")
    marks = Launch(workshop.sops / "runs" / run / "step-1.1.1" / "0").marks()
    assert marks.keeper is not None
    assert marks.child is not None
    os.kill(marks.keeper.pid, signal.SIGKILL)
    eventually(lambda: not marks.keeper.alive())
    told = workshop.sop("doctor", "--kill-orphans")
    assert f"sop resume {run} takes it up" in told.out
    assert marks.child.alive()
    assert workshop.sop("resume", run).code == 3
    assert workshop.sop("doctor", "--kill-orphans").code == 0
    assert not marks.child.alive()


def test_another_workspace_is_not_this_ones_to_end(workshop: Workshop, tmp_path: Path) -> None:
    _run, child = interrupted(workshop)
    (tmp_path / "other").mkdir()
    other = Workshop(tmp_path / "other")
    other.steps("plain", "Go | true")
    other.started("plain", code=0)
    assert other.sop("doctor", "--kill-orphans").code == 0
    assert child.alive()


def test_after_another_attempt_the_earlier_one_is_an_orphan_still(workshop: Workshop) -> None:
    run, child = interrupted(workshop)
    (workshop.root / "begun").unlink()
    process = workshop.background("retry", run, "--json", "--on-exit", "stop")
    eventually((workshop.root / "begun").exists)
    assert workshop.sop("doctor", "--kill-orphans").code == 0
    assert not child.alive()
    second = Launch(workshop.sops / "runs" / run / "step-1.1.2" / "0").marks().child
    assert second is not None
    assert second.alive()
    process.terminate()
    process.communicate(timeout=30)
    assert not second.alive()
