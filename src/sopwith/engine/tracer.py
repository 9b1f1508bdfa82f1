"""Reads the log on and hands the spans that have ended to a collector, in `sop serve`; never in the way of a run.

Spans are made of the record, so neither a restart nor a collector that is away for a while loses any: the cursor moves
when they were taken. Where no collector is named, nothing is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from sopwith.core.codec import decode_event
from sopwith.core.config import Config
from sopwith.core.events import Event
from sopwith.core.run import Run
from sopwith.core.tracing import Span, span_ending_at, step_that_started
from sopwith.engine.aside import in_thread
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Runs
from sopwith.engine.tracing import trace_of
from sopwith.errors import NotSent, SopwithError
from sopwith.ports import Log, LogEntry, ReadingCursor

ENDING = frozenset(
    {
        *("run_completed", "run_failed", "run_cancelled"),
        *("step_completed", "step_failed", "step_interrupted", "step_rolled_back"),
    }
)
AT_ONCE = 200
FAR = 1000
"""The stored cursor is moved at last when it is so far behind, though no span was sent."""
TRIES = 60
"""After so many tries in vain the spans are left out: they may be what the collector does not take."""
_QUIET_SECS = 1.0
_POLL_SECS = 60.0
_LONGEST_BACK_OFF_SECS = 60.0


class Exporter(Protocol):
    """A collector."""

    def export(self, spans: Sequence[Span]) -> None:
        """Blocks until they are taken, 10 seconds at most. Raises NotSent."""
        ...


class Tracer:
    """`collector` makes the exporter that config.json and the environment name; None: there is none."""

    def __init__(
        self,
        parts: Parts,
        log: Log,
        cursor: ReadingCursor,
        collector: Callable[[Config], Exporter | None],
        on_trouble: Callable[[BaseException], None],
        *,
        beside: Callable[[Callable[[], Any]], Awaitable[Any]] = in_thread,
    ) -> None:
        self._parts = parts
        self._log = log
        self._cursor = cursor
        self._collector = collector
        self._on_trouble = on_trouble
        self._beside = beside
        self._runs = Runs(parts)
        self._stirred = asyncio.Event()
        self._read_to: int | None = None
        self._passed_to: int | None = None
        """How far the log had come at the last look without a collector."""
        self._tries = 0
        self._told = ""

    def stir(self) -> None:
        """Somebody may have committed."""
        self._stirred.set()

    async def stay(self) -> None:
        """Until it is cancelled. No failure ends it."""
        back_off_secs = _QUIET_SECS
        while True:
            self._stirred.clear()
            try:
                is_wanted = await self._beside(self.work)
                back_off_secs, self._told = _QUIET_SECS, ""
                await self._pause(_POLL_SECS, _QUIET_SECS if is_wanted else _POLL_SECS)
            except Exception as error:
                if self._told != str(error):
                    self._told = str(error)
                    self._on_trouble(error)
                back_off_secs = min(2 * back_off_secs, _LONGEST_BACK_OFF_SECS)
                await self._parts.clock.sleep(back_off_secs)

    async def _pause(self, most: float, least: float) -> None:
        sleep = self._parts.clock.sleep
        await sleep(least)
        waiting = [asyncio.ensure_future(self._stirred.wait()), asyncio.ensure_future(sleep(most))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    def work(self) -> bool:
        """Sends all that has ended since; False where no collector is named. Raises NotSent, MissingExtra, …"""
        exporter = self._collector(self._parts.library.config())
        if exporter is None:
            if self._cursor.read() is not None:
                self._cursor.move(None)
            self._read_to, self._passed_to = None, self._log.end().high_water
            return False
        end = self._log.end().high_water
        if self._read_to is None:
            self._read_to = self._cursor.read()
        if self._read_to is None and self._passed_to is not None:
            # what has ended since the last look: that a collector was named is noticed later than it was
            self._move(self._passed_to)
        if self._read_to is None or self._read_to > end:
            self._move(end)
            return True
        while entries := self._log.entries(self._read_to, AT_ONCE):
            self._send(exporter, entries)
        return True

    def _send(self, exporter: Exporter, entries: Sequence[LogEntry]) -> None:
        spans = [span for entry in entries if entry.event_type in ENDING for span in self._spans(entry)]
        if spans:
            try:
                exporter.export(spans)
            except NotSent as error:
                self._tries += 1
                if self._tries < TRIES:
                    raise
                self._on_trouble(NotSent(f"{len(spans)} spans were left out: {error.message}"))
        self._tries = 0
        if spans or entries[-1].position - (self._cursor.read() or 0) >= FAR:
            self._move(entries[-1].position)
        self._read_to = entries[-1].position

    def _move(self, position: int) -> None:
        self._cursor.move(position)
        self._read_to = position

    def _spans(self, entry: LogEntry) -> list[Span]:
        """One or none: a record that cannot be read has no spans."""
        if entry.run_id is None or entry.payload is None:
            return []
        try:
            run = self._runs.load(entry.run_id).run
            events = self._events(entry.run_id)
            around = "" if run.parent is None else self._around(run)
            span = span_ending_at(events, entry.seq - 1, name=run.name, trace=trace_of(self._parts, run), around=around)
        except (SopwithError, ValueError):
            return []
        return [] if span is None else [span]

    def _around(self, run: Run) -> str:
        assert run.parent is not None
        return step_that_started(self._events(run.parent.run_id), run.run_id)

    def _events(self, run_id: str) -> list[Event]:
        return [decode_event(sealed.payload) for sealed in self._parts.store.events(run_id)]
