"""Ids of traces that follow from the run's own, and the spans that its events make."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.tracing import (
    Span,
    TraceContext,
    context_of,
    run_span_id,
    span_ending_at,
    step_span_id,
    step_that_started,
    traceparent,
)

from .given import CHILD, RUN, Story, child, shell

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def spans(story: Story, **options: Any) -> list[Span]:
    options = {"name": "deploy", "trace": context_of(RUN), **options}
    found = (span_ending_at(story.events, number, **options) for number in range(len(story.events)))
    return [span for span in found if span is not None]


def test_a_run_is_gone_on_with_in_the_trace_of_its_event() -> None:
    found = context_of(RUN, {"headers": {"traceparent": PARENT}})
    assert found == TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


@pytest.mark.parametrize(
    "stated",
    [
        None,
        "",
        7,
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        PARENT.upper(),
        PARENT[:-1],
        "\n" + PARENT,
        PARENT + "\n",
    ],
)
def test_a_header_that_is_none_begins_a_trace_of_its_own(stated: Any) -> None:
    assert context_of(RUN, {"headers": {"traceparent": stated}}) == context_of(RUN)
    assert context_of(RUN, {"headers": stated}) == context_of(RUN, {}) == context_of(RUN, None)


@given(st.text(), st.text())
def test_ids_have_the_form_that_everybody_reads_and_differ_where_runs_do(one: str, other: str) -> None:
    made = traceparent(context_of(one).trace_id, step_span_id(one, 1, 1, 1))
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", made)
    if one != other:
        assert context_of(one) != context_of(other)
        assert run_span_id(one) != run_span_id(other)


def test_each_try_of_each_step_has_a_span_of_its_own() -> None:
    ids = {
        step_span_id(RUN, step, visit, attempt) for step in (1, 2, "3:eu") for visit in (1, 2) for attempt in (-1, 1, 2)
    }
    assert len(ids) == 18
    assert run_span_id(RUN) not in ids


def test_a_run_and_its_steps_make_a_span_each_from_begin_to_end() -> None:
    story = Story(shell(), shell()).drive()
    story.finish(1)
    story.drive()
    story.finish(2)
    first, second, whole = spans(story)
    assert [first.name, second.name, whole.name] == ["deploy step 1", "deploy step 2", "run deploy"]
    assert first.parent == second.parent == whole.span_id == run_span_id(RUN)
    assert whole.parent == ""
    assert {span.trace_id for span in (first, second, whole)} == {context_of(RUN).trace_id}
    assert first.began_at == next(e.at for e in story.events if e.event_type == "step_started")
    assert (whole.began_at, whole.ended_at) == (story.events[0].at, story.events[-1].at)
    assert first.ended_at - first.began_at == timedelta(seconds=1)
    assert first.span_id == step_span_id(RUN, 1, 1, 1)
    assert first.attributes["sopwith.exit_code"] == 0
    assert whole.attributes["sopwith.run.status"] == "completed"
    assert not first.error + whole.error


def test_a_failure_is_an_error_and_so_is_what_nobody_knows() -> None:
    story = Story(shell()).drive()
    story.finish(1, error="exit code 1")
    assert [span.error for span in spans(story)] == ["failed", "run_failed"]
    story = Story(shell()).drive()
    story.interrupt(1)
    assert [span.error for span in spans(story)] == ["interrupted"]


def test_a_second_try_is_another_span() -> None:
    story = Story(shell()).drive()
    story.finish(1, error="exit code 1")
    story.when(cmd.Retry)
    story.drive()
    story.finish(1)
    steps = [span for span in spans(story) if "step" in span.name]
    assert [span.span_id for span in steps] == [step_span_id(RUN, 1, 1, 1), step_span_id(RUN, 1, 1, 2)]


def test_a_run_within_another_stands_below_the_step_that_started_it() -> None:
    outer = Story(child()).drive()
    around = step_that_started(outer.events, CHILD)
    assert around == step_span_id(RUN, 1, 1, 1)
    assert step_that_started(outer.events, RUN) == ""
    inner = Story(shell()).drive()
    inner.finish(1)
    assert spans(inner, around=around)[-1].parent == around


def test_a_step_that_was_never_started_has_no_span() -> None:
    story = Story(shell())
    event = msgspec.structs.replace(story.last, seq=9, body=ev.StepCompleted(step_number=1))
    assert span_ending_at([*story.events, event], len(story.events), name="x", trace=context_of(RUN)) is None


def test_the_end_is_never_before_the_begin() -> None:
    story = Story(shell()).drive()
    story.set_wall_by(-3600)
    story.finish(1)
    assert all(span.ended_at >= span.began_at for span in spans(story))
