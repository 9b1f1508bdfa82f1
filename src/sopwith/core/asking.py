"""What of a run waits for a person: the one rule by which the inbox shows something, counts it, and finds its run."""

from __future__ import annotations

from sopwith.core.run import Run, StepState, awaits_report, open_gates


def waiting_steps(run: Run) -> tuple[StepState, ...]:
    """The steps that somebody is to carry out, and those that a paused run is stuck at."""
    return tuple(step for step in run.under_way if awaits_report(run, step) or _is_stuck_at(run, step))


def asks(run: Run) -> int:
    """How many things of the run wait for a person, whoever drives it: gates, steps, or the paused run itself.

    A run that somebody has left is not counted: only its driver's lock tells that, and the time (`due.left_at`).
    """
    gates = 0 if run.paused else len(open_gates(run))
    return gates + len(waiting_steps(run)) or int(run.paused)


def _is_stuck_at(run: Run, step: StepState) -> bool:
    return run.paused and step.stuck and run.rollback is None
