"""A step may not decide about its own run, even if it leaves its environment behind."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time

import pytest

from sopwith.doors.ancestry import origin

from .workshop import SOP, Workshop, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")

CLEARED = f'env -i PATH="$PATH" HOME="$HOME" {shlex.join(SOP)}'
APPROVE = f'{CLEARED} approve "$SOP_RUN_ID" --step 2 --workspace "$SOPWITH_WORKSPACE" > told 2>&1 || echo $? > code'
WAITED_FOR = f"( {APPROVE} ) & wait"
ORPHANED = f"( ( {APPROVE}; touch over ) & ); until [ -e over ]; do sleep 0.02; done"


def two_steps(workshop: Workshop, script: str) -> str:
    """A run whose first step acts while the gate of the second is open."""
    text = (
        "# Sly\n\n**Execution Mode**: auto\n\n## Steps\n\n"
        f"### Step 1: Try\n\n```bash\n{script}\n```\n\n"
        "### Step 2: Act\n\n```bash\necho acted > acted\n```\n\n**Approval Required**: Yes\n**Depends On**: none\n"
    )
    workshop.procedure("sly", text)
    return workshop.started("sly")


@pytest.mark.parametrize("script", [WAITED_FOR, ORPHANED])
def test_a_step_that_clears_its_environment_cannot_approve_its_run(workshop: Workshop, script: str) -> None:
    run = two_steps(workshop, script)
    told = (workshop.root / "told").read_text()
    assert (workshop.root / "code").read_text() == "5\n", told
    assert f"a step of {run} may not decide about its own run" in told
    assert not (workshop.root / "acted").exists()


@pytest.mark.parametrize("how", ["", " --detach"])
def test_a_step_decides_nothing_by_another_run_that_it_starts(workshop: Workshop, how: str) -> None:
    at_gate = f'{CLEARED} cancel "$SOP_PARAM_RUN" --workspace "$SOPWITH_WORKSPACE" > told 2>&1 || echo $? > code'
    workshop.steps("second", f"Say | {at_gate}", params=[{"name": "run", "type": "string"}])
    start = f'{CLEARED} run second{how} --param run="$SOP_RUN_ID" --workspace "$SOPWITH_WORKSPACE"'
    run = two_steps(workshop, f"{start} > started 2>&1; for i in {{1..500}}; do [ -s code ] && break; sleep 0.02; done")
    told = (workshop.root / "told").read_text()
    assert (workshop.root / "code").read_text() == "5\n", told
    assert f"may not decide about {run}, whose steps brought that run about" in told
    assert workshop.json("status", run)["status"] == "awaiting_approval"


@pytest.mark.parametrize(
    ("variables", "is_agent", "inside"),
    [
        ({}, False, None),
        ({"SOPWITH_ACTOR_KIND": "human"}, False, None),
        ({"SOPWITH_ACTOR_KIND": "agent"}, True, None),
        ({"SOP_RUN_ID": "sop_run_a"}, True, "sop_run_a"),
        ({"SOP_COOKIE": "sop_run_a.1.1.1.0"}, True, "sop_run_a"),
    ],
)
def test_what_an_ancestor_was_started_with_counts(
    variables: dict[str, str], is_agent: bool, inside: str | None
) -> None:
    probe = (
        f"from sopwith.doors import ancestry as a; a.TOP_PID = {os.getpid()}; "
        "found = a.origin(); print(found.is_agent, found.inside)"
    )
    script = f"env -i {shlex.quote(sys.executable)} -c {shlex.quote(probe)}; true"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SOP")}
    done = subprocess.run(["bash", "-c", script], env={**bare, **variables}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{is_agent} {inside}\n"


def test_a_process_cannot_forget_what_it_was_started_with() -> None:
    """Its own variables as it was started with them count, whatever has become of them."""
    probe = (
        "import os; os.environ.clear(); from sopwith.doors import ancestry as a; "
        f"a.TOP_PID = {os.getpid()}; found = a.origin(); print(found.is_agent, found.inside)"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SOP")}
    for variables, told in (
        ({}, "False None\n"),
        ({"SOPWITH_ACTOR_KIND": "agent"}, "True None\n"),
        ({"SOP_RUN_ID": "sop_run_a"}, "True sop_run_a\n"),
    ):
        command = [sys.executable, "-c", probe]
        done = subprocess.run(command, env={**bare, **variables}, capture_output=True, text=True, check=True)
        assert done.stdout == told


def test_asking_the_ancestors_is_cheap() -> None:
    origin()
    took = []
    for _ in range(20):
        before = time.perf_counter()
        origin()
        took.append(time.perf_counter() - before)
    assert min(took) < 0.005


def test_a_module_of_the_project_is_not_imported_by_a_detached_driver(workshop: Workshop) -> None:
    workshop.steps("fine", "Do | echo done > done")
    (workshop.root / "msgspec.py").write_text("open('posed', 'w').close()\nraise ImportError('posed')\n")
    command = [sys.executable, "-P", *SOP[1:], "run", "fine", "--detach"]
    subprocess.run(command, cwd=workshop.root, check=True, capture_output=True)
    run = workshop.run_id("fine")
    eventually(lambda: workshop.json("status", run)["status"] == "completed")
    assert not (workshop.root / "posed").exists()
