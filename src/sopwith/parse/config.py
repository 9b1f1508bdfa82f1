"""config.json -> the workspace's Config, as strictly as a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field, json

from sopwith.core.agents import AgentCommand
from sopwith.core.approval import TimeoutAction
from sopwith.core.config import Config, Telemetry, User
from sopwith.core.grants import PATTERN, Role
from sopwith.core.people import GROUP, USER
from sopwith.core.procedure import EnvironmentRules, ExecutionMode, Priority
from sopwith.errors import Problem
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.model import USER_ID, AgentName, EnvironmentFile, Line, Minutes, Principals
from sopwith.parse.notifications import (
    Address,
    NotificationsFile,
    check_notifications,
    check_web_address,
    notifications_of,
)
from sopwith.parse.shape import Places, read_shape
from sopwith.parse.source import SourceFile, read_text
from sopwith.parse.strict_json import read_json

_NAME = "a name of A-Z a-z 0-9 . _ @ - (64 at most)"
FilePath = Annotated[
    str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$", title="a path (1000 characters at most, none a control character)")
]
NamePattern = Annotated[
    str, Meta(pattern=f"^{PATTERN}$", title="the name of a procedure, or a pattern of names with * (64 at most)")
]
UserId = Annotated[str, Meta(pattern=f"^{USER_ID}$", title=_NAME)]


def _member_hint(value: str) -> str:
    if value.startswith("agent:"):
        return "agents are in no group: name the agent itself where it may approve"
    return "write the name of a user; a group holds no groups" if value.startswith(GROUP) else f"write {_NAME}"


Word = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]{1,2000}$",
        title="a word of a command (2000 characters at most, none a control character)",
    ),
]
Member = Annotated[str, Meta(pattern=f"^(user:)?{USER_ID}$", title="the name of a user", extra={"hint": _member_hint})]


class UserFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A person."""

    name: Annotated[Line | None, Meta(description="The printed name that stands beside their decisions.")] = None


class AgentFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What is run where a step says that this agent carries it out."""

    command: Annotated[
        Annotated[tuple[Word, ...], Meta(min_length=1, max_length=100)],
        Meta(
            description="The program, by its name on PATH or its path from the project folder, and its arguments. "
            "No shell reads them, and no secret belongs in them: they are shown and recorded."
        ),
    ]
    env: Annotated[
        EnvironmentFile | None,
        Meta(description="Its variables beyond those of every step. Where both set one, this counts."),
    ] = None


class TelemetryFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What monitoring is told."""

    otlp_endpoint: Annotated[
        Address | None,
        Meta(description="A collector of OpenTelemetry that takes OTLP over HTTP, such as http://localhost:4318."),
    ] = None


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
    approval_timeout_action: Annotated[
        Literal["approve", "reject", "pause"] | None, Meta(description="How such a gate is settled.")
    ] = None
    max_concurrent_runs: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="How many runs of this workspace may be under way.")
    ] = None
    audit_retention_days: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Days to keep the records of ended runs; for ever if not said."),
    ] = None
    access_log_retention_days: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Days to keep the entries of the server's own log; for ever if not said."),
    ] = None
    notifications: Annotated[NotificationsFile, Meta(description="Which moments are told to people, and how.")] = field(
        default_factory=NotificationsFile
    )
    priority_modes: Annotated[
        dict[Priority, Literal["auto", "supervised", "step_by_step"]],
        Meta(description="What priority_based means for each priority."),
    ] = field(default_factory=dict)
    users: Annotated[
        Annotated[dict[UserId, UserFile], Meta(max_length=5000)],
        Meta(description="The people, by name. Where some are listed, a procedure may name no others."),
    ] = field(default_factory=dict)
    groups: Annotated[
        Annotated[dict[UserId, Annotated[tuple[Member, ...], Meta(max_length=5000)]], Meta(max_length=500)],
        Meta(description="Groups of people: name to the names of its users."),
    ] = field(default_factory=dict)
    roles: Annotated[
        dict[Role, Principals],
        Meta(
            description="What people and agents may do, as user:NAME, group:NAME, agent:NAME; unset holds nobody back."
        ),
    ] = field(default_factory=dict)
    procedure_roles: Annotated[
        Annotated[dict[NamePattern, dict[Role, Principals]], Meta(max_length=500)],
        Meta(
            description="Roles for some procedures only, besides roles: a name, or a pattern with * for any "
            "characters. Where this or roles is set, who has no role may not do what takes one."
        ),
    ] = field(default_factory=dict)
    agents_see_all_steps: Annotated[
        bool, Meta(description="Whether agents may read the text of all steps by sop_describe, not only of their own.")
    ] = False
    agents: Annotated[
        Annotated[dict[AgentName, AgentFile], Meta(max_length=100)],
        Meta(description="Commands that carry steps out, by the names that procedures use; default is for the rest."),
    ] = field(default_factory=dict)
    checkpoint_copies: Annotated[
        Annotated[tuple[FilePath, ...], Meta(max_length=20)] | None,
        Meta(
            description="Further files that each checkpoint of the log is appended to; relative to the project folder."
        ),
    ] = None
    telemetry: Annotated[TelemetryFile, Meta(description="What monitoring is told.")] = field(
        default_factory=TelemetryFile
    )


