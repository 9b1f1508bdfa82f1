"""What is told where a scenario expected something else."""

from __future__ import annotations

import pytest

from .given import AGREES, Rehearsal, procedure

TWO = procedure({"requiresApproval": True}, {})


def told(expect: str, *, of=TWO, script: str = AGREES) -> list[str]:
    return Rehearsal(of, f"{script}\n[expect]\n{expect}\n").differences


@pytest.mark.parametrize(
    "expect",
    [
        'status = "completed"',
        'steps = {1 = "completed", 2 = "completed"}',
        'events = ["approval_granted", "step_started", "run_completed"]',
        'events = ["approval_granted 1", "step_started 1", "step_started 2"]',
        'never = ["step_failed", "approval_granted 2"]',
        "with_failures = false\nnothing_ran = false\nrolled_back = false",
    ],
)
def test_what_is_so_is_no_difference(expect: str) -> None:
    assert told(expect) == []


@pytest.mark.parametrize(
    ("expect", "difference"),
    [
        ('status = "failed"', "status: expected failed, got completed"),
        ('steps = {2 = "skipped"}', "step 2: expected skipped, got completed"),
        ('events = ["step_failed 2"]', "events: expected step_failed 2, got none"),
        (
            'events = ["step_started 2", "step_started 1"]',
            "events: expected step_started 1 after step_started 2, got one before that",
        ),
        (
            'events = ["step_started", "step_started", "step_started"]',
            "events: expected step_started after step_started, got one before that",
        ),
        ('events = ["approval_granted 2"]', "events: expected approval_granted 2, got none"),
        ('events = ["approval_requested start"]', "events: expected approval_requested start, got none"),
        ('never = ["step_started"]', "never: expected no step_started, got step_started 1 after 0s"),
        ('never = ["step_started 2"]', "never: expected no step_started 2, got step_started 2 after 0s"),
        ("with_failures = true", "with_failures: expected true, got false"),
        ("nothing_ran = true", "nothing_ran: expected true, got false"),
        ("rolled_back = true", "rolled_back: expected true, got false"),
        ('outputs = {2 = {url = "x"}}', 'step 2, output url: expected "x", got none'),
    ],
)
def test_what_is_not_so_is_a_difference(expect: str, difference: str) -> None:
    assert told(expect) == [difference]


def test_all_differences_are_told_at_once() -> None:
    expect = 'status = "failed"\nsteps = {1 = "failed", 2 = "pending"}\nnever = ["run_completed"]'
    assert [line.partition(":")[0] for line in told(expect)] == ["status", "step 1", "step 2", "never"]


def test_outputs_are_compared_by_value() -> None:
    script = AGREES + "[steps.2.outputs]\ncount = 2\nurls = ['a']\n"
    assert told("outputs = {2 = {count = 2, urls = ['a']}}", script=script) == []
    assert told("outputs = {2 = {count = '2'}}", script=script) == ['step 2, output count: expected "2", got 2']


def test_flags_of_a_run_are_seen() -> None:
    going_on = procedure({"onFailure": "continue"}, {"if": "params.to == 'x'"})
    assert told("with_failures = true", of=going_on, script="params = {to = 'y'}\nsteps = {1 = {exit_code = 1}}") == []
    skipped = procedure({"if": "params.to == 'x'"})
    assert told("nothing_ran = true", of=skipped, script="params = {to = 'y'}") == []
    undone = procedure({"rollback": {"run": "undo"}}, {"onFailure": "rollback"})
    assert told("rolled_back = true", of=undone, script="steps = {2 = {exit_code = 1}}") == []


def test_a_run_that_has_ended_well_waits_for_nothing() -> None:
    assert Rehearsal(TWO, AGREES + '[expect]\nstatus = "failed"\n').waits_for == ""


def test_what_a_run_waits_for_is_told_in_words() -> None:
    assert Rehearsal(TWO, "").waits_for == "step 1 waits for approval, and no more acts are scripted"
    by_hand = procedure({"run": None})
    assert Rehearsal(by_hand, "").waits_for.startswith("step 1 is done by hand and waits for a report")
    supervised = procedure({}, executionMode="supervised")
    assert Rehearsal(supervised, "").waits_for.startswith("the start waits for approval")
    failed = Rehearsal(procedure({}), "steps = {1 = {exit_code = 3}}")
    assert failed.waits_for == "the run failed: step 1: exit status 3"
