"""`concurrencyGroup` in both files: an expression that gives text, checked when the file is read."""

from __future__ import annotations

import pytest

from sopwith.errors import Severity

from .examples import codes, only, parse

STEP = {"number": 1, "title": "Do it", "run": "ls"}
EXPRESSION = "'deploy-' + params.environment"


def test_either_file_may_say_it() -> None:
    sheet = parse(f"**Concurrency Group**: `{EXPRESSION}`\n\n## Steps\n\n### Step 1: Do it\n\n```bash\nls\n```\n")
    manifest = parse(None, {"concurrencyGroup": EXPRESSION, "steps": [STEP]})
    for parsed in (sheet, manifest):
        assert parsed.procedure is not None, parsed.problems
        assert parsed.procedure.concurrency_group == EXPRESSION


def test_a_procedure_that_says_nothing_has_none() -> None:
    procedure = parse(None, {"steps": [STEP]}).procedure
    assert procedure is not None
    assert procedure.concurrency_group is None


def test_where_the_files_differ_the_manifest_wins() -> None:
    sheet = "**Concurrency Group**: 'a'\n\n## Steps\n\n### Step 1: Do it\n\n```bash\nls\n```\n"
    parsed = parse(sheet, {"concurrencyGroup": "'b'"})
    assert parsed.procedure is not None
    assert parsed.procedure.concurrency_group == "'b'"
    assert codes(parsed, Severity.WARNING) == ["drift"]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("params.environment == 'x'", "it must be text, and it is true or false"),
        ("environment", "environment is unknown"),
        ("run.id", "run.id is unknown"),
        ("'deploy-", "it cannot be read at"),
    ],
)
def test_what_gives_no_text_is_an_error(expression: str, why: str) -> None:
    problem = only(parse(None, {"concurrencyGroup": expression, "steps": [STEP]}))
    assert (problem.code, problem.path) == ("bad_concurrency_group", "$.concurrencyGroup")
    assert why in problem.message
    sheet = f"**Concurrency Group**: {expression}\n\n## Steps\n\n### Step 1: Do it\n\n```bash\nls\n```\n"
    assert only(parse(sheet)).line == 1


def test_declared_parameters_are_known() -> None:
    parameters = [{"name": "environment"}, {"name": "count", "type": "integer"}]
    said = {"params": parameters, "steps": [STEP]}
    assert codes(parse(None, {**said, "concurrencyGroup": EXPRESSION})) == []
    wrong = only(parse(None, {**said, "concurrencyGroup": "params.enviroment"}))
    assert "did you mean params.environment?" in wrong.message
    assert "it is a whole number" in only(parse(None, {**said, "concurrencyGroup": "params.count"})).message


@pytest.mark.parametrize("value", ["", 3, [], "x" * 5000])
def test_what_is_no_expression_is_an_error(value: object) -> None:
    assert codes(parse(None, {"concurrencyGroup": value, "steps": [STEP]})) == ["bad_value"]
