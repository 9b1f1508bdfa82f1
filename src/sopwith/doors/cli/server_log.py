"""What the server says: lines for people, or one JSON document a line for programs. No values, no output of steps.

That it can be told to nobody any more never ends the server.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import click

from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.codec import event_json
from sopwith.core.events import Event
from sopwith.core.instant import iso
from sopwith.core.run import Run, RunStatus
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.display import event_line
from sopwith.doors.cli.door import Document, Door
from sopwith.doors.cli.terminal import mark, safe
from sopwith.engine.documents import error_document
from sopwith.engine.hooks import Refusal, run_of
from sopwith.errors import SopwithError
from sopwith.ports import Delivery, RunFilter

if TYPE_CHECKING:
    from sopwith.audit.retention import Dropped

OPEN = tuple(status for status in RunStatus if status not in ("completed", "failed", "cancelled"))


class Level(StrEnum):
    """How much a line matters: `warning` is worth a look, `error` is the server's own trouble."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


OWN_TYPES = {
    "serving": (Level.INFO, "It serves; `workspace`, `pid`, `openRuns`"),
    "listening": (Level.INFO, "It answers HTTP; `address`"),
    "stopped": (Level.INFO, "It ends; `left`: the runs that it drove, for the next one"),
    "taken_over": (Level.INFO, "Steps whose driver is gone are watched from now on; `steps`"),
    "pruned": (Level.INFO, "Retention dropped the records of `runs`"),
    "access_pruned": (Level.INFO, "Retention dropped so many entries, `count`, of the server's own log"),
    "looking_anew": (Level.INFO, "It was told by SIGHUP to look at everything again"),
    "clock_jump": (
        Level.WARNING,
        "The wall clock was set by `seconds`, back if negative, since the last look",
    ),
    "channel_failing": (Level.WARNING, "A channel did not take a message, which is tried again; `channel`, `reason`"),
    "channel_well": (Level.INFO, "A channel that failed takes messages again; `channel`"),
    "messages_given_up": (
        Level.ERROR,
        "So many messages, `count`, for a `channel` are tried no more; `reason`. See `sop notify list`",
    ),
    "lines_lost": (Level.WARNING, "So many lines, `count`, were not written before this one: nobody took them"),
    "delivery": (
        Level.INFO,
        "Something happened outside: `sopName`, `trigger`, `delivery`, `outcome`, and `runId` or the `reason` why not",
    ),
    "webhook_refused": (
        Level.WARNING,
        "A webhook was not believed; `sopName`, `trigger`, `reason`, `count` since the last such line, one a minute",
    ),
    "webhooks_unheard": (
        Level.WARNING,
        "No port is served, so that the webhooks at these `paths` do not arrive; each is told once",
    ),
    "trouble": (Level.ERROR, "A run, or without `runId` the store, is in trouble and is tried again; `error`"),
}
"""The types of lines that are no events, and what they bring."""
WARNINGS = frozenset(
    {
        *("run_failed", "run_timed_out", "step_failed", "step_interrupted", "approval_timeout", "approval_stale"),
        *("approval_postponed", "rollback_started"),
    }
)
"""The events that are warnings; all others are information."""
DETAILS = frozenset(
    {
        *("action", "at", "attempt", "cause", "childRunId", "clockJumpMs", "delayMs", "dueAt", "durationMs", "error"),
        *("exitCode", "failedSteps", "jumpedMs", "limitMs", "maxAttempts", "mode", "needed", "nothingRan", "outcome"),
        *("reason", "result", "revision", "rollback", "rolledBack", "signal", "status", "steps", "then", "title"),
        *("until", "visit", "votes", "withFailures"),
    }
)
"""What a line shows of an event. Parameters, outputs, forms and what a step printed are not among them."""


_A_MINUTE_MS = 60_000
_MOST_REFUSALS = 1000


