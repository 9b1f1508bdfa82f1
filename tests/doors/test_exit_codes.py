"""One exit code for each way a command can end (DESIGN section 8)."""

from __future__ import annotations

import pytest

from .workshop import Workshop

GATED = ("Look | echo looked", "?Act | echo acted")


def test_a_run_that_completes_exits_0(workshop: Workshop) -> None:
    workshop.steps("fine", "Do | echo done")
    assert workshop.sop("run", "fine").code == 0


def test_a_run_that_waits_at_a_gate_exits_3(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    assert workshop.sop("run", "gated").code == 3


def test_a_run_that_waits_for_its_start_exits_3(workshop: Workshop) -> None:
    workshop.steps("asked", "Do | echo done", mode="supervised")
    assert workshop.sop("run", "asked").code == 3


def test_a_run_that_waits_for_a_manual_step_exits_3(workshop: Workshop) -> None:
    workshop.steps("byhand", "Walk over")
    assert workshop.sop("run", "byhand").code == 3


def test_a_failed_step_exits_4_and_the_command_was_a_success(workshop: Workshop) -> None:
    workshop.steps("broken", "Break | exit 7")
    document = workshop.json("run", "broken", code=4)
    assert (document["success"], document["status"]) == (True, "failed")
    assert document["stepResults"][0]["exitCode"] == 7


def test_retry_of_what_fails_again_exits_4(workshop: Workshop) -> None:
    workshop.steps("broken", "Break | exit 7")
    run = workshop.started("broken", code=4)
    assert workshop.sop("retry", run).code == 4


def test_reject_cancel_and_pause_exit_0_when_done(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    first, second, third = (workshop.started("gated") for _ in range(3))
    assert workshop.sop("reject", first, "--reason", "no").code == 0
    assert workshop.sop("cancel", second).code == 0
    assert workshop.sop("pause", third).code == 0
    statuses = {run["runId"]: run["status"] for run in workshop.json("history")["runs"]}
    assert statuses == {first: "paused", second: "cancelled", third: "paused"}


def test_a_run_that_was_cancelled_meanwhile_exits_4(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    run = workshop.started("gated")
    workshop.json("cancel", run)
    assert workshop.sop("resume", run).code == 5
    assert workshop.sop("status", run).code == 0


def test_approving_carries_the_run_on_to_its_end(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    told = workshop.sop("approve", workshop.started("gated"))
    assert told.code == 0
    assert "completed" in told.out


@pytest.mark.parametrize("verb", ["resume", "retry", "complete"])
def test_an_illegal_move_exits_5(workshop: Workshop, verb: str) -> None:
    workshop.steps("fine", "Do | echo done")
    assert workshop.sop(verb, workshop.started("fine", code=0)).code == 5


def test_a_limit_exits_5_and_a_queued_run_3(workshop: Workshop) -> None:
    workshop.steps("single", *GATED, maxConcurrent=1)
    first = workshop.started("single")
    refused = workshop.sop("run", "single")
    assert refused.code == 5
    assert first in refused.err
    assert workshop.json("run", "single", "--queue", code=3)["status"] == "pending"


def test_a_dry_run_exits_0(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    assert workshop.sop("run", "gated", "--dry-run").code == 0


@pytest.mark.parametrize("verb", ["show", "run", "validate", "history"])
def test_an_unknown_procedure_exits_6_and_names_the_nearest(workshop: Workshop, verb: str) -> None:
    workshop.steps("deploy", "Do | echo done")
    told = workshop.sop(verb, "deplay")
    assert told.code == 6
    assert "did you mean deploy?" in told.err


@pytest.mark.parametrize("verb", ["status", "approve", "logs", "audit", "cancel", "pause", "resume", "retry"])
def test_an_unknown_run_exits_6(workshop: Workshop, verb: str) -> None:
    assert workshop.sop(verb, "sop_run_nobody").code == 6
    workshop.steps("fine", "Do | echo done")
    workshop.started("fine", code=0)
    assert workshop.sop(verb, "sop_run_nobody").code == 6


def test_findings_of_validate_exit_1_and_the_command_was_a_success(workshop: Workshop) -> None:
    workshop.procedure("broken", "# Broken\n\n## Steps\n\n### Step 2: Gap\n")
    document = workshop.json("validate", code=1)
    assert (document["success"], document["valid"]) == (True, False)
    assert workshop.sop("run", "broken").code == 1


def test_an_agent_that_approves_exits_5(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.steps("gated", *GATED)
    run = workshop.started("gated")
    monkeypatch.setenv("SOPWITH_ACTOR_KIND", "agent")
    assert workshop.sop("approve", run).code == 5
    assert workshop.json("status", run)["status"] == "awaiting_approval"


@pytest.mark.parametrize("verb", ["status", "logs", "approve"])
def test_a_step_that_the_run_does_not_have_exits_2(workshop: Workshop, verb: str) -> None:
    workshop.steps("gated", *GATED)
    told = workshop.sop(verb, workshop.started("gated"), "--step", "9")
    assert (told.code, "has no step 9" in told.err) == (2, True), told
