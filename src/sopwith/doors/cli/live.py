"""The live list on a terminal: each step with its state and duration, and the tail of what the running ones print.

Everything is put together from `Text`, never from markup, so nothing a step prints can style or steer the screen.
"""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from sopwith.core.events import Event
from sopwith.core.instant import duration_text
from sopwith.core.run import Run, StepState, StepStatus, status_of
from sopwith.core.visible import visible
from sopwith.doors.cli.display import Display
from sopwith.doors.cli.text import MARKS

_TAIL_LINES = 8
_STYLES = {
    "completed": "green",
    "running": "blue",
    "failed": "red",
    "rejected": "red",
    "interrupted": "magenta",
    "awaiting_approval": "yellow",
    "pending": "bright_black",
    "skipped": "bright_black",
    "cancelled": "bright_black",
}


class Live(Display):
    """Redraws itself ten times a second while a driver works; leaves the finished list behind."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._run: Run | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._partial = ""
        self._started: dict[int, float] = {}
        self._live: RichLive | None = None
        self._spinner = Spinner("dots", style="blue")

    def __enter__(self) -> Self:
        self._live = RichLive(get_renderable=self._render, console=self._console, refresh_per_second=10, transient=True)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._live is not None
        self._live.__exit__(kind, error, trace)
        self._live = None
        if self._run is not None and error is None:
            self._console.print(self._render(final=True))

    def show(self, run: Run) -> None:
        self._run = run

    def on_event(self, event: Event, run: Run) -> None:
        self._run = run
        if event.event_type == "step_started" and event.step_number is not None:
            self._started[event.step_number] = time.monotonic()
            self._tail.clear()
            self._partial = ""

    def on_output(self, step: int, chunk: bytes) -> None:
        lines = (self._partial + chunk.decode("utf-8", "replace")[-16384:]).split("\n")
        self._partial = lines.pop()[-400:]
        self._tail.extend(lines[-_TAIL_LINES:])

    def _render(self, *, final: bool = False) -> RenderableType:
        run = self._run
        if run is None:
            return Text("")
        heading = Text.assemble((run.name, "bold"), "  ", run.run_id, "  ", (status_of(run), _style(status_of(run))))
        parts: list[RenderableType] = [heading, self._steps(run)]
        if run.reason and run.ended is None:
            parts.append(Text(f"  {visible(run.reason)}", "yellow"))
        failed = any(step.status is StepStatus.FAILED for step in run.steps.values())
        if failed or not final:
            parts.extend(self._tail_lines())
        return Group(*parts)

    def _steps(self, run: Run) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=3, justify="right")
        table.add_column(justify="right")
        table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for step in run.steps.values():
            style = _style(step.status)
            mark: RenderableType = Text(MARKS.get(step.status, " "), style)
            if step.status is StepStatus.RUNNING and self._live is not None:
                mark = self._spinner
            title = Text(visible(run.procedure.step(step.number).title))
            table.add_row(mark, str(step.number), title, Text(_words(step), style), self._duration(step))
            if step.error:
                table.add_row("", "", Text(visible(step.error), "red"), "", "")
        return table

    def _duration(self, step: StepState) -> str:
        if step.duration_ms is not None:
            return duration_text(step.duration_ms)
        since = self._started.get(step.number)
        if step.status is not StepStatus.RUNNING or since is None:
            return ""
        return duration_text(int((time.monotonic() - since) * 1000))

    def _tail_lines(self) -> list[Text]:
        shown = [*self._tail, *([self._partial] if self._partial else [])][-_TAIL_LINES:]
        return [Text("    " + visible(line), "bright_black", no_wrap=True, overflow="ellipsis") for line in shown]


def _style(status: str) -> str:
    return _STYLES.get(status, "yellow")


def _words(step: StepState) -> str:
    return step.status.replace("_", " ")
