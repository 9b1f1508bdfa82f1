"""`#### Rollback` and the manifest's `rollback`: one script, never part of the step's own, and never a guess."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sopwith.core.procedure import OnFailure, Procedure, RollbackScript, Script
from sopwith.errors import Severity
from sopwith.parse.parsed import Parsed, SourceFile
from sopwith.parse.procedure import parse_procedure

HEAD = "# Deploy\n\n## Steps\n\n### Step 1: Switch\n\n"
DO = "```bash\ndo\n```\n"
UNDO = "```bash\nundo\n```\n"


def parse(sheet: str | None = None, *steps: dict[str, Any], **keys: Any) -> Parsed:
    numbered = [{"number": number, "title": f"Step {number}", **step} for number, step in enumerate(steps, 1)]
    manifest = {"name": "deploy", **keys, **({"steps": numbered} if steps else {})}
    return parse_procedure(
        "deploy",
        sop_md=None if sheet is None else SourceFile("SOP.md", sheet.encode()),
        manifest=SourceFile("manifest.json", json.dumps(manifest).encode()) if steps or keys else None,
    )


def procedure(sheet: str | None = None, *steps: dict[str, Any], **keys: Any) -> Procedure:
    found = parse(sheet, *steps, **keys)
    assert found.procedure is not None, found.problems
    return found.procedure


def errors(found: Parsed) -> list[str]:
    return [problem.code for problem in found.problems if problem.severity is Severity.ERROR]


def warnings(found: Parsed) -> list[str]:
    return [problem.code for problem in found.problems if problem.severity is Severity.WARNING]


def undo(text: str = "undo\n", *, asks: bool = False, interpreter: str = "bash") -> RollbackScript:
    return RollbackScript(script=Script(interpreter=interpreter, text=text), requires_approval=asks)


def test_a_fence_under_rollback_is_not_part_of_the_steps_script() -> None:
    sheet = f"{HEAD}Turn it on.\n\n{DO}\n#### Rollback\n\nTurn it off.\n\n{UNDO}\n"
    step = procedure(sheet).step(1)
    assert step.script == Script(interpreter="bash", text="do\n")
    assert step.rollback == undo()
    assert step.body == "Turn it on.\n\n#### Rollback\n\nTurn it off."


def test_a_heading_with_nothing_but_a_script_below_it_is_no_prose() -> None:
    assert procedure(f"{HEAD}Turn it on.\n\n{DO}\n#### Rollback\n\n{UNDO}\n---\n").step(1).body == "Turn it on."


def test_the_next_heading_ends_the_rollback() -> None:
    step = procedure(f"{HEAD}#### Rollback\n\n{UNDO}\n##### Why\n\n{UNDO}\n#### The work\n\n{DO}").step(1)
    assert step.rollback == undo("undo\nundo\n")
    assert step.script == Script(interpreter="bash", text="do\n")


@pytest.mark.parametrize("heading", ["#### rollback", "#### ROLLBACK:", "#### Rollback ####"])
def test_the_heading_may_be_written_in_any_case(heading: str) -> None:
    assert procedure(f"{HEAD}{DO}\n{heading}\n\n{UNDO}").step(1).rollback == undo()


def test_a_rollback_in_python_or_sh_keeps_its_interpreter_whatever_the_step_has() -> None:
    sheet = f"{HEAD}{DO}\n#### Rollback\n\n```python\nprint()\n```\n"
    assert procedure(sheet).step(1).rollback == undo("print()\n", interpreter="python3")


def test_a_step_done_by_hand_may_have_a_rollback_script() -> None:
    step = procedure(f"{HEAD}Turn the key.\n\n#### Rollback\n\n{UNDO}").step(1)
    assert (step.executor, step.script, step.rollback) == ("manual", None, undo())


def test_a_rollback_section_of_the_document_is_prose() -> None:
    step = procedure(f"{HEAD}{DO}\n## Rollback\n\n{UNDO}").step(1)
    assert (step.rollback, step.script) == (None, Script(interpreter="bash", text="do\n"))


@pytest.mark.parametrize("contents", ["", "Ask Bob.\n", "```console\nundo\n```\n"])
def test_a_rollback_without_a_runnable_fence_is_an_error(contents: str) -> None:
    found = parse(f"{HEAD}{DO}\n#### Rollback\n\n{contents}")
    assert errors(found) == ["bad_rollback"]
    assert found.problems[0].line == 11


@pytest.mark.parametrize(
    "heading",
    ["#### Rollback plan", "#### Rolling back", "##### Rollback", "#### How to roll back", "- #### Rollback"],
)
def test_another_heading_about_a_rollback_does_not_make_its_fence_part_of_the_step(heading: str) -> None:
    assert "bad_rollback" in errors(parse(f"{HEAD}{DO}\n{heading}\n\n{UNDO}"))


def test_prose_under_another_heading_about_a_rollback_stays_prose() -> None:
    assert procedure(f"{HEAD}{DO}\n#### Rollback plan\n\nAsk Bob.\n").step(1).rollback is None


def test_two_rollbacks_in_a_step_are_an_error() -> None:
    assert errors(parse(f"{HEAD}{DO}\n#### Rollback\n\n{UNDO}\n#### Rollback\n\n{UNDO}")) == ["bad_rollback"]


@pytest.mark.parametrize("line", ["**Approval Required**: Yes", "**Timeout**: 5 minutes", "**Pins**: a"])
def test_a_key_below_rollback_could_mean_either_and_is_an_error(line: str) -> None:
    assert errors(parse(f"{HEAD}{DO}\n#### Rollback\n\n{UNDO}\n{line}\n")) == ["misplaced_key"]


def test_keys_above_rollback_are_the_steps() -> None:
    step = procedure(f"{HEAD}{DO}\n**Approval Required**: Yes\n\n#### Rollback\n\n{UNDO}").step(1)
    assert (step.requires_approval, step.rollback) == (True, undo())


def test_a_rollback_as_a_key_line_is_an_error_that_shows_the_heading() -> None:
    found = parse(f"{HEAD}{DO}\n**Rollback**: undo\n")
    assert errors(found) == ["rollback_as_key"]
    assert "#### Rollback" in found.problems[0].hint


def test_a_prompt_in_a_rollback_script_is_an_error_too() -> None:
    assert errors(parse(f"{HEAD}{DO}\n#### Rollback\n\n```bash\n$ undo\n```\n")) == ["prompt_in_script"]
    assert errors(parse(None, {"run": "do", "rollback": "$ undo"})) == ["prompt_in_script"]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("undo", undo()),
        ({"run": "undo"}, undo()),
        ({"run": "undo\r\n", "requiresApproval": True}, undo(asks=True)),
        ({"run": "undo", "requiresApproval": False}, undo()),
    ],
)
def test_the_manifest_has_a_script_or_an_object(stated: Any, expected: RollbackScript) -> None:
    assert procedure(None, {"run": "do", "rollback": stated}).step(1).rollback == expected


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        (None, "bad_value"),
        (7, "bad_value"),
        ({"run": None}, "bad_value"),
        ({"run": "undo", "requiresApproval": None}, "bad_value"),
        ({"run": "undo", "requireApproval": True}, "unknown_key"),
        ({}, "rollback_without_script"),
        ({"requiresApproval": True}, "rollback_without_script"),
    ],
)
def test_any_other_shape_is_an_error(stated: Any, code: str) -> None:
    assert errors(parse(None, {"run": "do", "rollback": stated})) == [code]


SHEET = f"{HEAD}{DO}\n#### Rollback\n\n{UNDO}"


def test_the_manifest_may_ask_for_approval_of_the_sheets_script() -> None:
    assert procedure(SHEET, {"rollback": {"requiresApproval": True}}).step(1).rollback == undo(asks=True)


@pytest.mark.parametrize("theirs", ["undo", "undo\n", {"run": "undo"}])
def test_the_same_script_in_both_files_is_fine(theirs: Any) -> None:
    assert procedure(SHEET, {"rollback": theirs}).step(1).rollback == undo()


@pytest.mark.parametrize("theirs", ["undo it", {"run": "undo all"}])
def test_scripts_that_differ_are_an_error(theirs: Any) -> None:
    found = parse(SHEET, {"rollback": theirs})
    assert errors(found) == ["scripts_differ"]
    assert "SOP.md:13" in next(p.message for p in found.problems if p.severity is Severity.ERROR)


@pytest.mark.parametrize("words", ["rollback", "Rollback", "ROLLBACK"])
def test_on_failure_rollback_in_either_file(words: str) -> None:
    assert procedure(f"{SHEET}\n### Step 2: x\n\n**On Failure**: {words}\n\n{DO}").step(2).on_failure == "rollback"
    steps = ({"run": "do", "rollback": "undo"}, {"run": "do", "onFailure": "rollback"})
    assert procedure(None, *steps).step(2).on_failure is OnFailure.ROLLBACK


def test_the_procedures_default_holds_for_steps_that_do_not_say() -> None:
    steps = ({"run": "do", "rollback": "undo"}, {"run": "do"}, {"run": "do", "onFailure": "stop"})
    found = procedure(None, *steps, onFailure="rollback")
    assert [step.on_failure for step in found.steps] == ["rollback", "rollback", "stop"]
    sheet = SHEET.replace("## Steps", "**On Failure**: rollback\n\n## Steps")
    assert procedure(sheet).step(1).on_failure is OnFailure.ROLLBACK


def test_a_failure_that_leads_to_a_rollback_of_nothing_is_a_warning() -> None:
    plain, undoable = {"run": "do"}, {"run": "do", "rollback": "undo"}
    leads = {"run": "do", "onFailure": "rollback"}
    assert warnings(parse(None, plain, leads, undoable)) == ["nothing_to_roll_back"]
    assert warnings(parse(None, undoable, leads)) == []
    assert warnings(parse(None, {**leads, "rollback": "undo"})) == []
    assert warnings(parse(None, leads, {**undoable, "dependsOn": []})) == []
    assert warnings(parse(None, plain, plain, onFailure="rollback")) == ["nothing_to_roll_back"]
    assert warnings(parse(None, plain, undoable, onFailure="rollback")) == []
