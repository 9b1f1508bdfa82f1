"""What a rollback is made of: which steps it takes, in which order, and what is run in their place.

A completed step that has a rollback script can be rolled back, the last completed one first. While a run is being
rolled back nothing else starts in it, and each step stands for its rollback script.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from sopwith.core.address import StepId
from sopwith.core.procedure import Procedure, Step
from sopwith.core.run import Run, StepStatus, from_here_on

EXECUTOR = "shell"
"""Carries rollback scripts out, whoever carries out the step."""


def to_roll_back(run: Run) -> tuple[StepId, ...]:
    """The steps that a rollback would take now, in its order."""
    done = [
        step
        for step in run.steps.values()
        if step.status is StepStatus.COMPLETED
        and step.instances is None
        and run.procedure.step(step.number).rollback is not None
    ]
    return tuple(step.number for step in sorted(done, key=lambda step: step.completed_seq, reverse=True))


def definition_of(run: Run, number: StepId) -> Step:
    """What a start of this step means now: the step itself or, while the run is rolled back, its rollback."""
    step = run.procedure.step(number)
    return step if run.rollback is None else as_rollback(step)


def as_rollback(step: Step) -> Step:
    """The step's rollback as a step: its script, in the step's own surroundings, once and without a time limit."""
    rollback = step.rollback
    script = rollback.script if rollback is not None else None
    alone = replace(step, timeout_secs=None, retry=None, on_interrupt=UNSET, verify=UNSET, outputs={}, uses=None)
    return replace(alone, executor=EXECUTOR, script=script)


def asks_first(run: Run, number: StepId) -> bool:
    """Whether a person must approve the rollback of this step: it says so, or something was found to have changed."""
    rollback = run.procedure.step(number).rollback
    return run.steps[number].must_ask or (rollback is not None and rollback.requires_approval)


def undone(procedure: Procedure, run: Run) -> frozenset[StepId]:
    """The steps that must run again after a rollback: those it touched, and all that depend on them."""
    touched = [step.number for step in run.steps.values() if step.rollback_begun]
    return frozenset().union(*(from_here_on(procedure, number) for number in touched))


def outcome(run: Run) -> dict[str, Any]:
    """The fields of `run_failed` and `run_cancelled` that tell of the rollback that ends now, or of the last one."""
    going = run.rollback
    if going is None:
        return {
            "rolled_back": run.rolled_back,
            "rollback_failed": run.rollback_failed,
            "not_rolled_back": run.not_rolled_back,
        }
    return {
        "rolled_back": not going.left,
        "rollback_failed": going.failed,
        "not_rolled_back": (*going.declined, *going.left),
    }
