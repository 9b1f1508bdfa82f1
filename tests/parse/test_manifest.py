"""manifest.json: strict JSON, the model, and every mistake at once with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sopwith.errors import Severity

from .examples import codes, only, parse

STEP = {"number": 1, "title": "Do it", "run": "ls"}


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ('{"steps": [], "steps": []}', "duplicate_key", (1, 15)),
        ('{"cooldownSecs": NaN}', "bad_value", (1, 18)),
        ('{"cooldownSecs": -Infinity}', "bad_value", (1, 18)),
        ('{"cooldownSecs": 9007199254740993}', "bad_value", (1, 18)),
        ('{"cooldownSecs": ' + "9" * 10_000 + "}", "bad_value", (1, 18)),
        ('{"cooldownSecs": 1e999}', "bad_value", (1, 18)),
        ('{"title": "a\\ud800"}', "bad_value", (1, 11)),
        ('{"title": "a\\u0000"}', "bad_value", (1, 11)),
        ('{"\\ud800": 1}', "bad_value", (1, 2)),
        ("[" * 5000, "too_deep", (1, 34)),
        ('{"a":' * 5000, "too_deep", (1, 166)),
        ("[" + "1," * 30_000 + "1]", "too_many_values", (1, 40_000)),
        ('{\n  "title": "x",\n}', "bad_json", (3, 1)),
        ('{"title": "x"} x', "bad_json", (1, 16)),
        ('{"title": "x"', "bad_json", (2, 1)),
        ('{"title" "x"}', "bad_json", (1, 10)),
        ('{"title": tru}', "bad_json", (1, 11)),
        ('{"title": "a\nb"}', "bad_json", (1, 13)),
        ('{"cooldownSecs": 01}', "bad_json", (1, 19)),
        ("{'title': 1}", "bad_json", (1, 2)),
        ("", "bad_json", (2, 1)),
        ("[]", "bad_value", (1, 1)),
        ("null", "bad_value", (1, 1)),
        (b"\xff{}", "not_utf8", (1, 1)),
        (b"\xef\xbb\xbf{]", "bad_json", (1, 2)),
        (b" " * (1024 * 1024 + 1), "file_too_big", (None, None)),
    ],
)
def test_what_is_no_strict_json_is_an_error_with_line_and_column(
    text: str | bytes, code: str, place: tuple[int | None, int | None]
) -> None:
    found = [problem for problem in parse(None, text).problems if problem.code != "no_steps"]
    assert [(problem.code, (problem.line, problem.column)) for problem in found] == [(code, place)]


@pytest.mark.parametrize(
    ("change", "code", "path", "hint"),
    [
        ({"priority": "hihg"}, "bad_value", "$.priority", "high"),
        ({"executionMod": "auto"}, "unknown_key", "$.executionMod", "executionMode"),
        ({"version": 1}, "bad_value", "$.version", ""),
        ({"version": ""}, "bad_value", "$.version", ""),
        ({"cooldownSecs": -1}, "bad_value", "$.cooldownSecs", ""),
        ({"cooldownSecs": 1.5}, "bad_value", "$.cooldownSecs", ""),
        ({"maxConcurrent": 0}, "bad_value", "$.maxConcurrent", ""),
        ({"maxConcurrent": True}, "bad_value", "$.maxConcurrent", ""),
        ({"name": "other"}, "name_differs", "$.name", ""),
        ({"name": "../x"}, "bad_value", "$.name", ""),
        ({"triggers": [{"type": "webhok"}]}, "bad_value", "$.triggers[0].type", "webhook"),
        ({"triggers": [{"type": "webhook"}]}, "webhook_without_path", "$.triggers[0]", ""),
        ({"triggers": [{"type": "webhook", "path": "x"}]}, "bad_value", "$.triggers[0].path", ""),
        ({"triggers": [{"type": "manual", "path": "/x"}]}, "path_without_webhook", "$.triggers[0]", ""),
        ({"triggers": [{"type": "mqtt"}]}, "not_supported_yet", "$.triggers[0].type", ""),
        ({"triggers": {}}, "bad_value", "$.triggers", ""),
        ({"timeoutSecs": 0}, "bad_value", "$.timeoutSecs", ""),
        ({"timeoutSecs": "3"}, "bad_value", "$.timeoutSecs", ""),
        ({"retry": {"maxAttempts": 2}}, "not_supported_yet", "$.retry", ""),
        ({"onFailure": "goto:1"}, "bad_value", "$.onFailure", ""),
        ({"onFailure": "undo"}, "bad_value", "$.onFailure", ""),
        ({"maxParallel": 0}, "bad_value", "$.maxParallel", ""),
        ({"params": [{"type": "string"}]}, "missing_key", "$.params[0]", ""),
        ({"params": [{"name": "a-b"}]}, "bad_value", "$.params[0].name", ""),
        ({"params": [{"name": "a" * 65}]}, "bad_value", "$.params[0].name", ""),
        ({"params": [{"name": "a"}, {"name": "a"}]}, "duplicate_parameter", "$.params[1].name", ""),
        ({"params": [{"name": "a", "type": "secret", "default": "hunter2"}]}, "bad_default", "$.params[0].default", ""),
        ({"params": [{"name": "a", "type": "secret", "default": 7}]}, "bad_default", "$.params[0].default", ""),
        ({"params": [{"name": "a", "type": "enum"}]}, "enum_without_values", "$.params[0]", ""),
        ({"params": [{"name": "a", "values": ["x"]}]}, "values_without_enum", "$.params[0].values", ""),
        ({"params": [{"name": "a", "default": 1}]}, "bad_default", "$.params[0].default", ""),
        ({"params": [{"name": "a", "type": "integer", "default": True}]}, "bad_default", "$.params[0].default", ""),
        ({"params": [{"name": "a", "pattern": "("}]}, "bad_pattern", "$.params[0].pattern", ""),
        ({"params": [{"name": "a", "pattern": "a{1001}"}]}, "bad_pattern", "$.params[0].pattern", ""),
        ({"params": [{"name": "a", "pattern": "x" * 257}]}, "bad_value", "$.params[0].pattern", ""),
        ({"env": {"pass": ["A B"]}}, "bad_value", "$.env.pass[0]", ""),
        ({"env": {"set": {"A-B": "x"}}}, "bad_value", '$.env.set["A-B"]', ""),
        ({"env": {"set": {"A": 1}}}, "bad_value", "$.env.set.A", ""),
        ({"steps": []}, "no_steps", "$.steps", ""),
        ({"steps": [{**STEP, "number": 2}]}, "step_number_gap", "$.steps[0].number", ""),
        ({"steps": [STEP, STEP]}, "duplicate_step_number", "$.steps[1].number", ""),
        ({"steps": [{**STEP, "number": 0}]}, "bad_value", "$.steps[0].number", ""),
        ({"steps": [{**STEP, "number": "1"}]}, "bad_value", "$.steps[0].number", ""),
        ({"steps": [{"title": "x"}]}, "missing_key", "$.steps[0]", ""),
        ({"steps": [{**STEP, "title": " "}]}, "bad_value", "$.steps[0].title", ""),
        ({"steps": [{**STEP, "requiresApproval": "yes"}]}, "bad_value", "$.steps[0].requiresApproval", ""),
        ({"steps": [{**STEP, "approvalTimeoutMins": 0}]}, "bad_value", "$.steps[0].approvalTimeoutMins", ""),
        ({"steps": [{**STEP, "approvalTimeoutMins": 1e15}]}, "bad_value", "$.steps[0].approvalTimeoutMins", ""),
        (
            {"steps": [{**STEP, "requireApproval": True}]},
            "unknown_key",
            "$.steps[0].requireApproval",
            "requiresApproval",
        ),
        ({"steps": [{**STEP, "retry": {}}]}, "missing_key", "$.steps[0].retry", ""),
        ({"steps": [{**STEP, "retry": {"maxAttempts": 0}}]}, "bad_value", "$.steps[0].retry.maxAttempts", ""),
        ({"steps": [{**STEP, "retry": {"maxAttempts": 2, "tries": 3}}]}, "unknown_key", "$.steps[0].retry.tries", ""),
        (
            {"steps": [{**STEP, "retry": {"maxAttempts": 2, "onExitCodes": [0]}}]},
            "bad_value",
            "$.steps[0].retry.onExitCodes[0]",
            "",
        ),
        (
            {"steps": [{"number": 1, "title": "x", "retry": {"maxAttempts": 2}}]},
            "retry_by_hand",
            "$.steps[0].retry",
            "",
        ),
        ({"steps": [{**STEP, "timeoutSecs": 0}]}, "bad_value", "$.steps[0].timeoutSecs", ""),
        ({"steps": [{**STEP, "onFailure": "undo"}]}, "bad_value", "$.steps[0].onFailure", ""),
        ({"steps": [{**STEP, "onFailure": "goto:9"}]}, "bad_goto", "$.steps[0].onFailure", ""),
        ({"steps": [{**STEP, "onFailure": "goto:1"}]}, "bad_goto", "$.steps[0].onFailure", ""),
        ({"steps": [{**STEP, "onFailure": "goto:nobody"}]}, "bad_goto", "$.steps[0].onFailure", ""),
        ({"steps": [{**STEP, "waitSecs": 5}]}, "wait_with_script", "$.steps[0].waitSecs", ""),
        ({"steps": [{"number": 1, "title": "x", "executor": "wait"}]}, "wait_for_nothing", "$.steps[0].executor", ""),
        (
            {"steps": [{"number": 1, "title": "x", "waitSecs": 5, "waitUntil": "2026-12-01T08:00:00Z"}]},
            "two_waits",
            "$.steps[0].waitUntil",
            "",
        ),
        (
            {"steps": [{"number": 1, "title": "x", "waitUntil": "2026-02-30T08:00:00Z"}]},
            "bad_value",
            "$.steps[0].waitUntil",
            "",
        ),
        ({"steps": [{**STEP, "runners": []}]}, "not_supported_yet", "$.steps[0].runners", ""),
        ({"steps": [{**STEP, "executor": "http"}]}, "not_supported_yet", "$.steps[0].executor", ""),
        ({"steps": [{**STEP, "executor": "manual"}]}, "manual_with_script", "$.steps[0].executor", ""),
        ({"steps": [{**STEP, "key": "A"}]}, "bad_value", "$.steps[0].key", ""),
        ({"steps": [{**STEP, "dependsOn": [7]}]}, "unknown_step", "$.steps[0].dependsOn", ""),
        ({"steps": [{**STEP, "dependsOn": ["x"]}]}, "unknown_step", "$.steps[0].dependsOn", ""),
        ({"steps": [{**STEP, "dependsOn": [1]}]}, "depends_on_itself", "$.steps[0].dependsOn", ""),
        ({"steps": [{**STEP, "outputs": {"a": "text"}}]}, "bad_value", "$.steps[0].outputs.a", ""),
        ({"steps": [{**STEP, "outputs": ["a-b"]}]}, "bad_value", "$.steps[0].outputs[0]", ""),
        ({"steps": [{**STEP, "outputs": 3}]}, "bad_value", "$.steps[0].outputs", ""),
        ({"steps": [{**STEP, "run": "$ ls"}]}, "prompt_in_script", "$.steps[0].run", ""),
        ({"steps": [{**STEP, "suggestedTools": ["a"] * 101}]}, "bad_value", "$.steps[0].suggestedTools", ""),
    ],
)
def test_a_mistake_is_an_error_with_its_path(change: dict[str, Any], code: str, path: str, hint: str) -> None:
    problem = only(parse(None, {"steps": [STEP], **change}))
    assert (problem.code, problem.path) == (code, path)
    assert hint in problem.hint
    assert problem.line is not None
    assert problem.column is not None


def test_all_mistakes_come_at_once() -> None:
    parsed = parse(None, {"priority": "x", "versoin": "1", "steps": [{"number": "1", "retry": 1, "title": 3}]})
    assert [problem.path for problem in parsed.problems] == [
        "$.priority",
        "$.versoin",
        "$.steps[0].number",
        "$.steps[0].retry",
        "$.steps[0].title",
    ]


def test_a_hostile_file_gets_a_bounded_list_of_problems() -> None:
    parsed = parse(None, {f"key{number}": 1 for number in range(5000)})
    assert len(parsed.problems) == 51
    assert parsed.problems[-1].message == "4950 more problems are not shown"


def test_null_means_not_said() -> None:
    parsed = parse(None, {"title": None, "steps": [{**STEP, "dependsOn": None}]})
    assert parsed.problems == ()


@pytest.mark.parametrize("key", ["requiresApproval", "approvalTimeoutMins"])
def test_a_gate_of_null_is_an_error(key: str) -> None:
    problem = only(parse(None, {"steps": [{**STEP, key: None}]}))
    assert (problem.code, problem.path) == ("bad_value", f"$.steps[0].{key}")
    assert problem.expected in ("true or false", "a whole number or a number")


def test_an_editor_may_name_the_schema() -> None:
    assert parse(None, {"$schema": "https://example.org/x.json", "steps": [STEP]}).problems == ()


def test_a_webhook_needs_no_more_than_a_path() -> None:
    hooks = [{"type": "webhook", "path": "/a"}, {"type": "webhook", "path": "/b"}]
    parsed = parse(None, {"triggers": hooks, "steps": [STEP]})
    assert parsed.problems == ()
    assert parsed.procedure is not None
    assert [trigger.path for trigger in parsed.procedure.triggers] == ["/a", "/b"]


def test_a_manifest_without_scripts_or_sop_md_is_manual() -> None:
    procedure = parse(None, {"steps": [{"number": 1, "description": "Look."}]}).procedure
    assert procedure is not None
    assert (procedure.steps[0].executor, procedure.steps[0].body) == ("manual", "Look.")


def test_scripts_have_lf_line_ends_and_end_in_one() -> None:
    procedure = parse(None, {"steps": [{"number": 1, "run": "a\r\nb"}]}).procedure
    assert procedure is not None
    assert procedure.steps[0].script is not None
    assert procedure.steps[0].script.text == "a\nb\n"


def test_a_circle_of_steps_is_an_error_that_names_it() -> None:
    steps = [{"number": 1, "dependsOn": [3]}, {"number": 2}, {"number": 3, "key": "c", "dependsOn": [2]}]
    problem = only(parse(None, {"steps": steps}))
    assert problem.code == "circular_steps"
    assert "1 → 3 → 2 → 1" in problem.message


def test_steps_without_dependencies_follow_the_step_before_them() -> None:
    steps = [
        {"number": 1, "key": "a"},
        {"number": 2, "dependsOn": []},
        {"number": 3},
        {"number": 4, "dependsOn": ["a", 2]},
    ]
    procedure = parse(None, {"steps": steps}).procedure
    assert procedure is not None
    assert [step.depends_on for step in procedure.steps] == [(), (), (2,), (1, 2)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"priority": "high", "executionMode": "auto"}, ["no_gate"]),
        ({"priority": "critical", "executionMode": "priority_based"}, ["no_gate"]),
        ({"priority": "critical"}, []),
        ({"priority": "normal", "executionMode": "auto"}, []),
        ({"priority": "high", "executionMode": "auto", "steps": [{**STEP, "requiresApproval": True}]}, []),
        (
            {"priority": "high", "steps": [{**STEP, "requiresApproval": True, "approvalTimeoutMins": 5}]},
            ["auto_approval"],
        ),
        ({"priority": "low", "steps": [{**STEP, "requiresApproval": True, "approvalTimeoutMins": 5}]}, []),
    ],
)
def test_a_high_priority_without_a_person_is_a_warning(change: dict[str, Any], expected: list[str]) -> None:
    parsed = parse(None, {"steps": [STEP], **change})
    assert codes(parsed) == []
    assert codes(parsed, Severity.WARNING) == expected


def test_neither_file_is_an_error() -> None:
    assert only(parse()).code == "no_files"


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", "a" * 65, "x\n"])
def test_a_bad_name_is_an_error(name: str) -> None:
    assert only(parse(None, {"steps": [STEP]}, name=name)).code == "bad_name"


def test_positions_survive_the_way_the_file_is_written() -> None:
    text = json.dumps({"steps": [STEP]}, indent=4).replace("\n", "\r\n").replace('"Do it"', "3")
    problem = only(parse(None, text))
    assert (problem.line, problem.column, problem.path) == (5, 22, "$.steps[0].title")
