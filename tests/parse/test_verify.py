"""`verify` in both files: a key line, a fence or a manifest's key, and where it can mean anything."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from sopwith.core.procedure import Script, encode_procedure

from .test_rollback import DO, HEAD, UNDO, errors, parse, procedure, warnings

CHECK = Script(interpreter="bash", text="test -e done\n")
FENCE = "```verify\ntest -e done\n```\n"


@pytest.mark.parametrize(
    "text",
    [
        "- **Verify:** test -e done\n",
        "**Verify**: `test -e done`\n",
        "**verify:** `test -e done`\n",
        FENCE,
        "~~~ Verify\ntest -e done\n~~~\n",
    ],
)
def test_a_sheet_says_it_in_a_line_or_in_a_fence(text: str) -> None:
    step = procedure(f"{HEAD}Do it.\n\n{text}").step(1)
    assert (step.verify, step.executor, step.script, step.body) == (CHECK, "manual", None, "Do it.")


def test_fences_are_one_script_in_their_order() -> None:
    step = procedure(f"{HEAD}Do it.\n\n{FENCE}\nAnd:\n\n```verify\ntest -e sent\n```\n").step(1)
    assert step.verify == Script(interpreter="bash", text="test -e done\ntest -e sent\n")


def test_a_manifest_says_it_in_as_many_lines_as_it_takes() -> None:
    assert procedure(None, {"verify": "a=1\r\ntest $a"}).step(1).verify == Script(
        interpreter="bash", text="a=1\ntest $a\n"
    )


def test_to_say_nothing_is_as_it_was_to_the_last_byte() -> None:
    silent = procedure(None, {})
    assert silent.step(1).verify is UNSET
    assert b"verify" not in encode_procedure(silent)


def test_both_files_must_say_the_same() -> None:
    sheet = f"{HEAD}Do it.\n\n{FENCE}"
    assert procedure(sheet, {"verify": "test -e done"}).step(1).verify == CHECK
    assert procedure(sheet, {}).step(1).verify == CHECK
    assert errors(parse(sheet, {"verify": "true"})) == ["scripts_differ"]


@pytest.mark.parametrize(
    ("sheet", "steps"),
    [
        (f"{HEAD}{DO}\n{FENCE}", []),
        (f"{HEAD}**Verify**: true\n\n{DO}", []),
        (None, [{"run": "do", "verify": "true"}]),
        (None, [{"waitSecs": 3, "verify": "true"}]),
        (None, [{"uses": "other", "verify": "true"}]),
    ],
)
def test_a_step_that_nobody_reports_has_none(sheet: str | None, steps: list[dict[str, Any]]) -> None:
    assert errors(parse(sheet, *steps)) == ["verify_without_report"]


@pytest.mark.parametrize("script", ["# later", "\n\n# a\n  # b\n", "#!/bin/bash\n"])
def test_a_script_that_would_confirm_everything_is_refused(script: str) -> None:
    assert errors(parse(None, {"verify": script})) == ["verify_checks_nothing"]
    assert errors(parse(f"{HEAD}Do it.\n\n```verify\n{script}\n```\n")) == ["verify_checks_nothing"]


@pytest.mark.parametrize("value", ["", "  \n", None, 1, True, ["true"], {"run": "true"}])
def test_a_value_that_cannot_be_meant_is_an_error(value: Any) -> None:
    assert errors(parse(None, {"verify": value})) == ["bad_value"]


def test_a_key_and_a_fence_are_one_too_many() -> None:
    assert errors(parse(f"{HEAD}**Verify**: true\n\n{FENCE}")) == ["bad_verify"]


def test_a_fence_below_the_rollback_is_not_passed_over() -> None:
    assert errors(parse(f"{HEAD}{DO}\n#### Rollback\n\n{UNDO}\n{FENCE}")) == ["bad_verify"]


def test_a_fence_before_the_first_step_is_told() -> None:
    assert warnings(parse(f"# Deploy\n\n## Steps\n\n{FENCE}\n### Step 1: Do\n\nDo it.\n")) == ["stray_fence"]


def test_a_quoted_fence_is_prose() -> None:
    assert procedure(f"{HEAD}> ```verify\n> true\n> ```\n").step(1).verify is UNSET


def test_prompts_in_it_are_found_wherever_it_stands() -> None:
    assert errors(parse(f"{HEAD}```verify\n$ test -e done\n```\n")) == ["prompt_in_script"]
    assert errors(parse(None, {"verify": "$ test -e done"})) == ["prompt_in_script"]
    assert errors(parse(f"{HEAD}**Verify**: $ test -e done\n")) == ["prompt_in_script"]
