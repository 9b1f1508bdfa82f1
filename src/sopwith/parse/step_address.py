"""How files and people name a step of a procedure: by number or by key. The one place that knows."""

from __future__ import annotations

from sopwith.core.address import StepId, read_step_id
from sopwith.core.procedure import Procedure
from sopwith.parse.findings import nearest

START = "start"
"""Names the approval before the start, where a step is asked for."""


def find_step(procedure: Procedure, said: int | str) -> StepId | None:
    """The step that `2`, `"2"` or `"build"` names, the instance that `"2:eu"` or `"build:eu"` does, or None."""
    text, colon, instance = str(said).partition(":")
    if colon:
        number = find_step(procedure, text)
        fits = number is not None and procedure.step(number).for_each is not None
        return read_step_id(f"{number}:{instance}") if fits else None
    if text.isascii() and text.isdecimal():
        number = int(text[:9])
        return number if procedure.find_step(number) is not None else None
    return next((step.number for step in procedure.steps if step.key == text), None)


def steps_hint(procedure: Procedure, said: int | str) -> str:
    """Which steps there are, or the one that was probably meant."""
    keys = [step.key for step in procedure.steps if step.key]
    if (guess := nearest(str(said), keys)) is not None:
        return f'did you mean "{guess}"?'
    by_key = f", by key {', '.join(keys[:10])}" if keys else ""
    return f"its steps are 1 to {len(procedure.steps)}{by_key}"