# made now: where threads meet a type for the first time the JSON library crashes
_READER = json.Decoder(ConfigFile)


def parse_config(source: SourceFile) -> tuple[Config | None, tuple[Problem, ...]]:
    """The config, None if it has errors; and every problem found."""
    findings = Findings()
    text = read_text(source, findings)
    document = read_json(source.path, text, findings) if text is not None else None
    stated = read_shape(document.value, ConfigFile, document, findings) if document is not None else None
    config = checked_config(stated, document, findings) if stated is not None and document is not None else None
    return config, findings.sorted()


def checked_config(stated: ConfigFile, places: Places, findings: Findings) -> Config | None:
    """The config that is stated; None, and every problem in `findings`, if there is any error."""
    _check_people(stated, places, findings)
    check_notifications(stated.notifications, stated.groups, places, findings)
    if stated.telemetry.otlp_endpoint is not None:
        check_web_address(stated.telemetry.otlp_endpoint, places.at(("telemetry", "otlpEndpoint")), findings)
    return None if findings.has_errors else _config(stated)


def _check_people(stated: ConfigFile, places: Places, findings: Findings) -> None:
    """Names in groups and roles that stand for nobody."""
    for group, members in stated.groups.items():
        for index, member in enumerate(members):
            _check_user(member.removeprefix(USER), stated, places.at(("groups", group, index)), findings)
    for path, principals in _role_holders(stated):
        for index, principal in enumerate(principals):
            at = places.at((*path, index))
            if principal.startswith(USER):
                _check_user(principal.removeprefix(USER), stated, at, findings)
            elif principal.startswith(GROUP) and (name := principal.removeprefix(GROUP)) not in stated.groups:
                findings.unexpected(
                    "unknown_group",
                    expected="a group of this file",
                    got=shown(name),
                    at=at,
                    hint=findings.did_you_mean(name, stated.groups) or f'add "{name}" to "groups"',
                )


def _role_holders(stated: ConfigFile) -> Iterator[tuple[tuple[str, ...], Principals]]:
    """Where the holders of each role stand, and who they are."""
    for role, principals in stated.roles.items():
        yield ("roles", role.value), principals
    for pattern, roles in stated.procedure_roles.items():
        for role, principals in roles.items():
            yield ("procedureRoles", pattern, role.value), principals


def _check_user(name: str, stated: ConfigFile, at: Place, findings: Findings) -> None:
    if stated.users and name not in stated.users:
        findings.unexpected(
            "unknown_user",
            expected="a user of this file",
            got=shown(name),
            at=at,
            hint=findings.did_you_mean(name, stated.users) or f'add "{name}" to "users"',
        )


def _config(stated: ConfigFile) -> Config:
    action = stated.approval_timeout_action
    return Config(
        default_execution_mode=stated.default_execution_mode,
        approval_timeout_mins=stated.approval_timeout_mins,
        approval_timeout_action=action and TimeoutAction(action),
        max_concurrent_runs=stated.max_concurrent_runs,
        audit_retention_days=stated.audit_retention_days,
        access_log_retention_days=stated.access_log_retention_days,
        notifications=notifications_of(stated.notifications),
        priority_modes={priority: ExecutionMode(mode) for priority, mode in stated.priority_modes.items()},
        users={name: User(name=user.name or "") for name, user in stated.users.items()},
        groups={
            group: tuple(dict.fromkeys(member.removeprefix(USER) for member in members))
            for group, members in stated.groups.items()
        },
        roles=stated.roles,
        procedure_roles=stated.procedure_roles,
        agents_see_all_steps=stated.agents_see_all_steps,
        agents={name: _agent(agent) for name, agent in stated.agents.items()},
        checkpoint_copies=stated.checkpoint_copies or (),
        telemetry=Telemetry(otlp_endpoint=(stated.telemetry.otlp_endpoint or "").rstrip("/")),
    )


def _agent(stated: AgentFile) -> AgentCommand:
    env = stated.env or EnvironmentFile()
    return AgentCommand(command=stated.command, env=EnvironmentRules(pass_=env.pass_ or (), set_=dict(env.set_ or {})))
