"""What a run is told of the runs that its steps started."""

from __future__ import annotations

from sopwith.core import events as ev
from sopwith.core.commands import Notice
from sopwith.core.refusal import refuse
from sopwith.core.run import Run, RunStatus, StepStatus


def notice(run: Run, command: Notice) -> list[ev.EventBody]:
    """A child run came to rest, or goes on. Nothing where that is known."""
    step = run.steps[command.step]
    if step.status is not StepStatus.RUNNING or not step.child or step.child != command.child_run_id:
        raise refuse(run, command, because=f"{command.child_run_id} is not what step {command.step} waits for")
    if step.child_standing is command.standing:
        return []
    return [
        ev.ChildRunChanged(
            step_number=step.number,
            title=run.procedure.step(step.number).title,
            child_run_id=step.child,
            status=command.standing or RunStatus.RUNNING,
            rests=command.standing is not None,
        )
    ]
