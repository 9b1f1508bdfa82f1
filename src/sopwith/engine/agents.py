"""The commands that carry agents' steps out, as config.json has them now, and what such a command is given to read.

What was there when a run was created is kept with the run; a difference is for `envelopes.py` to tell.
"""

from __future__ import annotations

from sopwith.core.address import StepId
from sopwith.core.agents import AgentCommand, agent_of
from sopwith.core.config import Config
from sopwith.core.procedure import Procedure, Step
from sopwith.core.run import Run
from sopwith.core.task import task_text
from sopwith.engine.environment import Lacking
from sopwith.engine.parts import Parts
from sopwith.errors import BadRequest, InvalidProcedure, WorkspaceError
from sopwith.ports import AgentOrder, Sought


def unknown_agents(procedure: Procedure, config: Config) -> tuple[tuple[Step, str], ...]:
    """The steps whose agent config.json does not have, and that agent's name."""
    named = ((step, agent_of(step)) for step in procedure.steps)
    return tuple((step, name) for step, name in named if name is not None and name not in config.agents)


def unknown_agent_told(step: Step, name: str) -> tuple[str, str]:
    """The sentence about such a step, and the hint."""
    sentence = f"step {step.number} is for the agent {name}, and config.json has none of that name"
    return sentence, f'add "{name}" with its command to "agents" of config.json, or name another agent'


def check_agents(procedure: Procedure, config: Config) -> None:
    """Raises BadRequest for the first step whose agent nobody has configured."""
    for step, name in unknown_agents(procedure, config):
        sentence, hint = unknown_agent_told(step, name)
        raise BadRequest(f"cannot run {procedure.name}: {sentence}", hint=hint)


def agents_at_creation(procedure: Procedure, config: Config) -> dict[str, AgentCommand]:
    """The commands of all agents that the procedure names, by name."""
    names = dict.fromkeys(name for step in procedure.steps if (name := agent_of(step)) is not None)
    return {name: config.agents[name] for name in names if name in config.agents}


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
        raise Lacking(f"the agent {name}, and config.json has none of that name under agents")
    return agents[name]


def sought(parts: Parts, run: Run, agent: AgentCommand) -> Sought:
    """Where the agent's program is looked for. Never where a procedure says: config.json and the run's creator do."""
    path = agent.env.set_.get("PATH", run.environment.get("PATH", ""))
    return Sought(command=agent.command, path=path, root=parts.workspace.root)


def agent_order(parts: Parts, run: Run, number: StepId, agent: AgentCommand | None) -> AgentOrder | None:
    """What the step's executor is told besides; None for a step that no agent does."""
    if agent is None:
        return None
    text = task_text(run, number, parts.ids.nonce())
    return AgentOrder(sought=sought(parts, run, agent), task=text.encode("utf-8", "surrogateescape"))
