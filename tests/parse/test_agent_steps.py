"""Steps for an agent, in both files: a name and a text, never a command, and never a guess."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from sopwith.core.agents import AgentCommand, agent_of
from sopwith.core.procedure import EnvironmentRules, InterruptRules, OnInterrupt, encode_procedure
from sopwith.core.task import MOST_INSTRUCTIONS
from sopwith.parse.config import parse_config
from sopwith.parse.parsed import SourceFile

from .test_rollback import DO, HEAD, errors, parse, procedure, warnings

TEXT = {"description": "Read the diff."}
REVIEW = {**TEXT, "executor": "agent"}


def test_an_executor_alone_means_the_default_agent() -> None:
    step = procedure(f"{HEAD}**Executor**: Agent\n\nRead the diff.\n").step(1)
    assert (step.executor, step.agent, agent_of(step), step.script) == ("agent", UNSET, "default", None)
    assert step.body == "Read the diff."
    assert agent_of(procedure(None, REVIEW).step(1)) == "default"


@pytest.mark.parametrize("stated", [{"agent": "reviewer"}, {"agent": "reviewer", "executor": "agent"}])
def test_an_agent_that_is_named_carries_the_step_out(stated: dict[str, Any]) -> None:
    step = procedure(None, {**TEXT, **stated}).step(1)
    assert (step.executor, agent_of(step)) == ("agent", "reviewer")
    assert agent_of(procedure(f"{HEAD}**Agent**: reviewer\n\nRead it.\n").step(1)) == "reviewer"


def test_a_step_that_no_agent_does_is_pinned_as_before_to_the_last_byte() -> None:
    silent = procedure(None, {"run": "do\n"})
    assert agent_of(silent.step(1)) is None
    assert b'"agent"' not in encode_procedure(silent)
    assert b'"agent"' in encode_procedure(procedure(None, {**TEXT, "agent": "reviewer"}))


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({**REVIEW, "run": "do\n"}, "agent_with_script"),
        ({"executor": "agent"}, "agent_without_text"),
        ({"executor": "agent", "description": " \n"}, "agent_without_text"),
        ({"executor": "agent", "description": "x" * (MOST_INSTRUCTIONS + 1)}, "agent_text_too_long"),
        ({**TEXT, "agent": "reviewer", "executor": "manual"}, "agent_with_executor"),
        ({"agent": "reviewer", "executor": "shell", "run": "do\n"}, "agent_with_executor"),
        ({**REVIEW, "uses": "test"}, "uses_with_executor"),
        ({**TEXT, "agent": "reviewer", "uses": "test"}, "uses_with_executor"),
        ({**REVIEW, "waitSecs": 5}, "wait_with_executor"),
        ({**TEXT, "agent": "no name"}, "bad_value"),
        ({**TEXT, "agent": "../x"}, "bad_value"),
        ({**TEXT, "agent": ["rm", "-rf"]}, "bad_value"),
        ({**REVIEW, "command": ["rm"]}, "unknown_key"),
    ],
)
def test_what_no_agent_could_carry_out_is_an_error(step: dict[str, Any], code: str) -> None:
    assert code in errors(parse(None, step))


def test_a_text_of_the_longest_length_is_taken() -> None:
    assert errors(parse(None, {"executor": "agent", "description": "x" * MOST_INSTRUCTIONS})) == []


def test_a_script_below_an_agents_text_is_an_error_where_it_could_run_and_text_where_not() -> None:
    head = f"{HEAD}**Executor**: agent\n\nRead the diff.\n\n"
    assert errors(parse(f"{head}{DO}")) == ["agent_with_script"]
    assert "git diff" in procedure(f"{head}```console\n$ git diff\n```\n").step(1).body


def test_an_agent_is_tried_again_and_may_be_interrupted_as_a_script_may() -> None:
    found = parse(None, {**REVIEW, "retry": {"maxAttempts": 2}, "onInterrupt": "rerun", "timeoutSecs": 5})
    assert (errors(found), warnings(found)) == ([], [])
    assert found.procedure is not None
    step = found.procedure.step(1)
    assert step.retry is not None
    assert step.on_interrupt == InterruptRules(policy=OnInterrupt.RERUN)
    by_hand = parse(None, {**TEXT, "retry": {"maxAttempts": 2}, "onInterrupt": "rerun"})
    assert {"retry_by_hand", "interrupted_by_hand"} <= set(errors(by_hand))


def config(text: str) -> Any:
    read, problems = parse_config(SourceFile("config.json", text.encode()))
    return read or [problem.code for problem in problems]


def test_a_workspace_says_what_its_agents_run() -> None:
    said = '{"agents": {"default": {"command": ["claude", "-p"], "env": {"pass": ["KEY"], "set": {"A": "b"}}}}}'
    assert config(said).agents == {
        "default": AgentCommand(command=("claude", "-p"), env=EnvironmentRules(pass_=("KEY",), set_={"A": "b"}))
    }
    assert config("{}").agents == {}


@pytest.mark.parametrize(
    "agents",
    [
        '{"default": {}}',
        '{"default": {"command": []}}',
        '{"default": {"command": "claude -p"}}',
        '{"default": {"command": [""]}}',
        '{"default": {"command": ["a\\nb"]}}',
        '{"no name": {"command": ["claude"]}}',
        '{"default": {"command": ["claude"], "shell": true}}',
        '{"default": {"command": ["claude"], "env": {"pass": ["a=b"]}}}',
    ],
)
def test_a_command_that_is_none_is_refused(agents: str) -> None:
    assert isinstance(config(f'{{"agents": {agents}}}'), list)
