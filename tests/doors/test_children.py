"""Runs within runs at the command: what people read, where an answer belongs, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from .workshop import Workshop

USES = {"number": 1, "title": "Build it", "uses": "build"}


def manifest(workshop: Workshop, name: str, *steps: dict[str, Any], **more: Any) -> None:
    """A procedure that has no SOP.md."""
    document = {"name": name, "description": name, "executionMode": "auto", "steps": list(steps), **more}
    (workshop.procedure(name, "", document) / "SOP.md").unlink()


@pytest.fixture
def nested(workshop: Workshop) -> Workshop:
    workshop.steps("build", "Compile | true", "?Publish | true")
    manifest(workshop, "release", USES, {"number": 2, "title": "Tell", "run": "echo told"})
    return workshop


@pytest.fixture
def waiting(nested: Workshop) -> tuple[str, str]:
    """A run and its child, which waits at its gate."""
    run = nested.json("run", "release", code=3)
    return run["runId"], run["stepResults"][0]["childRunId"]


def test_status_names_each_in_the_other(nested: Workshop, waiting: tuple[str, str]) -> None:
    run, child = waiting
    assert f"running  as {child} (awaiting_approval)" in nested.sop("status", run).out
    assert f"next: sop approve {child}" in nested.sop("status", run).out
    assert f"within {run}, step 1" in nested.sop("status", child).out


def test_history_and_inbox_tell_what_a_run_is_within(nested: Workshop, waiting: tuple[str, str]) -> None:
    run, child = waiting
    lines = {line.split()[0]: line for line in nested.sop("history").out.splitlines()}
    assert lines[child].endswith(f"within {run}")
    assert "within" not in lines[run]
    assert [each["parent"] for each in nested.json("history")["runs"]] == [run, None]
    (item,) = nested.json("inbox")["items"]
    assert (item["runId"], item["parent"]) == (
        child,
        {"runId": run, "stepNumber": 1, "sopName": item["parent"]["sopName"]},
    )
    assert f"{run}, step 1" in nested.sop("inbox").out


@pytest.mark.parametrize("verb", [("approve",), ("reject", "--reason", "no")])
def test_an_answer_to_the_run_around_it_is_refused_with_the_right_command(
    nested: Workshop, waiting: tuple[str, str], verb: tuple[str, ...]
) -> None:
    run, child = waiting
    told = nested.sop(verb[0], run, *verb[1:])
    assert told.code == 5
    assert "no gate is open" in told.err
    assert f"sop approve {child}" in told.err
    assert nested.json("status", child)["status"] == "awaiting_approval"


def test_whoever_approves_in_the_child_sees_the_run_around_it_go_on(nested: Workshop, waiting: tuple[str, str]) -> None:
    run, child = waiting
    told = nested.sop("approve", child)
    assert told.code == 0
    assert "release ▶ step 2/2 Tell" in told.out + told.err
    assert nested.json("status", run)["status"] == "completed"


def test_a_child_in_the_queue_is_told_as_such(workshop: Workshop) -> None:
    workshop.steps("build", "?Publish | true", maxConcurrent=1)
    manifest(workshop, "release", USES)
    other = workshop.started("build")
    run = workshop.started("release")
    child = workshop.json("status", run)["stepResults"][0]["childRunId"]
    assert f"as {child} (in the queue)" in workshop.sop("status", run).out
    assert [item["kind"] for item in workshop.json("inbox")["items"]] == ["approval", "queued"]
    workshop.json("cancel", other)
    workshop.json("resume", run, code=3)
    assert workshop.json("status", child)["status"] == "awaiting_approval"


@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        ({**USES, "uses": "bulid"}, "uses_unknown", "bulid"),
        ({**USES, "uses": "release"}, "uses_itself", "release → release"),
        ({**USES, "with": {"tga": "'a'"}}, "unknown_parameter", "takes no parameter tga"),
        (USES, "missing_parameter", "needs the parameter tag"),
        ({**USES, "with": {"tag": "'a'", "count": 1.5}}, "bad_parameter", "count of build"),
        ({**USES, "with": {"tag": "params.nothing +"}}, "bad_condition", "$.steps[0].with.tag"),
        ({**USES, "run": "true"}, "uses_with_script", "no script"),
        ({**USES, "executor": "manual"}, "uses_with_executor", "manual"),
        ({"number": 1, "title": "Build it", "executor": "procedure"}, "uses_nothing", "expected uses"),
        ({"number": 1, "title": "Build it", "with": {"tag": "'a'"}}, "with_nothing", "expected uses"),
    ],
)
def test_validate_tells_what_cannot_be_used_so(workshop: Workshop, step: dict[str, Any], code: str, words: str) -> None:
    params = [{"name": "tag", "required": True}, {"name": "count", "type": "integer"}]
    manifest(workshop, "build", {"number": 1, "title": "Compile", "run": "true"}, params=params)
    manifest(workshop, "release", step)
    told = workshop.json("validate", "release", code=1)
    (problem,) = (each for each in told["problems"] if each["code"] == code)
    assert words in f"{problem['message']} {problem.get('path', '')}"
    assert workshop.sop("run", "release").code != 0
    assert workshop.json("history")["total"] == 0


def test_show_tells_what_a_step_runs_and_with_what(workshop: Workshop) -> None:
    manifest(workshop, "build", {"number": 1, "title": "Compile", "run": "true"})
    step = {**USES, "with": {"tag": "'v' + '1'", "count": 3}}
    manifest(workshop, "release", step)
    told = workshop.sop("show", "release").out
    assert "runs the procedure build with tag = 'v' + '1', count = 3" in told
    assert "procedure build" in workshop.sop("show", "release", "--graph").out


def test_the_gate_of_the_step_shows_what_it_will_run_and_with_what(workshop: Workshop) -> None:
    manifest(workshop, "build", {"number": 1, "title": "Compile", "run": "true"})
    step = {**USES, "with": {"tag": "'v' + '1'"}, "requiresApproval": True}
    manifest(workshop, "release", step)
    run = workshop.started("release")
    gate = workshop.json("status", run)["gates"][0]
    told = workshop.sop("approve", run, "--digest", gate["digest"][:12])
    assert told.code == 0, told
    assert workshop.json("status", run)["status"] == "completed"


def test_a_cancel_and_a_pause_hold_for_both(nested: Workshop, waiting: tuple[str, str]) -> None:
    run, child = waiting
    nested.json("pause", run)
    assert f"{run} is paused" in nested.sop("status", child).out
    nested.json("resume", run, code=3)
    assert nested.json("status", child)["status"] == "awaiting_approval"
    nested.json("cancel", run)
    assert nested.json("status", child)["status"] == "cancelled"
    assert nested.sop("audit", "--verify-all").code == 0
    assert nested.sop("doctor").code == 0
