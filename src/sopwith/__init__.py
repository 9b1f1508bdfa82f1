"""Sopwith carries out Standard Operating Procedures: step by step, approved by people, proven by a record.

    from sopwith import create_run, approve_step

    run = create_run("deploy-production", params={"version": "2.1.0"})
    if run.gates:
        print(run.next)

Everything here is loaded when it is first used, so importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sopwith.version import __version__

if TYPE_CHECKING:
    from sopwith.core.actor import Actor, ActorKind
    from sopwith.core.events import Evidence
    from sopwith.core.procedure import ExecutionMode
    from sopwith.core.run import GateStatus, RunStatus, StepStatus
    from sopwith.doors.python import (
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
    from sopwith.doors.python.results import (
        AuditEvent,
        AuditLog,
        Decision,
        Gate,
        Procedure,
        Run,
        RunList,
        RunSummary,
        StepResult,
    )
    from sopwith.doors.python.workspace import SopwithWarning, Workspace
    from sopwith.errors import SopwithError

_HOMES = {
    "sopwith.core.actor": ("Actor", "ActorKind"),
    "sopwith.core.events": ("Evidence",),
    "sopwith.core.procedure": ("ExecutionMode",),
    "sopwith.core.run": ("GateStatus", "RunStatus", "StepStatus"),
    "sopwith.doors.python": (
        *("approve_step", "cancel_run", "complete_step", "create_run", "get_audit_log", "get_run_status"),
        *("list_procedures", "list_runs", "pause_run", "reject_step", "resume_run", "retry_run"),
    ),
    "sopwith.doors.python.results": (
        *("AuditEvent", "AuditLog", "Decision", "Gate", "Procedure", "Run", "RunList", "RunSummary", "StepResult"),
    ),
    "sopwith.doors.python.workspace": ("SopwithWarning", "Workspace"),
    "sopwith.errors": ("SopwithError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Actor",
    "ActorKind",
    "AuditEvent",
    "AuditLog",
    "Decision",
    "Evidence",
    "ExecutionMode",
    "Gate",
    "GateStatus",
    "Procedure",
    "Run",
    "RunList",
    "RunStatus",
    "RunSummary",
    "SopwithError",
    "SopwithWarning",
    "StepResult",
    "StepStatus",
    "Workspace",
    "__version__",
    "approve_step",
    "cancel_run",
    "complete_step",
    "create_run",
    "get_audit_log",
    "get_run_status",
    "list_procedures",
    "list_runs",
    "pause_run",
    "reject_step",
    "resume_run",
    "retry_run",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
