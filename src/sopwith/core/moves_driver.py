"""What the driver brings back from the world: slots, starts, results, interruptions."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.address import number_of
from sopwith.core.commands import Admit, Finish, Halt, Interrupt, OpenGate, Start, StepResult
from sopwith.core.conclude import pause_asked, paused
from sopwith.core.gates import is_gated, needs_start_gate
from sopwith.core.instant import Instant, duration_text, elapsed_ms
from sopwith.core.moves_flow import after_failure, begin_wait, timeout_text
from sopwith.core.moves_gate import make_good, request_approval, started
from sopwith.core.moves_interrupt import interrupted
from sopwith.core.moves_rollback import end_rollback, lose_rollback, start_rollback
from sopwith.core.procedure import canonical
from sopwith.core.refusal import refuse
from sopwith.core.run import (
    Run,
    StepState,
    StepStatus,
    asks_items,
    busy_processes,
    dependencies_met,
    has_room,
    held_back,
    is_child,
    is_wait,
    may_start,
    run_timeout_text,
    running_processes,
    starts_nothing,
    takes_a_process,
    time_left_ms,
)

MAX_OUTPUTS_BYTES = 96 * 1024
"""Of all instances of a step together: a later step gets each list of them as one variable."""


def admit(run: Run, command: Admit) -> list[ev.EventBody]:
    """A queued run has its slot: it asks for the start approval, or starts."""
    return begin(run, command)


def begin(run: Run, command: Admit) -> list[ev.EventBody]:
    """The first event after creation or admission."""
    if needs_start_gate(run.mode):
        ask = OpenGate(
            actor=command.actor,
            now=command.now,
            people=command.people,
            step=None,
            digest=command.start_digest,
            nonce=command.nonce,
        )
        return request_approval(run, None, ask)
    return [started(command)]


def start(run: Run, command: Start) -> list[ev.EventBody]:
    """Records the intent to start. What differs from what was approved asks (again) and starts nothing."""
    if run.rollback is not None:
        return start_rollback(run, command)
    step = run.steps[command.step]
    definition = run.procedure.step(step.number)
    gated = is_gated(run, step.number)
    startable = _is_startable(run, step, command) and dependencies_met(run, step.number)
    if not startable or starts_nothing(run) or (gated and not step.gate_passed) or not may_start(run):
        raise refuse(run, command)
    if asks_items(run, step) or step.number in held_back(run):
        raise refuse(run, command, because=f"it is not the turn of step {step.number}")
    if definition.condition is not None and not step.condition_held:
        raise refuse(run, command, because=f"the condition of step {step.number} does not hold")
    if is_child(run, step.number) != bool(command.child_run_id):
        raise refuse(run, command, because=f"it is not known which run carries step {step.number} out")
    if takes_a_process(run, step.number) and not has_room(run):
        raise refuse(run, command, because=f"{run.procedure.max_parallel} steps run already")
    if _is_stale(step, command, gated=gated):
        return [_stale(run, step, command)]
    if is_wait(run, step.number):
        return begin_wait(run, step, command, command.digest)
    return [
        ev.StepStarted(
            step_number=step.number,
            title=definition.title,
            executor=definition.executor,
            visit=step.visit,
            attempt=step.attempt + 1,
            digest=command.digest,
            child_run_id=command.child_run_id,
            child_seq=command.child_seq,
            agent=command.agent,
            command=command.command,
            boot_id=command.now.boot_id,
            boot_ms=command.now.boot_ms,
        )
    ]


def _is_startable(run: Run, step: StepState, command: Start) -> bool:
    if step.status is StepStatus.WAITING and not is_wait(run, step.number):
        left_ms = time_left_ms(run, step, command.now)
        return left_ms is None or left_ms <= 0
    return step.status is StepStatus.PENDING and step.instances is None


def _is_stale(step: StepState, command: Start, *, gated: bool) -> bool:
    if gated and step.gate is not None:
        return step.gate.digest != command.digest
    return bool(command.changed)


def _stale(run: Run, step: StepState, command: Start) -> ev.EventBody:
    """Of a step's own gate, or, where it has none, of what the start of the run covered."""
    gate = step.gate or run.start_gate
    return ev.ApprovalStale(
        step_number=step.number,
        revision=step.gate.revision if step.gate else 0,
        title=run.procedure.step(step.number).title,
        digest=gate.digest if gate else "",
        found_digest=command.digest,
        changed=command.changed,
    )


