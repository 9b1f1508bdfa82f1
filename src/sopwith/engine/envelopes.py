"""Envelopes with the values that only the edge knows: folders and concealed variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sopwith.core.address import StepId, number_of
from sopwith.core.agents import AgentCommand, agent_of, equipped
from sopwith.core.child import given_by
from sopwith.core.envelope import Envelope, changed_fields, envelope_bytes, start_envelope, step_envelope
from sopwith.core.interruption import as_verification, rules_of
from sopwith.core.procedure import ExecutionMode, OnInterrupt, Step, sha256
from sopwith.core.rollback import definition_of
from sopwith.core.run import Run
from sopwith.engine.agents import agent_now, sought
from sopwith.engine.environment import passed_variables, step_variables, working_dir
from sopwith.engine.parts import Parts
from sopwith.engine.pins import pinned_now
from sopwith.engine.secrets import Lacking, concealed_secrets, resolved_secrets
from sopwith.ports import WorkOrder


def start_envelope_bytes(run: Run, *, asking: str | None = None) -> bytes:
    """The bytes that the start approval covers."""
    return envelope_bytes(start_envelope(run, asking=asking))


def step_envelope_bytes(
    parts: Parts,
    run: Run,
    number: StepId,
    *,
    asking: str | None = None,
    agent: AgentCommand | UnsetType | None = UNSET,
    order: WorkOrder | None = None,
) -> bytes:
    """The bytes that the gate of a step covers. Raises Lacking.

    As the gate that was asked covers it; with `asking`, a nonce, for the gate to be asked next. `agent`: the command
    that carries the step out, where it was read before. `order`: what will be carried out, with the folder and the
    variables that were found for it.
    """
    known = agent_now(parts, definition_of(run, number)) if agent is UNSET else agent
    return envelope_bytes(_build(parts, run, number, known, asking=asking, order=order))


def agent_in(envelope: bytes) -> tuple[str, tuple[str, ...]]:
    """The agent that an envelope names, and its command; empty where none carries the step out."""
    told = msgspec.json.decode(envelope).get("agent") or {"name": "", "command": ()}
    return told["name"], tuple(told["command"])


def what_changed(parts: Parts, approved_digest: str, found: bytes) -> tuple[str, ...]:
    """The fields in which `found` differs from the envelope that was approved."""
    if sha256(found) == approved_digest:
        return ()
    approved = parts.store.content(approved_digest)
    if approved is None or sha256(approved) != approved_digest:
        return ("envelope",)  # the database has lost or damaged it, so nobody can tell which
    return changed_fields(approved, found)


def changed_since_creation(parts: Parts, run: Run, number: StepId) -> tuple[str, ...]:
    """Which passed variables, secrets, pins and folders differ from what they were at the creation. Raises Lacking.

    What was not there then may be there now, unless somebody has approved the start without it.
    """
    pins = pinned_now(parts.workspace.root, run.procedure, run.procedure.step(number))
    definition = definition_of(run, number)
    agent, name = agent_now(parts, definition), agent_of(definition)
    return (
        *((f"agent {name}",) if name is not None and run.agents.get(name) != agent else ()),
        *(("working_dir",) if _is_elsewhere(parts, run, number) else ()),
        *_differing("passed", run, _concealed(parts, run, number, agent), run.passed),
        *_differing("secrets", run, concealed_secrets(parts, resolved_secrets(parts, run)), run.secrets),
        *_differing("pins", run, pins, run.pins.get(str(number_of(number)), {})),
    )


def _is_elsewhere(parts: Parts, run: Run, number: StepId) -> bool:
    """Whether the folder that a step names is another one than it was."""
    then = run.folders.get(str(number_of(number)))
    step = run.procedure.step(number)
    return then is not None and str(working_dir(parts.workspace.root, run.procedure, step)) != then


def _differing(what: str, run: Run, now: dict[str, str], then: dict[str, str]) -> tuple[str, ...]:
    approved = run.mode is ExecutionMode.SUPERVISED
    return tuple(
        f"{what} {name}" for name, value in now.items() if (approved or then.get(name)) and then.get(name, "") != value
    )


def _build(
    parts: Parts,
    run: Run,
    number: StepId,
    agent: AgentCommand | None,
    *,
    asking: str | None = None,
    order: WorkOrder | None = None,
) -> Envelope:
    definition = equipped(definition_of(run, number), agent)
    secrets = resolved_secrets(parts, run)
    if order is None:
        folder = working_dir(parts.workspace.root, run.procedure, definition)
        variables: Mapping[str, str] = step_variables(parts, run, number, definition, secrets=secrets)
    else:
        folder, variables = order.working_dir, order.environment
    return step_envelope(
        run,
        number,
        working_dir=str(folder),
        passed=_concealed(parts, run, number, agent),
        secrets=concealed_secrets(parts, secrets),
        pins=pinned_now(parts.workspace.root, run.procedure, definition),
        given=given_now(run, number) if definition.uses is not None else {},
        program=_program(parts, run, definition, agent, variables, folder),
        verifier=_verifier(parts, definition, variables, folder),
        agent=agent,
        asking=asking,
    )


def _program(
    parts: Parts,
    run: Run,
    step: Step,
    agent: AgentCommand | None,
    variables: Mapping[str, str],
    folder: Path,
) -> str | None:
    """The program that would carry the step out; None where none does, or nothing finds it."""
    kind = parts.kinds.kind(step.executor)
    if agent is not None:
        return (
            None
            if kind.locate_command is None
            else kind.locate_command(sought(agent, run.environment, parts.workspace.root))
        )
    return None if kind.locate is None else kind.locate(step, variables, folder)


def _verifier(parts: Parts, step: Step, variables: Mapping[str, str], folder: Path) -> str | None:
    """The program that would run the step's verification; None where it has none, or nothing finds it."""
    if rules_of(step).policy is not OnInterrupt.VERIFY and not step.verify:
        return None
    verification = as_verification(step)
    locate = parts.kinds.kind(verification.executor).locate
    return None if locate is None else locate(verification, variables, folder)


def given_now(run: Run, number: StepId) -> dict[str, Any]:
    """The parameters that a step hands on, for the envelope. Raises Lacking where nobody can know them."""
    given = given_by(run, number)
    if given.reason:
        raise Lacking(f"the parameters of {run.procedure.step(number).uses}, and they cannot be known: {given.reason}")
    return given.parameters


def _concealed(parts: Parts, run: Run, number: StepId, agent: AgentCommand | None) -> dict[str, str]:
    passed = passed_variables(run.procedure, equipped(run.procedure.step(number), agent), parts.environ)
    return {name: parts.keyring.conceal(value) for name, value in passed.items()}
