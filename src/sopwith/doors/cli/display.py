"""Showing a run while it is driven: nothing, lines for a pipe, or a live list on a terminal."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.events import Event
from sopwith.core.instant import duration_text, iso
from sopwith.core.run import Run
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.terminal import mark, shown

if TYPE_CHECKING:
    from sopwith.doors.cli.door import Door

_FLUSH_CHARACTERS = 64 * 1024


class Display:
    """Shows nothing; the base of the others. Entered while a driver works, left while a person is asked."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, run: Run) -> None:
        """The run as it is when showing begins, and again after somebody was asked."""

    def on_event(self, event: Event, run: Run) -> None:
        pass

    def on_output(self, step: StepId, chunk: bytes) -> None:
        pass

    def on_related_event(self, event: Event, run: Run) -> None:
        """What happens in a run that is driven along."""
        line = event_line(event, run)
        if line:
            self.note(f"  {text.dim(run.name)} {line}")

    def tick(self) -> None:
        """Called ten times a second while a driver works."""

    def note(self, words: str) -> None:
        """A remark to whoever watches."""


class Lines(Display):
    """One line an event, and what the steps print between them: raw into a pipe, tame on a terminal."""

    def __init__(self) -> None:
        self._fresh_line = True
        self._tamers: dict[StepId, Tamer] = {}

    def on_event(self, event: Event, run: Run) -> None:
        if isinstance(event.body, ev.StepEnd | ev.StepInterrupted | ev.VerificationEnded):
            self._finish_output(event.body.step_number)
        line = event_line(event, run)
        if line:
            self.note(line)

    def on_output(self, step: StepId, chunk: bytes) -> None:
        if sys.stdout.isatty():
            self._print(self._tamers.setdefault(step, Tamer()).feed(chunk))
            return
        terminal.echo_bytes(chunk)
        self._fresh_line = chunk.endswith(b"\n")

    def note(self, words: str) -> None:
        terminal.echo(words if self._fresh_line else "\n" + words)
        self._fresh_line = True

    def _print(self, words: str) -> None:
        if words:
            terminal.echo(words, newline=False)
            self._fresh_line = words.endswith("\n")

    def _finish_output(self, step: StepId) -> None:
        tamer = self._tamers.pop(step, None)
        if tamer is not None:
            self._print(tamer.rest())


