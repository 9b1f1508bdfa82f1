"""What follows a report that a step by hand is done, where the step's own script must say so too.

Nothing is believed because nobody looked: whatever ends a verification but exit code 0 leaves the step open. Decision
0019 has the table of cases.
"""

from __future__ import annotations

from sopwith.core import events as ev
from sopwith.core.commands import BeginVerification, EndVerification, StepResult
from sopwith.core.interruption import REPORT_VERIFY_SECS
from sopwith.core.moves_flow import out_of_time
from sopwith.core.moves_interrupt import begun, cause_of, completed, ended
from sopwith.core.moves_interrupt import end_verification as end_of_interrupted
from sopwith.core.refusal import refuse
from sopwith.core.run import Run, StepState, may_verify

_DONE, _NOT_DONE, _UNKNOWN = "done", "not_done", "unknown"


def begin_verification(run: Run, command: BeginVerification) -> list[ev.EventBody]:
    """Records the intent to run the script; with `held` also that it was not run, and the report not believed."""
    step = run.steps[command.step]
    verify = run.procedure.step(step.number).verify
    if not verify or not may_verify(run, step) or step.attempt != command.attempt:
        raise refuse(run, command, because=f"no report of step {command.step} is to be verified")
    told = begun(run, step, command, script=verify.text, limit_secs=REPORT_VERIFY_SECS, of_report=True)
    if not command.held:
        return [told]
    unbelieved = ev.VerificationEnded(
        step_number=step.number,
        title=told.title,
        attempt=step.attempt,
        outcome=_UNKNOWN,
        then=ev.OPEN,
        because=_not_believed(f"was not begun: {command.held}"),
        cause="start",
    )
    return [told, unbelieved]


def end_verification(run: Run, command: EndVerification) -> list[ev.EventBody]:
    """The step is completed if its script said so; else it is open as before, or ends with the run."""
    step = run.steps[command.step]
    found = step.verification
    if found is None or not found.of_report or not step.verifying or step.attempt != command.attempt:
        return end_of_interrupted(run, command)
    outcome = _outcome(command.result)
    if outcome == _DONE:
        told = ended(run, step, command, outcome=outcome, then="completed", because="")
        return [told, completed(run, step, command, output=step.output)]
    told = ended(run, step, command, outcome=outcome, then=ev.OPEN, because=_why(run, step, command, outcome))
    return [told, out_of_time(run, step, command)] if run.timed_out and not run.cancel_requested else [told]


def _outcome(result: StepResult) -> str:
    if result.cause != "exit" or result.signal is not None or result.exit_code is None:
        return _UNKNOWN
    return _NOT_DONE if result.exit_code else _DONE


def _why(run: Run, step: StepState, command: EndVerification, outcome: str) -> str:
    if outcome == _NOT_DONE:
        return _not_believed(f"ended with exit code {command.result.exit_code}")
    stopped = command.result.cause == "cancelled" and run.stopping
    return _not_believed(f"told nothing: {stopped or cause_of(run, step, command)[1]}")


def _not_believed(why: str) -> str:
    return f"the report that it is done was not believed, for its verification {why}"
