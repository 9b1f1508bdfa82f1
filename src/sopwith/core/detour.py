"""Where a run goes on elsewhere after a step failed or was rejected: what lies between is skipped."""

from __future__ import annotations

from sopwith.core import events as ev
from sopwith.core.run import Run, StepStatus, ancestors, descendants

_LEFT = (StepStatus.PENDING, StepStatus.AWAITING_APPROVAL, StepStatus.WAITING)


def passed_by(run: Run, number: int, target: int, *, why: str) -> list[ev.StepSkipped]:
    """The steps between this one and the one that it leads to, which are skipped. `why`: it failed, was rejected."""
    between = descendants(run.procedure, number) & set(ancestors(run.procedure, target)) - {number}
    events: list[ev.StepSkipped] = []
    for other in sorted(between):
        if run.steps[other].status in _LEFT:
            title = run.procedure.step(other).title
            reason = f"step {number} {why}, which leads to step {target}"
            events.append(ev.StepSkipped(step_number=other, title=title, reason=reason))
    return events
