"""Runs within runs: what a step of one run hands to the run it starts, and what comes back. Pure, as all of the core.

A child run is a run of its own, with its own record. Its parent's record says when it was started, when it came to
rest and went on, and how it ended; nobody has to look into the child to know how the parent stands.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId
from sopwith.core.commands import StepResult
from sopwith.core.confidential import handed_on
from sopwith.core.due import at_rest
from sopwith.core.instant import Instant
from sopwith.core.procedure import canonical
from sopwith.core.run import Run, RunStatus, StepStatus, status_of, time_left_ms

EXECUTOR = "procedure"
MAX_DEPTH = 8
"""How many runs may be within one another, the outermost one included."""
MAX_OUTPUT_BYTES = 64 * 1024
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "json": object,
}


class Given(msgspec.Struct, frozen=True):
    """The parameters that a step hands on; with a `reason` none, because nobody can know them."""

    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    reason: str = ""


def given_by(run: Run, number: StepId) -> Given:
    """What the step hands to the procedure it uses: text is CEL, everything else stands for itself."""
    values: dict[str, Any] = {}
    for name, stated in run.procedure.step(number).with_.items():
        if not isinstance(stated, str):
            values[name] = stated
            continue
        if (secret := handed_on(run.procedure, stated)) is not None:
            if secret not in run.params:
                return Given(reason=f"{name}: params.{secret} has no value")
            values[name] = run.params[secret]
            continue
        # CEL is imported only where a procedure has an expression
        from sopwith.core.conditions import Wanted, find
        from sopwith.core.scope import scope_of, values_for

        scope = scope_of(run.procedure, number, item=True)
        found = find(stated, scope, values_for(run, number), Wanted.VALUE)
        if found.reason:
            return Given(reason=f"{name}: {found.reason}")
        values[name] = found.value
    return Given(values)


def constant(stated: str | int | float | bool) -> Any | None:
    """What a step is sure to hand on, whatever the run is like; None where that depends on it."""
    if not isinstance(stated, str):
        return stated
    from sopwith.core.conditions import Wanted, find, names_in

    return None if names_in(stated) else find(stated, {}, {}, Wanted.VALUE).value


def standing(run: Run) -> RunStatus | None:
    """How a run stands that does nothing by itself now; None: something is to be done, or is being done."""
    if run.ended is not None or run.queued or at_rest(run):
        return status_of(run)
    return None


def told_of(run: Run, child: Run, number: StepId, now: Instant) -> cmd.Command | None:
    """What a run has to be told of the child that carries the step out; None where it knows, or the child goes on."""
    step = run.steps[number]
    stands = standing(child)
    left_ms = time_left_ms(run, step, now)
    stopped = run.cancel_requested or run.timed_out or (left_ms is not None and left_ms <= 0)
    if is_to_be_retried(run, number, child):
        if stopped:
            result = StepResult(error=f"it was given up before {child.run_id} was tried again", cause="cancelled")
            return cmd.Finish(actor=SYSTEM, now=now, step=number, attempt=step.attempt, result=result)
        # it is tried again when its parent goes on
        stands = RunStatus.PAUSED if run.pause_requested or run.paused else None
    elif child.ended is not None:
        result = result_of(child, declared=run.procedure.step(number).outputs, stopped=stopped)
        return cmd.Finish(actor=SYSTEM, now=now, step=number, attempt=step.attempt, result=result)
    if stands is None or stands is step.child_standing:
        return None
    return cmd.Notice(actor=SYSTEM, now=now, step=number, child_run_id=child.run_id, standing=stands)


def is_to_be_retried(run: Run, number: StepId, child: Run) -> bool:
    """Whether it failed in an earlier attempt, and has not been retried for the present one."""
    return child.ended is RunStatus.FAILED and child.seq == run.steps[number].child_seq


def result_of(child: Run, *, declared: dict[str, str], stopped: bool) -> StepResult:
    """How a child run that has ended counts for the step that started it.

    `declared`: the outputs that the step names, with their types; none: all there are. `stopped`: it was cancelled
    because its parent wanted it to end.
    """
    if child.ended is RunStatus.CANCELLED:
        why = f"{child.run_id} was cancelled" + (f": {child.reason}" if child.reason else "")
        return StepResult(error=why, cause="cancelled" if stopped else "child")
    if child.ended is RunStatus.FAILED:
        return StepResult(error=f"{child.run_id} failed: {child.reason}", cause="child")
    outputs = _outputs_of(child)
    if declared:
        outputs = {name: value for name, value in outputs.items() if name in declared}
    for name, value in outputs.items():
        kind = declared.get(name, "json")
        fits = isinstance(value, _TYPES[kind]) and (kind in ("boolean", "json") or not isinstance(value, bool))
        if not fits:
            return StepResult(error=f"{name} of {child.run_id} is not of the type {kind}", cause="output")
    if len(canonical(outputs)) > MAX_OUTPUT_BYTES:
        return StepResult(
            error=f"the outputs of {child.run_id} are larger than {MAX_OUTPUT_BYTES // 1024} KiB together; "
            "declare those that are wanted",
            cause="output",
        )
    warnings = (f"{child.run_id} was completed with failures",) if child.with_failures else ()
    return StepResult(outputs=outputs, warnings=warnings)


def _outputs_of(child: Run) -> dict[str, Any]:
    """What its steps handed on; of two values of one name that of the later step."""
    outputs: dict[str, Any] = {}
    for number in range(1, len(child.procedure.steps) + 1):
        if child.steps[number].status is StepStatus.COMPLETED:
            outputs |= child.steps[number].outputs
    return outputs
