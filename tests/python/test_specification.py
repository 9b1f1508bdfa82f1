"""The specification's "Programmatic API": its four calls, with these arguments, and what its lines print."""

import re
from datetime import UTC

import pytest
from tests.doors.workshop import Workshop, workshop

import sopwith
from sopwith import ExecutionMode, Workspace

__all__ = ["workshop"]


@pytest.fixture
def deploy(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = ("Run Tests", "Create Backup", "Deploy", "Verify Deployment")
    workshop.steps("deploy-production", *(f"{title} | echo $SOP_PARAM_VERSION" for title in titles))
    monkeypatch.chdir(workshop.root)


def test_the_example_as_it_is_written(deploy: None) -> None:
    run = sopwith.create_run(
        "deploy-production",
        params={"environment": "production", "version": "2.1.0"},
        execution_mode="step_by_step",
    )
    assert re.fullmatch(r"SOP run created: sop_run_[a-z2-7]{12}", f"SOP run created: {run.run_id}")
    assert run.params == {"environment": "production", "version": "2.1.0"}
    assert run.execution_mode is ExecutionMode.STEP_BY_STEP

    decision = sopwith.approve_step(run.run_id, 1, comment="Tests passed")
    assert (decision.step_number, decision.status) == (1, "approved")

    status = sopwith.get_run_status(run.run_id)
    assert f"Current step: {status.current_step}/{status.total_steps}" == "Current step: 2/4"
    assert status.step(1).output == "2.1.0\n"

    audit = sopwith.get_audit_log(run.run_id)
    printed = [f"{event.timestamp} - {event.event_type}" for event in audit.events]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00:00 - [a-z_]+", line) for line in printed)
    assert all(
        event.timestamp.tzinfo is UTC or event.timestamp.utcoffset().total_seconds() == 0 for event in audit.events
    )
    assert [line.rpartition(" ")[2] for line in printed] == [
        *("run_created", "run_started", "approval_requested", "approval_granted", "step_started", "step_completed"),
        "approval_requested",
    ]
    [granted] = [event for event in audit.events if event.event_type == "approval_granted"]
    assert granted.details["comment"] == "Tests passed"


def test_results_cannot_be_changed(deploy: None) -> None:
    run = sopwith.create_run("deploy-production", execution_mode="step_by_step")
    for result, name in (
        (run, "status"),
        (run.gates[0], "digest"),
        (run.step(1), "status"),
        (sopwith.get_audit_log(run.run_id).events[0], "event_type"),
        (sopwith.list_runs().runs[0], "status"),
        (sopwith.list_procedures()[0], "name"),
    ):
        with pytest.raises(AttributeError):
            setattr(result, name, "x")


@pytest.mark.parametrize("call", [name for name in sopwith.__all__ if name.islower() and not name.startswith("_")])
def test_each_call_says_what_it_gives_and_what_it_raises(call: str) -> None:
    """A function in a sentence, which leads to the method that says the rest."""
    function, method = getattr(sopwith, call), getattr(Workspace, call)
    assert f"`Workspace.{call}`" in function.__doc__
    assert len(method.__doc__) > 40
    if call not in ("list_procedures",):
        assert "Raises" in method.__doc__
