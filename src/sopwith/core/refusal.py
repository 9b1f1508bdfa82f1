"""One shape for every refusal: what was tried, on which run, its status, and what can be done now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sopwith.core.address import StepId, instance_of, number_of
from sopwith.core.rollback import to_roll_back
from sopwith.core.run import Run, RunStatus, StepStatus, awaits_report, children, current_step, open_gates, status_of
from sopwith.errors import BadRequest, IllegalMove

if TYPE_CHECKING:
    from sopwith.core.commands import Command

_NOW = {
    RunStatus.PENDING: ("sop resume {id} asks for its slot again", "sop cancel {id} gives up its place"),
    RunStatus.RUNNING: ("sop status {id} --watch", "sop pause {id}"),
    RunStatus.PAUSED: ("sop resume {id}", "sop cancel {id}"),
    RunStatus.FAILED: ("sop retry {id}", 'sop skip {id} --reason "why"'),
    RunStatus.COMPLETED: ("it has ended; sop audit {id} shows its record",),
    RunStatus.CANCELLED: ("it has ended; sop audit {id} shows its record",),
}


def refuse(run: Run, command: Command, *, because: str = "", hint: str = "") -> IllegalMove:
    """The refusal of `command`; the caller raises it."""
    from sopwith.core.commands import PersonCommand  # whoever only asks what can be done now makes no command

    verb = verb_of(command)
    reason = f" and {because}" if because else where(run)
    return IllegalMove(
        f"cannot {verb} {run.run_id}: it is {status_of(run)}{reason}",
        hint=hint or what_now(run) if isinstance(command, PersonCommand) else "",
        status=status_of(run),
    )


def verb_of(command: Command) -> str:
    """The command in words: `retry`, `roll back`."""
    return {"rollback": "roll back"}.get(name := type(command).__name__.lower(), name)


def what_now(run: Run) -> str:
    """The moves that take the run further, in one sentence."""
    *others, last = moves_now(run)
    if len(others) < 2:
        return " or ".join((*others, last))
    return f"{', '.join(others)}, or {last}"


def moves_now(run: Run) -> tuple[str, ...]:
    """The one to three moves that take the run further, as commands."""
    status = status_of(run)
    gates = open_gates(run)
    if run.ended is None and run.cancel_requested:
        return (f"sop cancel {run.run_id} waits for its end",)
    resting = [step for step in children(run) if step.child_standing is not None]
    if resting and not gates and status is not RunStatus.PAUSED:
        asks = resting[0].child_standing in (RunStatus.WAITING_APPROVAL, RunStatus.AWAITING_APPROVAL)
        return (*((f"sop approve {resting[0].child}",) if asks else ()), f"sop status {resting[0].child}")
    if status in (RunStatus.WAITING_APPROVAL, RunStatus.AWAITING_APPROVAL):
        step = f" --step {gates[0][0]}" if len(gates) > 1 else ""
        return f"sop approve {run.run_id}{step}", f'sop reject {run.run_id}{step} --reason "why"'
    by_hand = [s.number for s in run.steps.values() if awaits_report(run, s)]
    if by_hand and status in (RunStatus.RUNNING, RunStatus.PAUSED):
        step = f" --step {by_hand[0]}" if len(by_hand) > 1 else ""
        return f"sop complete {run.run_id}{step}", f'sop fail {run.run_id}{step} --reason "why"'
    unknown = [s.number for s in run.steps.values() if s.condition_unknown and s.status is StepStatus.PENDING]
    if status is RunStatus.PAUSED and unknown:
        skip = f'sop skip {run.run_id} --step {unknown[0]} --reason "why"'
        return skip, f"sop retry {run.run_id} --param NAME=VALUE"
    stuck = [s.status for s in run.steps.values() if s.stuck]
    if status is RunStatus.PAUSED and stuck and run.rollback is None:
        which = f" --step {next(s.number for s in run.steps.values() if s.stuck)}" if len(stuck) > 1 else ""
        skip = f'sop skip {run.run_id}{which} --reason "why"'
        if StepStatus.INTERRUPTED in stuck:
            return f"sop retry {run.run_id}", f"sop complete {run.run_id} if it was done", skip
        return f"sop retry {run.run_id}", skip
    if status is RunStatus.RUNNING and run.pause_requested:
        return f"sop status {run.run_id} --watch", f"sop cancel {run.run_id}"
    if status in (RunStatus.FAILED, RunStatus.CANCELLED):
        return _after_the_end(run, status)
    return tuple(move.format(id=run.run_id) for move in _NOW[status])


def _after_the_end(run: Run, status: RunStatus) -> tuple[str, ...]:
    undo = "sop rollback {id}" if to_roll_back(run) else ""
    touched = any(step.rollback_begun for step in run.steps.values())
    # a run whose time was up may have failed with no step that could be skipped
    nothing_stuck = not any(step.stuck for step in run.steps.values())
    if status is RunStatus.CANCELLED:
        ways = (f"{undo} undoes what was done", "sop audit {id} shows its record") if undo else _NOW[status]
    elif undo:
        ways = ("sop retry {id}", undo)
    else:
        ways = ("sop retry {id}",) if touched or nothing_stuck else _NOW[status]
    return tuple(way.format(id=run.run_id) for way in ways)


def where(run: Run) -> str:
    """` at step 3`, or nothing where no step is the matter."""
    if status_of(run) in (RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL, RunStatus.PAUSED, RunStatus.FAILED):
        gates = open_gates(run)
        step = gates[0][0] if len(gates) == 1 else current_step(run)
        return f" at step {step}" if step is not None else ""
    return ""


def gate_name(number: StepId | None) -> str:
    return "the start approval" if number is None else f"the gate of step {number}"


def by_instance(meant: Iterable[StepId | None]) -> str:
    """How the instances of a step are named, where that is what may have been meant; else nothing."""
    named = [str(each) for each in meant]
    return f"name one of its instances: {', '.join(named[:10])}" if named else ""


def no_such_step(run: Run, number: StepId) -> BadRequest:
    whole = run.steps.get(number_of(number))
    instances = [instance_of(each) for each in (whole.instances or ())] if whole is not None else []
    if whole is not None and instances:
        done_for = ", ".join(instances[:10])
        return BadRequest(f"step {whole.number} of {run.name} is not done for that", hint=f"it is done for {done_for}")
    return BadRequest(f"{run.name} has no step {number}", hint=f"its steps are 1 to {len(run.procedure.steps)}")
