"""What a driver may do with an attempt that was recorded, by itself or by a dead one: start it only as recorded."""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core.address import StepId
from sopwith.core.procedure import sha256
from sopwith.core.run import Run, starts_nothing
from sopwith.engine.envelopes import step_envelope_bytes
from sopwith.engine.environment import Lacking, MissingVariables, work_order
from sopwith.engine.parts import Parts
from sopwith.ports import WorkOrder


def recovery_order(parts: Parts, run: Run, number: StepId) -> WorkOrder:
    """The order of an attempt that was recorded before; `withheld` where it must not start any more."""
    try:
        order = work_order(parts, run, number)
    except MissingVariables as missing:
        unset = dict.fromkeys(missing.names, "")
        order = work_order(replace(parts, environ={**parts.environ, **unset}), run, number)
        return _withheld(order, f"{', '.join(missing.names)} is not set here")
    if starts_nothing(run):
        return _withheld(order, "nothing more was to be started")
    try:
        found = step_envelope_bytes(parts, run, number)
    except Lacking as lacking:
        return _withheld(order, f"it needs {lacking}")
    if sha256(found) != run.steps[number].digest:
        return _withheld(order, "what would run is not what was recorded")
    return order


def _withheld(order: WorkOrder, reason: str) -> WorkOrder:
    return replace(order, withheld=f"it was given up before it started: {reason}")
