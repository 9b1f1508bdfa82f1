"""Metrics: what happened since the start is counted once, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.engine.bench import BOB, Bench

from sopwith.errors import MissingExtra
from sopwith.ports import Outcome
from sopwith.stores.sqlite import SqliteStore
from sopwith.telemetry import metrics
from sopwith.telemetry.metrics import Beginning, Metrics
from sopwith.testing.clock import START, FakeClock
from sopwith.testing.samples import owner

GATED = {"requiresApproval": True}


class Deliveries:
    """A Tally."""

    def __init__(self) -> None:
        self.all: list[Outcome] = []
        self.oldest: datetime | None = None

    def settled(self, since: datetime, limit: int) -> Sequence[Outcome]:
        found = [each for each in self.all if each.settled_at >= since]
        return sorted(found, key=lambda each: (each.settled_at, each.id))[:limit]

    def waiting(self) -> tuple[int, datetime | None]:
        return int(self.oldest is not None), self.oldest


class Scrape:
    """What a server tells Prometheus."""

    def __init__(self, bench: Bench) -> None:
        self.tally = Deliveries()
        since = Beginning(bench.store.log.end().high_water, bench.clock.now().at)
        self._made = Metrics(bench.store, bench.store.log, self.tally, bench.clock, since)

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of the sample with these labels among its own; None where there is none."""
        text = self._made.text().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None


@pytest.fixture
def scrape(bench: Bench) -> Scrape:
    bench.procedure("quick", {})
    bench.procedure("gated", GATED)
    bench.run("quick")
    return Scrape(bench)


def test_what_was_before_the_start_is_not_counted_and_what_there_is_is(scrape: Scrape) -> None:
    assert scrape("sopwith_runs_created_total") is None
    assert scrape("sopwith_runs", status="completed") == 1
    assert scrape("sopwith_runs", status="failed") == 0


def test_runs_are_counted_once(bench: Bench, scrape: Scrape) -> None:
    bench.run("quick")
    for _ in range(3):
        assert scrape("sopwith_runs_created_total", procedure="quick", trigger="manual") == 1
        assert scrape("sopwith_runs_ended_total", procedure="quick", status="completed") == 1
    bench.run("quick")
    assert scrape("sopwith_runs_ended_total", procedure="quick", status="completed") == 2
    assert scrape("sopwith_log_position") == bench.store.log.end().high_water


def test_steps_tell_how_long_they_took(bench: Bench, scrape: Scrape) -> None:
    run = bench.run("quick")
    took_ms = run.steps[1].duration_ms
    assert took_ms is not None
    assert scrape("sopwith_step_duration_seconds_count", procedure="quick", outcome="completed") == 1
    assert scrape("sopwith_step_duration_seconds_sum", procedure="quick") == pytest.approx(took_ms / 1000)


def test_gates_tell_how_long_they_waited_also_from_before_the_start(bench: Bench) -> None:
    bench.procedure("gated", GATED)
    run = bench.run("gated")
    scrape = Scrape(bench)
    bench.pass_time(120)
    bench.engine().approve(run.run_id, actor=BOB)
    assert scrape("sopwith_gate_wait_seconds_count", procedure="gated", outcome="granted") == 1
    assert scrape("sopwith_gate_wait_seconds_sum", procedure="gated") == pytest.approx(120, abs=2)
    again = bench.run("gated")
    bench.engine().reject(again.run_id, actor=BOB, reason="no")
    assert scrape("sopwith_gate_wait_seconds_count", procedure="gated", outcome="rejected") == 1


def test_each_gate_of_a_run_has_waited_for_itself(bench: Bench, scrape: Scrape) -> None:
    bench.procedure("two", GATED, GATED)
    run = bench.run("two")
    for seconds in (10, 300):
        bench.pass_time(seconds)
        bench.engine().approve(run.run_id, actor=BOB)
        bench.drive(run.run_id)
    assert scrape("sopwith_gate_wait_seconds_sum", procedure="two") == pytest.approx(310, abs=2)


