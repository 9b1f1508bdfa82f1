"""The workspace's config.json as a value. Reading the file is `parse/config.py`'s work."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from sopwith.core.procedure import ExecutionMode, Priority


class TimeoutAction(StrEnum):
    """What happens to a gate that nobody answered in time."""

    APPROVE = "approve"
    REJECT = "reject"
    PAUSE = "pause"


class Notifications(msgspec.Struct, frozen=True, kw_only=True):
    """Which moments are told to people. Kept and checked; sent once a notifier is configured."""

    on_approval_required: bool = True
    on_step_completed: bool = False
    on_run_completed: bool = True
    on_run_failed: bool = True


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """config.json. Every key is optional; None means unset (no default timeout, no limit, keep for ever)."""

    default_execution_mode: ExecutionMode = ExecutionMode.SUPERVISED
    approval_timeout_mins: int | float | None = None
    approval_timeout_action: TimeoutAction | None = None
    max_concurrent_runs: int | None = None
    audit_retention_days: int | None = None
    notifications: Notifications = Notifications()
    priority_modes: dict[Priority, ExecutionMode] = msgspec.field(default_factory=dict)
