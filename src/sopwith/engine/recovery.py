"""What a driver may do with an attempt that was recorded, by itself or by a dead one: start it only as recorded.

So too with the verification of an attempt, which is covered by what covers the attempt.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from sopwith.core.address import StepId
from sopwith.core.agents import AgentCommand, equipped
from sopwith.core.interruption import as_verification
from sopwith.core.procedure import sha256
from sopwith.core.rollback import definition_of
from sopwith.core.run import Run, starts_nothing
from sopwith.core.task import task_text
from sopwith.engine.agents import agent_now, sought
from sopwith.engine.envelopes import step_envelope_bytes
from sopwith.engine.environment import MissingVariables, work_order
from sopwith.engine.folders import verification_folder
from sopwith.engine.parts import Parts
from sopwith.engine.secrets import Lacking, MissingSecrets, known_secrets
from sopwith.errors import BadRequest
from sopwith.ports import AgentOrder, WorkOrder


def recovery_order(parts: Parts, run: Run, number: StepId) -> WorkOrder:
    """The order of an attempt that was recorded before, or of its verification, where that is under way.

    `withheld` where it must not start any more.
    """
    # read once: what is compared is what is run
    agent = _agent(parts, run, number)
    known = agent or None
    whole: WorkOrder | None
    try:
        order = whole = work_order(parts, run, number, known)
    except (MissingVariables, MissingSecrets):
        # what runs is still watched; what it prints is kept only where all that it was given is known
        names = run.procedure.env.pass_ + equipped(definition_of(run, number), known).env.pass_
        parts_then = replace(parts, environ={**dict.fromkeys(names, ""), **parts.environ})
        order, whole = work_order(parts_then, run, number, known, secrets=known_secrets(parts, run)), None
    if known is not None:
        order = replace(order, agent=_agent_order(parts, run, number, known))
    if run.steps[number].verifying:
        order = _verification(parts, run, number, order)
    elif starts_nothing(run):
        return _withheld(order, "nothing more was to be started")
    reason = changed_since_recorded(parts, run, number, agent=agent, order=whole)
    return _withheld(order, reason) if reason else order


def changed_since_recorded(
    parts: Parts,
    run: Run,
    number: StepId,
    *,
    agent: AgentCommand | UnsetType | None = UNSET,
    order: WorkOrder | None = None,
) -> str:
    """In what the step is not what was recorded when it was started; empty where it is.

    `agent`, `order`: if known already, so that what is compared is what will run.
    """
    try:
        found = step_envelope_bytes(parts, run, number, agent=agent, order=order)
    except MissingVariables as missing:
        return f"{', '.join(missing.names)} is not set here"
    except Lacking as lacking:
        return f"it needs {lacking}"
    except BadRequest as error:
        return error.message
    if sha256(found) != run.steps[number].digest:
        return "what would run is not what was recorded"
    return ""


def _agent(parts: Parts, run: Run, number: StepId) -> AgentCommand | UnsetType | None:
    """The command that would carry the step out now; unset where there should be one, and nobody knows it."""
    try:
        return agent_now(parts, definition_of(run, number))
    except Lacking:
        return UNSET


def _agent_order(parts: Parts, run: Run, number: StepId, agent: AgentCommand) -> AgentOrder:
    text = task_text(run, number, parts.ids.nonce())
    return AgentOrder(sought=sought(agent, run.environment, parts.workspace.root), task=text.encode())


def _verification(parts: Parts, run: Run, number: StepId, order: WorkOrder) -> WorkOrder:
    verification = run.steps[number].verification
    assert verification is not None
    return replace(
        order,
        step=as_verification(order.step),
        agent=None,
        folder=verification_folder(parts, run, number),
        environment={**order.environment, "SOP_VERIFY": "1"},
        output_types={},
        verifies=run.steps[number].verifications,
        intended_boot=verification.started.boot_id,
    )


def _withheld(order: WorkOrder, reason: str) -> WorkOrder:
    return replace(order, withheld=f"it was given up before it started: {reason}")
