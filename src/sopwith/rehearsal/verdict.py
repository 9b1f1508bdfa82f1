"""What a scenario expects against what happened: every difference, in words that need no code beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from sopwith.core.address import StepId
from sopwith.core.events import Event, GateBody
from sopwith.core.instant import duration_text, whole_ms
from sopwith.core.run import Run, RunStatus, awaits_report, open_gates, shown_status, status_of
from sopwith.parse.scenario import Expectation, ExpectedEvent, Scenario
from sopwith.rehearsal.play import Played, answers

_START = "start"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """`what` was expected to be one thing and was another: `step 2`, `status`, `events`, `act 3, bob rejects`."""

    what: str
    expected: str
    got: str


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One event as people read it: how long after the start, what, and by whom if by a person or an agent."""

    after: str
    event: str
    by: str = ""


def differences(scenario: Scenario, played: Played) -> tuple[Difference, ...]:
    """Everything that is not as the scenario expects it."""
    return tuple(_differences(scenario.expect, played))


def waits_for(played: Played) -> str:
    """Why the run went no further, as a sentence; empty where it has ended."""
    run = played.run
    if played.endless or run is None or run.ended in (RunStatus.COMPLETED, RunStatus.CANCELLED):
        return ""
    if run.ended is not None:
        return f"the run failed: {run.reason}" if run.reason else "the run failed"
    told = ", ".join(_waiting(run)) or f"the run is {status_of(run)}"
    return told if played.trouble is not None else f"{told}, and no more acts are scripted"


def history(played: Played) -> tuple[Moment, ...]:
    """The events in order."""
    return tuple(_moment(event, played.events[0]) for event in played.events)


def _differences(expect: Expectation, played: Played) -> Iterator[Difference]:
    if (start := _start(expect, played)) is not None:
        yield start
    run = played.run
    if run is None:
        return
    if played.endless:
        yield Difference(what="the scenario", expected="an end", got="none: it goes on and on")
    if (trouble := played.trouble) is not None:
        yield Difference(what=f"act {trouble.number}, {trouble.words}", expected=trouble.expected, got=trouble.got)
    yield from _of_run(expect, run)
    for number, status in expect.steps.items():
        yield from _unequal(f"step {number}", status.value, _status(run, number))
    for number, outputs in expect.outputs.items():
        for name, value in outputs.items():
            yield from _unequal(f"step {number}, output {name}", _value(value), _value(_outputs(run, number).get(name)))
    yield from _missing(expect.events, played.events)
    yield from _unwanted(expect.never, played.events)


def _status(run: Run, number: StepId) -> str:
    step = run.steps.get(number)
    return "none" if step is None else shown_status(run, step).value


def _outputs(run: Run, number: StepId) -> dict[str, Any]:
    step = run.steps.get(number)
    return {} if step is None else step.outputs


def _start(expect: Expectation, played: Played) -> Difference | None:
    if expect.outcome is not None or played.unmatched is not None:
        return _outcome(expect, played)
    refusal = played.refusal
    if (refusal.code if refusal else "") == expect.refused:
        return None
    return Difference(what="the start of the run", **answers(expect.refused, refusal))


def _outcome(expect: Expectation, played: Played) -> Difference | None:
    """Of the event that was to start the run."""
    found = played.unmatched
    if found is not None and found.outcome is expect.outcome:
        return None
    expected = "a run" if expect.outcome is None else f"no run: {expect.outcome}"
    if found is not None:
        return Difference(what="the event", expected=expected, got=f"no run: {found.outcome}: {found.reason}")
    refusal = played.refusal
    got = "a run" if refusal is None else f"{refusal.code}: {refusal.message}"
    return Difference(what="the event", expected=expected, got=got)


def _of_run(expect: Expectation, run: Run) -> Iterator[Difference]:
    if expect.status is not None:
        yield from _unequal("status", expect.status.value, status_of(run).value)
    flags = (
        ("with_failures", expect.with_failures, run.with_failures),
        ("nothing_ran", expect.nothing_ran, run.nothing_ran),
        ("rolled_back", expect.rolled_back, run.rolled_back),
    )
    for name, wanted, found in flags:
        if wanted is not None:
            yield from _unequal(name, _value(wanted), _value(found))
    for name, value in expect.params.items():
        yield from _unequal(f"parameter {name}", _value(value), _value(run.params.get(name)))


def _unequal(what: str, expected: str, got: str) -> Iterator[Difference]:
    if expected != got:
        yield Difference(what=what, expected=expected, got=got)


def _missing(expected: tuple[ExpectedEvent, ...], events: tuple[Event, ...]) -> Iterator[Difference]:
    """The first event that does not come after those before it."""
    at = 0
    before = ""
    for wanted in expected:
        found = next((index for index in range(at, len(events)) if _is(events[index], wanted)), None)
        if found is None:
            came = any(_is(event, wanted) for event in events)
            got = "one before that" if came else "none"
            after = f" after {before}" if before else ""
            yield Difference(what="events", expected=f"{wanted.written}{after}", got=got)
            return
        at, before = found + 1, wanted.written


def _unwanted(never: tuple[ExpectedEvent, ...], events: tuple[Event, ...]) -> Iterator[Difference]:
    for unwanted in never:
        came = next((event for event in events if _is(event, unwanted)), None)
        if came is not None:
            after = _moment(came, events[0]).after
            yield Difference(what="never", expected=f"no {unwanted.written}", got=f"{event_words(came)} after {after}")


def _is(event: Event, wanted: ExpectedEvent) -> bool:
    if event.event_type != wanted.event_type:
        return False
    if wanted.at_start:
        return event.step_number is None
    return wanted.step is None or event.step_number == wanted.step


def event_words(event: Event) -> str:
    """`step_started 2`, `approval_requested start`: as scenarios write it."""
    if event.step_number is not None:
        return f"{event.event_type} {event.step_number}"
    return f"{event.event_type} {_START}" if isinstance(event.body, GateBody) else event.event_type


def _moment(event: Event, first: Event) -> Moment:
    by = "" if event.actor.kind in ("system", "trigger") else str(event.actor)
    return Moment(after=duration_text(whole_ms(event.at - first.at)), event=event_words(event), by=by)


def _waiting(run: Run) -> Iterator[str]:
    for number, _gate in open_gates(run):
        yield "the start waits for approval" if number is None else f"step {number} waits for approval"
    for step in run.steps.values():
        if awaits_report(run, step):
            yield f"step {step.number} is done by hand and waits for a report"
    if run.paused:
        yield f"the run is paused: {run.reason}" if run.reason else "the run is paused"


def _value(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
