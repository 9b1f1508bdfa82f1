"""`onInterrupt` with real processes and a real store: steps that die with their keeper, and machines that restart."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from doors.workshop import SOP, Workshop, end_process, eventually
from sopwith.executors.launch import launches

from .test_first_path import count, killed_when, processes_of, signal_process, told

POLICIES = {
    "ask": (3, ["begun"], "interrupted"),
    "rerun": (0, ["begun", "begun", "ended", "told"], "completed"),
    "fail": (4, ["begun"], "failed"),
    "verify: `test -e done`": (0, ["begun", "begun", "ended", "told"], "completed"),
    "verify: `exit 0`": (0, ["begun", "told"], "completed"),
    'verify: `echo "no $SOP_STEP $SOP_VERIFY"; exit 7`': (3, ["begun"], "interrupted"),
    "verify: `kill -9 $$`": (3, ["begun"], "interrupted"),
}
"""What the step says -> exit code of the command that goes on, the trace of it all, and what became of the step."""


def crashed(workshop: Workshop, policy: str, *, keeper_only: bool = False) -> str:
    """A run whose driver was killed in the middle of its first step, and its processes after that."""
    workshop.procedure(
        "deploy",
        "# Deploy\n\n**Execution Mode**: auto\n\n## Steps\n\n"
        f"### Step 1: Deploy\n\n**On Interrupt**: {policy}\n\n"
        "```bash\necho begun >> trace\nuntil [ -e go ]; do sleep 0.02; done\necho ended >> trace\n```\n\n"
        "### Step 2: Tell\n\n```bash\necho told >> trace\n```\n",
    )
    killed_when(workshop, ["begun"], "run", "deploy")
    run = workshop.run_id("deploy")
    if keeper_only:
        os.kill(keeper_of(workshop, run), signal.SIGKILL)
        return run
    for pid in processes_of(run):
        signal_process(pid)
    eventually(lambda: not processes_of(run))
    (workshop.root / "go").touch()
    return run


def keeper_of(workshop: Workshop, run: str) -> int:
    (launch,) = launches(workshop.sops / "runs" / run / "step-1.1.1")
    keeper = launch.marks().keeper
    assert keeper is not None
    return keeper.pid


def details(workshop: Workshop, run: str, event_type: str) -> dict[str, Any]:
    events = told(workshop, "audit", run, code=0)["events"]
    found: dict[str, Any] = next(e["details"] for e in reversed(events) if e["type"] == event_type)
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_a_step_that_died_with_its_keeper_goes_on_as_it_says(workshop: Workshop, policy: str) -> None:
    code, trace, status = POLICIES[policy]
    run = crashed(workshop, policy)
    stranded = told(workshop, "status", run, code=0)
    assert (stranded["status"], stranded["undriven"], stranded["next"]) == ("running", True, f"sop resume {run}")
    assert "nobody drives it" in workshop.process("status", run).out
    resumed = told(workshop, "resume", run, code=code)
    assert (count(workshop, "trace"), resumed["stepResults"][0]["status"]) == (trace, status)
    if "exit 7" in policy:
        ended = details(workshop, run, "verification_ended")
        assert (ended["exitCode"], ended["output"], ended["outcome"]) == (7, "no 1 1\n", "unknown")
        shown = workshop.process("status", run, "--step", "1").out
        assert "exit code 7: unknown" in shown
        assert "no 1 1" in shown
        assert all(f"sop {verb} {run}" in resumed["next"] for verb in ("retry", "complete", "skip"))
        told(workshop, "complete", run, "--comment", "I looked: it is there", code=0)
        assert count(workshop, "trace") == ["begun", "told"]
    assert told(workshop, "doctor", code=0)["healthy"] is True
    assert not processes_of(run)


@pytest.mark.parametrize("policy", ["rerun", "fail", "verify: `exit 0`"])
def test_a_step_of_which_something_still_runs_is_asked_about(workshop: Workshop, policy: str) -> None:
    run = crashed(workshop, policy, keeper_only=True)
    try:
        resumed = told(workshop, "resume", run, code=3)
        assert "something that it started still runs" in resumed["reason"]
        assert count(workshop, "trace") == ["begun"]
    finally:
        for pid in processes_of(run):
            signal_process(pid)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_restarted_machine_goes_on_as_the_step_says(workshop: Workshop, policy: str, another_boot: Any) -> None:
    code, trace, status = POLICIES[policy]
    run = crashed(workshop, policy)
    assert another_boot("resume", run, "--json") == code
    assert count(workshop, "trace") == trace
    assert told(workshop, "status", run, code=0)["stepResults"][0]["status"] == status
    assert "restarted" in details(workshop, run, "step_interrupted")["reason"]


def test_a_verification_that_is_killed_with_its_keeper_asks_and_is_not_run_again(workshop: Workshop) -> None:
    verify = "verify: `echo looked >> looks; until [ -e seen ]; do sleep 0.02; done`"
    run = crashed(workshop, verify)
    driver = workshop.background("resume", run)
    try:
        eventually(lambda: count(workshop, "looks") == ["looked"])
    finally:
        driver.send_signal(signal.SIGKILL)
        end_process(driver)
    for pid in processes_of(run):
        signal_process(pid)
    eventually(lambda: not processes_of(run))
    (workshop.root / "seen").touch()
    told(workshop, "resume", run, code=3)
    assert (count(workshop, "looks"), count(workshop, "trace")) == (["looked"], ["begun"])
    assert details(workshop, run, "verification_ended")["cause"] == "lost"


def test_a_verification_outlives_its_driver_and_its_result_is_taken(workshop: Workshop) -> None:
    verify = "verify: `echo looked >> looks; until [ -e seen ]; do sleep 0.02; done`"
    run = crashed(workshop, verify)
    driver = workshop.background("resume", run)
    try:
        eventually(lambda: count(workshop, "looks") == ["looked"])
    finally:
        driver.send_signal(signal.SIGKILL)
        end_process(driver)
    (workshop.root / "seen").touch()
    told(workshop, "resume", run, code=0)
    assert (count(workshop, "looks"), count(workshop, "trace")) == (["looked"], ["begun", "told"])
    assert told(workshop, "status", run, code=0)["stepResults"][0]["verification"]["outcome"] == "done"


def test_cancel_ends_a_verification_with_all_that_it_started(workshop: Workshop) -> None:
    run = crashed(workshop, "verify: `echo looked >> looks; setsid sleep 300`")
    driver = workshop.background("resume", run)
    try:
        eventually(lambda: count(workshop, "looks") == ["looked"])
        told(workshop, "cancel", run, code=0)
        driver.wait(timeout=30)
    finally:
        end_process(driver)
    eventually(lambda: not processes_of(run))
    assert details(workshop, run, "verification_ended")["cause"] == "cancelled"


@pytest.fixture
def another_boot(workshop: Workshop, tmp_path: Path) -> Any:
    """Runs the command on this machine as if it had been restarted: with another boot id, in a namespace of its own."""
    forged = tmp_path / "boot_id"
    forged.write_text("00000000-0000-4000-8000-000000000000\n")
    kernel = "/proc/sys/kernel/random/boot_id"
    around = ["unshare", "-m", "sh", "-c", f'mount --bind "$0" {kernel} && exec "$@"', str(forged)]
    try:
        tried = subprocess.run([*around, "cat", kernel], capture_output=True, timeout=30)
    except OSError:
        pytest.skip("there is no unshare here")
    if tried.stdout != forged.read_bytes():
        pytest.skip("no other boot id can be shown to a process here: that takes root")

    def run(*args: str) -> int:
        return subprocess.run([*around, *SOP, *args], cwd=workshop.root, capture_output=True, timeout=60).returncode

    return run
