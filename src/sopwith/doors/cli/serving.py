"""The verb `serve`: one process that drives whatever nobody else does, and tells it in lines."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import sys
from collections.abc import Coroutine
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click
import msgspec

from sopwith.assembly import make_postman, make_tracer, open_triggering
from sopwith.core.procedure import TriggerType
from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.listening import DEFAULT_HOST, DEFAULT_PORT, Place, check_proxies, open_http
from sopwith.doors.cli.server_health import HealthSocket, Physician, ask
from sopwith.doors.cli.server_log import ServerLog
from sopwith.doors.cli.service_manager import ServiceManager
from sopwith.engine.aside import in_thread as _aside
from sopwith.engine.auditing import Deferred
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.ticker import Pulse
from sopwith.engine.ticker import serve as serve_runs
from sopwith.errors import BadRequest, NotAllowed, NotFound, SopwithError, StoreError
from sopwith.ports import Clock
from sopwith.stores.bell import DatagramEar
from sopwith.stores.failures import DAMAGED
from sopwith.stores.serving_lock import ServingLock
from sopwith.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from sopwith.audit.retention import Dropped
    from sopwith.doors.web.server import Listening
    from sopwith.engine.triggering import Triggering

_SIGNING_SECS = 3.0
"""How long the end waits for the last signature; longer than it takes to give up on a place that somebody keeps."""
_DAY_SECS = 24 * 60 * 60
_HOUR_SECS = 60 * 60
_BEAT_SECS = 5.0
"""How often the service manager is told how it is; more often where it wants to be."""
_UNHEARD_SECS = 2.0
"""How often it looks for webhooks that nobody can call."""


@click.command()
@click.option("--once", is_flag=True, help="Do what can be done now, and leave.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Lines for people, or JSON documents for programs, as with --json. Errors of the command stay text.",
)
@click.option("--status", is_flag=True, help="Ask the server how it is. Exit code 1 if it fails, 6 if there is none.")
@click.option(
    "--unit",
    type=click.Choice(["user", "system"]),
    is_flag=False,
    flag_value="user",
    help="Print a systemd unit for this workspace: of your own service manager, or of the system's.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Serve HTTP on this port too, on the loopback interface; 0: any free one. See --host.",
)
@click.option("--host", metavar="ADDRESS", help="The address to listen on; else 127.0.0.1. Without --port: port 8321.")
@click.option(
    "--allow-host",
    "allowed",
    multiple=True,
    metavar="NAME",
    help="A name under which it is called too.",
)
@click.option(
    "--proxy", "proxies", multiple=True, metavar="ADDRESS", help="A proxy whose X-Forwarded headers are believed."
)
@verb
def serve(
    door: Door,
    once: bool,
    log_format: str | None,
    status: bool,
    unit: str | None,
    port: int | None,
    host: str | None,
    allowed: tuple[str, ...],
    proxies: tuple[str, ...],
) -> None:
    """Drive all runs of the workspace that nobody else drives: those whose time has come, whose turn it is, or whose
    driver is gone. Goes on until SIGTERM or Ctrl-C; running steps are not hurt. SIGHUP: look at everything again.

    With --port or --host programs on this machine, or others, can call it: see docs/how-to/http-api.md.

    Prints a line for what happens; with --json, one JSON document a line.
    """
    place = _place(host, port, allowed, proxies, once=once)
    if status:
        _show_status(door)
        return
    if unit is not None:
        _show_unit(door, unit, () if place is None else place.options)
        return
    if door.actor.inside is not None:
        raise NotAllowed(
            f"a step of {door.actor.inside} cannot serve the workspace: it would drive the run it belongs to",
            hint="start sop serve from a shell, or as a service",
        )
    ensure_private_folder(door.workspace.runs)
    _refuse_damaged(door)
    with closing(ServingLock(door.workspace.runs)) as lock:
        if not lock.take(door.engine.parts.owner(), staying=not once):
            raise lock.refusal(f"serve {door.workspace.root}")
        log = ServerLog(door, as_json=log_format == "json" if log_format else door.as_json)
        asyncio.run(_Served(door, lock, log).once() if once else _Served(door, lock, log).stay(place))


def _place(
    host: str | None, port: int | None, allowed: tuple[str, ...], proxies: tuple[str, ...], *, once: bool
) -> Place | None:
    """Where to listen for HTTP; None: nowhere, which nobody asked for."""
    if host is None and port is None:
        if allowed or proxies:
            raise BadRequest("--allow-host and --proxy are for a server that listens", hint="add --port 8321")
        return None
    if once:
        raise BadRequest("--once leaves when nothing is left to do, and --port stays", hint="leave out one of them")
    check_proxies(proxies)
    return Place(host or DEFAULT_HOST, DEFAULT_PORT if port is None else port, allowed, proxies)


def _refuse_damaged(door: Door) -> None:
    """A server writes for weeks: it does not begin on a file that is damaged already."""
    store = door.engine.parts.store
    damage = store.damage() if isinstance(store, SqliteStore) else ""
    if damage:
        raise StoreError(f"cannot serve {door.workspace.root}: the database is damaged: {damage}", hint=DAMAGED)


class _Served:
    """One call of `sop serve`."""

    def __init__(self, door: Door, lock: ServingLock, log: ServerLog) -> None:
        self._door = door
        self._lock = lock
        self._log = log
        self._stop = asyncio.Event()
        self._lost: StoreError | None = None
        """Why it ends though nobody told it to."""
        self._hurry = asyncio.Event()
        self._anew = asyncio.Event()
        self._signing = Deferred(door.engine.parts.auditing)
        self._parts = msgspec.structs.replace(door.engine.parts, auditing=self._signing)
        self._postman = make_postman(door.engine, log)
        self._tracer = make_tracer(door.engine, log.on_post_trouble)

    async def once(self) -> None:
        """Until nothing is left to do now."""
        self._heed_signals()
        self._log.began(once=True)
        keeping_house = asyncio.ensure_future(_keep_house(self._door, self._log, once=True))
        with open_triggering(self._door.workspace, self._log) as triggering:
            await triggering.once()
        left = await serve_runs(self._parts, self._log, stop=self._stop, once=True)
        if not self._stop.is_set():
            await keeping_house
            await self._unless_told_to_end(self._postman.once())
        await self._end(left, keeping_house)

    async def stay(self, place: Place | None = None) -> None:
        """Until it is told to end. `place`: where it listens for HTTP."""
        web = None if place is None else open_http(self._door, place, self._log, self._signing)
        pulse = Pulse()
        physician = Physician(self._door, pulse)
        manager = ServiceManager(os.environ)
        self._heed_signals()
        health = HealthSocket(self._door.workspace.runs, physician.examine)
        with closing(health), open_triggering(self._door.workspace, self._log) as triggering:
            try:
                await health.open()
            except OSError as error:
                reason = error.strerror or str(error)
                self._log.on_trouble(None, SopwithError(f"nobody can ask how the server is: {reason}"))
            self._log.began(once=False)
            if web is not None:
                web.start(triggering.receive)
                self._log.listening(web.address)
            manager.ready("serving")
            aside = [
                asyncio.ensure_future(_keep_house(self._door, self._log, once=False)),
                asyncio.ensure_future(_beat(manager, physician)),
                asyncio.ensure_future(self._end_where_nobody_finds_us()),
                asyncio.ensure_future(self._postman.stay()),
                asyncio.ensure_future(self._tracer.stay()),
                asyncio.ensure_future(triggering.serve()),
                *([asyncio.ensure_future(_tell_of_unheard(triggering, self._log))] if web is None else []),
            ]
            left = await serve_runs(
                self._parts,
                self._log,
                stop=self._stop,
                ear=DatagramEar(self._door.workspace.runs),
                anew=self._anew,
                pulse=pulse,
                stirred=lambda: self._stir(web, triggering),
            )
            manager.stopping()
            if web is not None:
                await web.stop()
            await self._end(left, *aside)
        if self._lost is not None:
            raise self._lost

    async def _end_where_nobody_finds_us(self) -> None:
        """Where the lock's file is gone, another server may begin beside this one, which hears nothing any more."""
        while self._lock.is_found:
            await asyncio.sleep(_BEAT_SECS)
        self._lost = StoreError(
            f"{self._door.workspace.runs} was deleted or replaced under the server: nobody finds it there any more",
            hint="start it again; sop doctor writes the files of the runs anew",
        )
        self._told_to_end()

    def _stir(self, web: Listening | None, triggering: Triggering) -> None:
        self._postman.stir()
        triggering.stir()
        self._tracer.stir()
        if web is not None:
            web.stir()

    async def _unless_told_to_end(self, work: Coroutine[None, None, None]) -> None:
        working, told = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        for each in (working, told):
            each.cancel()

    async def _end(self, left: tuple[str, ...], *aside: asyncio.Future[None]) -> None:
        for task in aside:
            task.cancel()
        with suppress(StoreError):
            self._postman.finish()
        signing = asyncio.ensure_future(_aside(lambda: self._signing.finish(_SIGNING_SECS)))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({signing, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if self._stop.is_set():
            self._log.ended(left)

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told_to_end)
        # nohup has it ignored, and so it stays
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # the terminal that it was started at is gone; without one somebody wants to be heard
            loop.add_signal_handler(signal.SIGHUP, self._told_to_end if sys.stdin.isatty() else self._look_anew)

    def _told_to_end(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        # before anything else: what is made from now on must not be left to this process
        self._lock.stop_staying()
        self._stop.set()

    def _look_anew(self) -> None:
        self._log.looks_anew()
        self._anew.set()


async def _beat(manager: ServiceManager, physician: Physician) -> None:
    """Tells the service manager that it lives, and, while it does what it is there for, that it need not be ended."""
    patience_secs = manager.patience_secs
    pause_secs = _BEAT_SECS if patience_secs is None else min(_BEAT_SECS, patience_secs / 3)
    while True:
        health = physician.examine()
        counts = f"{health.runs_driven} driven, {health.runs_open} open, {health.runs_in_trouble} in trouble"
        manager.lives(f"{health.status}: {counts}", well=health.status != "failing")
        await asyncio.sleep(pause_secs)


async def _tell_of_unheard(triggering: Triggering, log: ServerLog) -> None:
    """Of webhooks, each once, where nobody can call: whoever sends them is told by no one."""
    told: set[str] = set()
    while True:
        paths = {f"/hooks{each.trigger.path}" for each in triggering.armory.of(TriggerType.WEBHOOK)} - told
        if paths:
            log.unheard(sorted(paths))
            told |= paths
        await asyncio.sleep(_UNHEARD_SECS)


async def _keep_house(door: Door, log: ServerLog, *, once: bool) -> None:
    """Drops what auditRetentionDays and accessLogRetentionDays let go, at the start and once a day. A failure is told
    and tried the next day.
    """
    while True:
        try:
            dropped = await _aside(lambda: _retain(door))
        except Exception as error:
            log.on_trouble(None, error)
        else:
            log.dropped(dropped)
        if once:
            return
        await _a_day(door.engine.parts.clock)


async def _a_day(clock: Clock) -> None:
    """By the boot clock, which counts the time in which the machine sleeps too; a sleep does not."""
    began = clock.now()
    while (now := clock.now()).boot_id == began.boot_id and now.boot_ms - began.boot_ms < _DAY_SECS * 1000:
        await clock.sleep(_HOUR_SECS)


def _retain(door: Door) -> Dropped:
    from sopwith.assembly import open_keeper

    with open_keeper(door.workspace) as keeper:
        return keeper.retain(door.engine.parts.clock.now().at)


def _show_status(door: Door) -> None:
    with closing(ServingLock(door.workspace.runs)) as lock:
        if not lock.has_server:
            raise NotFound(f"no server serves {door.workspace.root}", hint="sop serve starts one")
    health = ask(door.workspace.runs)
    document: Document = msgspec.to_builtins(health)
    door.say(document, lambda: "\n".join(f"{key}: {_shown(value)}" for key, value in document.items()))
    door.leave(1 if health.status == "failing" else 0)


def _shown(value: object) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _show_unit(door: Door, unit: str, listening: tuple[str, ...]) -> None:
    from sopwith.doors.cli.server_unit import this_command, unit_text

    root = door.workspace.root
    user = pwd.getpwuid(root.stat().st_uid).pw_name if unit == "system" else None
    text = unit_text(root, command=this_command(), user=user, listening=listening)
    door.say({"unit": text}, text.rstrip)
