"""Showing a run while it is driven: nothing, lines for a pipe, or a live list on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import click

from sopwith.core import events as ev
from sopwith.core.events import Event
from sopwith.core.run import Run
from sopwith.core.visible import visible
from sopwith.doors.cli import text


class Display:
    """Shows nothing; the base of the others. Entered while a driver works, left while a person is asked."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, run: Run) -> None:
        """The run as it is when showing begins."""

    def on_event(self, event: Event, run: Run) -> None:
        pass

    def on_output(self, step: int, chunk: bytes) -> None:
        pass


class Lines(Display):
    """One line an event, and what the steps print between them."""

    def __init__(self) -> None:
        self._fresh_line = True

    def on_event(self, event: Event, run: Run) -> None:
        line = event_line(event, run)
        if line:
            if not self._fresh_line:
                click.echo()
                self._fresh_line = True
            click.echo(line)

    def on_output(self, step: int, chunk: bytes) -> None:
        if sys.stdout.isatty():
            click.echo(visible(chunk.decode("utf-8", "replace")), nl=False)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        self._fresh_line = chunk.endswith(b"\n")


def event_line(event: Event, run: Run) -> str:
    """What an event means to somebody who watches; empty for what is not worth a line."""
    body = event.body
    total = len(run.steps)
    match body:
        case ev.StepStarted(step_number=number, title=title):
            return f"{click.style('▶', fg='blue')} step {number}/{total} {visible(title)}"
        case ev.StepCompleted(step_number=number, duration=duration):
            return f"{click.style('✔', fg='green')} step {number}/{total} completed in {duration}"
        case ev.StepFailed(step_number=number, error=error):
            return f"{click.style('✘', fg='red')} step {number}/{total} failed: {visible(error)}"
        case ev.StepInterrupted(step_number=number, reason=reason):
            return f"{click.style('!', fg='magenta')} step {number}/{total} interrupted: {visible(reason)}"
        case ev.StepSkipped(step_number=number, reason=reason):
            return f"- step {number}/{total} skipped: {visible(reason)}"
        case ev.ApprovalRequested(step_number=number, title=title):
            where = "start" if number is None else f"step {number}/{total}"
            return f"{click.style('?', fg='yellow')} approval needed, {where}: {visible(title)}"
        case ev.ApprovalGranted(comment=comment):
            return f"{click.style('✔', fg='green')} approved by {event.actor}" + _quoted(comment)
        case ev.ApprovalRejected(reason=reason):
            return f"{click.style('✘', fg='red')} rejected by {event.actor}" + _quoted(reason)
        case ev.ApprovalTimeout(action=action):
            return f"{click.style('?', fg='yellow')} nobody answered in time: {action}"
        case ev.ApprovalStale(changed=changed):
            return f"{click.style('!', fg='yellow')} what was approved has changed ({', '.join(changed)}): asking again"
        case ev.RunPaused(reason=reason):
            return f"paused{_because(reason)}"
        case ev.RunFailed(duration=duration):
            return f"{text.coloured('failed')} after {duration}"
        case ev.RunCancelled(reason=reason):
            return f"cancelled{_because(reason)}"
        case ev.RunCompleted(duration=duration):
            return f"{text.coloured('completed')} in {duration}"
        case _:
            return ""


def _quoted(comment: str) -> str:
    return f": {visible(comment)}" if comment else ""


def _because(reason: str) -> str:
    return f": {visible(reason)}" if reason else ""


def choose_display(*, as_json: bool) -> Display:
    """Live on a capable terminal, lines elsewhere, nothing with --json."""
    if as_json:
        return Display()
    if sys.stdout.isatty():
        from sopwith.doors.cli.live import Live

        return Live()
    return Lines()


def is_interactive(*, as_json: bool) -> bool:
    """Whether a person is there to be asked."""
    return not as_json and sys.stdin.isatty() and sys.stdout.isatty()
