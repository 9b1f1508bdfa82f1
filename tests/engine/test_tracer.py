"""Spans go to the collector once they have ended: none is lost by a restart or by a collector that is away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sopwith.core.config import Config
from sopwith.core.tracing import Span, context_of, run_span_id, step_span_id
from sopwith.engine.tracer import TRIES, Tracer
from sopwith.errors import MissingExtra, NotSent

from .bench import Bench


class Collector:
    """Takes spans, or does not."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.tries = 0
        self.is_away = False

    def export(self, spans: Sequence[Span]) -> None:
        self.tries += 1
        if self.is_away:
            raise NotSent("the collector of traces took no spans")
        self.spans += spans


class Cursor:
    """Durable as far as the test goes."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.moves = 0

    def read(self) -> int | None:
        return self.position

    def move(self, position: int | None) -> None:
        self.position = position
        self.moves += 1


class Traced:
    """A workspace with a collector; `serve` is a server that is started anew."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.collector: Collector | None = Collector()
        self.cursor = Cursor()
        self.troubles: list[str] = []
        bench.procedure("quick", {})
        bench.procedure("twice", {}, {})
        self.tracer = self.serve()

    def serve(self) -> Tracer:
        return self.bench.loop.run_until_complete(self._made())

    async def _made(self) -> Tracer:
        async def at_once(work: Callable[[], Any]) -> Any:
            return work()

        return Tracer(
            self.bench.engine().parts,
            self.bench.store.log,
            self.cursor,
            lambda _config: self.collector,
            lambda error: self.troubles.append(str(error)),
            beside=at_once,
        )

    @property
    def names(self) -> list[str]:
        assert self.collector is not None
        return [span.name for span in self.collector.spans]


@pytest.fixture
def traced(bench: Bench) -> Traced:
    made = Traced(bench)
    assert made.tracer.work()
    return made


def test_what_ends_from_now_on_is_sent_once(traced: Traced) -> None:
    run = traced.bench.run("twice")
    traced.tracer.work()
    assert traced.names == ["twice step 1", "twice step 2", "run twice"]
    traced.tracer.work()
    assert len(traced.names) == 3
    assert traced.collector is not None
    assert {span.trace_id for span in traced.collector.spans} == {context_of(run.run_id).trace_id}


def test_a_restart_loses_no_span_and_the_begin_is_that_of_the_record(traced: Traced) -> None:
    task = traced.bench.begin(traced.bench.create("quick"))
    traced.tracer.work()
    traced.bench.finish(task)
    traced.serve().work()
    assert traced.names == ["quick step 1", "run quick"]


def test_a_collector_that_is_away_gets_all_of_it_later(traced: Traced) -> None:
    assert traced.collector is not None
    traced.collector.is_away = True
    traced.bench.run("quick")
    with pytest.raises(NotSent):
        traced.tracer.work()
    with pytest.raises(NotSent):
        traced.serve().work()
    traced.collector.is_away = False
    traced.serve().work()
    assert traced.names == ["quick step 1", "run quick"]


def test_what_a_collector_never_takes_is_left_out_in_the_end_and_that_is_told(traced: Traced) -> None:
    assert traced.collector is not None
    traced.collector.is_away = True
    traced.bench.run("quick")
    for _ in range(TRIES - 1):
        with pytest.raises(NotSent):
            traced.tracer.work()
    traced.tracer.work()
    assert traced.troubles == ["2 spans were left out: the collector of traces took no spans"]
    traced.collector.is_away = False
    traced.bench.run("quick")
    traced.tracer.work()
    assert traced.names == ["quick step 1", "run quick"]


def test_without_a_collector_nothing_is_read_and_the_time_between_is_not_told(traced: Traced) -> None:
    collector, traced.collector = traced.collector, None
    assert not traced.tracer.work()
    assert traced.cursor.position is None
    moves = traced.cursor.moves
    traced.bench.run("quick")
    assert not traced.tracer.work()
    assert traced.cursor.moves == moves
    traced.collector = collector
    assert traced.tracer.work()
    assert traced.names == []


def test_a_record_that_cannot_be_read_has_no_spans_and_holds_nothing_up(traced: Traced) -> None:
    traced.bench.run("quick")
    traced.bench.store._shelf.contents.clear()
    traced.tracer.work()
    assert traced.names == []
    assert traced.cursor.read() is not None


def test_trouble_is_told_once_and_ends_nothing(traced: Traced) -> None:
    def lacks(_config: Config) -> None:
        raise MissingExtra("traces need the OpenTelemetry SDK, which is not installed")

    traced.tracer._collector = lacks
    task = traced.bench.loop.create_task(traced.tracer.stay())
    traced.bench.pass_time(600)
    assert traced.troubles == ["traces need the OpenTelemetry SDK, which is not installed"]
    assert not task.done()


def test_a_server_sends_within_moments(traced: Traced) -> None:
    traced.bench.loop.create_task(traced.tracer.stay())
    traced.bench.pass_time(2)
    traced.bench.run("quick")
    traced.tracer.stir()
    traced.bench.pass_time(3)
    assert traced.names == ["quick step 1", "run quick"]


def test_a_step_is_told_its_place(bench: Bench) -> None:
    bench.procedure("own", {"env": {"set": {"TRACEPARENT": "mine"}}}, {})
    run = bench.run("own")
    environments = [order.environment["TRACEPARENT"] for order in bench.world.orders.values()]
    trace = context_of(run.run_id).trace_id
    assert environments == ["mine", f"00-{trace}-{step_span_id(run.run_id, 2, 1, 1)}-01"]


def test_a_run_within_another_belongs_to_its_trace(traced: Traced) -> None:
    bench = traced.bench
    bench.procedure("outer", {"uses": "quick", "run": None})
    run_id = bench.create("outer")
    task = bench.begin(run_id)
    bench.pass_time(1)
    child = bench.now(run_id).steps[1].child
    assert child
    bench.drive(child)
    bench.finish(task)
    traced.tracer.work()
    assert traced.collector is not None
    spans = {span.name: span for span in traced.collector.spans}
    assert {span.trace_id for span in spans.values()} == {context_of(run_id).trace_id}
    assert spans["run quick"].parent == spans["outer step 1"].span_id == step_span_id(run_id, 1, 1, 1)
    assert spans["outer step 1"].parent == run_span_id(run_id)


def test_what_ends_right_after_the_first_collector_was_named_is_sent(traced: Traced) -> None:
    """A server that has none looks once a minute whether there is one: until then runs end, too."""
    collector, traced.collector = traced.collector, None
    traced.bench.run("quick")
    assert not traced.tracer.work()
    traced.collector = collector
    traced.bench.run("twice")
    assert traced.tracer.work()
    assert traced.names == ["twice step 1", "twice step 2", "run twice"]
