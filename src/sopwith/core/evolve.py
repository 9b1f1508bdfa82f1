"""`evolve(run, event) -> run`: what each event does to the state. Total, and it decides nothing.

An event that was recorded is a fact; whether it was allowed was `moves.py`'s question.

Longer than other files: each event has its lines here, in one match.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM, Actor
from sopwith.core.address import StepId, number_of
from sopwith.core.events import Event
from sopwith.core.evolve_again import expanded, going_on, looked_at_anew, retried
from sopwith.core.evolve_gate import apply_gate, each_gate, start_clock, stop_clock
from sopwith.core.evolve_rollback import rollback_begun, rollback_ended, rollback_started
from sopwith.core.evolve_verification import verified
from sopwith.core.instant import UNHELD, Instant
from sopwith.core.procedure import Procedure, canonical
from sopwith.core.request import Carried
from sopwith.core.run import (
    Gate,
    GateStatus,
    Run,
    RunStatus,
    StepState,
    StepStatus,
    dependencies_met,
    is_child,
    is_manual,
    times_out_at,
)
from sopwith.core.steps import Unshared, with_state

_FEW = 16
"""So many are quicker looked at one after the other."""


def replay(procedure: Procedure, events: Iterable[Event]) -> Run:
    """The run that these events make. The first must be run_created. Raises ValueError otherwise."""
    iterator = iter(events)
    first = next(iterator, None)
    if first is None or not isinstance(first.body, ev.RunCreated):
        raise ValueError("a run's first event is run_created")
    run = begin(procedure, first)
    for event in iterator:
        # an event that changes several steps at once has made a mapping of its own
        run = evolve(run if type(run.steps) is Unshared else replace(run, steps=Unshared(run.steps)), event)
    return replace(run, steps=dict(run.steps))


def begin(procedure: Procedure, event: Event) -> Run:
    """The run right after its run_created."""
    body = event.body
    assert isinstance(body, ev.RunCreated)
    run = Run(
        procedure=procedure,
        procedure_digest=body.procedure_digest,
        run_id=event.run_id,
        seq=event.seq,
        mode=body.mode,
        params=body.params,
        environment=body.environment,
        umask=body.umask,
        policy=body.policy,
        uses=body.uses,
        parent=body.parent,
        trigger=body.trigger,
        event_digest=body.event_digest,
        passed=body.passed,
        secrets=body.secrets,
        pins=body.pins,
        folders=body.folders,
        agents=body.agents,
        concurrency_group=body.concurrency_group,
        created_at=event.at,
        created_by=event.actor,
        updated_at=event.at,
        steps={step.number: StepState(number=step.number) for step in procedure.steps},
        followers=_followers(procedure),
        requests=_with_request(None, event),
        decided_in=frozenset(filter(None, (event.actor.inside,))),
    )
    return _surveyed(run)


def evolve(run: Run, event: Event) -> Run:
    """The run after one more event. Raises ValueError for one that cannot follow: no version of Sopwith wrote it."""
    if event.seq != run.seq + 1:
        raise ValueError(f"{run.run_id}: event {event.seq} does not follow {run.seq}")
    try:
        return _evolved(run, event)
    except (KeyError, AssertionError, AttributeError) as error:
        raise ValueError(f"{run.run_id}: event {event.seq}, {event.event_type}, cannot follow") from error


def _evolved(run: Run, event: Event) -> Run:
    number = event.body.step_number if isinstance(event.body, ev.StepBody | ev.GateBody) else None
    before = None if number is None else run.steps[number]
    after = _apply(run, event)
    if isinstance(event.body, ev.StepExpanded):
        after = _surveyed(after)
    elif isinstance(event.body, ev.StepBody | ev.GateBody):
        after = after if before is None else _moved_on(after, before)
    elif after.steps is not run.steps:
        after = _surveyed(after)
    if event.actor.inside is not None:
        after = replace(after, decided_in=run.decided_in | {event.actor.inside})
    if isinstance(event.body, ev.StepReported):
        after = replace(after, reporters=run.reporters | {event.actor.id})
    if event.request is not None:
        return replace(after, seq=event.seq, updated_at=event.at, requests=_with_request(run, event))
    return replace(after, seq=event.seq, updated_at=event.at)


def _with_request(run: Run | None, event: Event) -> dict[str, Carried]:
    known = {} if run is None else run.requests
    if event.request is None:
        return known
    request = event.request.concealed
    return {**known, request.key: Carried(digest=request.digest, seq=event.seq)}


def _followers(procedure: Procedure) -> dict[int, tuple[int, ...]]:
    followers: dict[int, tuple[int, ...]] = {}
    for step in procedure.steps:
        for other in step.depends_on:
            followers[other] = (*followers.get(other, ()), step.number)
    return followers


def _surveyed(run: Run) -> Run:
    """With the frontier as all its steps make it."""
    left = [number for number, step in run.steps.items() if not step.finished]
    frontier = tuple(number for number in left if _is_live(run, number))
    return replace(
        run,
        frontier=frontier,
        begun=tuple(number for number in frontier if run.steps[number].status is not StepStatus.PENDING),
        expanded={
            number: sum(not run.steps[each].finished for each in instances)
            for number in left
            if isinstance(number, int) and (instances := run.steps[number].instances) is not None
        },
        left=len(left),
    )


def _is_live(run: Run, number: StepId) -> bool:
    step = run.steps[number]
    if step.finished or step.instances is not None:
        return False
    return step.status is not StepStatus.PENDING or dependencies_met(run, number)


def _moved_on(run: Run, before: StepState) -> Run:
    """With the frontier after one of its steps has changed."""
    number = before.number
    is_there = _is_in(run, run.frontier, number)
    if before.finished == run.steps[number].finished and is_there:
        return _with_begun(run, number)
    if before.finished or not is_there:
        return _surveyed(run)
    frontier = _without(run, run.frontier, number)
    run = replace(run, frontier=frontier, begun=_without(run, run.begun, number), left=run.left - 1)
    if isinstance(number, str):
        # not there where a rollback has failed, and all instances had been finished before
        left = {whole: left - (whole == number_of(number)) for whole, left in run.expanded.items()}
        return replace(run, expanded=left)
    freed = {other for other in run.followers.get(number, ()) if _is_live(run, other)}
    if not freed:
        return run
    at_work = {*run.begun, *(each for each in freed if run.steps[each].status is not StepStatus.PENDING)}
    return replace(run, frontier=_in_order(run, {*run.frontier, *freed}), begun=_in_order(run, at_work))


def _with_begun(run: Run, number: StepId) -> Run:
    has_begun = run.steps[number].status is not StepStatus.PENDING
    if has_begun == _is_in(run, run.begun, number):
        return run
    if not has_begun:
        return replace(run, begun=_without(run, run.begun, number))
    place = _place_in(run, run.begun, number)
    return replace(run, begun=(*run.begun[:place], number, *run.begun[place:]))


def _in_order(run: Run, steps: set[StepId]) -> tuple[StepId, ...]:
    return tuple(sorted(steps, key=lambda each: _rank(run, each)))


def _rank(run: Run, number: StepId) -> tuple[int, int]:
    """Where the step stands among all."""
    return number_of(number), run.steps[number].place


# a frontier may hold a thousand instances, and each of them has several events: a long one is searched by halves
def _place_in(run: Run, ascending: tuple[StepId, ...], number: StepId) -> int:
    """Where the step stands in these, or would."""
    if len(ascending) <= _FEW and number in ascending:
        return ascending.index(number)
    return bisect_left(ascending, _rank(run, number), key=lambda each: _rank(run, each))


def _is_in(run: Run, ascending: tuple[StepId, ...], number: StepId) -> bool:
    if len(ascending) <= _FEW:
        return number in ascending
    place = _place_in(run, ascending, number)
    return place < len(ascending) and ascending[place] == number


def _without(run: Run, ascending: tuple[StepId, ...], number: StepId) -> tuple[StepId, ...]:
    place = _place_in(run, ascending, number)
    return ascending[:place] + ascending[place + 1 :] if ascending[place : place + 1] == (number,) else ascending


def _apply(run: Run, event: Event) -> Run:
    match event.body:
        case ev.GateBody():
            return apply_gate(run, event, event.body)
        case ev.StepRolledBack():
            return rollback_ended(run, event, event.body)
        case ev.StepExpanded():
            return expanded(run, event, event.body)
        case ev.RollbackStarted():
            return rollback_started(run, event.body)
        case ev.StepBody():
            return _with_step(run, _apply_step(run.steps[event.body.step_number], event, event.body), event.body)
        case ev.RunQueued():
            return replace(run, queued=True)
        case ev.RunStarted():
            clock = Instant(event.at, event.body.boot_ms, event.body.boot_id)
            begun = replace(run, queued=False, started_at=run.started_at or event.at, start_void=False)
            return replace(begun, clock=clock, stopped=None, held=UNHELD)
        case ev.RunTimedOut():
            return replace(run, timed_out=True)
        case ev.RunPauseRequested(cause=cause, reason=reason, stop=stop):
            stopping = _stopped_by(event.actor, reason) if stop else ""
            asked = replace(run, pause_requested=True, stopping=stopping, pause_cause=cause, reason=reason)
            now = _read(event, event.body)
            return each_gate(_hold(asked, event, event.body), lambda gate: stop_clock(gate, now))
        case ev.RunPaused(cause=cause, reason=reason):
            paused = replace(run, paused=True, pause_requested=False, stopping="", pause_cause=cause, reason=reason)
            now = _read(event, event.body)
            if run.clock is not None:
                paused = replace(paused, stopped=run.stopped or now)
            return each_gate(_hold(paused, event, event.body), lambda gate: stop_clock(gate, now))
        case ev.RunResumed():
            resumed = going_on(_timed_again(looked_at_anew(run), event, event.body))
            return each_gate(_let_go(resumed, event, event.body), lambda gate: start_clock(gate, event))
        case ev.RunCancelRequested(reason=reason):
            asked = replace(run, cancel_requested=True, reason=reason)
            return each_gate(asked, lambda gate: stop_clock(gate, Instant(event.at, 0, "")))
        case ev.RunCancelled():
            return _told(_cancelled(run, event, event.body.reason), event.body)
        case ev.RunFailed():
            return _told(_ended(run, event, RunStatus.FAILED, reason=event.body.error), event.body)
        case ev.RunCompleted(nothing_ran=nothing_ran, with_failures=with_failures):
            ended = _ended(run, event, RunStatus.COMPLETED)
            return replace(ended, nothing_ran=nothing_ran, with_failures=with_failures)
        case ev.RunRetried():
            return each_gate(
                _let_go(retried(_timed_again(run, event, event.body), event.body), event, event.body),
                lambda gate: start_clock(gate, event),
            )
        case other:
            raise ValueError(f"{type(other).__name__} cannot follow run_created")


def _timed_again(run: Run, event: Event, body: ev.RunResumed | ev.RunRetried) -> Run:
    """With the clock going on after a pause; after an end it starts afresh."""
    if run.ended is not None:
        return replace(run, clock=_read(event, body), stopped=None, held=UNHELD, timed_out=False)
    if run.stopped is None:
        return run
    return replace(run, stopped=None, held=run.held.and_from(run.stopped, _read(event, body)))


def _read(event: Event, body: ev.RunPauseRequested | ev.RunPaused | ev.RunResumed | ev.RunRetried) -> Instant:
    """The moment of the event, by both clocks."""
    return Instant(event.at, body.boot_ms, body.boot_id)


def _stopped_by(actor: Actor, reason: str) -> str:
    """Why a step was ended before its time. What a parent hands on is told by its reason, which names the parent."""
    return f"stopped: {reason}" if actor == SYSTEM and reason else f"stopped by {actor}"


def _ended(run: Run, event: Event, status: RunStatus, *, reason: str = "") -> Run:
    return replace(
        run,
        ended=status,
        ended_at=event.at,
        reason=reason,
        rollback=None,
        paused=False,
        pause_requested=False,
        stopping="",
        queued=False,
    )


def _told(run: Run, body: ev.RolledBack) -> Run:
    return replace(
        run,
        rolled_back=body.rolled_back,
        rollback_failed=body.rollback_failed,
        not_rolled_back=body.not_rolled_back,
    )


_CALLED_OFF = (StepStatus.PENDING, StepStatus.AWAITING_APPROVAL, StepStatus.RUNNING, StepStatus.WAITING)


def _cancelled(run: Run, event: Event, reason: str) -> Run:
    def close(gate: Gate) -> Gate:
        return replace(gate, status=GateStatus.CLOSED, decided_at=event.at, decided_by=event.actor, left_ms=None)

    left = run.rollback.left if run.rollback is not None else ()

    def stop(step: StepState) -> StepState:
        if step.number in left:
            return replace(step, status=StepStatus.COMPLETED)
        # what is known of a step, or known not to be known, outlives the run
        return (
            replace(step, status=StepStatus.CANCELLED, wake_at=None, resting=None)
            if step.status in _CALLED_OFF
            else step
        )

    ended = each_gate(_ended(run, event, RunStatus.CANCELLED, reason=reason), close)
    return replace(ended, cancel_requested=False, steps={n: stop(step) for n, step in ended.steps.items()})


def _hold(run: Run, event: Event, body: ev.RunPauseRequested | ev.RunPaused) -> Run:
    """Stops the clock of steps that have a limit and are carried out by hand, or by a run that pauses too."""
    held = {
        number: replace(step, stopped=_read(event, body))
        for number, step in run.steps.items()
        if step.stopped is None and _pauses(run, number) and times_out_at(run, step) is not None
    }
    return replace(run, steps={**run.steps, **held}) if held else run


def _pauses(run: Run, number: StepId) -> bool:
    return is_manual(run, number) or is_child(run, number)


def _let_go(run: Run, event: Event, body: ev.RunResumed | ev.RunRetried) -> Run:
    going = {
        number: replace(step, stopped=None, held=step.held.and_from(step.stopped, _read(event, body)))
        for number, step in run.steps.items()
        if step.stopped is not None
    }
    return replace(run, steps={**run.steps, **going}) if going else run


def _with_step(run: Run, step: StepState, body: ev.StepBody) -> Run:
    executed = run.executed or isinstance(body, ev.StepStarted | ev.WaitStarted)
    return replace(run, steps=with_state(run.steps, step), executed=executed)


def _apply_step(step: StepState, event: Event, body: ev.StepBody) -> StepState:
    match body:
        case ev.StepStarted(rollback=True):
            return rollback_begun(step, event, body)
        case ev.StepStarted():
            started = Instant(event.at, body.boot_ms, body.boot_id)
            return replace(
                step,
                status=StepStatus.RUNNING,
                attempt=body.attempt,
                tries=step.tries + 1,
                wake_at=None,
                resting=None,
                started=started,
                stopped=None,
                held=UNHELD,
                digest=body.digest,
                child=body.child_run_id,
                child_seq=body.child_seq,
                agent=body.agent,
                command=body.command,
                child_standing=None,
                verification=None,
                verifications=0,
                error="",
            )
        case ev.ChildRunChanged(status=status, rests=rests):
            return replace(step, child_standing=RunStatus(status) if rests else None)
        case ev.WaitStarted(until=until):
            started = Instant(event.at, body.boot_ms, body.boot_id)
            return replace(
                step,
                status=StepStatus.WAITING,
                attempt=body.attempt,
                tries=step.tries + 1,
                wake_at=until,
                started=started,
                digest=body.digest,
            )
        case ev.WaitEnded():
            return replace(step, wake_at=None, resting=None)
        case ev.StepRetryScheduled(at=at):
            since = Instant(event.at, body.boot_ms, body.boot_id)
            reruns = step.reruns + (body.cause == ev.INTERRUPTED)
            return replace(step, status=StepStatus.WAITING, wake_at=at, resting=(since, body.delay_ms), reruns=reruns)
        case ev.ConditionEvaluated(condition=ev.IF, result=result):
            return replace(step, condition_held=result, condition_unknown=result is None)
        case ev.ConditionEvaluated(condition=ev.FOR_EACH):
            return replace(step, condition_unknown=True)
        case ev.StepReported():
            told = replace(step, comment=body.comment, output=body.output, evidence=step.evidence + body.evidence)
            return replace(told, to_verify=body.to_verify)
        case ev.StepCompleted():
            done = replace(step, status=StepStatus.COMPLETED, outputs=body.outputs, error="", completed_seq=event.seq)
            handed_on = len(canonical(body.outputs)) if step.place and body.outputs else 0
            return replace(done, outputs_bytes=handed_on, **_end(step, event, body))
        case ev.StepFailed():
            status = StepStatus.CANCELLED if body.cause == "cancelled" else StepStatus.FAILED
            failed = replace(step, status=status, error=body.error, outputs=body.outputs, **_end(step, event, body))
            return replace(failed, passed_over=bool(body.then), wake_at=None, resting=None)
        case ev.StepInterrupted():
            error = f"{body.reason}; {body.because}" if body.because else body.reason
            return replace(step, status=StepStatus.INTERRUPTED, error=error, output=body.output, ended_at=event.at)
        case ev.VerificationStarted() | ev.VerificationEnded():
            return verified(step, event, body)
        case ev.ConditionEvaluated(condition=ev.WHEN, result=result):
            return replace(step, waived=result is False)
        case ev.ConditionEvaluated():
            return step  # a condition of a kind that this version does not have
        case ev.StepSkipped():
            return replace(
                step,
                status=StepStatus.SKIPPED,
                comment=body.reason,
                ended_at=event.at,
                error="",
                wake_at=None,
                resting=None,
                passed_over=False,
                ends_run=False,
                condition_unknown=False,
            )
        case other:
            raise ValueError(f"{type(other).__name__} is not a step's event")


def _end(step: StepState, event: Event, body: ev.StepEnd) -> dict[str, Any]:
    return {
        "child_standing": None,
        "ended_at": event.at,
        "duration_ms": body.duration_ms,
        "exit_code": body.exit_code,
        "output": body.output or step.output,
    }
