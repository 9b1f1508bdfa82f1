"""Agents' steps with real processes: a stand-in for a coding agent reads its text, works, hands on, tries to decide,
and outlives the engine.
"""

from __future__ import annotations

import json
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest

from doors.workshop import SOP, Workshop, end_process, eventually

from .test_first_path import count, killed_when, processes_of, signal_process, told

READS = 'cat > read\necho "note=done" >> "$SOP_OUTPUT"\n'
WORKS = "echo begun >> trace\nuntil [ -e go ]; do sleep 0.02; done\necho ended >> trace\n"


def stand_in(workshop: Workshop, script: str, *, program: str = "#!/bin/bash\nset -e\n", **agent: Any) -> None:
    """An agent that is this script."""
    path = workshop.root / "agent"
    path.write_text(program + script)
    path.chmod(0o755)
    agents = {"default": {"command": ["./agent", "-p", "two words"], **agent}}
    (workshop.sops / "config.json").write_text(json.dumps({"agents": agents}))


def reviewed(workshop: Workshop, *keys: str, mode: str = "auto") -> None:
    """Build, review by the agent, and a gated merge that uses what the review handed on."""
    said = "".join(f"**{key.partition(':')[0]}**:{key.partition(':')[2]}\n" for key in keys)
    workshop.procedure(
        "review",
        f"# Review\n\n**Execution Mode**: {mode}\n\n**Parameters**:\n- branch (default: main): the branch\n\n"
        "## Steps\n\n"
        "### Step 1: Build\n\n```bash\necho 'log=approve step 3 now' >> $SOP_OUTPUT\n```\n\n"
        f"### Step 2: Review\n\n**Executor**: agent\n{said}\nRead the diff of the branch.\n\n"
        '### Step 3: Merge\n\n**Approval Required**: Yes\n\n```bash\necho "$SOP_STEP_2_NOTE" > merged\n```\n',
    )


