"""Calls that are sent again, at once or after a restart, and calls that were decided on an older revision."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.doors.workshop import Workshop

from .given import Agent, gated_by, lines

Make = Callable[..., Agent]


def test_a_repeated_start_makes_one_run_also_after_a_restart(workshop: Workshop, agents: Make) -> None:
    workshop.steps("count", "Count | echo one >> counted")
    call = {"sopName": "count", "params": {"n": "1"}, "idempotencyKey": "first"}
    one = agents()("sop_execute", **call)
    assert "replayed" not in one
    again = agents()("sop_execute", **call)
    assert (again["runId"], again["replayed"]) == (one["runId"], True)
    assert lines(workshop.root / "counted") == 1
    assert agents()("sop_list_runs")["total"] == 1


def test_a_key_is_one_agents_own(workshop: Workshop, agents: Make) -> None:
    workshop.steps("byhand", "Walk")
    one, two = (agents(name)("sop_execute", sopName="byhand", idempotencyKey="k") for name in ("coder", "other"))
    assert one["runId"] != two["runId"]


def test_a_key_stands_for_one_call(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("byhand", "Walk", "Run")
    run_id = coder("sop_execute", sopName="byhand", idempotencyKey="k")["runId"]
    coder.refused("key_reused", "sop_execute", sopName="byhand", params={"a": "b"}, idempotencyKey="k")
    coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="done", idempotencyKey="r")
    coder.refused("key_reused", "sop_complete_step", runId=run_id, stepNumber=2, outcome="done", idempotencyKey="r")
    # how long the caller waits, and what it knew, is not what it asks for
    coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="done", idempotencyKey="r", waitMs=1)


def test_a_key_that_is_a_secret_is_written_nowhere(
    workshop: Workshop, agents: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where it is the secret of the run that it makes: what has not been made has no mask yet."""
    monkeypatch.setenv("TOKEN", "s3cr3t-value")
    token = {"name": "token", "type": "secret", "default": "env:TOKEN"}
    workshop.steps("byhand", "Walk", "Run", params=[token])
    one, key = agents(), "my s3cr3t-value"
    run_id = one("sop_execute", sopName="byhand", idempotencyKey=key)["runId"]
    report = {"runId": run_id, "stepNumber": 1, "outcome": "done", "idempotencyKey": "s3cr3t-value"}
    one("sop_complete_step", **report)
    assert one("sop_complete_step", **report)["replayed"]
    assert agents()("sop_execute", sopName="byhand", idempotencyKey=key)["replayed"]
    assert "s3cr3t" not in str(one("sop_get_audit", runId=run_id))
    kept = [path for path in workshop.sops.rglob("*") if path.is_file()]
    assert kept
    assert [path.name for path in kept if b"s3cr3t" in path.read_bytes()] == []


