"""Metrics as text in the format of Prometheus. Whoever asks pays: the log is read on then, and nothing in between.

Counts and durations begin at the end of the log when the server starts; how many runs there are is asked of the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any

import msgspec

from sopwith.core import events as ev
from sopwith.core.codec import decode_event
from sopwith.core.events import Event
from sopwith.core.run import RunStatus
from sopwith.errors import MissingExtra
from sopwith.ports import LEASE, Clock, Log, LogEntry, RunFilter, Store, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
AT_ONCE = 1000
MOST = 100_000
"""So many events are read for one answer; the next one reads on."""
_COUNTED = frozenset(
    {
        *("run_created", "run_completed", "run_failed", "run_cancelled", "step_completed", "step_failed"),
        *("approval_granted", "approval_rejected", "approval_timeout"),
    }
)
_DURATIONS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_WAITS = (10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600)
_ASKED = "approval_requested"
_MOST_NAMES = 10_000
_MOST_LEASES = 1000


class Beginning(msgspec.Struct, frozen=True):
    """Where counting begins: an event of the log, and a time."""

    position: int
    at: datetime


class Metrics:
    """What is counted since a beginning. May be asked from several threads."""

    def __init__(self, store: Store, log: Log, tally: Tally, clock: Clock, since: Beginning) -> None:
        if find_spec("prometheus_client") is None:
            raise MissingExtra(
                "metrics need prometheus-client, which is not installed", hint='pip install "sopwith[metrics]"'
            )
        self._store = store
        self._log = log
        self._tally = tally
        self._clock = clock
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._read_to = since.position
        self._settled_from = since.at
        self._counted: set[int] = set()
        """The deliveries settled at that very time that are counted."""
        self._make()

    def text(self) -> bytes:
        """All of it, as it is now. Raises StoreError."""
        from prometheus_client import generate_latest

        with self._lock:
            self._read_on()
            self._count_deliveries()
            self._look_at_runs()
            return generate_latest(self._registry)

    def _make(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()

        def made(kind: Callable[..., Any], name: str, words: str, *labels: str, **options: Any) -> Any:
            return kind(f"sopwith_{name}", words, labels, registry=registry, **options)

        self._runs = made(Gauge, "runs", "Runs by status.", "status")
        self._created = made(Counter, "runs_created", "Runs that were made.", "procedure", "trigger")
        self._ended = made(Counter, "runs_ended", "Runs that ended.", "procedure", "status")
        self._steps = made(
            Histogram, "step_duration_seconds", "How long steps took.", "procedure", "outcome", buckets=_DURATIONS
        )
        self._gates = made(
            Histogram, "gate_wait_seconds", "How long gates waited.", "procedure", "outcome", buckets=_WAITS
        )
        self._deliveries = made(
            Counter, "trigger_deliveries", "What became of deliveries.", "procedure", "trigger", "outcome"
        )
        self._waiting = made(Gauge, "trigger_deliveries_waiting", "Deliveries that nobody has carried out yet.")
        self._oldest = made(Gauge, "trigger_deliveries_oldest_seconds", "How long the first of them has waited.")
        self._queue = made(Gauge, "queue_oldest_seconds", "How long the first run in the queue has waited for a slot.")
        self._driven = made(Gauge, "runs_driven", "Running runs that somebody has claimed.")
        self._lease = made(Gauge, "lease_oldest_seconds", "How long ago the longest untouched claim was renewed.")
        self._position = made(Gauge, "log_position", "How many events the log has.")

    def _read_on(self) -> None:
        read = 0
        while read < MOST:
            entries = self._log.entries(self._read_to, AT_ONCE)
            for entry in entries:
                self._count(entry)
            if not entries:
                break
            self._read_to = entries[-1].position
            read += len(entries)
        self._position.set(self._log.end().high_water)

    def _count(self, entry: LogEntry) -> None:
        if entry.event_type not in _COUNTED or entry.run_id is None or entry.payload is None:
            return
        try:
            event = decode_event(entry.payload)
        except ValueError:
            return  # changed by hand; sop audit tells of it
        procedure = self._name_of(entry.run_id)
        match event.body:
            case ev.RunCreated():
                self._created.labels(procedure, event.body.trigger).inc()
            case ev.RunCompleted() | ev.RunFailed() | ev.RunCancelled():
                self._ended.labels(procedure, entry.event_type.removeprefix("run_")).inc()
            case ev.StepCompleted() | ev.StepFailed():
                outcome = entry.event_type.removeprefix("step_")
                self._steps.labels(procedure, outcome).observe(event.body.duration_ms / 1000)
            case ev.ApprovalGranted() | ev.ApprovalRejected() | ev.ApprovalTimeout():
                waited = self._waited(entry.run_id, event, event.body)
                if waited is not None:
                    outcome = entry.event_type.removeprefix("approval_")
                    self._gates.labels(procedure, outcome).observe(waited)

    def _waited(self, run_id: str, event: Event, body: ev.GateBody) -> float | None:
        """Since the gate asked, as the record says: it may have been before this process began."""
        for entry in self._asked(run_id):
            if entry.payload is None:
                continue
            asked = decode_event(entry.payload)
            assert isinstance(asked.body, ev.ApprovalRequested)
            if (asked.body.step_number, asked.body.revision) == (body.step_number, body.revision):
                return max(0.0, (event.at - asked.at).total_seconds())
        return None

    def _asked(self, run_id: str) -> Iterator[LogEntry]:
        after = 0
        while entries := self._log.run_entries(run_id, after, AT_ONCE):
            yield from (entry for entry in entries if entry.event_type == _ASKED)
            after = entries[-1].seq

    def _name_of(self, run_id: str) -> str:
        if run_id not in self._names:
            summary = self._store.summary(run_id)
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[run_id] = "" if summary is None else summary.name
        return self._names[run_id]

    def _count_deliveries(self) -> None:
        while outcomes := [
            each for each in self._tally.settled(self._settled_from, AT_ONCE) if each.id not in self._counted
        ]:
            for each in outcomes:
                self._deliveries.labels(each.procedure, each.trigger, each.outcome).inc()
                if each.settled_at > self._settled_from:
                    self._settled_from = each.settled_at
                    self._counted.clear()
                self._counted.add(each.id)
        count, oldest = self._tally.waiting()
        self._waiting.set(count)
        self._oldest.set(0 if oldest is None else self._age(self._clock.now().at - oldest))

    def _look_at_runs(self) -> None:
        for status in RunStatus:
            _none, total = self._store.summaries(RunFilter(statuses=(status,), limit=0))
            self._runs.labels(status.value).set(total)
        now = self._clock.now().at
        queued, _total = self._store.summaries(RunFilter(statuses=(RunStatus.PENDING,)))
        self._queue.set(self._age(now - queued[-1].created_at) if queued else 0)
        running, _total = self._store.summaries(RunFilter(statuses=(RunStatus.RUNNING,), limit=_MOST_LEASES))
        leases = [lease for run in running if (lease := self._store.lease(run.run_id)) is not None]
        self._driven.set(len(leases))
        self._lease.set(max((self._age(now - (lease.until - LEASE)) for lease in leases), default=0))

    @staticmethod
    def _age(span: timedelta) -> float:
        return max(0.0, span.total_seconds())