class ServerLog:
    """Tells what happens, as a Witness of the loop."""

    def __init__(self, door: Door, *, as_json: bool) -> None:
        self._door = door
        self._as_json = as_json
        self._now = door.engine.parts.clock.now
        self._lost = 0
        self._refusals: dict[Refusal, tuple[int, int]] = {}
        """When it was told last, by the boot clock, and how often it came since."""

    def began(self, *, once: bool) -> None:
        _listed, total = self._door.engine.parts.store.summaries(RunFilter(statuses=OPEN, limit=0))
        root = str(self._door.workspace.root)
        runs = "1 run open" if total == 1 else f"{total} runs open"
        self._own(
            {"type": "serving", "workspace": root, "pid": self._door.engine.parts.owner().pid, "openRuns": total},
            lambda: f"{click.style('serving', fg='green')} {safe(root)}{' once' if once else ''}, {runs}",
        )

    def listening(self, address: str) -> None:
        words = f"{click.style('listening', fg='green')} {safe(address)}"
        self._own({"type": "listening", "address": address}, lambda: words)

    def ended(self, left: tuple[str, ...]) -> None:
        runs = "1 run is" if len(left) == 1 else f"{len(left)} runs are"
        on_their_way = f"; {runs} left on the way, for the next server or sop resume" if left else ""
        # a terminal has just shown ^C
        new_line = "\n" if sys.stdout.isatty() and not self._as_json else ""
        self._own(
            {"type": "stopped", "left": left},
            lambda: f"{new_line}{click.style('stopped', fg='yellow')}{on_their_way}",
        )

    def dropped(self, dropped: Dropped) -> None:
        if entries := dropped.entries.count:
            count = "1 entry" if entries == 1 else f"{entries} entries"
            self._own(
                {"type": "access_pruned", "count": entries},
                lambda: self._line_now("", "", f"dropped {count} of its own log, as accessLogRetentionDays says"),
            )
        if dropped.runs:
            runs = [run.run_id for run in dropped.runs]
            count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
            self._own(
                {"type": "pruned", "runs": runs},
                lambda: self._line_now("", "", f"dropped the records of {count}, as auditRetentionDays says"),
            )
        for failure in dropped.failures:
            self.on_trouble(None, SopwithError(failure))

    def looks_anew(self) -> None:
        self._own({"type": "looking_anew"}, lambda: self._line_now("", "", "looks at everything again"))

    def on_event(self, event: Event, run: Run) -> None:
        line = event_line(event, run) or _run_line(event)
        if line or self._as_json:
            self._say(_event_document(event, run), lambda: _line(event.at, run.run_id, run.name, line))

    def on_related_event(self, event: Event, run: Run) -> None:
        self.on_event(event, run)

    def on_output(self, step: StepId, chunk: bytes) -> None:
        """What steps print is in their logs."""

    def on_adopted(self, run_id: str, name: str, steps: tuple[StepId, ...]) -> None:
        which = f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(map(str, steps))}"
        self._own(
            {"type": "taken_over", "runId": run_id, "sopName": name, "steps": steps},
            lambda: self._line_now(run_id, name, f"{click.style('!', fg='magenta')} taken over: {which} went on alone"),
        )

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        told = error if isinstance(error, SopwithError) else _unexpected(error)
        words = f"{click.style(mark('✘'), fg='red')} {safe(told.message)}; it is tried again"
        document = {"type": "trouble", "runId": run_id, "error": error_document(told)["error"]}
        self._own(document, lambda: self._line_now(run_id or "", "", words), err=True)

    def on_delivery(self, delivery: Delivery) -> None:
        run_id = run_of(delivery)
        document = {
            "type": "delivery",
            "runId": run_id,
            "sopName": delivery.procedure,
            "trigger": delivery.trigger,
            "delivery": delivery.delivery,
            "outcome": delivery.outcome,
            "reason": delivery.reason,
        }
        reason = f": {safe(delivery.reason)}" if delivery.reason else ""
        words = f"{safe(delivery.trigger)} {delivery.outcome}{reason}"
        self._own(document, lambda: self._line_now(run_id or "", delivery.procedure, words))

    def on_refused(self, refusal: Refusal) -> None:
        """A flood of one kind is one line a minute."""
        now_ms = self._now().boot_ms
        told_ms, count = self._refusals.get(refusal, (-_A_MINUTE_MS, 0))
        if now_ms - told_ms < _A_MINUTE_MS:
            self._refusals[refusal] = (told_ms, count + 1)
            return
        if len(self._refusals) >= _MOST_REFUSALS:
            self._refusals.clear()
        self._refusals[refusal] = (now_ms, 0)
        document = {
            "type": "webhook_refused",
            "sopName": refusal.procedure,
            "trigger": refusal.trigger,
            "reason": refusal.reason,
            "count": count + 1,
        }
        more = f" ({count + 1} times)" if count else ""
        words = f"{click.style('!', fg='yellow')} {safe(refusal.trigger)} not believed: {safe(refusal.reason)}{more}"
        self._own(document, lambda: self._line_now("", refusal.procedure, words))

    def unheard(self, paths: Sequence[str]) -> None:
        told = ", ".join(safe(path) for path in paths)
        words = f"{click.style('!', fg='yellow')} no port is served, so that webhooks do not arrive: {told}"
        hint = text.dim("  sop serve --port 8321")
        self._own({"type": "webhooks_unheard", "paths": paths}, lambda: self._told_now(words + hint))

    def on_clock_jump(self, seconds: float) -> None:
        way = "forward" if seconds > 0 else "back"
        words = f"{click.style('!', fg='yellow')} the clock was set {way} by {abs(seconds):.1f}s"
        self._own({"type": "clock_jump", "seconds": round(seconds, 3)}, lambda: self._line_now("", "", words))

    def on_channel_failing(self, channel: str, reason: str) -> None:
        words = f"{click.style('!', fg='yellow')} channel {safe(channel)} fails: {safe(reason)}; it is tried again"
        self._own({"type": "channel_failing", "channel": channel, "reason": reason}, lambda: self._told_now(words))

    def on_channel_well(self, channel: str) -> None:
        words = f"channel {safe(channel)} takes messages again"
        self._own({"type": "channel_well", "channel": channel}, lambda: self._told_now(words))

    def on_given_up(self, channel: str, count: int, reason: str) -> None:
        messages = "1 message" if count == 1 else f"{count} messages"
        words = f"{click.style(mark('✘'), fg='red')} gave up {messages} for channel {safe(channel)}: {safe(reason)}"
        document = {"type": "messages_given_up", "channel": channel, "count": count, "reason": reason}
        self._own(document, lambda: self._told_now(words), err=True)

    def on_post_trouble(self, error: BaseException) -> None:
        self.on_trouble(None, error)

    def _told_now(self, words: str) -> str:
        return self._line_now("", "", words)

    def _line_now(self, run_id: str, name: str, words: str) -> str:
        return _line(self._now().at, run_id, name, words)

    def _own(self, document: Document, line: Callable[[], str], *, err: bool = False) -> None:
        level, _words = OWN_TYPES[document["type"]]
        self._say({"timestamp": iso(self._now().at), "level": level, **document}, line, err=err)

    def _say(self, document: Document, line: Callable[[], str], *, err: bool = False) -> None:
        if not terminal.takes_more(sys.stderr if err and not self._as_json else sys.stdout):
            # whoever reads this hangs: that must not be the server's trouble as well
            self._lost += 1
            return
        if lost := self._lost:
            self._lost = 0
            self._own(
                {"type": "lines_lost", "count": lost},
                lambda: self._line_now("", "", f"{lost} lines were not written: nobody took them"),
            )
        with terminal.optional():
            if self._as_json:
                terminal.echo_json(document)
            else:
                terminal.echo(line(), err=err)


