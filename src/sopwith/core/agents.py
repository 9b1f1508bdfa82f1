"""Steps that a coding agent's command carries out: which those are, and what config.json says about the command.

A procedure names an agent; what is run under that name is the workspace's to say. Decision 0020 has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from sopwith.core.procedure import EnvironmentRules, Procedure, Step

EXECUTOR = "agent"
DEFAULT = "default"
"""The agent of a step that names none."""


class AgentCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What carries a step out: the program and its arguments, and its variables beyond those that the step has."""

    command: tuple[str, ...]
    env: EnvironmentRules = EnvironmentRules()


def agent_of(step: Step) -> str | None:
    """The name of the agent that carries the step out; None where none does."""
    return (step.agent or DEFAULT) if step.executor == EXECUTOR else None


def equipped(step: Step, agent: AgentCommand | None) -> Step:
    """The step with the agent's variables beside its own; where both set one, the workspace has the word."""
    if agent is None:
        return step
    names = tuple(dict.fromkeys((*step.env.pass_, *agent.env.pass_)))
    return replace(step, env=EnvironmentRules(pass_=names, set_=step.env.set_ | agent.env.set_))


def agents_of(procedure: Procedure, known: Mapping[str, AgentCommand]) -> dict[str, AgentCommand]:
    """The commands of all agents that the procedure names, by name, as far as they are known."""
    names = dict.fromkeys(name for step in procedure.steps if (name := agent_of(step)) is not None)
    return {name: known[name] for name in names if name in known}


def unknown_agents(procedure: Procedure, known: Mapping[str, AgentCommand]) -> tuple[tuple[Step, str], ...]:
    """The steps whose agent is not known, and that agent's name."""
    named = ((step, agent_of(step)) for step in procedure.steps)
    return tuple((step, name) for step, name in named if name is not None and name not in known)
