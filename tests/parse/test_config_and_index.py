"""config.json, index.json and the published schemas."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sopwith.core.approval import TimeoutAction
from sopwith.core.config import Config, Role, User
from sopwith.core.notifications import TOLD, Moment, Notifications
from sopwith.core.procedure import ExecutionMode, Priority
from sopwith.parse.config import ConfigFile, parse_config
from sopwith.parse.index import parse_index
from sopwith.parse.schema import config_schema, manifest_schema, scenario_schema
from sopwith.parse.source import SourceFile


def source(path: str, value: Any) -> SourceFile:
    return SourceFile(path, value if isinstance(value, bytes) else json.dumps(value).encode())


def test_the_specifications_config_is_read() -> None:
    config, problems = parse_config(
        source(
            "config.json",
            {
                "defaultExecutionMode": "supervised",
                "approvalTimeoutMins": 30,
                "maxConcurrentRuns": 3,
                "auditRetentionDays": 90,
                "notifications": {"onApprovalRequired": True, "onStepCompleted": False, "onRunCompleted": False},
                "approvalTimeoutAction": "reject",
                "priorityModes": {"critical": "step_by_step"},
            },
        )
    )
    assert problems == ()
    assert config == Config(
        approval_timeout_mins=30,
        max_concurrent_runs=3,
        audit_retention_days=90,
        notifications=Notifications(moments=tuple(each for each in TOLD if each is not Moment.RUN_COMPLETED)),
        approval_timeout_action=TimeoutAction.REJECT,
        priority_modes={Priority.CRITICAL: ExecutionMode.STEP_BY_STEP},
    )


def test_an_empty_config_is_the_default() -> None:
    assert parse_config(source("config.json", {})) == (Config(), ())


def test_people_are_read() -> None:
    config, problems = parse_config(
        source(
            "config.json",
            {
                "users": {"alice": {"name": "Alice Example"}, "bob": {}},
                "groups": {"release": ["alice", "user:bob", "bob"]},
                "roles": {"runner": ["group:release", "agent:bot"], "admin": ["user:alice"]},
                "checkpointCopies": ["/mnt/log", "copies/log"],
            },
        )
    )
    assert problems == ()
    assert config == Config(
        users={"alice": User(name="Alice Example"), "bob": User()},
        groups={"release": ("alice", "bob")},
        roles={Role.RUNNER: ("group:release", "agent:bot"), Role.ADMIN: ("user:alice",)},
        checkpoint_copies=("/mnt/log", "copies/log"),
    )


def test_an_agent_in_a_group_is_told_where_it_belongs() -> None:
    _, problems = parse_config(source("config.json", {"groups": {"g": ["agent:bot"]}}))
    assert "agents are in no group" in problems[0].hint


def test_every_setting_can_be_written_in_the_file() -> None:
    assert set(Config.__struct_fields__) - {"digest"} == set(ConfigFile.__struct_fields__) - {"schema"}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"defaultExecutionMod": "auto"}, "$.defaultExecutionMod"),
        ({"defaultExecutionMode": None}, "$.defaultExecutionMode"),
        ({"approvalTimeoutMins": 0}, "$.approvalTimeoutMins"),
        ({"approvalTimeoutAction": "aprove"}, "$.approvalTimeoutAction"),
        ({"approvalTimeoutAction": "escalate"}, "$.approvalTimeoutAction"),
        ({"users": {"-a": {}}}, '$.users["-a"]'),
        ({"users": {"a": {"nam": "A"}}}, "$.users.a.nam"),
        ({"groups": {"g": ["agent:a"]}}, "$.groups.g[0]"),
        ({"groups": {"g": ["group:a"]}}, "$.groups.g[0]"),
        ({"groups": {"group:g": []}}, '$.groups["group:g"]'),
        ({"users": {"a": {}}, "groups": {"g": ["a", "b"]}}, "$.groups.g[1]"),
        ({"users": {"a": {}}, "roles": {"runner": ["user:b"]}}, "$.roles.runner[0]"),
        ({"roles": {"runner": ["group:g"]}}, "$.roles.runner[0]"),
        ({"roles": {"runner": ["alice"]}}, "$.roles.runner[0]"),
        ({"roles": {"boss": []}}, "$.roles.boss"),
        ({"checkpointCopies": [""]}, "$.checkpointCopies[0]"),
        ({"maxConcurrentRuns": 0}, "$.maxConcurrentRuns"),
        ({"auditRetentionDays": -1}, "$.auditRetentionDays"),
        ({"notifications": {"onRunFailed": 1}}, "$.notifications.onRunFailed"),
        ({"priorityModes": {"urgent": "auto"}}, "$.priorityModes.urgent"),
        ({"priorityModes": {"low": "priority_based"}}, "$.priorityModes.low"),
        ([], "$"),
        (b"{", "$"),
    ],
)
def test_a_mistake_in_the_config_is_an_error_with_its_path(value: Any, path: str) -> None:
    config, problems = parse_config(source("config.json", value))
    assert config is None
    assert [problem.path for problem in problems] == [path]


def test_the_index_maps_names_to_paths() -> None:
    index = {"deploy": "deploy/manifest.json", "qa": "qa/SOP.md"}
    assert parse_index(source("index.json", index)) == (index, ())


@pytest.mark.parametrize(
    "path", ["/etc/manifest.json", "../manifest.json", "a/../manifest.json", "a\0/manifest.json", ""]
)
def test_a_path_that_leaves_the_folder_is_an_error(path: str) -> None:
    index, problems = parse_index(source("index.json", {"deploy": path}))
    assert index is None
    assert len(problems) == 1


@pytest.mark.parametrize("path", ["a//SOP.md", "./SOP.md", "a", "a/passwd", "a\\..\\SOP.md", {"manifest": "x"}, None])
def test_a_value_that_is_no_path_of_a_procedure_is_an_error(path: Any) -> None:
    assert parse_index(source("index.json", {"deploy": path}))[0] is None


@pytest.mark.parametrize("index", [{"../x": "x/SOP.md"}, {"X": "x/SOP.md"}, [], b'{"a": "a/SOP.md", "a": "b/SOP.md"}'])
def test_a_name_that_is_none_is_an_error(index: Any) -> None:
    assert parse_index(source("index.json", index))[0] is None


@pytest.mark.parametrize("schema", [manifest_schema(), config_schema(), scenario_schema()])
def test_a_schema_describes_every_key(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema
    for name, definition in schema["$defs"].items():
        for key, about in definition.get("properties", {}).items():
            assert about.get("description"), f"{name}.{key}"


def test_what_is_told_of_a_file_that_breaks_off_is_a_whole_sentence() -> None:
    index, (problem,) = parse_index(SourceFile("index.json", b'{"deploy": "deploy/SO\n'))
    assert index is None
    assert problem.message.endswith("invalid control character")
