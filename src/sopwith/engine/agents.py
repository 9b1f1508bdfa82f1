"""The commands that carry agents' steps out, as config.json has them now.

What was there when a run was created is kept with the run; a difference is for `envelopes.py` to tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sopwith.core.agents import AgentCommand, agent_of, unknown_agents
from sopwith.core.config import Config
from sopwith.core.procedure import Procedure, Step
from sopwith.engine.parts import Parts
from sopwith.engine.secrets import Lacking
from sopwith.errors import BadRequest, InvalidProcedure, WorkspaceError
from sopwith.ports import Sought


def unknown_agent_told(name: str) -> tuple[str, str]:
    """What is to be said after "step 3 " or "it " about a step whose agent config.json does not have; and the hint."""
    sentence = f"is for the agent {name}, which config.json does not have"
    return sentence, f'add "{name}" with its command to "agents" of config.json, or name another agent'


def check_agents(procedure: Procedure, config: Config) -> None:
    """Raises BadRequest for the first step whose agent nobody has configured."""
    for step, name in unknown_agents(procedure, config.agents):
        sentence, hint = unknown_agent_told(name)
        raise BadRequest(f"cannot run {procedure.name}: step {step.number} {sentence}", hint=hint)


def agent_now(parts: Parts, step: Step) -> AgentCommand | None:
    """The command that would carry the step out now; None for a step that no agent does. Raises Lacking."""
    name = agent_of(step)
    if name is None:
        return None
    try:
        agents = parts.library.config().agents
    except (InvalidProcedure, WorkspaceError) as error:
        raise Lacking(f"the agent {name}, and {error.message}") from error
    if name not in agents:
        raise Lacking(f'the agent {name}, which config.json does not have: add it to "agents" there')
    return agents[name]


def sought(agent: AgentCommand, environment: Mapping[str, str], root: Path) -> Sought:
    """Where the agent's program is looked for. Never where a procedure says: config.json and the run's creator do.

    `environment`: as captured when the run was created.
    """
    path = agent.env.set_.get("PATH", environment.get("PATH", os.defpath))
    return Sought(command=agent.command, path=path, root=root)
