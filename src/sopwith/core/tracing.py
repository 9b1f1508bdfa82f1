"""Traces: which ids a run and each try of its steps have, and the spans that its events make.

The ids follow from the run's own, so that whoever is asked, whenever, says the same; a step's processes join the trace
whether anything is exported or not. A trace that the event came with (W3C `traceparent`) is gone on with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.digest import sha256
from sopwith.core.events import Event

_TRACEPARENT = r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"


class TraceContext(msgspec.Struct, frozen=True):
    """A place in a trace: its id, and that of a span; empty where there is no span around."""

    trace_id: str
    span_id: str = ""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or one try of a step, from its begin to its end. `parent` empty: nothing is around it."""

    trace_id: str
    span_id: str
    parent: str
    name: str
    began_at: datetime
    ended_at: datetime
    error: str = ""
    attributes: dict[str, str | int] = msgspec.field(default_factory=dict)


def context_of(run_id: str, event: Mapping[str, Any] | None = None) -> TraceContext:
    """Where an outermost run stands: in the trace of the event that started it, else in one of its own."""
    return _given(event) or TraceContext(_hex("trace", run_id, 32))


def run_span_id(run_id: str) -> str:
    return _hex("run", run_id, 16)


def step_span_id(run_id: str, step: StepId, visit: int, attempt: int) -> str:
    """Of one try of a step; that of its rollback is told by the attempt too."""
    return _hex("step", f"{run_id} {step} {visit} {attempt}", 16)


def traceparent(trace_id: str, span_id: str) -> str:
    """The header, and the variable, that hands a place on."""
    return f"00-{trace_id}-{span_id}-01"


def span_ending_at(
    events: Sequence[Event], number: int, *, name: str, trace: TraceContext, around: str = ""
) -> Span | None:
    """The span that ends with the `number`-th of these events of one run; None where none does.

    `trace`: as `context_of` tells it of the outermost run; `around`: the span of the step whose run this is.
    """
    event = events[number]
    match event.body:
        case ev.RunCompleted() | ev.RunFailed() | ev.RunCancelled():
            return _of_run(events[0], event, name, trace, around)
        case ev.StepCompleted() | ev.StepFailed() | ev.StepInterrupted() | ev.StepRolledBack():
            return _of_step(events, number, name, trace)
        case _:
            return None


def step_that_started(events: Sequence[Event], child_run_id: str) -> str:
    """The span of the step's first try that this run carries out; empty where none does."""
    for event in events:
        if isinstance(event.body, ev.StepStarted) and event.body.child_run_id == child_run_id:
            return _span_of(event.run_id, event.body)
    return ""


def _of_run(first: Event, last: Event, name: str, trace: TraceContext, around: str) -> Span:
    body = last.body
    return Span(
        trace_id=trace.trace_id,
        span_id=run_span_id(first.run_id),
        parent=around or trace.span_id,
        name=f"run {name}",
        began_at=first.at,
        ended_at=max(first.at, last.at),
        error=last.event_type if isinstance(body, ev.RunFailed) else "",
        attributes={
            "sopwith.run.id": first.run_id,
            "sopwith.procedure": name,
            "sopwith.run.status": last.event_type.removeprefix("run_"),
            "sopwith.trigger": first.body.trigger if isinstance(first.body, ev.RunCreated) else "",
        },
    )


def _of_step(events: Sequence[Event], number: int, name: str, trace: TraceContext) -> Span | None:
    last = events[number]
    body = last.body
    assert isinstance(body, ev.StepBody)
    for event in reversed(events[:number]):
        if isinstance(event.body, ev.StepStarted) and event.body.step_number == body.step_number:
            break
    else:
        return None
    started = event.body
    outcome = "failed" if getattr(body, "error", "") else last.event_type.removeprefix("step_")
    exit_code = getattr(body, "exit_code", None)
    return Span(
        trace_id=trace.trace_id,
        span_id=_span_of(event.run_id, started),
        parent=run_span_id(event.run_id),
        name=f"{name} step {body.step_number}" + (" rollback" if started.rollback else ""),
        began_at=event.at,
        ended_at=max(event.at, last.at),
        error="" if outcome in ("completed", "rolled_back") else outcome,
        attributes={
            "sopwith.run.id": event.run_id,
            "sopwith.procedure": name,
            "sopwith.step": str(body.step_number),
            "sopwith.step.visit": started.visit,
            "sopwith.step.attempt": started.attempt,
            "sopwith.step.outcome": outcome,
            "sopwith.executor": started.executor,
            **({} if exit_code is None else {"sopwith.exit_code": exit_code}),
        },
    )


def _span_of(run_id: str, started: ev.StepStarted) -> str:
    attempt = -started.attempt if started.rollback else started.attempt
    return step_span_id(run_id, started.step_number, started.visit, attempt)


def _given(event: Mapping[str, Any] | None) -> TraceContext | None:
    headers = event.get("headers") if event is not None else None
    stated = headers.get("traceparent") if isinstance(headers, Mapping) else None
    found = re.fullmatch(_TRACEPARENT, stated) if isinstance(stated, str) else None
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return TraceContext(found[1], found[2])


def _hex(kind: str, of: str, digits: int) -> str:
    return sha256(f"sopwith {kind} {of}".encode()).hexdigest()[:digits]
