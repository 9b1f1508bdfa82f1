"""A scenario may begin with what happens outside: the condition, the mapping and the conditions of steps are played."""

from __future__ import annotations

from typing import Any

import pytest

from .given import Rehearsal, problems, procedure

HOOK: dict[str, Any] = {
    "type": "webhook",
    "path": "/deploy",
    "secretEnv": "HOOK",
    "condition": "event.body.ref.startsWith('refs/heads/')",
    "params": {"ref": "event.body.ref", "region": "'eu'", "count": "event.body.count"},
}
PARAMS = [{"name": "ref", "pattern": "refs/.*"}, {"name": "region"}, {"name": "count", "type": "integer"}]
DEPLOY = procedure(
    {"if": "event.type == 'webhook' && event.body.ref == 'refs/heads/main'"},
    {"requiresApproval": True},
    triggers=[{"type": "manual"}, HOOK, {"type": "procedure", "procedure": "build", "key": "built"}],
    params=PARAMS,
)
MAIN = """
trigger = "webhook:/deploy"
event.body = {ref = "refs/heads/main", count = 2}
"""


def rehearsed(text: str) -> Rehearsal:
    return Rehearsal(DEPLOY, text)


def test_a_run_that_an_event_starts_has_its_parameters_and_its_conditions_see_it() -> None:
    played = rehearsed(f"""
        {MAIN.strip().replace(chr(10), chr(10) + " " * 8)}
        acts = [{{do = "approve", by = "ann"}}]
        [expect]
        status = "completed"
        params = {{ref = "refs/heads/main", region = "eu", count = 2}}
        steps = {{1 = "completed", 2 = "completed"}}
        """)
    assert played.differences == []
    assert played.played.run is not None
    assert str(played.played.run.created_by) == "deploy/webhook:/deploy (trigger)"
    assert played.played.run.event is not None
    assert played.played.run.event["body"] == {"ref": "refs/heads/main", "count": 2}


def test_what_the_parameters_came_to_is_told() -> None:
    played = rehearsed(MAIN + '[expect]\nparams = {region = "us", count = 2, more = "x"}\n')
    assert played.differences == [
        'parameter region: expected "us", got "eu"',
        'parameter more: expected "x", got none',
    ]


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ('{ref = "v1", count = 1}', "unmatched", "does not hold"),
        ("{count = 1}", "unmatched", "could not be evaluated"),
        ('{ref = "refs/heads/x"}', "refused", "the parameter count"),
        ('{ref = "refs/heads/x", count = "no"}', "refused", "count"),
    ],
)
def test_no_run_comes_of_an_event_and_the_scenario_says_so(body: str, outcome: str, reason: str) -> None:
    begins = f'trigger = "webhook:/deploy"\nevent.body = {body}\n'
    assert rehearsed(begins + f'[expect]\noutcome = "{outcome}"\n').differences == []
    other = "refused" if outcome == "unmatched" else "unmatched"
    (told,) = rehearsed(begins + f'[expect]\noutcome = "{other}"\n').differences
    assert told.startswith(f"the event: expected no run: {other}, got no run: {outcome}: ")
    (told,) = rehearsed(begins + '[expect]\nstatus = "completed"\n').differences
    assert told.startswith(f"the event: expected a run, got no run: {outcome}: ")
    assert reason in told


def test_a_run_that_was_not_to_come_is_told() -> None:
    assert rehearsed(MAIN + '[expect]\noutcome = "unmatched"\n').differences == [
        "the event: expected no run: unmatched, got a run"
    ]


def test_a_run_that_an_event_asks_for_can_be_refused() -> None:
    text = MAIN + '[config]\ngroups = {ops = ["ann"]}\n[expect]\nrefused = "not_allowed"\n'
    of = procedure(
        {"requiresApproval": True, "approval": {"approvers": ["group:ops"], "quorum": 2, "onTimeout": "reject"}},
        triggers=[HOOK],
        params=PARAMS,
    )
    assert Rehearsal(of, text).differences == []


def test_an_agent_may_approve_what_the_end_of_a_run_has_started() -> None:
    of = procedure(
        {"requiresApproval": True, "approval": {"approvers": ["agent:bot"], "onTimeout": "reject"}},
        triggers=[{"type": "procedure", "procedure": "build"}],
    )
    text = """
    trigger = "procedure:build"
    acts = [{do = "approve", by = "agent:bot"}]
    [expect]
    status = "completed"
    """
    assert Rehearsal(of, text).differences == []


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('trigger = "webhook:/deplyo"', "trigger", "expected a trigger of deploy"),
        ('trigger = "manual"', "trigger", "expected a trigger of deploy"),
        ('event.body = "x"', "event", "none is named"),
        ('trigger = "built"\nevent.body = "x"', "event.body", "an event of type procedure has no body"),
        ('trigger = "built"\nevent.type = "cron"', "event.type", "has no type"),
        ('trigger = "built"\nparams = {ref = "x"}', "params", "it takes no params"),
        ('trigger = "built"\nstarted_by = "ann"', "started_by", "it takes no started_by"),
        ('trigger = "built"\nmode = "auto"', "mode", "it takes no mode"),
        ("", "expect.outcome", "only an event has an outcome"),
    ],
)
def test_what_does_not_go_together_is_told(text: str, where: str, message: str) -> None:
    expect = 'outcome = "unmatched"' if not text else 'status = "completed"'
    (problem,) = problems(f"{text}\n[expect]\n{expect}\n", DEPLOY)
    assert problem.path == where
    assert message in problem.message
    assert problem.hint


def test_an_event_that_is_too_large_is_told() -> None:
    body = "x" * 300_000
    (problem,) = problems(
        f'trigger = "webhook:/deploy"\nevent.body = "{body}"\n[expect]\nstatus = "completed"\n', DEPLOY
    )
    assert "256 KiB" in problem.message


def test_an_outcome_stands_alone() -> None:
    (problem,) = problems(MAIN + '[expect]\noutcome = "refused"\nstatus = "completed"\n', DEPLOY)
    assert problem.path == "expect"


def test_a_trigger_that_is_nearly_right_is_named() -> None:
    (problem,) = problems('trigger = "webhook:/deplyo"\n[expect]\nstatus = "completed"\n', DEPLOY)
    assert "webhook:/deploy" in problem.hint
