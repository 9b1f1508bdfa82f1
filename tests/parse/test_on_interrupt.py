"""`onInterrupt` in both files: four words, one of them with a command that is one line."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from sopwith.core.procedure import InterruptRules, OnInterrupt, encode_procedure

from .test_rollback import DO, HEAD, errors, parse, procedure, warnings

RUNS = {"run": "do\n"}


def said(text: str) -> InterruptRules | Any:
    """What the key line comes to."""
    return procedure(f"{HEAD}**On Interrupt**: {text}\n\n{DO}").step(1).on_interrupt


def stated(value: Any, **more: Any) -> Any:
    return parse(None, {**RUNS, "onInterrupt": value, **more})


@pytest.mark.parametrize("text", ["rerun", "Rerun", "`rerun`", "RERUN"])
def test_a_key_line_may_be_written_in_any_case(text: str) -> None:
    assert said(text) == InterruptRules(policy=OnInterrupt.RERUN)


@pytest.mark.parametrize(
    "text",
    [
        "verify:test -e done",
        "verify: test -e done",
        "Verify : `test -e done`",
        "`verify:test -e done`",
        "verify:  test -e done",
    ],
)
def test_a_command_is_taken_as_it_stands_with_or_without_its_code_span(text: str) -> None:
    assert said(text) == InterruptRules(policy=OnInterrupt.VERIFY, command="test -e done")


def test_colons_and_quotes_of_a_command_are_its_own() -> None:
    assert said("verify: `curl -f \"http://é:80/\" | grep -q 'up: yes'`").command == (
        "curl -f \"http://é:80/\" | grep -q 'up: yes'"
    )


def test_to_ask_is_what_a_step_does_that_says_nothing_to_the_last_byte() -> None:
    asks, silent = procedure(None, {**RUNS, "onInterrupt": "ask"}), procedure(None, RUNS)
    assert asks.step(1).on_interrupt is UNSET
    assert encode_procedure(asks) == encode_procedure(silent)
    assert b"on_interrupt" not in encode_procedure(silent)
    assert b"on_interrupt" in encode_procedure(procedure(None, {**RUNS, "onInterrupt": "fail"}))


@pytest.mark.parametrize(
    "value",
    [
        "verify",
        "verify:",
        "verify:   ",
        "verify:# nothing",
        "verify:a\nb",
        "verify:a\u0000b",
        "verify:a\u001b[0m",
        "verify:a\u0085b",
        "verify:\ta",
        f"verify:{'a' * 2001}",
        "rerun:now",
        "ask ",
        "Rerun",
        "never",
        "",
        1,
        True,
        ["rerun"],
        {"verify": "test"},
    ],
)
def test_everything_else_is_refused_where_it_stands(value: Any) -> None:
    found = stated(value)
    assert found.procedure is None
    (problem,) = [each for each in found.problems if each.path.endswith("onInterrupt")]
    assert "expected ask, rerun, fail or verify:COMMAND" in problem.message or "expected text" in problem.message


@pytest.mark.parametrize(
    "step",
    [
        {"onInterrupt": "rerun"},
        {"onInterrupt": "ask"},
        {"onInterrupt": "fail", "waitSecs": 5},
        {"onInterrupt": "verify:true", "uses": "test"},
        {"onInterrupt": "rerun", "executor": "manual"},
    ],
)
def test_a_step_without_a_script_cannot_say_it(step: dict[str, Any]) -> None:
    assert errors(parse(None, step)) == ["interrupted_by_hand"]


def test_a_verified_step_with_outputs_is_warned_of() -> None:
    assert warnings(stated("verify:true", outputs=["url"])) == ["verified_without_outputs"]
    assert warnings(stated("rerun", outputs=["url"])) == []
    assert warnings(stated("verify:true")) == []


def test_where_the_files_differ_the_manifest_wins_and_says_so() -> None:
    sheet = f"{HEAD}**On Interrupt**: rerun\n\n{DO}"
    found = parse(sheet, {"title": "Switch", "onInterrupt": "verify:true"})
    assert found.procedure is not None
    assert found.procedure.step(1).on_interrupt == InterruptRules(policy=OnInterrupt.VERIFY, command="true")
    assert warnings(found) == ["drift"]
    same = parse(f"{HEAD}**On Interrupt**: verify: `true`\n\n{DO}", {"title": "Switch", "onInterrupt": "verify:true"})
    assert warnings(same) == []


def test_of_a_whole_procedure_it_is_not_supported_yet() -> None:
    assert errors(parse(f"{HEAD}{DO}", onInterrupt="rerun")) == ["not_supported_yet"]
