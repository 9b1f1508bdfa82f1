"""What events do to steps that are done for several items, and to those that are done once more.

Part of `evolve.py`: total, and it decides nothing.
"""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.address import StepId, number_of, step_id
from sopwith.core.events import Event
from sopwith.core.gates import needs_start_gate
from sopwith.core.instant import Instant
from sopwith.core.run import Run, StepState, StepStatus, children, from_here_on


def expanded(run: Run, event: Event, body: ev.StepExpanded) -> Run:
    """The step's instances come after it; from here on they are what anything is about."""
    number = body.step_number
    step = run.steps[number]
    made = {
        (address := step_id(number_of(number), name)): replace(
            step.former.get(address) or StepState(number=address, visit=step.visit),
            place=place,
            item=item,
            condition_held=True,
        )
        for place, (name, item) in enumerate(zip(body.instances, body.items, strict=True), start=1)
    }
    steps: dict[StepId, StepState] = {}
    for each, state in run.steps.items():
        steps[each] = state
        if each == number:
            started = Instant(event.at, body.boot_ms, body.boot_id)
            begun = replace(step, instances=tuple(made), started=started, condition_unknown=False)
            steps |= {number: begun, **made}
    return replace(run, steps=steps)


def retried(run: Run, body: ev.RunRetried) -> Run:
    run = looked_at_anew(run)
    again = from_here_on(run.procedure, body.from_step) if body.from_step is not None else frozenset()
    again = again.union(body.again)
    steps = {
        number: _asked_again(step, new_visit=number in again) if number in again or number in body.steps else step
        for number, step in run.steps.items()
        # with its step, what an instance was made for is asked anew
        if isinstance(number, int) or number_of(number) not in again
    }
    for number in again:
        if isinstance(number, int) and run.steps[number].instances is not None:
            steps[number] = replace(steps[number], former=_former(run, run.steps[number]))
        elif isinstance(number, str) and (whole := number_of(number)) not in again:
            steps[whole] = _opened(steps[whole])
    if body.params:
        run = replace(
            run, params=body.params, secrets=body.secrets, start_void=run.start_void or needs_start_gate(run.mode)
        )
    return going_on(replace(run, steps=steps))


def _former(run: Run, step: StepState) -> dict[StepId, StepState]:
    """The instances as they would begin a new visit, and those of earlier visits."""
    last = {each: _asked_again(run.steps[each], new_visit=True) for each in step.instances or ()}
    return {**step.former, **last}


def _opened(step: StepState) -> StepState:
    """A step of whose instances one is done again: it ends anew."""
    return replace(
        step,
        status=StepStatus.PENDING,
        passed_over=False,
        outputs={},
        ended_at=None,
        duration_ms=None,
        completed_seq=0,
        comment="",
        error="",
    )


def going_on(run: Run) -> Run:
    return replace(
        run,
        ended=None,
        ended_at=None,
        rolled_back=False,
        rollback_failed=(),
        not_rolled_back=(),
        paused=False,
        pause_cause="",
        pause_requested=False,
        stopping="",
        reason="",
    )


def _asked_again(step: StepState, *, new_visit: bool) -> StepState:
    """The step as it was before its first start, but for its counters and the gate's revision."""
    return StepState(
        number=step.number,
        place=step.place,
        item=step.item,
        child="" if new_visit else step.child,
        former=step.former,
        condition_held=True if step.place else None,
        must_ask=step.must_ask,
        visit=step.visit + 1 if new_visit else step.visit,
        attempt=0 if new_visit else step.attempt,
        reruns=0 if new_visit else step.reruns,
        gate=step.gate,
        gate_void=step.gate is not None,
    )


def looked_at_anew(run: Run) -> Run:
    """Child runs were paused with their parent, and go on with it."""
    steps = {step.number: replace(step, child_standing=None) for step in children(run)}
    return replace(run, steps={**run.steps, **steps}) if steps else run
