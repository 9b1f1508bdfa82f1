"""Triggers in manifest.json and SOP.md: what they mean, and each mistake with its place and hint."""

from typing import Any

import pytest
from msgspec import UNSET

from sopwith.core.procedure import AdmissionRule, Change, End, Misfire, Scheme, Trigger, encode_procedure
from sopwith.core.triggers import name_of
from sopwith.errors import Severity

from .examples import codes, parse

STEP = {"number": 1, "title": "Go", "run": "true"}

PARAMS = [{"name": "version", "required": True}, {"name": "token", "type": "secret", "default": "env:TOKEN"}]


def triggers(*stated: dict[str, Any], **keys: Any) -> Any:
    return parse(None, {"triggers": list(stated), "steps": [STEP], **keys}, name="deploy")


def test_every_key_of_every_type_is_kept() -> None:
    common = {"condition": "event.type != ''", "params": {"a": "event.id", "n": 3}, "admission": "coalesce"}
    parsed = triggers(
        {"type": "webhook", "path": "/a", "secretEnv": "ONE TWO", "scheme": "timestamped", "signatureHeader": "S-H"},
        {"type": "webhook", "path": "/b", "secretEnv": "ONE", "scheme": "token", "idHeader": "X-Id", "maxQueued": 7},
        {"type": "cron", "expression": "@daily", "timezone": "Europe/Paris", "misfire": "once", "key": "nightly"},
        {"type": "filesystem", "path": "in/**/*.csv", "events": ["created", "deleted"], "settleSecs": 2.5},
        {"type": "procedure", "procedure": "build", "status": ["failed", "cancelled"], **common},
    )
    assert parsed.problems == ()
    stripe, token, cron, files, after = parsed.procedure.triggers
    assert (stripe.secret_env, stripe.scheme, stripe.signature_header) == ("ONE TWO", Scheme.TIMESTAMPED, "S-H")
    assert (token.scheme, token.id_header, token.max_queued) == (Scheme.TOKEN, "X-Id", 7)
    assert (cron.expression, cron.timezone, cron.misfire) == ("@daily", "Europe/Paris", Misfire.ONCE)
    assert (files.path, files.events, files.settle_secs) == ("in/**/*.csv", (Change.CREATED, Change.DELETED), 2.5)
    assert (after.procedure, after.status) == ("build", (End.FAILED, End.CANCELLED))
    assert (after.params, after.admission) == ({"a": "event.id", "n": 3}, AdmissionRule.COALESCE)
    names = ["webhook:/a", "webhook:/b", "nightly", "filesystem:in/**/*.csv", "procedure:build"]
    assert [name_of(each) for each in parsed.procedure.triggers] == names


def test_a_plain_trigger_has_the_bytes_that_it_always_had() -> None:
    procedure = triggers({"type": "manual"}, {"type": "webhook", "path": "/a"}).procedure
    assert b'"triggers":[{"path":null,"type":"manual"},{"path":"/a","type":"webhook"}]' in encode_procedure(procedure)


def test_triggers_of_sop_md_are_manual_and_webhooks() -> None:
    procedure = parse(
        "# Ship\n\n**Triggers**: manual, webhook `/ship`\n\n## Steps\n\n### Step 1: Go\n\nGo.\n"
    ).procedure
    assert procedure is not None
    assert procedure.triggers == (Trigger(type="manual"), Trigger(type="webhook", path="/ship"))
    assert procedure.triggers[1].scheme is UNSET


