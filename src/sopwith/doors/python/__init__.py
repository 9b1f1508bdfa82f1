"""The Python API: what the command does, for programs of the same account. The package `sopwith` re-exports it.

Each function opens the workspace that is found, or the one given as `workspace`, does one thing, and closes it. Who
does many things keeps a `Workspace`, whose methods these are; what they raise stands there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sopwith.core.address import StepId
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import RunStatus
from sopwith.doors.python.results import AuditLog, Decision, Procedure, Run, RunList
from sopwith.doors.python.workspace import Workspace

Path = str | os.PathLike[str] | None


def create_run(
    name: str,
    *,
    params: Mapping[str, Any] = MappingProxyType({}),
    execution_mode: ExecutionMode | str | None = None,
    queue: bool = False,
    wait: bool = True,
    workspace: Path = None,
) -> Run:
    """Starts a procedure and carries the run on until it waits or ends: `Workspace.create_run`."""
    with Workspace(workspace) as opened:
        return opened.create_run(name, params=params, execution_mode=execution_mode, queue=queue, wait=wait)


def approve_step(
    run_id: str,
    step_number: StepId | None = None,
    *,
    comment: str = "",
    digest: str | None = None,
    form: Mapping[str, Any] = MappingProxyType({}),
    wait: bool = True,
    workspace: Path = None,
) -> Decision:
    """Approves at a gate, and carries the run on: `Workspace.approve_step`."""
    with Workspace(workspace) as opened:
        return opened.approve_step(run_id, step_number, comment=comment, digest=digest, form=form, wait=wait)


def reject_step(
    run_id: str,
    step_number: StepId | None = None,
    *,
    reason: str,
    digest: str | None = None,
    wait: bool = True,
    workspace: Path = None,
) -> Decision:
    """Says no at a gate, with a reason: `Workspace.reject_step`."""
    with Workspace(workspace) as opened:
        return opened.reject_step(run_id, step_number, reason=reason, digest=digest, wait=wait)


def complete_step(
    run_id: str,
    step_number: StepId | None = None,
    *,
    comment: str = "",
    output: str = "",
    evidence: Iterable[str | os.PathLike[str]] = (),
    wait: bool = True,
    workspace: Path = None,
) -> Run:
    """Reports a step done by hand, and carries the run on: `Workspace.complete_step`."""
    with Workspace(workspace) as opened:
        return opened.complete_step(run_id, step_number, comment=comment, output=output, evidence=evidence, wait=wait)


def get_run_status(run_id: str, *, workspace: Path = None) -> Run:
    """The run as it is now: `Workspace.get_run_status`."""
    with Workspace(workspace) as opened:
        return opened.get_run_status(run_id)


def get_audit_log(run_id: str, *, workspace: Path = None) -> AuditLog:
    """The whole record of a run: `Workspace.get_audit_log`."""
    with Workspace(workspace) as opened:
        return opened.get_audit_log(run_id)


def list_runs(
    name: str | None = None,
    *,
    status: RunStatus | str | Iterable[str] = (),
    limit: int | None = 20,
    workspace: Path = None,
) -> RunList:
    """Runs, the newest first: `Workspace.list_runs`."""
    with Workspace(workspace) as opened:
        return opened.list_runs(name, status=status, limit=limit)


def list_procedures(*, workspace: Path = None) -> tuple[Procedure, ...]:
    """What can be run: `Workspace.list_procedures`."""
    with Workspace(workspace) as opened:
        return opened.list_procedures()


def cancel_run(run_id: str, *, reason: str = "", workspace: Path = None) -> Run:
    """Ends a run for good: `Workspace.cancel_run`."""
    with Workspace(workspace) as opened:
        return opened.cancel_run(run_id, reason=reason)


def pause_run(run_id: str, *, reason: str = "", workspace: Path = None) -> Run:
    """Starts nothing more: `Workspace.pause_run`."""
    with Workspace(workspace) as opened:
        return opened.pause_run(run_id, reason=reason)


def resume_run(run_id: str, *, wait: bool = True, workspace: Path = None) -> Run:
    """Goes on after a pause or a crash: `Workspace.resume_run`."""
    with Workspace(workspace) as opened:
        return opened.resume_run(run_id, wait=wait)


def retry_run(
    run_id: str,
    *,
    from_step: StepId | None = None,
    params: Mapping[str, Any] = MappingProxyType({}),
    reason: str = "",
    wait: bool = True,
    workspace: Path = None,
) -> Run:
    """Again from the stuck steps, or from an earlier one: `Workspace.retry_run`."""
    with Workspace(workspace) as opened:
        return opened.retry_run(run_id, from_step=from_step, params=params, reason=reason, wait=wait)
