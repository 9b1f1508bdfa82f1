"""Both files beside each other (DESIGN section 3): gates add up, scripts agree, the manifest wins the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sopwith.core.procedure import ExecutionMode
from sopwith.errors import Severity
from sopwith.parse.procedure import SourceFile, parse_procedure

from .examples import codes, only, parse, step


def both(sop_md: str, **manifest: Any) -> Any:
    return parse(sop_md, manifest)


@pytest.mark.parametrize(("ours", "theirs"), [("Yes", False), ("No", True), ("Yes", True), ("maybe", False)])
def test_a_step_is_gated_if_either_file_says_so(ours: str, theirs: bool) -> None:
    parsed = both(step(f"**Approval Required**: {ours}"), steps=[{"number": 1, "requiresApproval": theirs}])
    assert parsed.procedure.steps[0].requires_approval


@pytest.mark.parametrize(
    ("priority", "ours", "theirs", "wins"),
    [
        ("normal", "auto", "supervised", "supervised"),
        ("normal", "step_by_step", "auto", "step_by_step"),
        ("high", "priority_based", "supervised", "supervised"),
        ("high", "auto", "priority_based", "priority_based"),
        ("low", "priority_based", "auto", "priority_based"),
        ("low", "step_by_step", "priority_based", "step_by_step"),
    ],
)
def test_the_stricter_mode_wins_with_a_warning(priority: str, ours: str, theirs: str, wins: str) -> None:
    document = f"**Execution Mode**: {ours}\n\n" + step("**Approval Required**: Yes")
    parsed = both(document, priority=priority, executionMode=theirs)
    assert parsed.procedure.execution_mode is ExecutionMode(wins)
    assert only(parsed, Severity.WARNING).code == "drift"


def test_differing_scripts_are_an_error_that_names_both_places() -> None:
    problem = only(both(step("```bash\nls\n```"), steps=[{"number": 1, "run": "rm"}]))
    assert problem.code == "scripts_differ"
    assert "SOP.md:5" in problem.message
    assert problem.file == "manifest.json"


def test_the_same_script_for_another_interpreter_differs() -> None:
    assert codes(both(step("```sh\nls\n```"), steps=[{"number": 1, "run": "ls"}])) == ["scripts_differ"]


def test_the_same_script_in_both_files_is_fine() -> None:
    assert both(step("```bash\nls\n```"), steps=[{"number": 1, "run": "ls"}]).problems == ()


@pytest.mark.parametrize("steps", [[], [{"number": 1}, {"number": 2}]])
def test_missing_steps_are_an_error(steps: list[dict[str, Any]]) -> None:
    assert only(both(step("x"), steps=steps)).code == "step_count_differs"


def test_a_manifest_without_steps_leaves_them_to_sop_md() -> None:
    parsed = both(step("**Tools**: a"), version="2.0.0")
    assert parsed.problems == ()
    assert (parsed.procedure.version, parsed.procedure.steps[0].suggested_tools) == ("2.0.0", ("a",))


def test_other_drift_is_a_warning_and_the_manifest_wins() -> None:
    document = "# Ours\n\n**Version**: 1\n**Priority**: low\n\n" + step("**Approval Timeout**: 5 minutes\n**Tools**: a")
    step_there = {"number": 1, "title": "Theirs", "approvalTimeoutMins": 7, "suggestedTools": ["b"]}
    parsed = both(document, title="T", version="2", priority="normal", steps=[step_there])
    assert codes(parsed) == []
    assert codes(parsed, Severity.WARNING) == ["drift"] * 6
    assert "at SOP.md:3 and" in parsed.problems[1].message
    assert "at manifest.json:3" in parsed.problems[1].message
    procedure = parsed.procedure
    assert (procedure.title, procedure.version, procedure.priority) == ("T", "2", "normal")
    assert (procedure.steps[0].title, procedure.steps[0].approval_timeout_mins) == ("Theirs", 7)
    assert procedure.steps[0].suggested_tools == ("b",)


def test_a_key_that_one_file_lacks_is_no_drift() -> None:
    document = "# Ours\n\n**Version**: 1\n\n" + step("**Approval Timeout**: 5 minutes\n\nProse.")
    parsed = both(document, priority="low", steps=[{"number": 1, "suggestedTools": ["b"]}])
    assert parsed.problems == ()
    assert (parsed.procedure.version, parsed.procedure.priority) == ("1", "low")
    assert parsed.procedure.steps[0].body == "Prose."


@pytest.mark.parametrize("never", ["never", "none", "whenever", "0"])
def test_a_gate_that_one_file_lets_wait_for_ever_never_approves_itself(never: str) -> None:
    parsed = both(step(f"**Approval Timeout**: {never}"), steps=[{"number": 1, "approvalTimeoutMins": 5}])
    assert "the longer wait wins" in next(each.message for each in parsed.problems if each.code == "drift")
    assert (parsed.procedure.steps[0].approval_timeout_mins, parsed.procedure.steps[0].never_times_out) == (None, True)


@pytest.mark.parametrize(("ours", "theirs"), [(5, 90), (90, 5)])
def test_of_two_timeouts_the_longer_one_counts(ours: int, theirs: int) -> None:
    parsed = both(step(f"**Approval Timeout**: {ours}"), steps=[{"number": 1, "approvalTimeoutMins": theirs}])
    assert only(parsed, Severity.WARNING).code == "drift"
    assert parsed.procedure.steps[0].approval_timeout_mins == 90


def test_sop_mds_prose_stands_before_the_manifests() -> None:
    parsed = both(step("Ours."), steps=[{"number": 1, "description": "Theirs."}])
    assert parsed.procedure.steps[0].body == "Ours."


def test_problems_of_both_files_come_at_once() -> None:
    parsed = both(step("**Quorm**: 2"), priority="x")
    assert [problem.file for problem in parsed.problems] == ["SOP.md", "manifest.json"]
    assert parsed.procedure is None


def test_a_key_and_the_number_it_stands_for_are_no_drift() -> None:
    sop_md = "# A\n\n## Steps\n\n### Step 1: One\n\ntext\n\n### Step 2: Two\n\n**Depends On**: 1\n\ntext\n"
    manifest = {
        "name": "a",
        "steps": [{"number": 1, "title": "One", "key": "one"}, {"number": 2, "title": "Two", "dependsOn": ["one"]}],
    }
    parsed = parse_procedure(
        "a",
        sop_md=SourceFile("SOP.md", sop_md.encode()),
        manifest=SourceFile("manifest.json", json.dumps(manifest).encode()),
    )
    assert parsed.problems == ()
    assert parsed.procedure is not None
    assert parsed.procedure.steps[1].depends_on == (1,)
