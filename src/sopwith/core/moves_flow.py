"""What happens between steps: conditions, waits, time limits, and where a failure leads."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.commands import Command, EndWait, Evaluate, TimeOut, TimeOutRun
from sopwith.core.detour import passed_by
from sopwith.core.instant import Instant, duration_text, elapsed_ms
from sopwith.core.items import items_of
from sopwith.core.moves_gate import pausing
from sopwith.core.procedure import OnFailure, RetryRules
from sopwith.core.refusal import refuse
from sopwith.core.run import (
    Run,
    StepState,
    StepStatus,
    asks_items,
    dependencies_met,
    is_manual,
    is_wait,
    may_start,
    recorded_at,
    run_left_ms,
    run_limit_ms,
    run_timeout_text,
    starts_nothing,
    time_left_ms,
)

_LONGEST_DELAY_SECS = 10 * 366 * 24 * 3600
"""What multiplies without a limit must still be a date."""
_NOT_TRIED_AGAIN = ("reported", "approval_timeout", ev.INTERRUPTED)
"""Failures after which `retry` does nothing: a person said so, or what may have had an effect would be run again."""


def evaluate(run: Run, command: Evaluate) -> list[ev.EventBody]:
    """Asks the step's own condition, and what it is to be done for.

    The step goes on, is skipped, or has instances; or the run pauses because nobody can know.
    """
    step = run.steps[command.step]
    definition = run.procedure.step(step.number)
    waits = step.status is StepStatus.PENDING and step.instances is None and dependencies_met(run, step.number)
    asks_condition = definition.condition is not None and step.condition_held is None
    if not (asks_condition or asks_items(run, step)) or not waits or starts_nothing(run):
        raise refuse(run, command)
    if not may_start(run):
        raise refuse(run, command)
    events = _ask_condition(run, step, definition.condition, command) if asks_condition else []
    if asks_items(run, step) and all(isinstance(body, ev.ConditionEvaluated) and body.result for body in events):
        events += _expand(run, step, command)
    return events


def _ask_condition(run: Run, step: StepState, expression: str | None, command: Command) -> list[ev.EventBody]:
    assert expression is not None
    # CEL is imported only where a procedure has a condition
    from sopwith.core import conditions, scope

    title = run.procedure.step(step.number).title
    verdict = conditions.evaluate(
        expression,
        scope.scope_of(run.procedure, step.number),
        scope.values_for(run, step.number),
    )
    evaluated = ev.ConditionEvaluated(
        step_number=step.number,
        title=title,
        condition=ev.IF,
        expression=expression,
        result=verdict.result,
        reason=verdict.reason,
    )
    if verdict.result is False:
        reason = f"`{expression}` does not hold"
        return [evaluated, ev.StepSkipped(step_number=step.number, title=title, reason=reason)]
    if verdict.result is None:
        why = f"the condition of step {step.number} could not be evaluated: {verdict.reason}"
        return [evaluated, *pausing(run, command, "condition", why)]
    return [evaluated]


def _expand(run: Run, step: StepState, command: Command) -> list[ev.EventBody]:
    """The step's instances; none are needed where it has no items."""
    definition = run.procedure.step(step.number)
    found = items_of(run, step)
    if found.reason:
        unknown = ev.ConditionEvaluated(
            step_number=step.number,
            title=definition.title,
            condition=ev.FOR_EACH,
            expression=str(definition.for_each),
            result=None,
            reason=found.reason,
        )
        why = f"nobody can know the items of step {step.number}: {found.reason}"
        return [unknown, *pausing(run, command, "condition", why)]
    if not found.items:
        return [ev.StepSkipped(step_number=step.number, title=definition.title, reason="there are no items")]
    return [
        ev.StepExpanded(
            step_number=step.number,
            title=definition.title,
            items=found.items,
            instances=found.names,
            boot_id=command.now.boot_id,
            boot_ms=command.now.boot_ms,
        )
    ]


def begin_wait(run: Run, step: StepState, command: Command, digest: str) -> list[ev.EventBody]:
    """A step that only waits starts without a process."""
    definition = run.procedure.step(step.number)
    now = recorded_at(run, command.now)
    return [
        ev.WaitStarted(
            step_number=step.number,
            title=definition.title,
            visit=step.visit,
            attempt=step.attempt + 1,
            digest=digest,
            until=_until(now, definition.wait_secs, definition.wait_until),
            boot_id=command.now.boot_id,
            boot_ms=command.now.boot_ms,
        )
    ]


def _until(now: datetime, wait_secs: int | float | None, wait_until: str | None) -> datetime:
    if wait_until is not None:
        at = datetime.fromisoformat(wait_until)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)
    return now + timedelta(milliseconds=round((wait_secs or 0) * 1000))


