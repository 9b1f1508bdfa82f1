"""A run on a terminal. What has ended is printed once and stays; below it, what runs and what comes is redrawn.

Everything is put together from `Text`, never from markup, and what a step prints is made tame first, so nothing it
prints can style or steer the screen. One thread: the driver's loop calls `tick`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from sopwith.core import events as ev
from sopwith.core.address import StepId, instance_of, number_of
from sopwith.core.events import Event
from sopwith.core.instant import Instant, duration_text, elapsed_ms
from sopwith.core.run import Run, StepState, StepStatus, is_manual
from sopwith.doors.cli.display import Display, Tamer, answer_line
from sopwith.doors.cli.terminal import crop, mark, shown, tame
from sopwith.doors.cli.text import COLOURS, MARKS

_TAIL_LINES = 8
_TAIL_BYTES = 32 * 1024
_LONGEST_LINE = 2000
_UPCOMING = 5
_TITLE_COLUMN = 40
_LEAST_TITLE = 12
_BESIDE_TITLE = 9
"""Columns for the mark, the number and the space between title and status."""
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_SPINNER = "|/-\\"
_ENDED = (ev.StepCompleted, ev.StepFailed, ev.StepRolledBack, ev.StepInterrupted, ev.StepSkipped)


class Live(Display):
    """Redraws itself ten times a second while a driver works."""

    def __init__(self, now: Callable[[], Instant], console: Console | None = None) -> None:
        self._now = now
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._run: Run | None = None
        self._tails: dict[StepId, Tail] = {}
        self._live: RichLive | None = None
        self._keyboard = QuietKeyboard()
        self._printed: set[tuple[StepId, int, int, StepStatus]] = set()
        self._ticks = 0

    def __enter__(self) -> Self:
        self._keyboard.__enter__()
        self._live = RichLive(
            get_renderable=self._region,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        try:
            if live is not None:
                live.stop()
        finally:
            self._keyboard.__exit__()

    def show(self, run: Run) -> None:
        if self._run is None:
            self._print(Text.assemble((run.name, "bold"), f"  {run.run_id}  {run.mode}"))
        self._run = run
        self._print_ended(run)

    def on_event(self, event: Event, run: Run) -> None:
        self._run = run
        body = event.body
        if isinstance(body, ev.StepStarted):
            self._tails.pop(body.step_number, None)
        elif isinstance(body, _ENDED):
            self._print_ended(run)
        elif line := answer_line(event):
            self._print(Text.from_ansi(line))
        self.tick()

    def on_output(self, step: StepId, chunk: bytes) -> None:
        self._tails.setdefault(step, Tail()).feed(chunk[-_TAIL_BYTES:])

    def tick(self) -> None:
        self._ticks += 1
        if self._live is not None:
            self._live.refresh()

    def note(self, words: str) -> None:
        self._print(Text.from_ansi(words))

    def _print(self, line: Text) -> None:
        self._console.print(line, overflow="fold")

    def _print_ended(self, run: Run) -> None:
        """Each step that has ended, once for each time it did."""
        for step in run.steps.values():
            ended = (step.number, step.visit, step.attempt, step.status)
            over = step.finished or step.stuck or step.status is StepStatus.ROLLED_BACK
            if over and ended not in self._printed:
                self._printed.add(ended)
                self._print_step(run, step)

    def _print_step(self, run: Run, step: StepState) -> None:
        self._print(self._line(run, step))
        tail = self._tails.pop(step.number, None)
        if tail is not None and (step.stuck or step.error):
            for line in tail.lines(_TAIL_LINES, self._console.width - 7):
                self._print(Text("       " + line, "bright_black"))
        if step.error:
            self._print(Text("       " + shown(step.error), "red"))

    def _region(self) -> Group:
        """What is not over yet, never higher than the screen."""
        run = self._run
        if run is None:
            return Group()
        running = [step for step in run.steps.values() if step.status is StepStatus.RUNNING]
        coming = [
            step
            for step in run.steps.values()
            if step.status in (StepStatus.PENDING, StepStatus.AWAITING_APPROVAL) and step.instances is None
        ]
        room = max(1, self._console.height - 2)
        lines: list[Text] = []
        if run.queued:
            lines.append(Text(f"  {mark('…')} waits for its turn: {shown(run.reason)}", "yellow"))
        for step in running[:room]:
            lines.append(self._line(run, step))
            lines += self._tail_lines(step.number, (room - len(running)) // max(1, len(running)))
        upcoming = coming[: max(0, min(_UPCOMING, room - len(lines) - 1))]
        lines += [self._line(run, step) for step in upcoming]
        if upcoming and len(coming) > len(upcoming):
            lines.append(Text(f"       and {len(coming) - len(upcoming)} more", "bright_black"))
        return Group(*lines[:room])

    def _tail_lines(self, step: StepId, most: int) -> list[Text]:
        tail = self._tails.get(step)
        if tail is None or most <= 0:
            return []
        found = tail.lines(min(_TAIL_LINES, most), self._console.width - 7)
        return [Text("       " + line, "bright_black", no_wrap=True, overflow="crop") for line in found]

    def _line(self, run: Run, step: StepState) -> Text:
        """`  ✔  1 Title            completed 0.3s`, cut to the width of the screen."""
        style = COLOURS.get(step.status) or ""
        told = self._told(run, step)
        room = self._console.width - _BESIDE_TITLE - cell_len(told)
        if room < _LEAST_TITLE:
            told = self._duration(step)
            room = max(1, self._console.width - _BESIDE_TITLE - cell_len(told))
        number = number_of(step.number)
        # nothing else on the screen may tell which step it is an instance of
        name = f"{instance_of(step.number)}: " if step.place else ""
        title = crop(name + shown(run.procedure.step(step.number).title), room)
        dim = "bright_black" if step.status is StepStatus.PENDING else ""
        gap = " " * (max(0, min(room, _TITLE_COLUMN) - cell_len(title)) + 2)
        line = Text(no_wrap=True, overflow="crop")
        line.append("  ").append(self._mark(run, step), style).append(f" {number:>2} {title}", dim)
        return line.append(gap + told, style) if told else line

    def _mark(self, run: Run, step: StepState) -> str:
        if step.status is StepStatus.RUNNING and not is_manual(run, step.number):
            frames = _SPINNER if mark("…") == "…" else _ASCII_SPINNER
            return frames[self._ticks % len(frames)]
        return mark(MARKS.get(step.status, " "))

    def _told(self, run: Run, step: StepState) -> str:
        words = step.status.replace("_", " ") if step.status is not StepStatus.PENDING else ""
        if step.status is StepStatus.RUNNING and is_manual(run, step.number):
            words = "reported done" if step.to_verify else "by hand"
        if step.verifying:
            words = "being verified"
        if step.status is StepStatus.RUNNING and run.rollback is not None:
            words = "rolling back"
        if step.status is StepStatus.RUNNING and run.pause_requested:
            words = "being stopped" if run.stopping else "running, then pause"
        return f"{words} {self._duration(step)}".strip()

    def _duration(self, step: StepState) -> str:
        if step.duration_ms is not None:
            return duration_text(step.duration_ms)
        if step.status is not StepStatus.RUNNING or step.started is None:
            return ""
        # whole seconds: tenths would flicker
        return duration_text(elapsed_ms(step.started, self._now()) // 1000 * 1000)


class Tail:
    """The last lines that one step printed, bounded whatever it prints."""

    def __init__(self) -> None:
        self._tamer = Tamer()
        self._kept: deque[str] = deque(maxlen=_TAIL_LINES)

    def feed(self, chunk: bytes) -> None:
        words = self._tamer.feed(chunk)
        if words:
            for line in words.removesuffix("\n").rsplit("\n", _TAIL_LINES)[-_TAIL_LINES:]:
                self._kept.append(line[-_LONGEST_LINE:])

    def lines(self, most: int, columns: int) -> list[str]:
        """At most so many lines, each cut to so many columns, the newest last."""
        partial = tame(self._tamer.partial[-_LONGEST_LINE:])
        found = [*self._kept, *([partial] if partial else [])]
        return [crop(line, max(1, columns)) for line in found[-most:]]


class QuietKeyboard:
    """Keys typed while nobody is asked are not echoed into the picture; the next question throws them away."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        import termios

        with suppress(OSError, ValueError, termios.error):
            descriptor = sys.stdin.fileno()
            self._before = termios.tcgetattr(descriptor)
            quiet = termios.tcgetattr(descriptor)
            quiet[3] &= ~termios.ECHO
            termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return
        import termios

        with suppress(OSError, termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)
        self._before = None
