"""The verb `serve`: one process that drives whatever nobody else does, and tells it in lines."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, cast

import click
import msgspec

from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.codec import event_json
from sopwith.core.events import Event
from sopwith.core.run import Run, RunStatus
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.display import event_line
from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.terminal import mark, safe
from sopwith.engine.auditing import Deferred
from sopwith.engine.documents import error_document
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.ticker import serve as serve_runs
from sopwith.errors import NotAllowed, Refused, SopwithError
from sopwith.ports import Owner, RunFilter
from sopwith.stores.bell import DatagramEar
from sopwith.stores.serving_lock import ServingLock

if TYPE_CHECKING:
    from sopwith.audit.retention import Dropped

_T = TypeVar("_T")
_SIGNING_SECS = 3.0
"""How long the end waits for the last signature; longer than it takes to give up on a place that somebody keeps."""
_DAY_SECS = 24 * 60 * 60
_OPEN = tuple(status for status in RunStatus if status not in ("completed", "failed", "cancelled"))


@click.command()
@click.option("--once", is_flag=True, help="Do what can be done now, and leave.")
@verb
def serve(door: Door, once: bool) -> None:
    """Drive all runs of the workspace that nobody else drives: those whose time has come, whose turn it is, or whose
    driver is gone. Goes on until SIGTERM or Ctrl-C; running steps are not hurt.

    Prints a line for what happens; with --json, one JSON document a line.
    """
    if door.actor.inside is not None:
        raise NotAllowed(
            f"a step of {door.actor.inside} cannot serve the workspace: it would drive the run it belongs to",
            hint="start sop serve from a shell, or as a service",
        )
    ensure_private_folder(door.workspace.runs)
    with closing(ServingLock(door.workspace.runs)) as lock:
        if not lock.take(door.engine.parts.owner(), staying=not once):
            raise _served_already(door, lock.holder())
        asyncio.run(_serve(door, lock, once=once))


async def _serve(door: Door, lock: ServingLock, *, once: bool) -> None:
    stop = asyncio.Event()

    def end() -> None:
        # before anything else: what is made from now on must not be left to this process
        lock.stop_staying()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    teller = _Teller(door)
    teller.began(once=once)
    keeping_house = asyncio.ensure_future(_keep_house(door, teller, once=once))
    signing = Deferred(door.engine.parts.auditing)
    parts = msgspec.structs.replace(door.engine.parts, auditing=signing)
    ear = None if once else DatagramEar(door.workspace.runs)
    left = await serve_runs(parts, teller, stop=stop, once=once, ear=ear)
    if once and not stop.is_set():
        await keeping_house
    keeping_house.cancel()
    signing.finish(_SIGNING_SECS)
    if stop.is_set():
        teller.ended(left)


async def _keep_house(door: Door, teller: _Teller, *, once: bool) -> None:
    """Drops what auditRetentionDays lets go, at the start and once a day. A failure is told and tried the next day."""
    while True:
        try:
            dropped = await _aside(lambda: _retain(door))
        except Exception as error:
            teller.on_trouble(None, error)
        else:
            teller.dropped(dropped)
        if once:
            return
        await asyncio.sleep(_DAY_SECS)


async def _aside(work: Callable[[], _T]) -> _T:
    """Does it in a thread that nobody waits for when the process ends, as one of asyncio's own would be."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: Exception | None) -> None:
        if done.done():
            return  # cancelled
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(_T, result))

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:
            failed = error
        # a server that has ended listens no more
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, failed)

    threading.Thread(target=run, name="retention", daemon=True).start()
    return await done


def _retain(door: Door) -> Dropped:
    from sopwith.assembly import open_keeper

    with open_keeper(door.workspace) as keeper:
        return keeper.retain(door.engine.parts.clock.now().at)


def _served_already(door: Door, holder: Owner | None) -> Refused:
    who = f"process {holder.pid} on {holder.host}" if holder else "another process"
    return Refused(
        f"cannot serve {door.workspace.root}: {who} does already",
        hint="one is enough; to end it, send it SIGTERM" if holder else "one is enough",
    )