def finish(run: Run, command: Finish) -> list[ev.EventBody]:
    """The process has ended, well or not."""
    step = _attempt(run, command)
    if command.result.cause == "cancelled" and run.stopping and not run.cancel_requested and not run.timed_out:
        return _stopped(run, step, command)
    result = _bounded(run, step, command.result)
    milliseconds = 0 if step.started is None else elapsed_ms(step.started, _end_of(step.started, command))
    end: dict[str, Any] = {
        "step_number": step.number,
        "title": run.procedure.step(step.number).title,
        "duration": duration_text(milliseconds),
        "duration_ms": milliseconds,
        "exit_code": result.exit_code,
        "output": result.output,
        "output_bytes": result.output_bytes,
        "output_sha256": result.output_sha256,
        "warnings": result.warnings,
    }
    if run.rollback is not None:
        return end_rollback(run, result, end)
    if result.error:
        cause, error = _cause(run, step, command, result)
        failed = ev.StepFailed(**end, error=error, cause=cause, signal=result.signal)
        return after_failure(run, step, failed, command)
    return [ev.StepCompleted(**end, outputs=result.outputs)]


def _stopped(run: Run, step: StepState, command: Finish) -> list[ev.EventBody]:
    """A person wanted it ended, and decides how it goes on: no retry, and nothing that follows a failure."""
    output = command.result.output
    if run.rollback is not None:
        lost = Interrupt(
            actor=command.actor,
            now=command.now,
            step=step.number,
            attempt=step.attempt,
            reason=run.stopping,
            output=output,
        )
        return lose_rollback(run, step, lost)
    title = run.procedure.step(step.number).title
    return [ev.StepInterrupted(step_number=step.number, title=title, reason=run.stopping, output=output)]


def _bounded(run: Run, step: StepState, result: StepResult) -> StepResult:
    """The result; a failure where instances hand on more together than variables of later steps can carry."""
    if not step.place or not result.outputs or run.rollback is not None:
        return result
    others = run.steps[number_of(step.number)].instances or ()
    names = {*result.outputs, *(name for each in others for name in run.steps[each].outputs)}
    # in its list each name has an entry for each instance, null where it handed on nothing
    handed_on = len(canonical(result.outputs)) + sum(run.steps[each].outputs_bytes for each in others)
    handed_on += len(names) * len(others) * len(",null")
    if handed_on <= MAX_OUTPUTS_BYTES:
        return result
    error = f"its outputs and those of the other instances are longer than {MAX_OUTPUTS_BYTES // 1024} KiB together"
    return replace(result, error=error, cause="output", outputs={})


def _cause(run: Run, step: StepState, command: Finish, result: StepResult) -> tuple[str, str]:
    """Why it failed, and in words. One that was ended counts as cancelled only where the run is being cancelled."""
    if result.cause != "cancelled" or run.cancel_requested:
        return result.cause, result.error
    if run.timed_out:
        return "timeout", run_timeout_text(run)
    left_ms = None if step.started is None else time_left_ms(run, step, _end_of(step.started, command))
    if left_ms is not None and left_ms <= 0:
        return "timeout", timeout_text(run, step)
    return "signal", result.error


def interrupt(run: Run, command: Interrupt) -> list[ev.EventBody]:
    """The machine died in the middle of the step, and nobody can know whether its effect happened."""
    step = _attempt(run, command)
    if run.rollback is not None:
        return lose_rollback(run, step, command)
    return interrupted(run, step, command)


def halt(run: Run, command: Halt) -> list[ev.EventBody]:
    """Something outside is missing; a person puts it right and resumes."""
    if run.pause_requested or run.cancel_requested:
        return []
    made_good = make_good(run, command)
    if busy_processes(run):
        return [*made_good, pause_asked(command.now, "environment", command.reason)]
    return [*made_good, paused(command.now, "environment", command.reason)]


def _end_of(started: Instant, command: Finish) -> Instant:
    """The end may have been written down long before somebody came to read it."""
    ended_boot_ms = command.result.ended_boot_ms
    if ended_boot_ms is None or started.boot_id != command.now.boot_id:
        return command.now
    return Instant(command.now.at, min(ended_boot_ms, command.now.boot_ms), started.boot_id)


def _attempt(run: Run, command: Finish | Interrupt) -> StepState:
    step = run.steps[command.step]
    if step.verifying or step.number not in running_processes(run) or step.attempt != command.attempt:
        raise refuse(run, command, because=f"attempt {command.attempt} of step {command.step} is not running")
    return step
