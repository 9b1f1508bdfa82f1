"""`notifications` of config.json: what it comes to, and each mistake in one sentence with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sopwith.core.config import Config
from sopwith.core.notifications import TOLD, ChannelConfig, Moment, Notifications, Route
from sopwith.core.procedure import Priority
from sopwith.errors import Problem, Severity
from sopwith.parse.config import parse_config
from sopwith.parse.notifications import NotificationsFile
from sopwith.parse.source import SourceFile

HOOK = {"webhook": "https://example.com/in", "secretEnv": "HOOK_KEY"}


def read(notifications: Any, **more: Any) -> tuple[Config | None, tuple[Problem, ...]]:
    text = json.dumps({"notifications": notifications, **more}, indent=1)
    return parse_config(SourceFile("config.json", text.encode()))


def made(notifications: Any, **more: Any) -> Notifications:
    config, problems = read(notifications, **more)
    assert config is not None, problems
    return config.notifications


def only(notifications: Any, **more: Any) -> Problem:
    _config, problems = read(notifications, **more)
    (problem,) = problems
    return problem


def test_the_moments_have_the_defaults_of_the_specification_and_all_that_a_person_must_know() -> None:
    assert made({}) == Notifications()
    assert Notifications().moments == TOLD
    assert set(Moment) - set(TOLD) == {Moment.STEP_COMPLETED}


@pytest.mark.parametrize("moment", list(Moment))
def test_each_moment_has_a_switch_of_its_own(moment: Moment) -> None:
    assert moment in NotificationsFile.__struct_encode_fields__
    assert moment in made({moment.value: True}).moments
    assert moment not in made({moment.value: False}).moments


def test_channels_and_routes_as_values() -> None:
    found = made(
        {
            "channels": {
                "chat": {"apprise": {"env": "CHAT_URL"}},
                "hook": HOOK,
                "page": {"command": ["page", "--now"]},
                "own": {"plugin": "pager", "settings": {"queue": 3}},
            },
            "routes": [
                {"channels": ["chat", "chat"], "procedures": ["deploy-*"], "priorities": ["high"]},
                {"channels": ["page"], "groups": ["oncall"], "moments": ["onApprovalRequired"]},
            ],
            "publicUrl": "https://sop.example.com/",
        },
        groups={"oncall": ["ann"]},
    )
    assert found.channels == {
        "chat": ChannelConfig(kind="apprise", url_env="CHAT_URL"),
        "hook": ChannelConfig(kind="webhook", url="https://example.com/in", secret_env="HOOK_KEY"),
        "page": ChannelConfig(kind="command", command=("page", "--now")),
        "own": ChannelConfig(kind="pager", settings={"queue": 3}),
    }
    assert found.routes == (
        Route(channels=("chat",), procedures=("deploy-*",), priorities=(Priority.HIGH,)),
        Route(channels=("page",), groups=("oncall",), moments=(Moment.APPROVAL_REQUIRED,)),
    )
    assert found.public_url == "https://sop.example.com"


MISTAKES = {
    "no kind": ({"channels": {"a": {}}}, "$.notifications.channels.a", "exactly one of apprise"),
    "two kinds": ({"channels": {"a": {**HOOK, "command": ["x"]}}}, "$.notifications.channels.a", "got webhook and"),
    "a key of another kind": (
        {"channels": {"a": {"command": ["x"], "secretEnv": "KEY"}}},
        "$.notifications.channels.a.secretEnv",
        "belongs to webhook",
    ),
    "settings of another kind": (
        {"channels": {"a": {"command": ["x"], "settings": {}}}},
        "$.notifications.channels.a.settings",
        "belongs to plugin",
    ),
    "a webhook that is not signed": (
        {"channels": {"a": {"webhook": "https://example.com"}}},
        "$.notifications.channels.a",
        '"secretEnv" beside "webhook"',
    ),
    "another scheme": (
        {"channels": {"a": {**HOOK, "webhook": "file:///etc/passwd"}}},
        "$.notifications.channels.a.webhook",
        "https:// or http://",
    ),
    "no host": ({"channels": {"a": {**HOOK, "webhook": "https:///x"}}}, "$.notifications.channels.a.webhook", "a host"),
    "a port that is none": (
        {"channels": {"a": {**HOOK, "webhook": "https://example.com:99999/"}}},
        "$.notifications.channels.a.webhook",
        "a host",
    ),
    "a password in an address": (
        {"channels": {"a": {**HOOK, "webhook": "https://ann:pw@example.com/"}}},
        "$.notifications.channels.a.webhook",
        "without user, password",
    ),
    "no URL of Apprise": ({"channels": {"a": {"apprise": "slack"}}}, "$.notifications.channels.a.apprise", "Apprise"),
    "an empty command": ({"channels": {"a": {"command": []}}}, "$.notifications.channels.a.command", "one entry"),
    "a reserved variable": (
        {"channels": {"a": {"apprise": {"env": "SOP_URL"}}}},
        "$.notifications.channels.a.apprise.env",
        "does not start with SOP_",
    ),
    "a channel that there is not": (
        {"channels": {"chat": {"command": ["x"]}}, "routes": [{"channels": ["chta"]}]},
        "$.notifications.routes[0].channels[0]",
        "a channel of this file",
    ),
    "a group that there is not": (
        {"channels": {"a": {"command": ["x"]}}, "routes": [{"channels": ["a"], "groups": ["oncall"]}]},
        "$.notifications.routes[0].groups[0]",
        "a group of this file",
    ),
    "a route to nobody": ({"routes": [{"channels": []}]}, "$.notifications.routes[0].channels", "one entry"),
    "a moment that there is not": (
        {"channels": {"a": {"command": ["x"]}}, "routes": [{"channels": ["a"], "moments": ["onRunFaild"]}]},
        "$.notifications.routes[0].moments[0]",
        "one of onApprovalRequired",
    ),
    "a pattern with other signs": (
        {"channels": {"a": {"command": ["x"]}}, "routes": [{"channels": ["a"], "procedures": ["[a-z]"]}]},
        "$.notifications.routes[0].procedures[0]",
        "names with *",
    ),
    "a public address that is none": ({"publicUrl": "sop.example.com"}, "$.notifications.publicUrl", "https://"),
    "an unknown key": ({"onRunFaild": True}, "$.notifications.onRunFaild", "a known key"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_a_hint(name: str) -> None:
    notifications, path, words = MISTAKES[name]
    problem = only(notifications)
    assert problem.severity is Severity.ERROR
    assert problem.path == path
    assert words in problem.message
    assert problem.hint
    assert problem.line


def test_the_nearest_channel_is_named() -> None:
    notifications, _path, _words = MISTAKES["a channel that there is not"]
    assert only(notifications).hint == 'did you mean "chat"?'


def test_a_secret_that_is_written_out_is_warned_of_and_not_repeated() -> None:
    config, (problem,) = read({"channels": {"a": {"apprise": "slack://T1/B2/verysecret"}}})
    assert config is not None
    assert problem.severity is Severity.WARNING
    assert "verysecret" not in str(problem) + problem.got + problem.hint
    assert '{"env": "NAME"}' in problem.hint


@pytest.mark.parametrize(
    ("url", "is_told"),
    [("http://hooks.example.com/", True), ("http://localhost:1/", False), ("http://127.0.0.1:1/", False)],
)
def test_an_address_without_encryption_is_warned_of_unless_it_is_this_machine(url: str, *, is_told: bool) -> None:
    config, problems = read({"channels": {"a": {**HOOK, "webhook": url}}})
    assert config is not None
    assert [problem.code for problem in problems] == ["unencrypted"] * is_told