def level_of(event_type: str) -> Level:
    """The level of an event's line."""
    return Level.WARNING if event_type in WARNINGS else Level.INFO


def _line(at: datetime, run_id: str, name: str, words: str) -> str:
    """Time of day where somebody watches, the date as well where lines are kept; then which run, then what."""
    local = text.local_time(at.isoformat())
    time = text.dim(local[11:]) if sys.stdout.isatty() else local
    return "  ".join(
        part for part in (time, text.dim(safe(run_id)), text.bold(safe(name)) if name else "", words) if part
    )


def _run_line(event: Event) -> str:
    """What became of the run as a whole."""
    match event.body:
        case ev.RunCompleted(duration=duration, nothing_ran=nothing_ran):
            skipped = ": every step was skipped" if nothing_ran else ""
            return f"{click.style(mark('✔'), fg='green')} completed in {duration}{skipped}"
        case ev.RunFailed(error=error):
            return f"{click.style(mark('✘'), fg='red')} failed: {safe(error)}"
        case ev.RunPaused(reason=reason):
            return f"{click.style('!', fg='yellow')} paused" + (f": {safe(reason)}" if reason else "")
        case ev.RunCancelled(reason=reason):
            return f"{click.style(mark('✘'), fg='red')} cancelled" + (f": {safe(reason)}" if reason else "")
        case _:
            return ""


def _event_document(event: Event, run: Run) -> Document:
    """The event with the run it belongs to, and those of its details that a log may show."""
    whole = event_json(event)
    details = {key: value for key, value in whole.pop("details").items() if key in DETAILS}
    kind = whole.pop("eventType")
    head = {"timestamp": whole.pop("timestamp"), "level": level_of(kind), "type": kind, "runId": whole.pop("runId")}
    return {**head, "sopName": run.name, **whole, "details": details}


def _unexpected(error: BaseException) -> SopwithError:
    return SopwithError(f"something went wrong: {type(error).__name__}: {error}")