class Expendable(Display):
    """Passes on to another display until that fails for the first time, and shows nothing from then on.

    Whatever becomes of a picture, the run behind it goes on.
    """

    def __init__(self, shown: Display) -> None:
        self._shown = shown

    def __enter__(self) -> Self:
        self._try(self._shown.__enter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try(lambda: self._shown.__exit__(kind, error, trace))

    def show(self, run: Run) -> None:
        self._try(lambda: self._shown.show(run))

    def on_event(self, event: Event, run: Run) -> None:
        self._try(lambda: self._shown.on_event(event, run))

    def on_output(self, step: StepId, chunk: bytes) -> None:
        self._try(lambda: self._shown.on_output(step, chunk))

    def tick(self) -> None:
        self._try(self._shown.tick)

    def note(self, words: str) -> None:
        self._try(lambda: self._shown.note(words))

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (Exception, SystemExit) as error:  # rich exits where a pipe is broken
            failed, self._shown = self._shown, Display()
            _take_down(failed, error)


def _take_down(failed: Display, error: BaseException) -> None:
    """Leaves the terminal as it was, as far as that can be done, and says on stderr why nothing is shown any more."""
    with suppress(Exception):
        failed.__exit__(None, None, None)
    terminal.give_up_what_fails()
    if not isinstance(error, OSError | terminal.ReaderGone | SystemExit):
        with terminal.optional():
            words = f"nothing more is shown ({type(error).__name__}: {error}); the run goes on"
            terminal.echo(words, err=True)


class Tamer:
    """Makes the bytes of one program fit to be shown, a line at a time; a line without end is given out in pieces."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._partial = ""

    def feed(self, chunk: bytes) -> str:
        """The whole lines there are now."""
        words = self._partial + self._decode(chunk)
        end = words.rfind("\n") + 1
        if not end and len(words) > _FLUSH_CHARACTERS:
            end = len(words)
        self._partial = words[end:]
        return terminal.tame(words[:end])

    @property
    def partial(self) -> str:
        """What was printed since the last line feed, not made tame."""
        return self._partial

    def rest(self) -> str:
        """What was printed without a line feed at the end."""
        words, self._partial = self._partial, ""
        return terminal.tame(words)


def _which(step: StepId | None, run: Run) -> str:
    if step is None:
        return "start"
    return f"step {step}/{len(run.procedure.steps)}" if isinstance(step, int) else f"step {step}"


def _warned(warnings: tuple[str, ...]) -> str:
    return "".join(f"; {click.style('!', fg='yellow')} {shown(warning)}" for warning in warnings)


def event_line(event: Event, run: Run) -> str:
    """What an event means to somebody who watches; empty for what is not worth a line."""
    body = event.body
    match body:
        case ev.StepStarted(step_number=number, title=title, rollback=True):
            return f"{click.style(mark('▶'), fg='yellow')} rolling back {_which(number, run)} {shown(title)}"
        case ev.StepStarted(step_number=number, title=title, agent=agent, command=command):
            by = f"  {text.agent_words(agent, command)}" if agent else ""
            return f"{click.style(mark('▶'), fg='blue')} {_which(number, run)} {shown(title)}{by}"
        case ev.StepCompleted(step_number=number, verified=True):
            return f"{click.style(mark('✔'), fg='green')} {_which(number, run)} is done, as was verified"
        case ev.StepCompleted(step_number=number, duration=duration, warnings=warnings):
            told = f"{_which(number, run)} completed in {duration}" + _warned(warnings)
            return f"{click.style(mark('✔'), fg='green')} {told}"
        case ev.StepFailed(step_number=number, error=error, warnings=warnings):
            told = f"{_which(number, run)} failed: {shown(error)}" + _warned(warnings)
            return f"{click.style(mark('✘'), fg='red')} {told}"
        case ev.StepRolledBack(step_number=number, error="", duration=duration):
            return f"{click.style(mark('✔'), fg='yellow')} {_which(number, run)} rolled back in {duration}"
        case ev.StepRolledBack(step_number=number, error=error):
            return f"{click.style(mark('✘'), fg='red')} {_which(number, run)} was not rolled back: {shown(error)}"
        case ev.StepInterrupted(step_number=number, reason=reason):
            return f"{click.style('!', fg='magenta')} {_which(number, run)} interrupted: {shown(reason)}"
        case ev.StepSkipped(step_number=number, reason=reason):
            return f"- {_which(number, run)} skipped: {shown(reason)}"
        case ev.ApprovalRequested(step_number=number, title=title, rollback=True):
            where = f"rollback of {_which(number, run)}"
            return f"{click.style('?', fg='yellow')} approval needed, {where}: {shown(title)}"
        case ev.ApprovalRequested(step_number=number, title=title):
            where = _which(number, run)
            return f"{click.style('?', fg='yellow')} approval needed, {where}: {shown(title)}"
        case _:
            return answer_line(event)


def answer_line(event: Event) -> str:
    """An answer that came from elsewhere, or from the clock; empty for any other event."""
    match event.body:
        case ev.ApprovalGranted(comment=comment):
            return f"{click.style(mark('✔'), fg='green')} approved by {shown(str(event.actor))}" + _quoted(comment)
        case ev.ApprovalRejected(reason=reason):
            return f"{click.style(mark('✘'), fg='red')} rejected by {shown(str(event.actor))}" + _quoted(reason)
        case ev.ApprovalVoteRecorded(votes=votes, needed=needed, comment=comment):
            told = f"vote {votes} of {needed} by {shown(str(event.actor))}"
            return f"{click.style(mark('✔'), fg='green')} {told}" + _quoted(comment)
        case ev.ApprovalEscalated(to=to):
            return f"{click.style('?', fg='yellow')} nobody answered in time: {shown(', '.join(to))} may answer too"
        case ev.ApprovalReminded():
            return f"{click.style('?', fg='yellow')} still waiting for approval"
        case ev.ApprovalPostponed(jumped_ms=jumped_ms, due_at=due_at):
            jump = duration_text(jumped_ms)
            return f"{click.style('!', fg='yellow')} the clock jumped by {jump}: the deadline moves to {iso(due_at)}"
        case ev.RunRetried(params=params) if params:
            told = ", ".join(text.assigned(name, value) for name, value in params.items())
            return f"{click.style(mark('▶'), fg='yellow')} goes on with {told}"
        case ev.RunTimedOut(limit_ms=limit_ms):
            return f"{click.style('!', fg='red')} the run's {duration_text(limit_ms)} are up: it is being ended"
        case ev.RollbackStarted(steps=steps, reason=reason):
            which = f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}"
            return f"{click.style(mark('▶'), fg='yellow')} rolling back {which}" + _quoted(reason)
        case ev.StepReported(step_number=number, to_verify=True):
            who = shown(str(event.actor))
            return f"{click.style(mark('▶'), fg='blue')} step {number} was reported done by {who}"
        case ev.VerificationStarted(step_number=number, of_report=True):
            return f"{click.style(mark('▶'), fg='yellow')} step {number} is verified"
        case ev.VerificationEnded(step_number=number, then=ev.OPEN, because=because):
            return f"{click.style(mark('✘'), fg='red')} step {number}: {shown(because)}"
        case ev.VerificationStarted(step_number=number, command=command):
            told = f"is verified: {text.code(command)}"
            return f"{click.style(mark('▶'), fg='yellow')} step {number} {told}"
        case ev.VerificationEnded(step_number=number, outcome="unknown", because=because):
            return f"{click.style('!', fg='magenta')} step {number}: {shown(because)}"
        case ev.VerificationEnded(step_number=number, outcome="not_done"):
            return f"{click.style('!', fg='magenta')} step {number} was not done, as was verified"
        case ev.StepRetryScheduled(step_number=number, cause=ev.INTERRUPTED, attempt=attempt, max_attempts=most):
            again = f"is run again after the interruption: {attempt} of {most}"
            return f"{click.style(mark('▶'), fg='yellow')} step {number} {again}"
        case ev.StepRetryScheduled(step_number=number, attempt=attempt, max_attempts=max_attempts, delay_ms=delay_ms):
            again = f"tries again in {duration_text(delay_ms)}: {attempt} of {max_attempts}"
            return f"{click.style(mark('▶'), fg='yellow')} step {number} {again}"
        case ev.WaitStarted(step_number=number, until=until):
            return f"{click.style(mark('▶'), fg='yellow')} step {number} waits until {text.local_time(iso(until))}"
        case ev.ConditionEvaluated(step_number=number, condition=ev.WHEN, result=False, expression=expression):
            return f"- step {number} needs no approval: {shown(expression)} does not hold"
        case ev.ConditionEvaluated(step_number=number, condition=ev.WHEN, result=None, reason=reason):
            return f"{click.style('!', fg='yellow')} step {number} asks: its condition is not known ({shown(reason)})"
        case ev.ApprovalTimeout(action=action):
            return f"{click.style('?', fg='yellow')} nobody answered in time: {action}"
        case ev.ApprovalStale(step_number=number, digest="", changed=changed):
            told = f"what step {number} would run has changed since the run began"
            return f"{click.style('!', fg='yellow')} {told} ({shown(', '.join(changed))}): asking"
        case ev.ApprovalStale(changed=changed):
            told = f"what was approved has changed ({shown(', '.join(changed))})"
            return f"{click.style('!', fg='yellow')} {told}: asking again"
        case _:
            return ""


def _quoted(comment: str) -> str:
    return f": {shown(comment)}" if comment else ""


def choose_display(door: Door) -> Display:
    """Live on a terminal whose cursor can be moved, lines elsewhere, nothing with --json; none of them can fail."""
    return Expendable(_fitting_display(door))


def _fitting_display(door: Door) -> Display:
    if door.as_json:
        return Display()
    if terminal.is_drawable(sys.stdout):
        from sopwith.doors.cli.live import Live

        return Live(door.engine.parts.clock.now)
    return Lines()


def is_interactive(*, as_json: bool) -> bool:
    """Whether a person is there to be asked."""
    return not as_json and sys.stdin.isatty() and sys.stdout.isatty()


def ended_words(run: text.Document) -> str:
    """How the run stands when the command leaves it."""
    name = run["runId"]
    if run.get("drivenBy") and run["endedAt"] is None:
        if "until" in run["drivenBy"]:
            told = f"{name} is {text.driver_elsewhere(run['drivenBy'])} unless it renews that"
            return f"{told}\nthen sop resume {name} takes it up, if that host is down"
        return f"{name} goes on in process {run['drivenBy']['pid']}: sop status {name} --watch"
    word = text.coloured(run["status"])
    took = f" {'in' if run['status'] == 'completed' else 'after'} {run['duration']}" if run["duration"] else ""
    if run["status"] == "completed":
        told = ": every step was skipped" if run.get("nothingRan") else ""
        told += ", with failures" if run.get("withFailures") else ""
        return f"{name} {word}{took}{told}"
    reason = f": {shown(run['reason'])}" if run["reason"] else ""
    reason += f" ({told})" if (told := text.rollback_words(run)) else ""
    return f"{name} {text.status_words(run)}{took}{reason}\n" + "\n".join(
        [*text.waits_lines(run), text.next_line(run["next"])]
    )
