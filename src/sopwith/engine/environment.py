"""What a step's process is given: a short allow-list, what the procedure passes and sets, and `SOP_*`.

Nothing is ever spliced into script text; parameters arrive only as data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sopwith.core.address import StepId, instance_of, number_of
from sopwith.core.agents import AgentCommand, equipped
from sopwith.core.procedure import Procedure, Step, canonical
from sopwith.core.rollback import definition_of
from sopwith.core.run import Run, ancestors
from sopwith.engine.folders import attempt_folder
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Runs
from sopwith.engine.secrets import Lacking, confidential, resolved_secrets
from sopwith.engine.tracing import trace_variable
from sopwith.ports import WorkOrder

_CAPTURED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ")
_FROM_DRIVER = ("TERM", "TMPDIR")
_APPROVAL = "APPROVAL_"
NO_AGENTS: Mapping[str, AgentCommand] = MappingProxyType({})


class MissingVariables(Lacking):
    """Variables that `env.pass` names and that the driver's environment lacks."""

    def __init__(self, names: tuple[str, ...]) -> None:
        noun, verb = ("variable", "it is") if len(names) == 1 else ("variables", "they are")
        super().__init__(f"the {noun} {', '.join(names)} from the environment, and {verb} not set here")
        self.names = names


def captured_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The allow-listed variables, as they are kept with the run when it is created."""
    return {name: environ[name] for name in sorted(environ) if name in _CAPTURED or name.startswith("LC_")}


def passed_variables(procedure: Procedure, step: Step, environ: Mapping[str, str]) -> dict[str, str]:
    """What `env.pass` asks for, from the driver's environment. Raises MissingVariables with every missing name."""
    names = dict.fromkeys((*procedure.env.pass_, *step.env.pass_))
    missing = tuple(name for name in names if name not in environ)
    if missing:
        raise MissingVariables(missing)
    return {name: environ[name] for name in names}


def passed_at_creation(
    procedure: Procedure, parts: Parts, agents: Mapping[str, AgentCommand] = NO_AGENTS
) -> dict[str, str]:
    """What any step passes on and is set now, concealed: a later difference is noticed, gate or no gate."""
    rules = (*(step.env for step in procedure.steps), *(agent.env for agent in agents.values()))
    names = dict.fromkeys((*procedure.env.pass_, *(name for each in rules for name in each.pass_)))
    return {name: parts.keyring.conceal(parts.environ[name]) for name in names if name in parts.environ}


def working_dir(root: Path, procedure: Procedure, step: Step) -> Path:
    """The project folder, unless the step or the procedure names another, relative to it."""
    # resolved, so that the envelope names the folder itself and not a link that can be turned elsewhere;
    # not by Path.resolve, which raises for links that lead in a circle
    named = step.working_dir or procedure.working_dir
    return _as_path(os.path.realpath(root / named if named else root))


@lru_cache(maxsize=16)
def _as_path(text: str) -> Path:
    """Each start asks twice, mostly for the same."""
    return Path(text)


def folders_at_creation(root: Path, procedure: Procedure) -> dict[str, str]:
    """Where the steps that name a folder would run now, by step number as text: a later turn of a link is noticed."""
    named = (step for step in procedure.steps if step.working_dir or procedure.working_dir)
    return {str(step.number): str(working_dir(root, procedure, step)) for step in named}


def work_order(
    parts: Parts,
    run: Run,
    number: StepId,
    agent: AgentCommand | None = None,
    *,
    secrets: Mapping[str, str] | None = None,
) -> WorkOrder:
    """The order for the attempt that `step_started` recorded. Raises MissingVariables, MissingSecrets.

    `agent`: the command that carries the step out, for its variables. `secrets`: those that are known, where it is
    known that some are not.
    """
    definition = definition_of(run, number)
    found = resolved_secrets(parts, run) if secrets is None else secrets
    state = run.steps[number]
    this_boot = parts.clock.now().boot_id
    return WorkOrder(
        run_id=run.run_id,
        name=run.name,
        step=definition,
        instance=instance_of(number),
        visit=state.visit,
        attempt=state.attempt,
        folder=attempt_folder(parts, run.run_id, number, visit=state.visit, attempt=state.attempt),
        working_dir=working_dir(parts.workspace.root, run.procedure, definition),
        environment={
            # first: what the step sets itself counts
            "TRACEPARENT": trace_variable(parts, run, number, state.attempt),
            **step_variables(parts, run, number, equipped(definition, agent), secrets=found),
        },
        parameters_json=canonical({**run.params, **found}),
        event_json=Runs(parts).event_bytes(run) or None,
        confidential=confidential(parts, run, equipped(definition, agent), found),
        umask=run.umask,
        output_types=definition.outputs,
        intended_boot=this_boot if state.started is None else state.started.boot_id,
        this_boot=this_boot,
    )


def step_variables(parts: Parts, run: Run, number: StepId, step: Step, *, secrets: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the step's process; `step` is what a start means now. Raises MissingVariables.

    `secrets`: the values of the parameters that are secrets.
    """
    state = run.steps[number]
    key = f"{run.run_id}.{number}.{state.visit}"
    instance = {"SOP_INSTANCE": instance_of(number), "SOP_ITEM": as_text(state.item)} if state.place else {}
    given = {
        **{name: parts.environ[name] for name in _FROM_DRIVER if name in parts.environ},
        **run.environment,
        **passed_variables(run.procedure, step, parts.environ),
        **run.procedure.env.set_,
        **step.env.set_,
        "SOPWITH_ACTOR_KIND": "agent",
        "SOPWITH_WORKSPACE": str(parts.workspace.root),
        "SOP_RUN_ID": run.run_id,
        "SOP_NAME": run.name,
        "SOP_STEP": str(step.number),
        "SOP_ATTEMPT": str(state.attempt),
        "SOP_IDEMPOTENCY_KEY": key if run.rollback is None else f"{key}.rollback",
        **instance,
        **({} if run.rollback is None else {"SOP_ROLLBACK": "1"}),
    }
    hidden = {f"SOP_PARAM_{name.upper()}": value for name, value in secrets.items()}
    return {**_data_variables(run, number), **hidden, **given}


def _data_variables(run: Run, number: StepId) -> dict[str, str]:
    """Parameters, outputs of all steps this one depends on, and what approvers filled in there and here.

    A rollback script is given the outputs of its own step too.

    Bounded where they are made, never cut here.
    """
    data = {f"SOP_PARAM_{name.upper()}": as_text(value) for name, value in run.params.items()}
    before: tuple[StepId, ...] = ancestors(run.procedure, number)
    for other in before if run.rollback is None else (*before, number):
        if not (outputs := run.steps[other].outputs):
            continue
        for name, value in outputs.items():
            # no output passes for what an approver said, also where nobody said anything
            if not name.upper().startswith(_APPROVAL):
                data[f"SOP_STEP_{number_of(other)}_{name.upper()}"] = as_text(value)
    for other in (*before, number):
        if run.steps[other].gate is None:
            continue
        for name, value in run.steps[other].approval_values.items():
            data[f"SOP_STEP_{number_of(other)}_{_APPROVAL}{name.upper()}"] = as_text(value)
    return data


def as_text(value: Any) -> str:
    """A value as an environment variable carries it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else canonical(value).decode()
