"""A gate or a mode that somebody wrote down counts, or is told: it is never lost in silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.errors import Severity

from .examples import codes, only, parse, step

GATES = [
    "- [ ] **Approval Required**: Yes",
    "- [x] Approval Required",
    "1. [ ] Approval Required: Yes",
    "| Approval Required | Yes |",
    "| Key | Value |\n|---|---|\n| **Approval Required** | Yes |",
    "| 1 | `Approval Required` | Yes |",
    "**Approval Required** - Yes",
    "**Approval Required** \u2014 Yes",
    "**Approval Required** Yes",
    "**Approval** **Required**: Yes",
    "Approval&nbsp;Required: Yes",
    "Do this. **Approval Required**: Yes",
    "Do this. Approval required = yes",
    "<!-- n --> **Approval Required**: Yes",
    "a <!-- n\nm --> **Approval Required**: Yes",
    "a <!-- n\n**Approval Required**: Yes",
    "<b>Approval Required</b>: Yes",
    "Do. <strong>Approval Required</strong> by X",
    "<table><tr><td>Approval Required</td><td>Yes</td></tr></table>",
    "#### Approval Required\n\nYes",
    "**Requires approval** by X.",
    'Set "requiresApproval": true',
    "\\*\\*Approval Required\\*\\*: Yes",
    "**Tools**: a. **Approval Required**: Yes",
    "**Approval Timeout**: 5 minutes **Approval Required**: Yes",
    "- [ ] **Approval Timeout**: none",
    "Requires approval from the release lead.",
]


@pytest.mark.parametrize("contents", GATES)
def test_a_gate_in_a_form_that_does_not_count_is_an_error(contents: str) -> None:
    problem = only(parse(step(contents)))
    assert problem.code == "hidden_key"
    assert problem.line is not None
    assert "**Approval" in problem.hint
    at = next(number for number, line in enumerate(contents.split("\n"), 5) if "pprov" in line)
    assert problem.line == at


@pytest.mark.parametrize(
    "title",
    [
        "A (Approval Required)",
        "A [requires approval]",
        "A - approval required",
        "A **Approval Required**",
        "Approval required",
    ],
)
def test_a_gate_in_a_steps_heading_is_an_error(title: str) -> None:
    problem = only(parse(f"## Steps\n\n### Step 1: {title}\n\nx\n"))
    assert (problem.code, problem.line) == ("hidden_key", 3)


@pytest.mark.parametrize(
    "contents",
    ["No approval required here.", "Ask, since this requires approval from legal.", "Run `x --no-approval-required`."],
)
def test_prose_that_names_a_gate_is_a_warning(contents: str) -> None:
    parsed = parse(step(contents))
    assert codes(parsed) == []
    assert only(parsed, Severity.WARNING).code == "hidden_key"


@pytest.mark.parametrize(
    "contents", ["<!-- **Approval Required**: Yes -->", "```text\nApproval Required: Yes\n```", "Ask for approval."]
)
def test_comments_fences_and_other_words_are_no_gates(contents: str) -> None:
    assert parse(step(contents)).problems == ()


def test_a_key_line_is_told_once() -> None:
    assert parse(step("**Approval Required**: Yes\n**Approval Timeout**: 5 minutes")).problems == ()
    assert codes(parse(step("**Requires Approval**: Yes"))) == ["misspelt_gate"]


@pytest.mark.parametrize(
    "line",
    [
        "Execution Mode: step_by_step",
        "**Execution Mode** - step_by_step",
        "**Execution Mode** step by step",
        "| Execution Mode | step_by_step |",
        "| **Execution Mode** | step_by_step |",
        "- [ ] **Execution Mode**: step_by_step",
        "#### Execution Mode\n\nstep_by_step",
        "## Execution Mode\n\nstep_by_step",
        "Execution Mode: step_by_step\n---",
        "Execution mode is step_by_step",
        "**Description**: a. **Execution Mode**: step_by_step",
    ],
)
def test_a_mode_in_a_form_that_does_not_count_is_an_error(line: str) -> None:
    problem = only(parse(f"# T\n\n{line}\n\n" + step("x")))
    assert (problem.code, problem.line) == ("hidden_key", 3)
    assert "**Execution Mode**" in problem.hint


def test_prose_about_the_execution_mode_is_fine() -> None:
    assert parse("The execution mode of the database matters.\n\n" + step("x")).problems == ()


def test_a_gate_in_the_title_is_told() -> None:
    assert codes(parse("# Approval Required: Yes\n\n" + step("x"))) == ["hidden_key"]
    assert codes(parse("# Deploy (approval required)\n\n" + step("x")), Severity.WARNING) == ["hidden_key"]


def test_a_gate_in_a_heading_that_ends_the_steps_is_an_error() -> None:
    assert codes(parse(step("x\n\n## Approval Required\n\nYes"))) == ["hidden_key"]


@pytest.mark.parametrize("key", ["executionMode: step_by_step", "requiresApproval: true", "priority: high"])
def test_front_matter_that_steers_is_an_error(key: str) -> None:
    problem = only(parse(f"---\ntitle: x\n{key}\n---\n\n# T\n\n" + step("x")))
    assert (problem.code, problem.line) == ("hidden_key", 3)
    assert "front matter" in problem.message


WRAPS = [
    *("{}", "- {}", "* {}", "1. {}", "- [ ] {}", "- [X] {}", "> {}", "#### {}", "###### {}", "    {}", "\t{}"),
    *("| {} |", "|a|{}|b|", "| {} | x |\n|---|---|", "<div>\n{}\n</div>", "<p>{}</p>", "<b>{}</b>", "<!-- a --> {}"),
    *("{} <!-- a -->", "Do. {}", "a\n{}", "{}\nb", "({})", "[{}](x)", "![{}](x)", "`{}`", "~~{}~~", "_{}_", "*{}*"),
    *(
        "{}\\\nx",
        "a  \n{}",
        "[^1]: {}",
        "Term\n: {}",
        "- a\n  - {}",
        "- a\n\n      {}",
        "<details>{}</details>",
        "{}\n---",
    ),
    *(
        "\u2705 {}",
        "Note: {}",
        "[a]: {}",
        "<td>{}</td>",
        "<br>{}",
        "$$ {} $$",
        "\\{}",
        "Text {}, text",
        ":::note\n{}\n:::",
    ),
]
NEARBY = ("underlined_text", "unclosed_fence")
"""What else makes the gate's line no key line, and is an error that stands at it."""
KEYS = ["Approval Required", "approval required", "approval_required", "Approval-Required", "APPROVAL  REQUIRED"]
FORMS = [
    "**{}**: Yes",
    "**{}:** Yes",
    "{}: Yes",
    "__{}__: Yes",
    "*{}*: Yes",
    "**{}** = Yes",
    "`{}`: Yes",
    "***{}***: Yes",
]


@given(st.sampled_from(WRAPS), st.sampled_from(WRAPS), st.sampled_from(FORMS), st.sampled_from(KEYS))
def test_a_gate_in_any_construct_gates_or_is_told(outer: str, inner: str, form: str, key: str) -> None:
    contents = outer.replace("{}", inner.replace("{}", form.replace("{}", key)))
    parsed = parse(step(contents))
    gated = parsed.procedure is not None and parsed.procedure.steps[0].requires_approval
    told = any("pproval" in each.message + each.hint or each.code in NEARBY for each in parsed.problems)
    assert gated or told, contents
