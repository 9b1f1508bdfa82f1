"""What follows from a run's state by itself: ends, failures and pauses that no further act is needed for.

`decide` asks after each command, so the record of a command and of its consequence are one transaction.
"""

from __future__ import annotations

from sopwith.core import events as ev
from sopwith.core.address import instance_of
from sopwith.core.detour import passed_by
from sopwith.core.instant import Instant, duration_text, elapsed_ms
from sopwith.core.procedure import OnFailure
from sopwith.core.rollback import outcome, to_roll_back
from sopwith.core.run import (
    Gate,
    Rollback,
    Run,
    RunStatus,
    StepState,
    StepStatus,
    busy_processes,
    children,
    run_timeout_text,
    running_processes,
)

_TOLD = 10
"""Of how many failed instances the step's own error tells; each has its own."""


def conclusion(run: Run, now: Instant) -> ev.EventBody | None:
    """The next event that follows by itself, or None. Asked again after it was applied."""
    if run.ended is not None or run.queued:
        return None
    if run.cancel_requested:
        return None if running_processes(run) else ev.RunCancelled(reason=run.reason, **outcome(run))
    if run.rollback is not None:
        return None if running_processes(run) else _after_a_rollback(run, run.rollback, now)
    together = _instances_done(run, now)
    if together is not None:
        return together
    stuck = [step for step in run.under_way if step.stuck]
    if stuck or (run.timed_out and run.left):
        return _close_a_gate(run) or _stop(run, stuck, now)
    if not run.left:
        return _completed(run, now)
    if run.pause_requested and not busy_processes(run):
        return paused(now, run.pause_cause, run.reason)
    return None


def paused(now: Instant, cause: str, reason: str) -> ev.RunPaused:
    """That the run is paused from now on, by both clocks."""
    return ev.RunPaused(cause=cause, reason=reason, boot_id=now.boot_id, boot_ms=now.boot_ms)


def pause_asked(now: Instant, cause: str, reason: str, *, stop: bool = False) -> ev.RunPauseRequested:
    """That it is to pause when what runs has ended; with `stop`, when that was ended."""
    return ev.RunPauseRequested(cause=cause, reason=reason, stop=stop, boot_id=now.boot_id, boot_ms=now.boot_ms)


def _instances_done(run: Run, now: Instant) -> ev.EventBody | None:
    """The end of a step all of whose instances are finished; what they handed on stands side by side."""
    for number, left in run.expanded.items():
        if not left:
            states = [run.steps[each] for each in run.steps[number].instances or ()]
            passed_by = _passed_by(run, number) if any(state.passed_over for state in states) else []
            return passed_by[0] if passed_by else _together(run, number, states, now)
    return None


def _passed_by(run: Run, number: int) -> list[ev.StepSkipped]:
    """What lies between the step and the one that its failed instances lead to; before the step itself ends."""
    target = run.procedure.step(number).goto
    return [] if target is None else passed_by(run, number, target, why="failed")


def _together(run: Run, number: int, states: list[StepState], now: Instant) -> ev.EventBody:
    title = run.procedure.step(number).title
    started = run.steps[number].started
    milliseconds = 0 if started is None else elapsed_ms(started, now)
    duration = duration_text(milliseconds)
    names = dict.fromkeys(name for state in states for name in state.outputs)
    outputs = {name: [state.outputs.get(name) for state in states] for name in names}
    if all(state.status is StepStatus.SKIPPED for state in states):
        return ev.StepSkipped(step_number=number, title=title, reason="every instance was skipped")
    failed = [state for state in states if state.passed_over]
    if not failed:
        return ev.StepCompleted(
            step_number=number, title=title, duration=duration, duration_ms=milliseconds, outputs=outputs
        )
    return ev.StepFailed(
        step_number=number,
        title=title,
        duration=duration,
        duration_ms=milliseconds,
        error=_told_of(failed),
        cause="instances",
        then=run.procedure.step(number).on_failure,
        outputs=outputs,
    )


def _told_of(failed: list[StepState]) -> str:
    told = [f"{instance_of(state.number)}: {state.error}" for state in failed[:_TOLD]]
    return "; ".join([*told, *([f"and {len(failed) - _TOLD} more"] if len(failed) > _TOLD else [])])


def _close_a_gate(run: Run) -> ev.EventBody | None:
    for step in run.live:
        gate = step.gate
        if gate is not None and (step.gate_open or (step.status is StepStatus.PENDING and step.gate_passed)):
            return _closed(run, step, gate)
    return None


