"""How a program uses the API, with the types that it can rely on: checked by mypy, carried out by test_api.py."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from sopwith import (
    Actor,
    AuditEvent,
    AuditLog,
    Decision,
    ExecutionMode,
    Gate,
    Procedure,
    Run,
    RunList,
    RunStatus,
    RunSummary,
    SopwithError,
    StepResult,
    StepStatus,
    Workspace,
    approve_step,
    cancel_run,
    complete_step,
    create_run,
    get_audit_log,
    get_run_status,
    list_procedures,
    list_runs,
    pause_run,
    reject_step,
    resume_run,
    retry_run,
)


def approve_all(name: str, folder: str) -> RunStatus:
    """Runs a procedure and says yes to everything it asks, with the digest of what was shown."""
    run = create_run(name, params={}, execution_mode=ExecutionMode.STEP_BY_STEP, workspace=folder)
    while run.gates:
        gate = run.gates[0]
        assert_type(gate, Gate)
        assert_type(gate.requested_at, datetime)
        decision = approve_step(run.run_id, gate.step_number, digest=gate.digest, comment="seen", workspace=folder)
        assert_type(decision, Decision)
        run = decision.run
    assert_type(run, Run)
    assert_type(run.created_by, Actor)
    assert_type(run.step(1), StepResult)
    assert_type(run.step(1).status, StepStatus)
    return run.status


def tell(run_id: str, folder: str) -> list[str]:
    """The record of a run, a line each."""
    log = get_audit_log(run_id, workspace=folder)
    assert_type(log, AuditLog)
    first: AuditEvent = log.events[0]
    assert_type(first.step_number, int | None)
    return [f"{event.seq} {event.event_type}" for event in log.events]


def steer(run_id: str, folder: str) -> str:
    """Every other call, with the arguments that each takes; the code of the error that it meets."""
    with Workspace(folder) as workspace:
        procedures: tuple[Procedure, ...] = workspace.list_procedures()
        listed: RunList = workspace.list_runs(procedures[0].name, status=[RunStatus.COMPLETED], limit=None)
        newest: RunSummary = listed.runs[0]
        assert newest.run_id == run_id
    assert list_procedures(workspace=folder) == procedures
    assert list_runs(status="completed", workspace=folder) == listed
    told: Run = get_run_status(run_id, workspace=folder)
    assert told.status is RunStatus.COMPLETED
    codes: list[str] = []
    for refused in (
        lambda: pause_run(run_id, reason="r", workspace=folder),
        lambda: resume_run(run_id, wait=False, workspace=folder),
        lambda: retry_run(run_id, from_step="1:eu", params={"a": 1}, reason="r", workspace=folder),
        lambda: cancel_run(run_id, reason="r", workspace=folder),
        lambda: complete_step(run_id, 1, comment="c", output="o", evidence=(), workspace=folder),
        lambda: reject_step(run_id, 1, reason="r", workspace=folder),
    ):
        try:
            refused()
        except SopwithError as error:
            codes.append(error.code)
    return ", ".join(codes)