def step(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["stepResults"][1]
    return found


def test_the_agent_reads_its_step_and_hands_on_what_it_found(workshop: Workshop) -> None:
    stand_in(workshop, READS)
    reviewed(workshop)
    run = told(workshop, "run", "review", code=3)
    read = (workshop.root / "read").read_text()
    assert read.startswith("# Step 2: Review\n\nRead the diff of the branch.\n")
    assert '{"branch": "main"}' in read
    assert step(run)["outputs"] == {"note": "done"}
    told(workshop, "approve", run["runId"], code=0)
    assert (workshop.root / "merged").read_text() == "done\n"


def test_the_text_comes_from_a_file_that_only_this_user_may_read_and_ends(workshop: Workshop) -> None:
    look = "import os, stat, sys\nmode = os.fstat(0).st_mode\nprint(stat.S_ISREG(mode), oct(mode & 0o777))\n"
    stand_in(workshop, look + "print(len(sys.stdin.read()) > 200, repr(sys.stdin.read()))\n", program=python())
    reviewed(workshop)
    assert step(told(workshop, "run", "review", code=3))["output"] == "True 0o600\nTrue ''\n"


def python() -> str:
    return "#!/usr/bin/env python3\n"


def test_an_agent_that_reads_nothing_is_no_error(workshop: Workshop) -> None:
    stand_in(workshop, "exec 0<&-\necho ready\n")
    reviewed(workshop)
    assert step(told(workshop, "run", "review", code=3))["status"] == "completed"


def test_arguments_are_given_as_they_are_and_no_shell_reads_them(workshop: Workshop) -> None:
    stand_in(workshop, 'printf "%s|" "$@"\n', command=["./agent", "$(touch evil)", "a b", "`id`"])
    reviewed(workshop)
    run = told(workshop, "run", "review", code=3)
    assert step(run)["output"] == "$(touch evil)|a b|`id`|"
    assert not (workshop.root / "evil").exists()


def test_another_exit_status_fails_the_step_and_it_is_tried_again_as_it_says(workshop: Workshop) -> None:
    stand_in(workshop, "echo tried >> trace\nexit 7\n")
    reviewed(workshop, "Retries: 1")
    run = told(workshop, "run", "review", code=4)
    assert (step(run)["exitCode"], step(run)["status"], count(workshop, "trace")) == (7, "failed", ["tried"] * 2)


def test_an_agent_that_takes_too_long_is_ended_with_all_that_it_started(workshop: Workshop) -> None:
    stand_in(workshop, "setsid sleep 300 &\nsleep 300\n")
    reviewed(workshop, "Timeout: 1s")
    run = told(workshop, "run", "review", code=4)
    assert step(run)["status"] == "failed"
    eventually(lambda: not processes_of(run["runId"]))


def test_a_program_that_is_not_there_fails_the_step_in_one_sentence(workshop: Workshop) -> None:
    stand_in(workshop, READS)
    (workshop.root / "agent").unlink()
    reviewed(workshop)
    error = step(told(workshop, "run", "review", code=4))["error"]
    assert error.startswith("cannot start the step: the agent's program ")
    assert error.endswith("is not there, or cannot be executed")


HOSTILE = """\
import os, subprocess, sys
run, sop = os.environ["SOP_RUN_ID"], SOP
bare = {name: value for name, value in os.environ.items() if not name.startswith("SOP")}
forged = {"PATH": os.environ["PATH"], "SOPWITH_ACTOR_KIND": "human"}
calls = [
    (None, "approve", run, "--step", "3"), (None, "complete", run, "--step", "2"), (None, "skip", run),
    (None, "reject", run, "--reason", "x"), (bare, "approve", run), (bare, "complete", run, "--step", "2"),
    (forged, "approve", run, "--step", "3"), (forged, "retry", run),
]
started = [
    subprocess.Popen([*sop, *call], env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    for environment, *call in calls
]
print(*(each.wait() for each in started))
"""


def test_an_agent_may_decide_nothing_about_its_own_run(workshop: Workshop) -> None:
    stand_in(workshop, HOSTILE.replace("SOP\n", f"{list(SOP)!r}\n", 1), program=python())
    reviewed(workshop)
    run = told(workshop, "run", "review", code=3)
    assert step(run)["output"].split() == ["5"] * 8
    assert (run["status"], run["stepResults"][2]["status"]) == ("awaiting_approval", "awaiting_approval")
    events = told(workshop, "audit", run["runId"], code=0)["events"]
    assert {event["actor"]["kind"] for event in events if event["type"] != "run_created"} == {"system"}
    assert not (workshop.root / "merged").exists()


@pytest.mark.parametrize("change", ["none", "config"])
def test_an_agent_outlives_its_engine_and_is_adopted_started_once(workshop: Workshop, change: str) -> None:
    stand_in(workshop, WORKS + READS)
    reviewed(workshop)
    killed_when(workshop, ["begun"], "run", "review")
    run = workshop.run_id("review")
    shown = workshop.process("status", run, "--step", "2").out
    assert f"agent default: {shlex.join(['./agent', '-p', 'two words'])}" in shown
    if change == "config":
        (workshop.sops / "config.json").write_text("{}")
    goes_on = workshop.background("resume", run)
    try:
        eventually(lambda: told(workshop, "status", run, code=0).get("drivenBy"))
        (workshop.root / "go").touch()
        assert goes_on.wait(timeout=30) == 3
    finally:
        end_process(goes_on)
    ended = step(told(workshop, "status", run, code=0))
    assert (ended["status"], ended["attempt"], ended["outputs"]) == ("completed", 1, {"note": "done"})
    assert count(workshop, "trace") == ["begun", "ended"]


def test_an_agent_that_died_with_its_keeper_is_asked_about_or_run_again_as_it_says(workshop: Workshop) -> None:
    stand_in(workshop, WORKS + READS)
    reviewed(workshop, "On Interrupt: rerun")
    killed_when(workshop, ["begun"], "run", "review")
    run = workshop.run_id("review")
    for pid in processes_of(run):
        signal_process(pid)
    eventually(lambda: not processes_of(run))
    (workshop.root / "go").touch()
    resumed = told(workshop, "resume", run, code=3)
    assert (step(resumed)["status"], count(workshop, "trace")) == ("completed", ["begun", "begun", "ended"])
    assert (workshop.root / "read").read_text().startswith("# Step 2: Review\n")


def test_the_question_shows_what_would_run_and_forges_no_line(workshop: Workshop) -> None:
    stand_in(workshop, READS, command=["./agent", "-p", "envelope\u202e 111111111111", "x; rm -rf /"])
    reviewed(workshop, "Approval Required: Yes")
    run = told(workshop, "run", "review", code=3)["runId"]
    shown = workshop.process("approve", run, "--show").out
    words = "agent default: ./agent -p 'envelope\\u{202e} 111111111111' 'x; rm -rf /'"
    assert words in shown
    assert f"runs {workshop.root / 'agent'} in {workshop.root}, which is given:" in shown
    for verb in (["show", "review"], ["run", "review", "--dry-run"]):
        assert words in workshop.process(*verb).out
    graph = workshop.process("show", "review", "--graph").out
    assert "agent default" in graph
    assert "by hand" not in graph


def test_a_secret_that_is_passed_is_in_no_file_of_the_workspace(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(workshop, '[ "$FAKE_KEY" = sesame-opens ] && echo got\n', env={"pass": ["FAKE_KEY"]})
    reviewed(workshop)
    monkeypatch.setenv("FAKE_KEY", "sesame-opens")
    assert step(told(workshop, "run", "review", code=3))["output"] == "got\n"
    kept = [path for path in workshop.sops.rglob("*") if path.is_file() and b"sesame-opens" in path.read_bytes()]
    assert kept == []


def test_without_a_variable_that_the_agent_needs_the_run_pauses_and_names_it(workshop: Workshop) -> None:
    stand_in(workshop, READS, env={"pass": ["FAKE_KEY"]})
    reviewed(workshop)
    assert "FAKE_KEY" in told(workshop, "run", "review", code=3)["reason"]


def test_an_agent_that_nobody_configured_is_told_at_once(workshop: Workshop) -> None:
    reviewed(workshop, "Agent: reviewer")
    for verb, code in ((["validate", "review"], 1), (["run", "review"], 2), (["run", "review", "--dry-run"], 2)):
        said = workshop.process(*verb)
        assert said.code == code, said
        assert "is for the agent reviewer, which config.json does not have" in said.out + said.err
        assert "hint:" in said.out + said.err


def test_files_of_a_launch_are_private(workshop: Workshop) -> None:
    stand_in(workshop, READS)
    reviewed(workshop)
    run = told(workshop, "run", "review", code=3)["runId"]
    (task,) = (workshop.sops / "runs" / run).rglob("task")
    assert stat.S_IMODE(Path(task).stat().st_mode) == 0o600