def _closed(run: Run, step: StepState, gate: Gate) -> ev.EventBody:
    title = run.procedure.step(step.number).title
    reason = run_timeout_text(run) if run.timed_out else "another step needs a decision first"
    return ev.ApprovalClosed(step_number=step.number, revision=gate.revision, title=title, reason=reason)


def _stop(run: Run, stuck: list[StepState], now: Instant) -> ev.EventBody | None:
    if any(step.status is StepStatus.RUNNING for step in run.under_way):
        # what a person carries out, and a child run that rests, need not end for a pause that was to come at once;
        # nor need the child for any other: as long as one is asked for, it does not go on
        pauses = run.stopping or (run.pause_requested and children(run) and not run.timed_out)
        return _paused(run, stuck, now) if pauses and not busy_processes(run) else None
    failed = [step for step in stuck if step.status is StepStatus.FAILED]
    if failed or run.timed_out or any(step.ends_run for step in stuck):
        by_default = run.timed_out and run.procedure.on_failure is OnFailure.ROLLBACK
        undo = to_roll_back(run) if by_default or any(_leads_to_rollback(run, step) for step in failed) else ()
        if undo:
            return ev.RollbackStarted(steps=undo, reason=_errors(run), ends=RunStatus.FAILED)
        return _failed(run, now, _errors(run))
    if run.paused:
        return None
    return _paused(run, stuck, now)


def _paused(run: Run, stuck: list[StepState], now: Instant) -> ev.EventBody:
    interrupted = [step for step in stuck if step.status is StepStatus.INTERRUPTED]
    unanswered = interrupted or [step for step in stuck if step.status is not StepStatus.FAILED]
    if not unanswered or (run.stopping and not interrupted):
        return paused(now, run.pause_cause, run.reason)
    cause = "interrupted" if interrupted else "rejected"
    first = unanswered[0]
    return paused(now, cause, f"step {first.number} {cause}: {first.error}")


def _leads_to_rollback(run: Run, step: StepState) -> bool:
    return run.procedure.step(step.number).on_failure is OnFailure.ROLLBACK


def _errors(run: Run) -> str:
    """Why the run failed. What its own limit ended is told once."""
    limit = [run_timeout_text(run)] if run.timed_out else []
    failed = [_error(step) for step in _failed_steps(run) if step.error not in limit]
    return "; ".join((*limit, *failed))


def _error(step: StepState) -> str:
    return f"step {step.number}{' rejected' if step.ends_run else ''}: {step.error}"


def _failed_steps(run: Run) -> list[StepState]:
    """Those that failed, and those whose rejection fails the run."""
    return [s for s in run.steps.values() if s.stuck and (s.status is StepStatus.FAILED or s.ends_run)]


def _failed(run: Run, now: Instant, error: str) -> ev.EventBody:
    milliseconds = _run_ms(run, now)
    return ev.RunFailed(
        failed_steps=tuple(step.number for step in _failed_steps(run)),
        error=error,
        duration=duration_text(milliseconds),
        duration_ms=milliseconds,
        **outcome(run),
    )


def _after_a_rollback(run: Run, rollback: Rollback, now: Instant) -> ev.EventBody | None:
    """What follows where none of its scripts runs."""
    if not rollback.left:
        if rollback.ends is RunStatus.CANCELLED:
            return ev.RunCancelled(reason=rollback.before, **outcome(run))
        why = _errors(run) or (f"rolled back: {rollback.reason}" if rollback.reason else "rolled back")
        return _failed(run, now, why)
    if run.pause_requested:
        return paused(now, run.pause_cause, run.reason)
    return None


def _completed(run: Run, now: Instant) -> ev.EventBody:
    milliseconds = _run_ms(run, now)
    return ev.RunCompleted(
        nothing_ran=all(step.status in (StepStatus.SKIPPED, StepStatus.REJECTED) for step in run.steps.values()),
        with_failures=any(step.passed_over for step in run.steps.values()),
        duration=duration_text(milliseconds),
        duration_ms=milliseconds,
    )


def _run_ms(run: Run, now: Instant) -> int:
    # a run may outlive boots, so the wall clock it is
    return elapsed_ms(Instant(run.started_at or run.created_at, 0, ""), Instant(now.at, 0, "-"))
