"""What follows where nobody can know how an attempt ended: a person is asked, or what the step itself says is done.

Nothing here runs a step again unless its procedure says so, and never more than MAX_RERUNS times. Decision 0011 has the
table of cases.
"""

from __future__ import annotations

from sopwith.core import events as ev
from sopwith.core.commands import Command, EndVerification, Interrupt, StepResult
from sopwith.core.instant import duration_text, elapsed_ms
from sopwith.core.interruption import MAX_RERUNS, VERIFY_SECS, rules_of
from sopwith.core.moves_flow import after_failure, step_ms
from sopwith.core.procedure import InterruptRules, OnInterrupt
from sopwith.core.refusal import refuse
from sopwith.core.run import Run, StepState, is_child, recorded_at, run_timeout_text, starts_nothing

_DONE, _NOT_DONE, _UNKNOWN = "done", "not_done", "unknown"


def interrupted(run: Run, step: StepState, command: Interrupt) -> list[ev.EventBody]:
    """The interruption, and what the step says is done then."""
    rules = rules_of(run.procedure.step(step.number))
    asks = rules.policy is OnInterrupt.ASK or is_child(run, step.number)
    because = "" if asks else _why_ask(run, step, rules, command)
    told = ev.StepInterrupted(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        reason=command.reason,
        output=command.output,
        on_interrupt="" if asks else str(rules.policy),
        then="" if asks or because else str(rules.policy),
        because=because,
    )
    if not told.then:
        return [told]
    match rules.policy:
        case OnInterrupt.RERUN:
            return [told, _rerun(run, step, command)]
        case OnInterrupt.VERIFY:
            return [told, begun(run, step, command, script=rules.command, limit_secs=VERIFY_SECS)]
        case _:
            return [told, *_failed(run, step, command)]


def _why_ask(run: Run, step: StepState, rules: InterruptRules, command: Interrupt) -> str:
    """Why a person decides, whatever the step says; empty where what it says is done."""
    if ends := _why_over(run):
        return ends
    if command.held:
        return command.held
    if run.stopping:
        return f"it was to be ended: {run.stopping}"
    if rules.policy is OnInterrupt.RERUN:
        return _too_often(step)
    if rules.policy is OnInterrupt.VERIFY and starts_nothing(run):
        return "it was not verified, for nothing more is to be started"
    return ""


def _why_over(run: Run) -> str:
    if run.cancel_requested:
        return "the run is being cancelled"
    return run_timeout_text(run) if run.timed_out else ""


def _too_often(step: StepState) -> str:
    if step.reruns < MAX_RERUNS:
        return ""
    return f"it was run again {step.reruns} times after interruptions, and is not run again by itself"


def _rerun(run: Run, step: StepState, command: Command) -> ev.StepRetryScheduled:
    return ev.StepRetryScheduled(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        attempt=step.reruns + 1,
        max_attempts=MAX_RERUNS,
        cause=ev.INTERRUPTED,
        at=recorded_at(run, command.now),
        delay_ms=0,
        boot_id=command.now.boot_id,
        boot_ms=command.now.boot_ms,
    )


def begun(
    run: Run, step: StepState, command: Command, *, script: str, limit_secs: int, of_report: bool = False
) -> ev.VerificationStarted:
    """The intent to verify the step's present attempt with this script, for the record."""
    return ev.VerificationStarted(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        visit=step.visit,
        attempt=step.attempt,
        command=script,
        digest=step.digest,
        limit_ms=limit_secs * 1000,
        boot_id=command.now.boot_id,
        boot_ms=command.now.boot_ms,
        of_report=of_report,
    )


def _failed(run: Run, step: StepState, command: Interrupt) -> list[ev.EventBody]:
    failed = ev.StepFailed(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        error=f"interrupted: {command.reason}",
        cause=ev.INTERRUPTED,
        output=command.output,
    )
    return after_failure(run, step, failed, command)


def end_verification(run: Run, command: EndVerification) -> list[ev.EventBody]:
    """The step is done, or is run again, or a person decides: where the command did not say, or it was often enough."""
    step = run.steps[command.step]
    if not step.verifying or step.attempt != command.attempt or step.verification is None:
        raise refuse(run, command, because=f"attempt {command.attempt} of step {command.step} is not being verified")
    outcome = _outcome(command.result)
    because = _why_decide(run, step, command, outcome)
    then = {_DONE: "completed", _NOT_DONE: "" if because else "rerun", _UNKNOWN: ""}[outcome]
    told = ended(run, step, command, outcome=outcome, then=then, because=because)
    match then:
        case "completed":
            return [told, completed(run, step, command)]
        case "rerun":
            return [told, _rerun(run, step, command)]
        case _:
            return [told]


def _outcome(result: StepResult) -> str:
    """What the exit code says. An end of any other kind says nothing, whatever code comes with it."""
    if result.cause == "exit" and result.signal is None:
        return {0: _DONE, 1: _NOT_DONE}.get(-1 if result.exit_code is None else result.exit_code, _UNKNOWN)
    return _UNKNOWN


def _why_decide(run: Run, step: StepState, command: EndVerification, outcome: str) -> str:
    if outcome == _UNKNOWN:
        return f"its verification told nothing: {cause_of(run, step, command)[1]}"
    if outcome == _NOT_DONE and (why := _why_over(run) or _too_often(step)):
        return f"its verification found it not done, and {why}"
    return ""


def cause_of(run: Run, step: StepState, command: EndVerification) -> tuple[str, str]:
    """Why it ended as it did, and in words. One that was ended out of the blue counts as killed."""
    result = command.result
    if result.cause != "cancelled":
        return result.cause, result.error
    if why := _why_over(run):
        return ("cancelled" if run.cancel_requested else "timeout"), why
    verification = step.verification
    assert verification is not None
    if elapsed_ms(verification.started, command.now) >= verification.limit_ms:
        return "timeout", f"it was not done within {duration_text(verification.limit_ms)}"
    return "signal", result.error


def ended(
    run: Run, step: StepState, command: EndVerification, *, outcome: str, then: str, because: str
) -> ev.VerificationEnded:
    """How the verification ended, for the record."""
    assert step.verification is not None
    result = command.result
    milliseconds = elapsed_ms(step.verification.started, command.now)
    return ev.VerificationEnded(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        attempt=step.attempt,
        outcome=outcome,
        then=then,
        because=because,
        cause=cause_of(run, step, command)[0],
        exit_code=result.exit_code,
        signal=result.signal,
        output=result.output,
        output_bytes=result.output_bytes,
        output_sha256=result.output_sha256,
        duration=duration_text(milliseconds),
        duration_ms=milliseconds,
        warnings=result.warnings,
    )


def completed(run: Run, step: StepState, command: EndVerification, *, output: str = "") -> ev.StepCompleted:
    """The step is done, as its verification found."""
    milliseconds = step_ms(step, command.now)
    return ev.StepCompleted(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        duration=duration_text(milliseconds),
        duration_ms=milliseconds,
        output=output,
        verified=True,
    )