def end_wait(run: Run, command: EndWait) -> list[ev.EventBody]:
    """Nothing before its time, or where the wait has ended."""
    step = run.steps[command.step]
    if step.status is not StepStatus.WAITING or not is_wait(run, step.number) or step.wake_at is None:
        return []
    left_ms = time_left_ms(run, step, command.now)
    if left_ms > 0 if left_ms is not None else command.now.at < step.wake_at:
        return []
    title = run.procedure.step(step.number).title
    milliseconds = step_ms(step, command.now)
    return [
        ev.WaitEnded(step_number=step.number, title=title, until=step.wake_at),
        ev.StepCompleted(
            step_number=step.number,
            title=title,
            duration=duration_text(milliseconds),
            duration_ms=milliseconds,
        ),
    ]


def time_out(run: Run, command: TimeOut) -> list[ev.EventBody]:
    """A step that somebody carries out has used up its time. One with a process is ended by its driver instead."""
    step = run.steps[command.step]
    left_ms = time_left_ms(run, step, command.now)
    if left_ms is None or left_ms > 0 or not is_manual(run, step.number) or step.attempt != command.attempt:
        return []
    if step.to_verify:
        return []
    milliseconds = step_ms(step, command.now)
    failed = ev.StepFailed(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        error=timeout_text(run, step),
        cause="timeout",
        duration=duration_text(milliseconds),
        duration_ms=milliseconds,
    )
    return after_failure(run, step, failed, command)


def time_out_run(run: Run, command: TimeOutRun) -> list[ev.EventBody]:
    """The time of the whole run is up. Its driver ends what runs as a process; all else that goes on ends here."""
    left_ms = run_left_ms(run, command.now)
    if left_ms is None or left_ms > 0:
        return []
    events: list[ev.EventBody] = [ev.RunTimedOut(limit_ms=run_limit_ms(run) or 0)]
    for step in run.under_way:
        by_hand = step.status is StepStatus.RUNNING and is_manual(run, step.number)
        if by_hand or step.status is StepStatus.WAITING:
            events.append(out_of_time(run, step, command))
    return events


def out_of_time(run: Run, step: StepState, command: Command) -> ev.StepFailed:
    """The end of a step by hand, of a wait, or of the rest before a next try, which keeps how the last one ended."""
    rests = step.resting is not None
    milliseconds = (step.duration_ms or 0) if rests else step_ms(step, command.now)
    return ev.StepFailed(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        error=run_timeout_text(run),
        cause="timeout",
        duration=duration_text(milliseconds),
        duration_ms=milliseconds,
        exit_code=step.exit_code if rests else None,
    )


def timeout_text(run: Run, step: StepState) -> str:
    limit = run.procedure.step(step.number).timeout_secs or 0
    return f"not done within {duration_text(round(limit * 1000))}"


def after_failure(run: Run, step: StepState, failed: ev.StepFailed, command: Command) -> list[ev.EventBody]:
    """The failure, and what the procedure says comes of it: another try, or going on in spite of it."""
    definition = run.procedure.step(step.number)
    if failed.cause == "cancelled" or run.cancel_requested or run.timed_out:
        return [failed]
    scheduled = _next_try(run, step, failed, definition.retry, command)
    if scheduled is not None:
        return [failed, scheduled]
    if definition.on_failure is OnFailure.CONTINUE:
        return [replace(failed, then="continue")]
    if definition.on_failure is OnFailure.GOTO and definition.goto is not None:
        # the other instances go on, and nothing after the step may start before them
        skipped = passed_by(run, step.number, definition.goto, why="failed") if isinstance(step.number, int) else []
        return [replace(failed, then="goto"), *skipped]
    return [failed]


def _next_try(
    run: Run, step: StepState, failed: ev.StepFailed, rules: RetryRules | None, command: Command
) -> ev.StepRetryScheduled | None:
    if rules is None or step.tries >= rules.max_attempts or failed.cause in _NOT_TRIED_AGAIN:
        return None
    if rules.on_exit_codes and failed.exit_code not in rules.on_exit_codes:
        return None
    delay_ms = _delay_ms(rules, step.tries)
    return ev.StepRetryScheduled(
        step_number=step.number,
        title=failed.title,
        attempt=step.tries + 1,
        max_attempts=rules.max_attempts,
        at=recorded_at(run, command.now) + timedelta(milliseconds=delay_ms),
        delay_ms=delay_ms,
        boot_id=command.now.boot_id,
        boot_ms=command.now.boot_ms,
    )


def _delay_ms(rules: RetryRules, tries: int) -> int:
    longest = _LONGEST_DELAY_SECS if rules.max_delay_secs is None else rules.max_delay_secs
    delay_secs = float(rules.delay_secs)
    for _ in range(tries - 1):
        delay_secs *= rules.backoff  # past all numbers this is infinite, where a power would raise
    return round(min(delay_secs, longest) * 1000)


def step_ms(step: StepState, now: Instant) -> int:
    """How long the present attempt has taken."""
    return 0 if step.started is None else elapsed_ms(step.started, now)
