"""Rolling a run back: how it begins by request, how each script starts, and what is legal meanwhile."""

from __future__ import annotations

from typing import Any

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.gates import is_gated
from sopwith.core.moves_gate import title_of
from sopwith.core.refusal import refuse
from sopwith.core.rollback import EXECUTOR, to_roll_back
from sopwith.core.run import GateStatus, Run, RunStatus, StepState, StepStatus, running_processes, starts_nothing

WHILE_ROLLING_BACK: frozenset[type[cmd.Command]] = frozenset(
    {
        cmd.Approve,
        cmd.Reject,
        cmd.Pause,
        cmd.Resume,
        cmd.Cancel,
        cmd.OpenGate,
        cmd.Remind,
        cmd.Start,
        cmd.Finish,
        cmd.Interrupt,
        cmd.Halt,
    }
)
"""What may be asked of a run that is being rolled back; all else waits for its end."""


def roll_back(run: Run, command: cmd.Rollback) -> list[ev.EventBody]:
    """Begins to undo what was completed, because somebody asks for it. The run ends as it had ended, or as failed."""
    busy = [step.number for step in run.steps.values() if step.status is StepStatus.RUNNING]
    if busy:
        raise refuse(run, command, because=f"step {busy[0]} is still being carried out")
    steps = to_roll_back(run)
    if not steps:
        raise refuse(run, command, because="there is nothing to roll back: no completed step has a rollback script")
    ends = RunStatus.CANCELLED if run.ended is RunStatus.CANCELLED else RunStatus.FAILED
    started = ev.RollbackStarted(steps=steps, reason=command.reason, ends=ends, asked=True)
    return [*_start_closed(run), *_closed(run), started]


def _closed(run: Run) -> list[ev.EventBody]:
    """The gates of steps that will not run now, answered or not."""
    return [
        ev.ApprovalClosed(
            step_number=step.number,
            title=title_of(run, step.number),
            revision=step.gate.revision,
            reason="the run is rolled back",
        )
        for step in run.steps.values()
        if step.gate is not None and (step.gate_open or (step.status is StepStatus.PENDING and step.gate_passed))
    ]


def _start_closed(run: Run) -> list[ev.EventBody]:
    """The start gate, where changed parameters opened it again."""
    gate = run.start_gate
    if gate is None or gate.status is not GateStatus.OPEN:
        return []
    reason = "the run is rolled back"
    return [ev.ApprovalClosed(step_number=None, title=title_of(run, None), revision=gate.revision, reason=reason)]


def start_rollback(run: Run, command: cmd.Start) -> list[ev.EventBody]:
    """Records the intent to start the rollback script that is next. A difference asks, and starts nothing."""
    assert run.rollback is not None
    step = run.steps[command.step]
    gated = is_gated(run, step.number)
    if starts_nothing(run) or running_processes(run) or run.rollback.left[:1] != (step.number,):
        raise refuse(run, command)
    if gated and not step.rollback_approved:
        raise refuse(run, command)
    if (step.gate is not None and step.gate.digest != command.digest) if gated else command.changed:
        gate = step.gate or run.start_gate
        return [
            ev.ApprovalStale(
                step_number=step.number,
                revision=step.gate.revision if step.gate else 0,
                title=title_of(run, step.number),
                digest=gate.digest if gate else "",
                found_digest=command.digest,
                changed=command.changed,
            )
        ]
    return [
        ev.StepStarted(
            step_number=step.number,
            title=title_of(run, step.number),
            executor=EXECUTOR,
            rollback=True,
            visit=step.visit,
            attempt=step.attempt + 1,
            digest=command.digest,
            boot_id=command.now.boot_id,
            boot_ms=command.now.boot_ms,
        )
    ]


def end_rollback(run: Run, result: cmd.StepResult, end: dict[str, Any]) -> list[ev.EventBody]:
    """A rollback script has ended. One that was ended counts as cancelled only where the run is being cancelled."""
    stopped = result.cause == "cancelled" and not run.cancel_requested
    cause = "signal" if stopped else result.cause
    return [ev.StepRolledBack(**end, error=result.error, cause=cause if result.error else "", signal=result.signal)]


def lose_rollback(run: Run, step: StepState, command: cmd.Interrupt) -> list[ev.EventBody]:
    """Nobody can know how a rollback script ended; the others are tried all the same."""
    return [
        ev.StepRolledBack(
            step_number=step.number,
            title=title_of(run, step.number),
            output=command.output,
            error=command.reason,
            cause="interrupted",
        )
    ]