def test_deliveries_are_counted_once_also_those_of_the_same_moment(bench: Bench, scrape: Scrape) -> None:
    now = bench.clock.now().at
    scrape.tally.all = [Outcome(1, "quick", "nightly", "started", now), Outcome(2, "quick", "nightly", "started", now)]
    labels = {"procedure": "quick", "trigger": "nightly", "outcome": "started"}
    assert scrape("sopwith_trigger_deliveries_total", **labels) == 2
    scrape.tally.all.append(Outcome(3, "quick", "nightly", "started", now))
    scrape.tally.all.append(Outcome(4, "quick", "nightly", "refused", now + timedelta(seconds=1)))
    assert scrape("sopwith_trigger_deliveries_total", **labels) == 3
    assert scrape("sopwith_trigger_deliveries_total", outcome="refused") == 1
    assert scrape("sopwith_trigger_deliveries_total", **labels) == 3


def test_how_long_the_first_of_those_that_wait_has_waited(bench: Bench, scrape: Scrape) -> None:
    scrape.tally.oldest = bench.clock.now().at
    bench.pass_time(30)
    assert scrape("sopwith_trigger_deliveries_waiting") == 1
    assert scrape("sopwith_trigger_deliveries_oldest_seconds") == pytest.approx(30)


def test_the_queue_and_claims_tell_their_ages(bench: Bench, scrape: Scrape) -> None:
    assert scrape("sopwith_queue_oldest_seconds") == scrape("sopwith_lease_oldest_seconds") == 0
    bench.procedure("one", GATED, maxConcurrent=1)
    bench.run("one")
    bench.create("one", queue=True)
    bench.pass_time(60)
    assert scrape("sopwith_runs", status="pending") == 1
    assert scrape("sopwith_queue_oldest_seconds") == pytest.approx(60, abs=2)
    running = bench.create("quick")
    bench.store.claim(running, owner("ann"), bench.clock.now().at)
    bench.pass_time(7)
    assert scrape("sopwith_runs_driven") == 1
    assert scrape("sopwith_lease_oldest_seconds") == pytest.approx(7)


def test_hostile_names_break_no_line(bench: Bench, scrape: Scrape) -> None:
    name = 'x"} 1\nsopwith_runs{status="failed"} 99\n'
    scrape.tally.all = [Outcome(1, name, name, name, bench.clock.now().at)]
    assert scrape("sopwith_trigger_deliveries_total", trigger=name) == 1
    assert scrape("sopwith_runs", status="failed") == 0


def test_an_event_that_cannot_be_read_is_passed_over(bench: Bench, scrape: Scrape) -> None:
    run = bench.run("quick")
    kept = bench.store._shelf
    kept.log = [
        (owner_, msgspec.structs.replace(event, payload=event.payload.replace(b'"seq"', b'"sqe"')))
        if owner_ == run.run_id
        else (owner_, event)
        for owner_, event in kept.log
    ]
    assert scrape("sopwith_runs", status="completed") == 2
    assert scrape("sopwith_runs_created_total") is None


def test_without_the_extra_it_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra) as caught:
        Scrape(bench)
    assert caught.value.hint == 'pip install "sopwith[metrics]"'


def test_the_real_store_tells_what_became_of_deliveries(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    assert store.tally.waiting() == (0, None)
    insert = (
        "insert into deliveries (procedure, trigger, delivery, received_at, event, run_id, outcome, reason, settled_at)"
        " values ('p', 't', ?, ?, x'00', '', ?, '', ?)"
    )
    at_ms = round(START.timestamp() * 1000)
    with store._db.writing() as connection:
        connection.execute(insert, ("a", at_ms, "started", at_ms + 5))
        connection.execute(insert, ("b", at_ms, None, None))
        connection.execute(insert, ("c", at_ms, "refused", at_ms + 9))
    assert store.tally.waiting() == (1, START)
    found = store.tally.settled(START + timedelta(milliseconds=6), 9)
    assert [(each.procedure, each.trigger, each.outcome) for each in found] == [("p", "t", "refused")]
    assert len(store.tally.settled(START, 9)) == 2
    assert len(store.tally.settled(START, 1)) == 1
    made = Metrics(store, store.log, store.tally, FakeClock(), Beginning(0, START))
    assert b"sopwith_trigger_deliveries_waiting 1.0" in made.text()
    store.close()
