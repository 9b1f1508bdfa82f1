"""`For Each` and `Max Parallel`, in both files: a list or an expression in CEL, and what cannot be meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sopwith.core.procedure import decode_procedure, encode_procedure
from sopwith.errors import Problem, Severity
from sopwith.parse.parsed import Parsed, SourceFile
from sopwith.parse.procedure import parse_procedure

HEAD = (
    "# Deploy\n\n## Steps\n\n### Step 1: List\n\n```bash\nlist\n```\n\n### Step 2: Deploy\n\n```bash\ndeploy\n```\n\n"
)


def parse(said: str | None = None, **step: Any) -> Parsed:
    """Two steps; what SOP.md says of the second, and what the manifest says of it."""
    steps = [{"number": 1, "title": "List", "outputs": {"regions": "json"}}, {"number": 2, "title": "Deploy", **step}]
    runs = {"run": "true"} if said is None else {}
    manifest = {"name": "deploy", "steps": [{**each, **runs} for each in steps]}
    return parse_procedure(
        "deploy",
        sop_md=None if said is None else SourceFile("SOP.md", (HEAD + said).encode()),
        manifest=SourceFile("manifest.json", json.dumps(manifest).encode()),
    )


def items(parsed: Parsed) -> Any:
    assert parsed.procedure is not None, parsed.problems
    assert decode_procedure(encode_procedure(parsed.procedure)) == parsed.procedure
    return parsed.procedure.step(2).for_each


def only(parsed: Parsed, severity: Severity = Severity.ERROR) -> Problem:
    [problem] = [problem for problem in parsed.problems if problem.severity is severity]
    return problem


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        (["eu", "us"], ("eu", "us")),
        ([1, 2.5, True, "x"], (1, 2.5, True, "x")),
        (["eu"], ("eu",)),
        ("steps['1'].outputs.regions", "steps['1'].outputs.regions"),
        ("['eu', 'us']", "['eu', 'us']"),
    ],
)
def test_a_manifest_lists_the_items_or_has_an_expression(stated: Any, found: Any) -> None:
    assert items(parse(forEach=stated)) == found


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("eu, us, ap", ("eu", "us", "ap")),
        ("`eu`, `us`", ("eu", "us")),
        ("1, 2", ("1", "2")),
        ("steps['1'].outputs.regions", "steps['1'].outputs.regions"),
        ("`steps['1'].outputs.regions`", "steps['1'].outputs.regions"),
        ("['eu', 'us']", "['eu', 'us']"),
        ("steps['1'].outputs.regions.filter(r, r != 'eu')", "steps['1'].outputs.regions.filter(r, r != 'eu')"),
    ],
)
def test_a_sheet_lists_the_items_or_has_an_expression(said: str, found: Any) -> None:
    assert items(parse(f"**For Each**: {said}\n")) == found


def test_for_how_many_items_at_once_stands_in_either_file() -> None:
    for parsed in (parse("**For Each**: eu, us\n**Max Parallel**: 2\n"), parse(forEach=["eu", "us"], maxParallel=2)):
        assert parsed.procedure is not None
        assert parsed.procedure.step(2).max_parallel == 2


def test_where_the_files_differ_the_manifest_wins_with_a_warning() -> None:
    parsed = parse("**For Each**: eu, us\n", forEach=["eu", "ap"])
    assert items(parsed) == ("eu", "ap")
    warning = only(parsed, Severity.WARNING)
    assert (warning.code, "forEach" in str(warning)) == ("drift", True)
    assert parse("**For Each**: eu, us\n", forEach=["eu", "us"]).problems == ()


@pytest.mark.parametrize(
    ("stated", "code", "part"),
    [
        (["eu", "us", "eu"], "item_twice", 'got "eu" twice'),
        ([1, 1.0], "item_twice", "twice"),
        ([], "bad_value", "$.steps[1].forEach"),
        ("", "bad_value", "$.steps[1].forEach"),
        ([["eu"]], "bad_value", "$.steps[1].forEach"),
        ([None], "bad_value", "$.steps[1].forEach"),
        (7, "bad_value", "$.steps[1].forEach"),
        (["x"] * 1001, "bad_value", "$.steps[1].forEach"),
        ([9007199254740993], "bad_value", "9007199254740993"),
        ("params.", "bad_condition", "a CEL expression that gives a list"),
        ("regions", "bad_condition", "regions is unknown"),
        ("1 == 1", "bad_condition", "it must be a list, and it is true or false"),
        ("steps['2'].outputs.regions", "bad_condition", "is unknown"),
        ("item", "bad_condition", "item is unknown"),
    ],
)
def test_items_that_cannot_be_meant_are_errors(stated: Any, code: str, part: str) -> None:
    problem = only(parse(forEach=stated))
    assert (problem.code, part in str(problem)) == (code, True), str(problem)


def test_a_sheet_that_lists_nothing_is_an_error() -> None:
    assert only(parse("**For Each**: ,\n")).code == "bad_value"


def test_a_number_that_is_no_number_is_an_error_in_a_sheet() -> None:
    assert only(parse("**For Each**: eu, us\n**Max Parallel**: two\n")).code == "bad_value"


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2"])
def test_a_limit_that_is_no_number_of_items_is_an_error(limit: Any) -> None:
    assert only(parse(forEach=["eu"], maxParallel=limit)).code == "bad_value"


def test_a_limit_without_items_is_an_error_with_the_way_out() -> None:
    problem = only(parse(maxParallel=2))
    assert (problem.code, "forEach" in problem.message) == ("parallel_without_items", True)


def test_the_gates_condition_may_name_the_item_and_the_steps_own_may_not() -> None:
    gated = {"forEach": ["eu", "us"], "requiresApproval": True}
    assert parse(**gated, approval={"when": "item == 'eu'"}).problems == ()
    problem = only(parse(**gated, approval={"when": "item > 1"}))
    assert (problem.code, "text" in problem.message) == ("bad_condition", True)
    assert "item is unknown" in only(parse(forEach=["eu"], **{"if": "item == 'eu'"})).message
    assert "item is unknown" in only(parse(requiresApproval=True, approval={"when": "item == 'eu'"})).message


@pytest.mark.parametrize("expression", ["['a'].all(item, item == 'a')", "['a'].exists(item, item.size() == 1)"])
def test_a_loop_may_call_its_own_variable_item(expression: str) -> None:
    assert parse(**{"if": expression}).problems == ()
    gated = {"forEach": ["eu", "us"], "requiresApproval": True}
    assert parse(**gated, approval={"when": expression}).problems == ()


def test_outputs_of_a_step_with_items_are_lists_to_those_after_it() -> None:
    def after(condition: str) -> Parsed:
        manifest = {
            "name": "deploy",
            "steps": [
                {"number": 1, "title": "A", "run": "x", "forEach": ["eu", "us"], "outputs": {"url": "string"}},
                {"number": 2, "title": "B", "run": "x", "if": condition},
            ],
        }
        return parse_procedure(
            "deploy", sop_md=None, manifest=SourceFile("manifest.json", json.dumps(manifest).encode())
        )

    assert after("size(steps['1'].outputs.url) == 2").problems == ()
    assert only(after("steps['1'].outputs.url == 'x'")).code == "bad_condition"
    assert only(after("steps['1'].approval.ticket == 'x'")).code == "bad_condition"
