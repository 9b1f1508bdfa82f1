"""What a driver may do with an attempt that was recorded, by itself or by a dead one: start it only as recorded.

So too with the verification of an attempt, which is covered by what covers the attempt.
"""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core.address import StepId
from sopwith.core.interruption import as_verification
from sopwith.core.procedure import sha256
from sopwith.core.rollback import definition_of
from sopwith.core.run import Run, starts_nothing
from sopwith.engine.envelopes import step_envelope_bytes
from sopwith.engine.environment import MissingVariables, verification_folder, work_order
from sopwith.engine.parts import Parts
from sopwith.engine.secrets import Lacking, MissingSecrets, known_secrets
from sopwith.errors import BadRequest
from sopwith.ports import WorkOrder


def recovery_order(parts: Parts, run: Run, number: StepId) -> WorkOrder:
    """The order of an attempt that was recorded before, or of its verification, where that is under way.

    `withheld` where it must not start any more.
    """
    try:
        order = work_order(parts, run, number)
    except (MissingVariables, MissingSecrets):
        # what runs is still watched; what it prints is kept only where all that it was given is known
        unset = dict.fromkeys(run.procedure.env.pass_ + definition_of(run, number).env.pass_, "")
        order = work_order(
            replace(parts, environ={**unset, **parts.environ}), run, number, secrets=known_secrets(parts, run)
        )
    if run.steps[number].verifying:
        order = _verification(parts, run, number, order)
    elif starts_nothing(run):
        return _withheld(order, "nothing more was to be started")
    reason = changed_since_recorded(parts, run, number)
    return _withheld(order, reason) if reason else order


def changed_since_recorded(parts: Parts, run: Run, number: StepId) -> str:
    """In what the step is not what was recorded when it was started; empty where it is."""
    try:
        found = step_envelope_bytes(parts, run, number)
    except MissingVariables as missing:
        return f"{', '.join(missing.names)} is not set here"
    except Lacking as lacking:
        return f"it needs {lacking}"
    except BadRequest as error:
        return error.message
    if sha256(found) != run.steps[number].digest:
        return "what would run is not what was recorded"
    return ""


def _verification(parts: Parts, run: Run, number: StepId, order: WorkOrder) -> WorkOrder:
    verification = run.steps[number].verification
    assert verification is not None
    return replace(
        order,
        step=as_verification(order.step),
        folder=verification_folder(parts, run, number),
        environment={**order.environment, "SOP_VERIFY": "1"},
        output_types={},
        verifies=run.steps[number].verifications,
        intended_boot=verification.started.boot_id,
    )


def _withheld(order: WorkOrder, reason: str) -> WorkOrder:
    return replace(order, withheld=f"it was given up before it started: {reason}")
