"""A dry run: the procedure walked with the given parameters, and what nobody can know before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from .workshop import Workshop

STEPS = [
    {"number": 1, "title": "Build", "run": "make", "outputs": {"url": "string"}, "timeoutSecs": 90},
    {
        "number": 2,
        "title": "Smoke",
        "run": "curl",
        "if": "params.to == 'prod'",
        "requiresApproval": True,
        "retry": {"maxAttempts": 3, "delaySecs": 5, "backoff": 2, "maxDelaySecs": 60, "onExitCodes": [7, 22]},
        "onFailure": "continue",
    },
    {"number": 3, "title": "Cool down", "executor": "wait", "waitSecs": 300, "dependsOn": []},
    {
        "number": 4,
        "title": "Release",
        "run": "release",
        "if": "steps['2'].status != 'failed' && steps['1'].outputs.url != ''",
        "dependsOn": [2, 3],
        "requiresApproval": True,
        "approval": {"when": "steps['1'].outputs.url == 'x'"},
        "onFailure": "goto:6",
        "rollback": "unrelease",
    },
    {"number": 5, "title": "Tell", "run": "mail", "if": "steps['2'].status == 'skipped'"},
    {"number": 6, "title": "Mend", "run": "mend", "if": "params.missing == 'x'", "onFailure": "rollback"},
]

GOLDEN = """\
Planned  planned  dry run, auto: nothing was started
  to = test
  at most 2 scripts at once

   1 Build  bash
     fails where it is not done within 1m 30s
       │ make

  -  2 Smoke  skipped: params.to == 'prod' does not hold

   3 Cool down  wait
     waits for no step before it
     waits 5m 0s

  ? approval of step 4 if it runs, only if steps['1'].outputs.url == 'x', waits for ever; \
not known before step 1 has run (steps['1'].outputs.url)
   4 Release  bash
     if steps['2'].status != 'failed' && steps['1'].outputs.url != '': \
not known before step 1 has run (steps['1'].outputs.url)
     after steps 2, 3
     on failure: goes on at step 6
       │ release
     rollback, bash:
       │ unrelease

   5 Tell  bash
     if steps['2'].status == 'skipped': holds
       │ mail

   6 Mend  bash
     if params.missing == 'x': cannot be evaluated, there is no missing; has() asks whether there is: the run pauses
       │ mend
     on failure: rolls back the completed steps that have a rollback script
"""


@pytest.fixture
def planned(workshop: Workshop) -> Path:
    sheet = "# Planned\n\n## Steps\n\n" + "".join(f"### Step {step['number']}: {step['title']}\n\n" for step in STEPS)
    return workshop.procedure(
        "planned", sheet, {"name": "planned", "executionMode": "auto", "maxParallel": 2, "steps": STEPS}
    )


def test_a_dry_run_says_what_is_known_and_what_is_not(workshop: Workshop, planned: Path) -> None:
    told = workshop.sop("run", "planned", "--dry-run", "--param", "to=test").out
    assert told.replace(f"     in {workshop.root}\n", "") == GOLDEN


def test_other_parameters_give_another_plan(workshop: Workshop, planned: Path) -> None:
    told = workshop.sop("run", "planned", "--dry-run", "--param", "to=prod").out
    assert "if params.to == 'prod': holds" in told
    assert "? approval of step 2, waits for ever" in told
    assert (
        "up to 2 more tries, 5s apart, each wait 2 times as long, 1m 0s at most, only after exit code 7 or 22" in told
    )
    assert "on failure: the run goes on" in told
    assert "if steps['2'].status == 'skipped': not known before step 2 has run (steps['2'].status)" in told


def test_the_document_of_a_dry_run_has_each_condition(workshop: Workshop, planned: Path) -> None:
    plan = workshop.json("run", "planned", "--dry-run", "--param", "to=test")
    steps = {step["number"]: step for step in plan["steps"]}
    assert plan["maxParallel"] == 2
    assert [number for number, step in steps.items() if step["skipped"]] == [2]
    assert (steps[1]["condition"], steps[2]["gate"], steps[2]["condition"]["result"]) == (None, None, False)
    assert steps[4]["condition"] == {
        "expression": "steps['2'].status != 'failed' && steps['1'].outputs.url != ''",
        "result": None,
        "needs": ["steps.1.outputs.url"],
        "after": [1],
        "reason": "",
    }
    assert steps[4]["approvalCondition"]["needs"] == ["steps.1.outputs.url"]


def test_a_gate_that_will_not_ask_says_so(workshop: Workshop) -> None:
    step = {"number": 1, "title": "Act", "requiresApproval": True, "approval": {"when": "params.to == 'prod'"}}
    workshop.steps("quiet", "?Act | echo acted", steps=[step])
    told = workshop.sop("run", "quiet", "--dry-run", "--param", "to=test").out
    assert "- no approval of step 1: params.to == 'prod' does not hold" in told
    assert "? approval" not in told