def test_calls_at_once_with_one_key_start_one_run(workshop: Workshop, agents: Make) -> None:
    workshop.steps("single", "Walk", maxConcurrent=1)
    workshop.steps("other", "Walk")
    callers = [agents() for _ in range(8)]
    callers[0]("sop_execute", sopName="other")  # msgspec crashes where several threads meet a type for the first time
    told: list[dict[str, Any]] = []
    ready = threading.Barrier(len(callers))

    def call(agent: Agent) -> None:
        ready.wait()
        told.append(agent.answer("sop_execute", sopName="single", idempotencyKey="same", waitMs=0).document)

    threads = [threading.Thread(target=call, args=(agent,)) for agent in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({document.get("runId") for document in told}) == 1
    assert [document.get("replayed", False) for document in told].count(False) == 1


def test_a_repeated_start_does_not_start_driver_after_driver(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("deploy", "Ship | true")
    started: list[str] = []
    coder.desk._writes._carry_on = lambda _workspace, run_id: started.append(run_id)
    for _ in range(5):
        coder("sop_execute", sopName="deploy", idempotencyKey="k", waitMs=0)
    assert len(started) == 1


@pytest.fixture
def asked(workshop: Workshop, coder: Agent) -> str:
    """A run of the coder's that waits at a gate which names the reviewer."""
    step = gated_by("reviewer")
    workshop.steps(
        "deploy", "Ship | echo one >> shipped", "Tell", steps=[{"number": 1, **step}, {"number": 2, "title": "Tell"}]
    )
    run_id: str = coder("sop_execute", sopName="deploy")["runId"]
    return run_id


def test_a_repeated_approval_is_the_same_answer(workshop: Workshop, agents: Make, asked: str) -> None:
    call = {"runId": asked, "stepNumber": 1, "comment": "fine", "idempotencyKey": "a"}
    one = agents("reviewer")("sop_approve", **call)
    again = agents("reviewer")("sop_approve", **call)
    same = ("status", "stepNumber", "runId")
    assert [one[key] for key in same] == [again[key] for key in same] == ["approved", 1, asked]
    assert again["replayed"] is True
    assert lines(workshop.root / "shipped") == 1


def test_an_answer_is_replayed_as_it_was_whatever_came_of_it(coder: Agent, asked: str) -> None:
    call = {"runId": asked, "stepNumber": 1, "reason": "not now", "idempotencyKey": "r"}
    coder("sop_reject", **call)
    coder("sop_retry", runId=asked)
    again = coder("sop_reject", **call)
    assert (again["status"], again["action"], again["replayed"]) == ("rejected", "paused", True)
    assert again["runStatus"] == "awaiting_approval"


@pytest.mark.parametrize(
    ("tool", "more"),
    [("sop_cancel", {"reason": "enough"}), ("sop_retry", {"reason": "again"})],
)
def test_repeated_steering_changes_nothing(coder: Agent, asked: str, tool: str, more: dict[str, Any]) -> None:
    coder("sop_reject", runId=asked, reason="no")
    call = {"runId": asked, "idempotencyKey": "s", **more}
    one = coder(tool, **call)
    again = coder(tool, **call)
    assert again["replayed"] is True
    assert again["revision"] == one["revision"]


def test_a_refused_call_may_be_sent_again_under_its_key(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("single", "Walk", maxConcurrent=1)
    run_id = coder("sop_execute", sopName="single")["runId"]
    call = {"sopName": "single", "idempotencyKey": "second"}
    coder.refused("limit_reached", "sop_execute", **call)
    coder("sop_cancel", runId=run_id)
    assert "replayed" not in coder("sop_execute", **call)


def test_the_record_names_the_request(coder: Agent, workshop: Workshop) -> None:
    workshop.steps("byhand", "Walk")
    run_id = coder("sop_execute", sopName="byhand", idempotencyKey="k")["runId"]
    first = (workshop.sops / "runs" / f"{run_id}.audit.jsonl").read_text().splitlines()[0]
    assert '"request":{"digest":"' in first
    assert '"key":"sha256:' in first
    assert workshop.json("audit", "--verify-all")["success"] is True


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("sop_complete_step", {"stepNumber": 1, "outcome": "done"}),
        ("sop_complete_step", {"stepNumber": 1, "outcome": "failed", "output": "no"}),
        ("sop_complete_step", {"stepNumber": 1, "outcome": "blocked", "output": "no"}),
        ("sop_cancel", {}),
    ],
)
def test_a_call_on_an_older_revision_changes_nothing(
    workshop: Workshop, coder: Agent, tool: str, more: dict[str, Any]
) -> None:
    workshop.steps("byhand", "Walk")
    run = coder("sop_execute", sopName="byhand")
    told = coder.refused("revision_conflict", tool, runId=run["runId"], expectedRevision=run["revision"] - 1, **more)
    assert told["error"]["revision"] == told["revision"] == run["revision"]
    coder(tool, runId=run["runId"], expectedRevision=run["revision"], **more)


def test_answers_and_retries_look_at_the_revision_too(coder: Agent, reviewer: Agent, asked: str) -> None:
    revision = coder("sop_status", runId=asked)["revision"]
    old = {"runId": asked, "expectedRevision": revision - 1}
    reviewer.refused("revision_conflict", "sop_approve", stepNumber=1, **old)
    coder.refused("revision_conflict", "sop_reject", stepNumber=1, reason="no", **old)
    revision = coder("sop_reject", runId=asked, reason="no", expectedRevision=revision)["revision"]
    coder.refused("revision_conflict", "sop_retry", runId=asked, expectedRevision=revision - 1)
    coder("sop_retry", runId=asked, expectedRevision=revision)


def test_a_repeated_report_needs_its_evidence_no_more(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("byhand", "Walk", "Run")
    (workshop.root / "graph.txt").write_text("up")
    run_id = coder("sop_execute", sopName="byhand")["runId"]
    call = {"runId": run_id, "stepNumber": 1, "outcome": "done", "evidence": ["graph.txt"], "idempotencyKey": "e"}
    coder("sop_complete_step", **call)
    (workshop.root / "graph.txt").unlink()
    assert coder("sop_complete_step", **call)["replayed"] is True
