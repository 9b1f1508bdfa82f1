"""The trace that a run belongs to, and what its steps are told of it."""

from __future__ import annotations

from sopwith.core.address import StepId
from sopwith.core.child import MAX_DEPTH
from sopwith.core.run import Run
from sopwith.core.tracing import TraceContext, context_of, step_span_id, traceparent
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Runs
from sopwith.errors import SopwithError


def trace_variable(parts: Parts, run: Run, number: StepId, attempt: int) -> str:
    """`TRACEPARENT` of one try of a step: the spans of what it starts stand below its own."""
    tried = attempt if run.rollback is None else -attempt
    return traceparent(trace_of(parts, run).trace_id, step_span_id(run.run_id, number, run.steps[number].visit, tried))


def trace_of(parts: Parts, run: Run) -> TraceContext:
    """The trace of the outermost run around this one."""
    outermost, around, depth = run, run.parent, 0
    while around is not None and depth < MAX_DEPTH:
        try:
            outermost, depth = Runs(parts).load(around.run_id).run, depth + 1
        except SopwithError:
            return context_of(around.run_id)
        around = outermost.parent
    return context_of(outermost.run_id, outermost.event)
