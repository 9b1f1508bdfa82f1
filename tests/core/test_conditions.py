"""Conditions: typed names, one-sentence mistakes, no result instead of a wrong one, and bounded work."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopwith.core.approval import ApprovalRules, FieldType, FormField
from sopwith.core.conditions import MAX_LENGTH, Found, Verdict, Wanted, check, evaluate, find
from sopwith.core.procedure import Parameter, ParameterType, Procedure
from sopwith.core.scope import Scope, ValueType, scope_of, values_for

from .given import Story, procedure, shell

TEXT, INTEGER, NUMBER, BOOLEAN, ANY, LIST, TEXTS, ANYTHING = ValueType
SCOPE: Scope = {
    "params.environment": TEXT,
    "params.count": INTEGER,
    "params.ratio": NUMBER,
    "params.dry": BOOLEAN,
    "params.in": TEXT,
    "run.mode": TEXT,
    "steps.2.status": TEXT,
    "steps.2.outputs.url": TEXT,
    "steps.2.outputs.report": ANY,
    "steps.2.approval.ticket": TEXT,
    "steps.a-b.status": TEXT,
    "steps.build.status": TEXT,
    "steps.build.outputs": ANYTHING,
}
VALUES: dict[str, Any] = {
    "params.environment": "production",
    "params.count": 3,
    "params.ratio": 2,
    "params.dry": False,
    "params.in": "i",
    "run.mode": "auto",
    "steps.2.status": "completed",
    "steps.2.outputs.url": "https://x",
    "steps.2.outputs.report": {"items": [{"bad": False}, {"bad": True}], "n": 1},
    "steps.a-b.status": "skipped",
    "steps.build.outputs": {"size": 5, "name": "x"},
}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("params.environment == 'production'", True),
        ('params["environment"] == "production"', True),
        ("params.environment in ['staging', 'test']", False),
        ("params.count > 2 && params.ratio >= 1.5", True),
        ("!params.dry", True),
        ("params['in'] == 'i'", True),
        ("run.mode == 'auto'", True),
        ("steps['2'].status == 'completed'", True),
        ("steps['2'].outputs.url.startsWith('https://')", True),
        ("steps[ \"2\" ] . outputs['url'] == 'https://x' // steps['9']", True),
        ("steps['a-b'].status == 'skipped'", True),
        ("steps.build.outputs.size == 5", True),
        ("steps['build'].outputs['size'] == 5", True),
        ("steps['2'].outputs.report.items.exists(i, i.bad)", True),
        ("has(steps['2'].outputs.report.gone)", False),
        ("has(steps['2'].outputs.report.items)", True),
        ("has(params.environment)", True),
        ("has(params.dry)", True),
        ("has(params['environment']) && has(steps['2'].outputs.url)", True),
        ("\"has(params.environment)\" == ''", False),
        ("params.environment.matches('^prod.*n$')", True),
        (r"params.environment.matches(r'^\w+$')", True),
        (r"params.environment.matches('^\\w+$')", True),
        ("params.environment == '''steps['2']''' || true", True),
        ("\"steps['9'].status\" == 'x'", False),
        ("r\"steps['9']\" == \"steps['9']\"", True),
        ("params.dry ? params.count == 1 : params.count == 3", True),
    ],
)
def test_a_condition_is_true_or_false(expression: str, result: bool) -> None:
    assert check(expression, SCOPE) is None
    assert evaluate(expression, SCOPE, VALUES) == Verdict(result)


def test_what_is_not_there_is_told_with_the_way_to_ask_for_it() -> None:
    scope = {"steps.1.outputs": ValueType.ANYTHING}
    found = evaluate("steps['1'].outputs.load > 5", scope, {"steps.1.outputs": {}})
    assert found == Verdict(None, "there is no load; has() asks whether there is")


def test_what_was_not_given_can_be_asked_for() -> None:
    missing = {name: value for name, value in VALUES.items() if name not in ("params.environment", "params.dry")}
    assert evaluate("has(params.environment)", SCOPE, missing) == Verdict(False)
    assert evaluate("has(params.dry) && params.dry", SCOPE, missing) == Verdict(False)
    assert evaluate("!has(params.environment) || params.environment == 'x'", SCOPE, missing) == Verdict(True)
    assert evaluate("params.dry", SCOPE, missing).result is None
    scope = {"params": ValueType.TEXTS}
    assert evaluate("has(params.tag)", scope, {"params": {"tag": ""}}) == Verdict(True)
    assert evaluate("has(params.tag)", scope, {"params": {}}) == Verdict(False)
    deep = {"steps.1.outputs": {"report": "text"}}
    assert evaluate("has(steps['1'].outputs.report.x)", {"steps.1.outputs": ValueType.ANYTHING}, deep).result is None


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("params.enviroment == 'x'", "params.enviroment is unknown, did you mean params.environment?"),
        ("params['nope'] == 'x'", "params.nope is unknown"),
        ("steps['3'].status == 'x'", "steps['3'].status is unknown: only steps that this one depends on"),
        ("steps['2'].outputs.uri == 'x'", "did you mean steps['2'].outputs.url?"),
        ("steps.gone.status == 'x'", "steps.gone.status is unknown"),
        ("steps[2].status == 'x'", "steps is unknown"),
        ("environment == 'x'", "environment is unknown"),
        ("params.environment == 3", "== cannot be used on text and a whole number"),
        ("params.count > 2.5", "> cannot be used on a whole number and a number with a decimal point"),
        ("params.count == '3'", "== cannot be used on a whole number and text"),
        ("params.environment", "it must be true or false, and it is text"),
        ("params.count", "it must be true or false, and it is a whole number"),
        ("steps['2'].outputs.report.ok", "it must be true or false"),
        ("has(params.nope)", "params.nope is unknown"),
        ("has(steps['3'].status)", "steps['3'].status is unknown"),
        ("has(params)", "has() argument must be a field selection"),
        ("dyn(params.environment) == 3", "dyn() takes the types away"),
        ("params.environment.matches('(?=x)')", "a pattern cannot be used"),
        ("params.environment.matches(params.in)", "matches takes one pattern, written out"),
        ("params.environment.matches('" + "a" * 300 + "')", "a pattern is longer than 256 characters"),
        ("params.environment.matches('a{1000}a{1000}a{1000}')", "its patterns are too large"),
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("params.count >", "it ends too early"),
        ("params.environment = 'x'", "it cannot be read at ="),
        ("params.dry and true", "it cannot be read at and"),
        ("'abc", "it cannot be read at 'abc"),
        ("(" * 50 + "true" + ")" * 50, "it is nested too deeply"),
        ("true" + " || true" * 600, f"it is longer than {MAX_LENGTH} characters"),
        ("'\0' == 'a'", "it holds characters that are no text"),
        ("'\ud800' == 'a'", "it holds characters that are no text"),
        ("[1].exists(a,[a].exists(b,[b].exists(c,[c].exists(d,[d].exists(e,true)))))", "it would take too much work"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(expression: str, why: str) -> None:
    found = check(expression, SCOPE)
    assert found is not None
    assert why in found
    assert "INVALID_ARGUMENT" not in found
    assert "\n" not in found
    assert len(found) < 250
    assert evaluate(expression, SCOPE, VALUES).result is None


@pytest.mark.parametrize(
    ("expression", "changed", "reason"),
    [
        ("steps['2'].approval.ticket == 'x'", {}, "steps['2'].approval.ticket has no value"),
        ("steps.build.outputs.gone == 1", {}, "there is no gone"),
        ("1 / (params.count - 3) == 1", {}, "divide by zero"),
        ("params.environment == 'x'", {"params.environment": 3}, "params.environment is not text"),
        ("params.count == 1", {"params.count": "1"}, "params.count is not a whole number"),
        ("params.count == 1", {"params.count": True}, "params.count is not a whole number"),
        ("params.dry", {"params.dry": "false"}, "params.dry is not true or false"),
        ("params.dry", {"params.dry": None}, "params.dry is not true or false"),
        ("params.count == 1", {"params.count": 2**70}, "too big"),
        ("params.environment == 'x'", {"params.environment": "\ud800"}, ""),
        ("steps['2'].outputs.report.ok ? true : false", {"steps.2.outputs.report": {"ok": 1}}, ""),
        ("steps['2'].outputs.report > 1", {"steps.2.outputs.report": "x"}, "No matching overloads"),
        ("[params.environment].exists(a, a + a == 'x')", {"params.environment": "x" * 10_000_000}, "too large"),
    ],
)
def test_what_cannot_be_evaluated_is_no_result(expression: str, changed: dict[str, Any], reason: str) -> None:
    assert check(expression, SCOPE) is None
    verdict = evaluate(expression, SCOPE, {**VALUES, **changed})
    assert verdict.result is None
    assert reason in verdict.reason
    assert verdict.reason


def test_a_failure_beside_what_decides_anyway_does_not_matter() -> None:
    assert evaluate("params.dry || 1 / 0 == 1 || true", SCOPE, VALUES).result is True


def test_a_value_nested_without_end_is_no_result() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert evaluate("steps['2'].outputs.report == 1", SCOPE, {"steps.2.outputs.report": deep}).result is None


def declared() -> Procedure:
    form = (FormField(name="ticket"), FormField(name="sure", type=FieldType.BOOLEAN))
    kinds = {"a": "string", "b": "integer", "c": "number", "d": "boolean", "e": "json"}
    return procedure(
        shell(gate=True, outputs=kinds, key="build", approval=ApprovalRules(form=form)),
        shell(key="a-b"),
        shell(after=()),
        shell(after=(2,)),
        parameters=tuple(Parameter(name=kind.value, type=kind, values=("x",)) for kind in ParameterType),
    )


def test_the_scope_of_a_step_is_what_it_depends_on_with_types() -> None:
    scope = scope_of(declared(), 4)
    assert dict(scope) == {
        **{f"run.{name}": TEXT for name in ("id", "mode", "name", "priority", "startedBy")},
        "event.type": TEXT,
        "params.string": TEXT,
        "params.integer": INTEGER,
        "params.number": NUMBER,
        "params.boolean": BOOLEAN,
        "params.enum": TEXT,
        **{
            f"steps.{step}.{name}": kind
            for step in ("1", "build")
            for name, kind in {
                "status": TEXT,
                "outputs.a": TEXT,
                "outputs.b": INTEGER,
                "outputs.c": NUMBER,
                "outputs.d": BOOLEAN,
                "outputs.e": ANY,
                "approval.ticket": TEXT,
                "approval.sure": BOOLEAN,
            }.items()
        },
        **{
            f"steps.{step}.{name}": kind
            for step in ("2", "a-b")
            for name, kind in (("status", TEXT), ("outputs", ANYTHING))
        },
    }
    assert len(scope) == len(dict(scope))


def test_a_step_that_is_not_depended_on_cannot_be_named() -> None:
    scope = scope_of(declared(), 3)
    assert check("steps['1'].status == 'completed'", scope) is not None
    assert check("steps['4'].status == 'completed'", scope_of(declared(), 4)) is not None
    assert check("steps.build.outputs.b == 1", scope_of(declared(), 4)) is None


def test_undeclared_parameters_are_text() -> None:
    scope = scope_of(procedure(shell()), 1)
    assert check("params.tag == 'v1'", scope) is None
    assert check("params.tag == 1", scope) is not None
    assert evaluate("params.tag == 'v1'", scope, {"params": {"tag": "v1"}}).result is True
    assert evaluate("params.gone == 'v1'", scope, {"params": {"tag": "v1"}}).result is None


def test_the_values_of_a_run_fit_its_scope() -> None:
    story = Story(shell(outputs={"n": "integer", "ok": "json"}, key="build"), shell(), params={"tag": "v1"}).drive()
    story.finish(1, outputs={"n": 3, "ok": {"x": True}})
    scope, values = scope_of(story.procedure, 2), values_for(story.run, 2)
    assert set(values) <= set(scope)
    for expression in (
        "steps['1'].outputs.n == 3",
        "steps.build.outputs.ok.x",
        "steps.build.status == 'completed'",
        "params.tag == 'v1'",
        "run.startedBy == 'alice'",
        "run.name == 'deploy' && run.priority == 'normal' && run.mode == 'auto' && run.id.startsWith('sop_run_')",
    ):
        found = evaluate(f"({expression}) == true", scope, values)
        assert found == Verdict(True), expression


def test_a_number_may_be_given_as_a_whole_one() -> None:
    made = procedure(shell(), parameters=(Parameter(name="ratio", type=ParameterType.NUMBER),))
    assert evaluate("params.ratio > 1.5", scope_of(made, 1), {"params.ratio": 2}).result is True


HOSTILE = {
    "brackets": "(" * 4000,
    "closed brackets": "(" * 2000 + "true" + ")" * 2000,
    "lists": "[" * 2000 + "]" * 2000 + " == []",
    "maps": "{1:" * 900 + "1" + "}" * 900 + " == {}",
    "nots": "!" * 4000 + "true",
    "minus": "-" * 4000 + "1 == 1",
    "choices": "false?true:" * 370 + "true",
    "sums": "1+" * 2000 + "1 == 1",
    "dots": "params" + ".a" * 2000 + " == 1",
    "indexes": "steps" + "['a']" * 800 + " == 1",
    "calls": "size(" * 600 + "'a'" + ")" * 600 + " == 1",
    "long list": "0 in [" + "1," * 2040 + "1]",
    "and": "true&&" * 680 + "true",
    "unknown names": "x||" * 1300 + "x",
    "wrong types": "1=='a'||" * 500 + "true",
    "long text": "'" + "a" * 4000 + "' == 'a'",
    "too long": "'" + "a" * 1_000_000 + "' == 'a'",
    "quotes": "'" * 4001,
    "triple quotes": "'''" * 1300,
    "back quotes": "`" * 4001,
    "backslashes": "'" + "\\" * 4000,
    "loops": "".join(f"[1,2,3].exists(x{n}," for n in range(20)) + "true" + ")" * 20,
    "loop": "[" + "1," * 900 + "1].all(x," + "x==1&&" * 300 + "true)",
    "joins": "[params.environment].exists(a," + "a+" * 30 + "a == 'x')",
    "doubling": "[params.environment]" + ".map(x,x+x)" * 12 + ".size() == 1",
    "searches": "||".join(["params.environment.contains('b')"] * 120),
    "pattern": "params.environment.matches('" + "a{1000}" * 36 + "')",
    "one pattern": "params.environment.matches('a{1000}')",
    "nested pattern": "params.environment.matches('" + "(" * 128 + ")" * 128 + "')",
    "classes": r"params.environment.matches(r'[\p{L}\p{N}]{1000}')",
    "patterns": "||".join([r"params.environment.matches(r'\pL')"] * 100),
    "comment": "true//" + "a" * 4000,
    "emoji": "'" + "😀" * 2000 + "' == 'a'",
}
WORKER = """
import sys, time
from sopwith.core.conditions import check, evaluate
from sopwith.core.scope import ValueType
scope = {"params.environment": ValueType.TEXT}
check("true", scope)
expression = sys.stdin.buffer.read().decode()
started = time.process_time()
check(expression, scope)
evaluate(expression, scope, {"params.environment": "a" * 65536})
print("took", time.process_time() - started)
"""


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_expression_ends_at_once_and_takes_no_process_with_it(case: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WORKER], input=HOSTILE[case].encode(), capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()[-500:]
    assert float(ended.stdout.split()[-1]) < 0.1


WORDS = st.sampled_from(
    [
        *(
            "params.environment",
            "params.count",
            "params['environment']",
            "steps['2']",
            ".outputs.url",
            ".status",
            "run.mode",
        ),
        *("'a'", '"', "'''", "r'", "b'x'", "1", "2.5", "true", "null", "(", ")", "[", "]", "{", "}", ",", ":", "?"),
        *(
            "==",
            "<",
            "+",
            "-",
            "!",
            "&&",
            "||",
            " in ",
            ".",
            "size(",
            ".matches('a')",
            ".exists(x, x == 1)",
            "has(",
            "dyn(",
        ),
        *("`", "\\", "//", "\n", "\0", "é", "steps.build.outputs.x", "timestamp('x')", "duration('1h')"),
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS | st.text(max_size=3), max_size=12).map("".join))
def test_no_text_raises_and_check_and_evaluate_agree(expression: str) -> None:
    wrong = check(expression, SCOPE)
    verdict = evaluate(expression, SCOPE, VALUES)
    assert verdict.result in (True, False, None)
    if wrong is not None:
        assert verdict == Verdict(None, wrong)
    assert bool(verdict.reason) == (verdict.result is None)


ANYTHING_AT_ALL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
USES = [
    *(
        "params.environment == 'x'",
        "params.count > 1",
        "params.ratio < 1.0",
        "params.dry",
        "steps['2'].outputs.report == 1",
    ),
    *("steps['2'].outputs.report.items.all(i, i.bad)", "steps.build.outputs.x == 'x'", "size(steps.build.outputs) > 1"),
]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(USES), ANYTHING_AT_ALL)
def test_no_value_raises(expression: str, value: Any) -> None:
    verdict = evaluate(expression, SCOPE, dict.fromkeys(SCOPE, value))
    assert bool(verdict.reason) == (verdict.result is None)


def test_the_same_condition_is_compiled_once() -> None:
    expression = "params.environment == 'compiled once'"
    check(expression, SCOPE)
    started = time.process_time()
    for _ in range(200):
        evaluate(expression, SCOPE, VALUES)
    assert time.process_time() - started < 0.1


# text instead of a truth


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'deploy-' + params.environment", "deploy-production"),
        ("params.dry ? 'dry' : 'wet'", "wet"),
        ("has(params.environment) ? '' : 'x'", ""),
        ("string(params.count)", "3"),
    ],
)
def test_an_expression_may_give_text(expression: str, text: str) -> None:
    assert check(expression, SCOPE, Wanted.TEXT) is None
    assert find(expression, SCOPE, VALUES, Wanted.TEXT) == Found(text)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("params.dry", "it must be text, and it is true or false"),
        ("params.count", "it must be text, and it is a whole number"),
        ("steps['2'].outputs.report", "it must be text"),
        ("params.enviroment", "did you mean params.environment?"),
        ("'a' + params.count", "+ cannot be used on text and a whole number"),
        ("", "it is empty"),
        ("'" + "a" * MAX_LENGTH + "'", f"it is longer than {MAX_LENGTH} characters"),
    ],
)
def test_what_cannot_give_text_is_told(expression: str, why: str) -> None:
    assert why in str(check(expression, SCOPE, Wanted.TEXT))
    assert why in find(expression, SCOPE, VALUES, Wanted.TEXT).reason


def test_a_text_that_cannot_be_told_has_a_reason() -> None:
    assert find("params.environment", SCOPE, {}, Wanted.TEXT) == Found(None, "params.environment has no value")
    hostile = {**VALUES, "params.environment": "x" * 60_000_000}
    assert find("params.environment + params.environment", SCOPE, hostile, Wanted.TEXT).reason


def test_one_expression_can_be_asked_for_a_truth_and_for_text() -> None:
    assert check("params.dry", SCOPE) is None
    assert check("params.dry", SCOPE, Wanted.TEXT) is not None
    assert check("params.environment", SCOPE, Wanted.TEXT) is None
    assert check("params.environment", SCOPE) is not None