@pytest.mark.parametrize(
    ("stated", "code", "path"),
    [
        ({"type": "cron"}, "cron_without_expression", "$.triggers[0]"),
        ({"type": "filesystem"}, "filesystem_without_path", "$.triggers[0]"),
        ({"type": "procedure"}, "procedure_without_procedure", "$.triggers[0]"),
        ({"type": "cron", "expression": "* * * *"}, "bad_schedule", "$.triggers[0].expression"),
        ({"type": "cron", "expression": "* * * * * *"}, "bad_schedule", "$.triggers[0].expression"),
        ({"type": "cron", "expression": "61 * * * *"}, "bad_schedule", "$.triggers[0].expression"),
        ({"type": "cron", "expression": "0 0 30 2 *"}, "bad_schedule", "$.triggers[0].expression"),
        ({"type": "cron", "expression": "@dayly"}, "bad_schedule", "$.triggers[0].expression"),
        (
            {"type": "cron", "expression": "@daily", "timezone": "Europe/Pariss"},
            "bad_timezone",
            "$.triggers[0].timezone",
        ),
        ({"type": "cron", "expression": "@daily", "timezone": "../etc"}, "bad_timezone", "$.triggers[0].timezone"),
        ({"type": "cron", "expression": "@daily", "timezone": "Europe"}, "bad_timezone", "$.triggers[0].timezone"),
        ({"type": "cron", "expression": "@daily", "path": "/x"}, "key_of_another_trigger", "$.triggers[0].path"),
        ({"type": "manual", "condition": "true"}, "key_of_another_trigger", "$.triggers[0].condition"),
        ({"type": "webhook", "path": "/a", "misfire": "all"}, "key_of_another_trigger", "$.triggers[0].misfire"),
        ({"type": "webhook", "path": "/a//b"}, "bad_value", "$.triggers[0].path"),
        ({"type": "webhook", "path": "/a/../b"}, "bad_value", "$.triggers[0].path"),
        ({"type": "webhook", "path": "/a?b"}, "bad_value", "$.triggers[0].path"),
        ({"type": "webhook", "path": "/a", "scheme": "github"}, "scheme_without_secret", "$.triggers[0].scheme"),
        (
            {"type": "webhook", "path": "/a", "secretEnv": "S", "scheme": "timestamped"},
            "timestamped_without_header",
            "$.triggers[0].scheme",
        ),
        (
            {"type": "webhook", "path": "/a", "secretEnv": "S", "idHeader": "X-Id"},
            "header_of_another_scheme",
            "$.triggers[0].idHeader",
        ),
        ({"type": "webhook", "path": "/a", "secretEnv": "not a name!"}, "bad_value", "$.triggers[0].secretEnv"),
        ({"type": "filesystem", "path": "/etc/*"}, "bad_pattern", "$.triggers[0].path"),
        ({"type": "filesystem", "path": "../*"}, "bad_pattern", "$.triggers[0].path"),
        ({"type": "filesystem", "path": ".pi/sops/*"}, "bad_pattern", "$.triggers[0].path"),
        ({"type": "filesystem", "path": "a/**"}, "bad_pattern", "$.triggers[0].path"),
        (
            {"type": "filesystem", "path": "a", "events": ["created", "created"]},
            "repeated_word",
            "$.triggers[0].events",
        ),
        ({"type": "filesystem", "path": "a", "events": []}, "bad_value", "$.triggers[0].events"),
        ({"type": "procedure", "procedure": "deploy"}, "triggers_itself", "$.triggers[0].procedure"),
        ({"type": "procedure", "procedure": "a", "status": ["done"]}, "bad_value", "$.triggers[0].status[0]"),
        (
            {"type": "cron", "expression": "@daily", "condition": "event.body"},
            "bad_condition",
            "$.triggers[0].condition",
        ),
        ({"type": "cron", "expression": "@daily", "condition": "event.at"}, "bad_condition", "$.triggers[0].condition"),
        ({"type": "cron", "expression": "@daily", "condition": "params.x"}, "bad_condition", "$.triggers[0].condition"),
        ({"type": "webhook", "path": "/a", "params": {"x": "event.bdy"}}, "bad_expression", "$.triggers[0].params.x"),
        ({"type": "webhook", "path": "/a", "params": {"x": "[1"}}, "bad_expression", "$.triggers[0].params.x"),
        ({"type": "webhook", "path": "/a", "condition": None}, "bad_value", "$.triggers[0].condition"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_a_hint(stated: dict[str, Any], code: str, path: str) -> None:
    parsed = triggers(stated)
    found = [problem for problem in parsed.problems if problem.code == code]
    assert [problem.path for problem in found] == [path], parsed.problems
    assert (found[0].line or 0) > 2
    assert found[0].hint
    assert parsed.procedure is None


def test_two_triggers_of_one_name_are_an_error_and_a_key_tells_them_apart() -> None:
    daily = {"type": "cron", "expression": "@daily"}
    assert codes(triggers(daily, {**daily, "timezone": "Europe/Paris"})) == ["duplicate_trigger"]
    assert triggers(daily, {**daily, "timezone": "Europe/Paris", "key": "paris"}).problems == ()
    assert codes(triggers({**daily, "key": "x"}, {"type": "webhook", "path": "/a", "key": "x"})) == [
        "duplicate_trigger"
    ]


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ({"type": "integer"}, "'abc'", False),
        ({"type": "integer"}, "'7'", True),
        ({"type": "integer"}, 7, True),
        ({"type": "integer"}, "1 + 1", True),
        ({"type": "integer"}, True, False),
        ({"type": "enum", "values": ["eu", "us"]}, "'asia'", False),
        ({"type": "enum", "values": ["eu", "us"]}, "'eu'", True),
        ({"type": "enum", "values": ["eu", "us"]}, "has(event.caller) ? 'us' : 'asia'", True),
        ({"pattern": "v[0-9]+"}, "'latest'", False),
        ({"type": "boolean"}, "'maybe'", False),
        ({}, 7, True),
    ],
)
def test_a_constant_that_its_parameter_never_takes_is_a_mistake(kind: dict[str, Any], value: Any, fits: bool) -> None:
    params = [{"name": "version", **kind}]
    parsed = triggers({"type": "webhook", "path": "/a", "params": {"version": value}}, params=params)
    assert codes(parsed) == ([] if fits else ["bad_value"])


def test_a_trigger_gives_only_parameters_that_are_declared_and_no_secret() -> None:
    def given(params: dict[str, Any]) -> list[str]:
        return codes(triggers({"type": "webhook", "path": "/a", "params": params}, params=PARAMS))

    assert given({"version": "event.body.ref"}) == []
    assert given({"version": "event.body.ref", "versoin": "1"}) == ["unknown_parameter"]
    assert given({"version": "event.body.ref", "token": "'env:HOME'"}) == ["secret_from_event"]


def test_a_trigger_that_lacks_a_required_parameter_is_told() -> None:
    parsed = triggers({"type": "webhook", "path": "/a"}, params=PARAMS)
    assert codes(parsed, Severity.WARNING) == ["never_started"]
    assert "version" in parsed.problems[0].message
    assert "token" not in parsed.problems[0].message


def test_a_step_may_ask_about_the_event_of_its_triggers() -> None:
    hook = {"type": "webhook", "path": "/a"}
    asks = {**STEP, "if": "event.type == 'webhook' && event.body.ref == 'main'"}
    assert parse(None, {"triggers": [hook], "steps": [asks]}).problems == ()
    assert codes(parse(None, {"steps": [asks]})) == ["bad_condition"]
