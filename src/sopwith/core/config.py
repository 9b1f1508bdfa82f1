"""The workspace's config.json as a value. Reading the file is `parse/config.py`'s work."""

from __future__ import annotations

import msgspec

from sopwith.core.agents import AgentCommand
from sopwith.core.approval import TimeoutAction
from sopwith.core.grants import Role
from sopwith.core.notifications import Notifications
from sopwith.core.procedure import ExecutionMode, Priority


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person. `name` is the printed name that stands beside their decisions."""

    name: str = ""


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """What monitoring is told."""

    otlp_endpoint: str = ""
    """Where spans are sent, without a slash at its end; empty: where the standard variables say, or nowhere."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """config.json. Every key is optional; None means unset (no default timeout, no limit, keep for ever)."""

    default_execution_mode: ExecutionMode = ExecutionMode.SUPERVISED
    approval_timeout_mins: int | float | None = None
    approval_timeout_action: TimeoutAction | None = None
    max_concurrent_runs: int | None = None
    audit_retention_days: int | None = None
    access_log_retention_days: int | None = None
    notifications: Notifications = Notifications()
    priority_modes: dict[Priority, ExecutionMode] = msgspec.field(default_factory=dict)
    users: dict[str, User] = msgspec.field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Group name -> the ids of its users."""
    roles: dict[Role, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Role -> who has it, as `user:…`, `group:…`, `agent:…`. Empty: roles hold nobody back."""
    procedure_roles: dict[str, dict[Role, tuple[str, ...]]] = msgspec.field(default_factory=dict)
    """Patterns of names -> who has a role for these procedures only, besides `roles`."""
    digest: str = ""
    """SHA-256 of the file as it was read; empty where there is none."""
    agents_see_all_steps: bool = False
    """Whether an agent may read the text of steps that are not its own yet."""
    agents: dict[str, AgentCommand] = msgspec.field(default_factory=dict)
    """The commands that may carry steps out, by the names that procedures use."""
    checkpoint_copies: tuple[str, ...] = ()
    """Further files that each checkpoint of the log is appended to."""
    telemetry: Telemetry = Telemetry()
