"""`onReject` in both files: who decides must be said once, and a misspelt gate key is an error."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core.procedure import OnReject, Step
from sopwith.errors import Severity

from .examples import codes, only, parse, step

STEPS = (
    "## Steps\n\n### Step 1: Do it\n\n**Approval Required**: Yes\n**On Reject**: {}\n\n### Step 2: Then\n\nBy hand.\n"
)


def first(sop_md: str | None, manifest: dict[str, Any] | None = None) -> Step:
    parsed = parse(sop_md, manifest)
    assert parsed.procedure is not None, parsed.problems
    return parsed.procedure.steps[0]


def said(*on_reject: str | None, **more: Any) -> dict[str, Any]:
    steps = [
        {"number": number, "title": "Do it", "key": f"step-{number}", "run": "ls", "requiresApproval": True}
        | ({} if each is None else {"onReject": each})
        for number, each in enumerate(on_reject, start=1)
    ]
    return {"steps": steps, **more}


@pytest.mark.parametrize(
    ("text", "on_reject", "target"),
    [
        ("pause", OnReject.PAUSE, None),
        ("Fail", OnReject.FAIL, None),
        ("goto 2", OnReject.GOTO, 2),
        ("goto step 2", OnReject.GOTO, 2),
    ],
)
def test_a_step_says_what_a_rejection_does(text: str, on_reject: OnReject, target: int | None) -> None:
    found = first(STEPS.format(text))
    assert (found.on_reject, found.reject_goto) == (on_reject, target)


@pytest.mark.parametrize("text", ["goto:2", "goto 2", "goto:step-2", "goto: step-2"])
def test_the_manifest_says_it_by_number_or_key(text: str) -> None:
    found = first(None, said(text, None))
    assert (found.on_reject, found.reject_goto) == (OnReject.GOTO, 2)


def test_the_procedures_own_is_for_steps_that_do_not_say() -> None:
    procedure = parse(None, said("pause", None, onReject="fail")).procedure
    assert procedure is not None
    assert [each.on_reject for each in procedure.steps] == [OnReject.PAUSE, OnReject.FAIL]
    sheet = "**On Reject**: fail\n\n" + STEPS.replace("**On Reject**: {}\n", "")
    assert first(sheet).on_reject is OnReject.FAIL
    assert first(None, said(None)).on_reject is OnReject.PAUSE


@pytest.mark.parametrize(("text", "theirs"), [("fail", "pause"), ("goto 2", "fail")])
def test_where_the_files_differ_it_is_an_error(text: str, theirs: str) -> None:
    manifest = {"steps": [{"number": 1, "onReject": theirs}, {"number": 2}]}
    problem = only(parse(STEPS.format(text), manifest))
    assert (problem.code, problem.path) == ("approval_differs", "$.steps[0].onReject")
    same = {"steps": [{"number": 1, "onReject": "goto : 2"}, {"number": 2}]}
    assert codes(parse(STEPS.format("goto 2"), same)) == []


def test_the_procedures_own_must_be_said_once_too() -> None:
    sheet = "**On Reject**: fail\n\n" + STEPS.replace("**On Reject**: {}\n", "")
    assert only(parse(sheet, {"onReject": "pause"})).code == "approval_differs"


@pytest.mark.parametrize("target", ["1", "3", "nowhere"])
def test_a_rejection_leads_to_a_later_step_that_depends_on_this_one(target: str) -> None:
    problem = only(parse(None, said(f"goto:{target}", None)))
    assert (problem.code, problem.path) == ("bad_goto", "$.steps[0].onReject")
    assert "say pause or fail" in only(parse(None, said("goto:1"))).hint


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        (said("stop"), "bad_value"),
        (said("continue"), "bad_value"),
        (said(None, onReject="goto:1"), "bad_value"),
        (said(None, onReject=None), "bad_value"),
    ],
)
def test_what_is_no_answer_to_a_rejection_is_an_error(manifest: dict[str, Any], code: str) -> None:
    assert codes(parse(None, manifest)) == [code]


@pytest.mark.parametrize("line", ["**On Rejct**: fail", "**On Rejects**: fail", "**On Rejection**: fail"])
def test_a_misspelt_key_is_an_error(line: str) -> None:
    problem = only(parse(step(line)))
    assert (problem.code, "On Reject" in problem.hint) == ("misspelt_gate", True)


def test_a_key_in_a_form_that_does_not_count_is_told() -> None:
    assert codes(parse(step("*On reject*: fail"))) == ["hidden_key"]
    assert codes(parse(step("On reject: tell the customer."))) == []


def test_a_rejection_that_nobody_could_give_is_told() -> None:
    steps = [{"number": 1, "title": "Do it", "run": "ls", "onReject": "fail"}]
    told = only(parse(None, {"executionMode": "auto", "steps": steps}), Severity.WARNING)
    assert told.code == "never_rejected"
    assert codes(parse(None, {"executionMode": "step_by_step", "steps": steps}), Severity.WARNING) == []