class _Teller:
    """Tells what happens; that it can be told to nobody any more never ends the server."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._now = door.engine.parts.clock.now

    def began(self, *, once: bool) -> None:
        _listed, total = self._door.engine.parts.store.summaries(RunFilter(statuses=_OPEN, limit=0))
        root = str(self._door.workspace.root)
        runs = "1 run open" if total == 1 else f"{total} runs open"
        self._say(
            {"type": "serving", "workspace": root, "pid": self._door.engine.parts.owner().pid, "openRuns": total},
            lambda: f"{click.style('serving', fg='green')} {safe(root)}{' once' if once else ''}, {runs}",
        )

    def ended(self, left: tuple[str, ...]) -> None:
        runs = "1 run is" if len(left) == 1 else f"{len(left)} runs are"
        on_their_way = f"; {runs} left on the way, for the next server or sop resume" if left else ""
        # a terminal has just shown ^C
        new_line = "\n" if sys.stdout.isatty() and not self._door.as_json else ""
        self._say(
            {"type": "stopped", "left": left},
            lambda: f"{new_line}{click.style('stopped', fg='yellow')}{on_their_way}",
        )

    def dropped(self, dropped: Dropped) -> None:
        if dropped.runs:
            runs = [run.run_id for run in dropped.runs]
            count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
            self._say(
                {"type": "pruned", "runs": runs},
                lambda: self._line_now("", "", f"dropped the records of {count}, as auditRetentionDays says"),
            )
        for failure in dropped.failures:
            self.on_trouble(None, SopwithError(failure))

    def on_event(self, event: Event, run: Run) -> None:
        line = event_line(event, run) or _run_line(event)
        if line or self._door.as_json:
            self._say(_event_document(event, run), lambda: _line(event.at, run.run_id, run.name, line))

    def on_related_event(self, event: Event, run: Run) -> None:
        self.on_event(event, run)

    def on_output(self, step: StepId, chunk: bytes) -> None:
        """What steps print is in their logs."""

    def on_adopted(self, run_id: str, name: str, steps: tuple[StepId, ...]) -> None:
        which = f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(map(str, steps))}"
        self._say(
            {"type": "taken_over", "runId": run_id, "sopName": name, "steps": steps},
            lambda: self._line_now(run_id, name, f"{click.style('!', fg='magenta')} taken over: {which} went on alone"),
        )

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        told = error if isinstance(error, SopwithError) else _unexpected(error)
        words = f"{click.style(mark('✘'), fg='red')} {safe(told.message)}; it is tried again"
        document = {"type": "trouble", "runId": run_id, "error": error_document(told)["error"]}
        self._say(document, lambda: self._line_now(run_id or "", "", words), err=True)

    def on_clock_jump(self, seconds: float) -> None:
        way = "forward" if seconds > 0 else "back"
        words = f"{click.style('!', fg='yellow')} the clock was set {way} by {abs(seconds):.1f}s"
        self._say({"type": "clock_jump", "seconds": round(seconds, 3)}, lambda: self._line_now("", "", words))

    def _line_now(self, run_id: str, name: str, words: str) -> str:
        return _line(self._now().at, run_id, name, words)

    def _say(self, document: Document, line: Callable[[], str], *, err: bool = False) -> None:
        with terminal.optional():
            if self._door.as_json:
                terminal.echo_json(document)
            else:
                terminal.echo(line(), err=err)


def _line(at: datetime, run_id: str, name: str, words: str) -> str:
    """Time of day where somebody watches, the date as well where lines are kept; then which run, then what."""
    local = text.local_time(at.isoformat())
    time = text.dim(local[11:]) if sys.stdout.isatty() else local
    return "  ".join(part for part in (time, text.dim(run_id), text.bold(name) if name else "", words) if part)


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
    """As `sop audit --json` shows it, with the run it belongs to."""
    document = event_json(event)
    return {"type": document.pop("eventType"), "sopName": run.name, **document}


def _unexpected(error: BaseException) -> SopwithError:
    return SopwithError(f"something went wrong: {type(error).__name__}: {error}")
