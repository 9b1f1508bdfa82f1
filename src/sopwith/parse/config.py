"""config.json -> the workspace's Config, as strictly as a manifest."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from sopwith.core.approval import TimeoutAction
from sopwith.core.config import Config, Notifications
from sopwith.core.procedure import ExecutionMode, Priority
from sopwith.errors import Problem
from sopwith.parse.findings import Findings
from sopwith.parse.model import Minutes
from sopwith.parse.shape import read_shape
from sopwith.parse.source import SourceFile, read_text
from sopwith.parse.strict_json import read_json


class NotificationsFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which moments are told to people."""

    on_approval_required: Annotated[bool, Meta(description="A gate waits for somebody.")] = True
    on_step_completed: Annotated[bool, Meta(description="A step is done.")] = False
    on_run_completed: Annotated[bool, Meta(description="A run is done.")] = True
    on_run_failed: Annotated[bool, Meta(description="A run failed.")] = True


class ConfigFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A workspace's config.json."""

    schema: Annotated[str | None, Meta(description="The address of this schema, for editors.")] = field(
        default=None, name="$schema"
    )
    default_execution_mode: Annotated[ExecutionMode, Meta(description="The mode of procedures that name none.")] = (
        ExecutionMode.SUPERVISED
    )
    approval_timeout_mins: Annotated[
        Minutes | None, Meta(description="Minutes after which a gate without a timeout of its own is settled.")
    ] = None
    approval_timeout_action: Annotated[TimeoutAction | None, Meta(description="How such a gate is settled.")] = None
    max_concurrent_runs: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="How many runs of this workspace may be under way.")
    ] = None
    audit_retention_days: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Days to keep the records of ended runs; for ever if not said."),
    ] = None
    notifications: Annotated[NotificationsFile, Meta(description="Which moments are told to people.")] = (
        NotificationsFile()
    )
    priority_modes: Annotated[
        dict[Priority, Literal["auto", "supervised", "step_by_step"]],
        Meta(description="What priority_based means for each priority."),
    ] = field(default_factory=dict)


def parse_config(source: SourceFile) -> tuple[Config | None, tuple[Problem, ...]]:
    """The config, None if it has errors; and every problem found."""
    findings = Findings()
    text = read_text(source, findings)
    document = read_json(source.path, text, findings) if text is not None else None
    stated = read_shape(document.value, ConfigFile, document, findings) if document is not None else None
    config = _config(stated) if stated is not None and not findings.has_errors else None
    return config, findings.sorted()


def _config(stated: ConfigFile) -> Config:
    notifications = stated.notifications
    return Config(
        default_execution_mode=stated.default_execution_mode,
        approval_timeout_mins=stated.approval_timeout_mins,
        approval_timeout_action=stated.approval_timeout_action,
        max_concurrent_runs=stated.max_concurrent_runs,
        audit_retention_days=stated.audit_retention_days,
        notifications=Notifications(
            on_approval_required=notifications.on_approval_required,
            on_step_completed=notifications.on_step_completed,
            on_run_completed=notifications.on_run_completed,
            on_run_failed=notifications.on_run_failed,
        ),
        priority_modes={priority: ExecutionMode(mode) for priority, mode in stated.priority_modes.items()},
    )
