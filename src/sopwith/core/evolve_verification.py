"""What a verification does to the state of its step. Part of `evolve.py`: total, and it decides nothing."""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.events import Event
from sopwith.core.instant import Instant
from sopwith.core.run import StepState, StepStatus, Verification


def verified(step: StepState, event: Event, body: ev.VerificationStarted | ev.VerificationEnded) -> StepState:
    """The step runs as long as its verification does; then it is interrupted, until the next event says otherwise.

    After that of a report the step is open as before, until that event.
    """
    if isinstance(body, ev.VerificationStarted):
        started = Instant(event.at, body.boot_ms, body.boot_id)
        found = Verification(command=body.command, started=started, limit_ms=body.limit_ms, of_report=body.of_report)
        begun = replace(step, verification=found, verifications=step.verifications + 1, to_verify=False, error="")
        if body.of_report:
            return begun
        return replace(begun, status=StepStatus.RUNNING, ended_at=None, error=step.error)
    assert step.verification is not None
    found = replace(
        step.verification,
        outcome=body.outcome,
        exit_code=body.exit_code,
        output=body.output,
        because=body.because,
    )
    if found.of_report:
        return replace(step, verification=found, error=body.because)
    error = f"{step.error}; {body.because}" if body.because else step.error
    return replace(step, status=StepStatus.INTERRUPTED, verification=found, error=error, ended_at=event.at)
