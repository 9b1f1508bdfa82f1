"""Where the attempts of steps, and what verifies them, keep their files. Makes none."""

from __future__ import annotations

from pathlib import Path

from sopwith.core.address import StepId
from sopwith.core.run import Run
from sopwith.engine.parts import Parts
from sopwith.ports import verification_name


def attempt_folder(parts: Parts, run_id: str, number: StepId, *, visit: int, attempt: int) -> Path:
    """Where one attempt keeps its script, marker, result and log."""
    return parts.workspace.run_folder(run_id, f"step-{number}.{visit}.{attempt}")


def verification_folder(parts: Parts, run: Run, number: StepId) -> Path:
    """Where the verification of the step's present attempt keeps its own, beside the attempt's launches."""
    return _verification_folder(parts, run, number, run.steps[number].verifications)


def next_verification_folder(parts: Parts, run: Run, number: StepId) -> Path:
    """The folder that the next verification of the step's present attempt will have."""
    return _verification_folder(parts, run, number, run.steps[number].verifications + 1)


def _verification_folder(parts: Parts, run: Run, number: StepId, verification: int) -> Path:
    state = run.steps[number]
    folder = attempt_folder(parts, run.run_id, number, visit=state.visit, attempt=state.attempt)
    return folder / verification_name(verification)


def next_attempt_folder(parts: Parts, run: Run, number: StepId) -> Path:
    """The folder that the step's next attempt will have."""
    state = run.steps[number]
    return attempt_folder(parts, run.run_id, number, visit=state.visit, attempt=state.attempt + 1)
