"""Markdown from elsewhere: each file gives a result or an error with its line, and prose never becomes a script."""

from __future__ import annotations

import pytest

from sopwith.core.procedure import Step
from sopwith.errors import Severity

from .examples import DEPLOY, codes, only, parse, step


def first_step(document: str | bytes) -> Step:
    parsed = parse(document)
    assert parsed.procedure is not None, [str(problem) for problem in parsed.problems]
    return parsed.procedure.steps[0]


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_other_line_ends_make_no_difference(ends: str) -> None:
    assert parse(DEPLOY.replace("\n", ends)) == parse(DEPLOY)


def test_a_byte_order_mark_makes_no_difference() -> None:
    assert parse(b"\xef\xbb\xbf" + DEPLOY.encode()) == parse(DEPLOY)


def test_tabs_after_markers_and_in_scripts_are_kept() -> None:
    found = first_step("##\tSteps\n\n###\tStep 1:\tDo it\n\n-\t**Approval Required**:\tYes\n\n```bash\n\tls\n```\n")
    assert (found.title, found.requires_approval) == ("Do it", True)
    assert found.script is not None
    assert found.script.text == "\tls\n"


def test_a_fence_inside_a_longer_fence_is_text() -> None:
    found = first_step(step("````text\n```bash\nrm -rf /\n```\n````"))
    assert found.script is None


def test_a_fence_inside_a_longer_runnable_fence_is_part_of_the_script() -> None:
    found = first_step(step("````bash\ncat <<'X'\n```python\nX\n````"))
    assert found.script is not None
    assert found.script.text == "cat <<'X'\n```python\nX\n"


def test_a_fence_in_a_list_runs_without_the_lists_indent() -> None:
    found = first_step(step("1. First:\n\n   ```bash\n   if true; then\n     ls\n   fi\n   ```\n2. Then look."))
    assert found.script is not None
    assert found.script.text == "if true; then\n  ls\nfi\n"
    assert found.body == "1. First:\n\n2. Then look."


@pytest.mark.parametrize(
    "contents",
    [
        "> ```bash\n> rm -rf /\n> ```",
        "    rm -rf /",
        "Run `rm -rf /`.",
        "<!--\n```bash\nrm -rf /\n```\n-->",
        "```\nrm\n```",
        "> - ```bash\n>   rm\n>   ```",
        "<pre>\n```bash\nrm\n```\n</pre>",
    ],
)
def test_prose_never_becomes_a_script(contents: str) -> None:
    assert first_step(step(contents)).script is None


def test_a_script_outside_the_steps_never_runs() -> None:
    parsed = parse("## Overview\n\n```bash\nrm\n```\n\n" + step("x\n\n## Rollback\n\n```bash\nrm\n```"))
    assert parsed.problems == ()
    assert parsed.procedure is not None
    assert parsed.procedure.steps[0].script is None


def test_a_script_before_the_first_step_is_a_warning() -> None:
    parsed = parse("## Steps\n\n```bash\nrm\n```\n\n### Step 1: a\n\nx\n")
    assert only(parsed, Severity.WARNING).code == "stray_fence"


def test_headings_in_html_comments_do_not_count() -> None:
    parsed = parse(step("x\n\n<!--\n\n### Step 2: gone\n\n**Approval Required**: Yes\n\n## Steps\n-->"))
    assert parsed.problems == ()
    assert parsed.procedure is not None
    assert len(parsed.procedure.steps) == 1
    assert not parsed.procedure.steps[0].requires_approval


def test_an_unclosed_comment_is_an_error_because_it_hides_the_rest() -> None:
    problem = only(parse(step("<!-- note\n\n### Step 2: lost")))
    assert (problem.code, problem.line) == ("unclosed_comment", 5)


@pytest.mark.parametrize(
    "contents",
    ["```bash\nls", "````bash\nls\n```", "~~~\nls\n```", "```bash", "- ```bash\n  ls\n\nx", "1. a\n\n   ```\n   b"],
)
def test_an_unclosed_fence_is_an_error_with_its_line(contents: str) -> None:
    problem = only(parse(step(contents)))
    assert problem.code == "unclosed_fence"
    assert problem.line == 5 + contents.split("```", maxsplit=1)[0].split("~~~", maxsplit=1)[0].count("\n")


@pytest.mark.parametrize("place", ["```text\n{}\n```", "<!-- {} -->", "<!--\n{}\n-->", "> {}", "a <!-- b\n{}\nc -->"])
def test_key_lines_do_not_count_in_fences_comments_and_quotations(place: str) -> None:
    assert not first_step(step(place.format("**Approval Required**: Yes"))).requires_approval


def test_a_gate_in_a_quotation_is_told() -> None:
    assert only(parse(step("> **Approval Required**: Yes")), Severity.WARNING).code == "hidden_key"


def test_underlined_headings_divide_before_the_steps() -> None:
    found = parse("Title\n=====\n\nOverview\n--------\n\nText.\n\nSteps\n-----\n\n### Step 1: a\n\nx\n").procedure
    assert found is not None
    assert (found.title, found.overview) == ("Title", "Text.")


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b"x" * (1024 * 1024 + 1), "file_too_big", None),
        (b"## Steps\n\n\xff", "not_utf8", 3),
        (b"## Steps\r\n\r\na\0b", "nul_byte", 3),
        (b"> " * 100 + b"a", "too_complex", 1),
        (b"- " * 100 + b"a", "too_complex", 1),
        (b"-\n" * 30_000, "too_complex", 6002),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(data: bytes, code: str, line: int | None) -> None:
    problem = only(parse(data))
    assert problem.code == code
    assert problem.line == line or code == "too_complex"


def test_a_file_of_a_mebibyte_is_read() -> None:
    document = step("Some words of prose in a line of their own, as people write.\n\n" * 16_000)
    assert len(document) < 1024 * 1024
    assert codes(parse(document)) == []
