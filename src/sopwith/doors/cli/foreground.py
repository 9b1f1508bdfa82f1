"""Carrying a run on from the command line: drive it until it waits or ends, and on a terminal ask and go on.

While somebody else drives the run, this process follows and shows; when it waits for a person here, it also notices
an answer given elsewhere, and settles a timeout on time. On a terminal the first Ctrl-C asks for a pause after the
running step, the second stops the step, the third leaves at once. Elsewhere, and where `--on-exit` says so, the first
signal does what that says, and the second leaves at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.due import next_due_at
from sopwith.core.events import Event
from sopwith.core.run import Run, children, open_gates, status_of
from sopwith.doors.cli.display import Display, is_interactive
from sopwith.doors.cli.door import EXIT_CODES, NEEDS_A_PERSON, Door
from sopwith.doors.cli.driving import OnExit
from sopwith.engine.claiming import is_driven
from sopwith.engine.driver import drive
from sopwith.errors import RunBusy, SopwithError

if TYPE_CHECKING:
    from sopwith.doors.cli.logs import LogReader
    from sopwith.doors.remote.door import RemoteDoor
    from sopwith.doors.remote.reader import RemoteLogs

LOOK_SECS = 0.2
_FROM_AFAR_SECS = 1.0
"""How often a server is asked how it goes on."""
_TICK_SECS = 0.1
_QUEUE_SECS = 1.0


class Left(SystemExit):
    """A signal ended the command, and not the run. Nobody who does not ask notices: it exits with the shell's code."""

    def __init__(self, number: signal.Signals) -> None:
        self.signal = number
        self.exit_code = 128 + number
        super().__init__(self.exit_code)


def carry_on(
    door: Door,
    run_id: str,
    display: Display,
    *,
    interactive: bool,
    wait: bool,
    patience_secs: float | None = None,
    on_exit: OnExit | None = None,
) -> Run:
    """Drives the run until it waits or ends; `interactive` asks and goes on. Tells the run as it is then.

    `wait`: while somebody else drives it, follows, for `patience_secs` at most. `on_exit`: what a signal does first.

    Raises Left after Ctrl-C, SIGTERM or SIGHUP; the run can be resumed.
    """
    foreground = _Foreground(door, run_id, display, wait=wait, interactive=interactive)
    foreground.patience_secs = patience_secs
    foreground.on_exit = on_exit
    try:
        run = asyncio.run(foreground.carry_on())
    except asyncio.CancelledError:
        assert foreground.left_by is not None
        raise Left(foreground.left_by) from None
    if foreground.left_by is not None:
        raise Left(foreground.left_by)
    return run


def exit_code(run: Run, *, driven: bool) -> int:
    """0 completed or driven elsewhere, 3 a person is needed, 4 failed or cancelled."""
    status = status_of(run)
    if status in EXIT_CODES:
        return EXIT_CODES[status]
    return 0 if driven else NEEDS_A_PERSON


class _GoingOn(Display):
    """What a driver tells after its run was followed here: a watch that adopts a running step begins at the first byte
    of its output, and so much of that was shown already.
    """

    def __init__(self, display: Display, shown: dict[StepId, int]) -> None:
        self._display = display
        self._shown = shown

    def on_event(self, event: Event, run: Run) -> None:
        if isinstance(event.body, ev.StepStarted):
            self._shown.pop(event.body.step_number, None)
        self._display.on_event(event, run)

    def on_related_event(self, event: Event, run: Run) -> None:
        self._display.on_related_event(event, run)

    def on_output(self, step: StepId, chunk: bytes) -> None:
        known = min(self._shown.get(step, 0), len(chunk))
        if known:
            self._shown[step] -= known
        if len(chunk) > known:
            self._display.on_output(step, chunk[known:])


class _Foreground:
    def __init__(self, door: Door, run_id: str, display: Display, *, wait: bool, interactive: bool) -> None:
        self.left_by: signal.Signals | None = None
        self.patience_secs: float | None = None
        self.on_exit: OnExit | None = None
        self._door = door
        self._parts = door.engine.parts
        self._engine = door.engine
        self._run_id = run_id
        self._display = display
        self._wait = wait
        self._interactive = interactive
        self._driving = False
        self._pause_asked = False
        self._stop_asked = False
        self._logs: LogReader | RemoteLogs | None = None

    async def carry_on(self) -> Run:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup means that the end of the terminal is to change nothing
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            loop.add_signal_handler(number, self._signalled, number, task)
        return await self._until_it_waits()

    async def _until_it_waits(self) -> Run:
        while True:
            try:
                run = await self._drive()
            except RunBusy:
                if self._door.server is not None or not self._wait or not await self._followed():
                    return self._engine.runs.load(self._run_id).run
                continue
            if not self._interactive or self._pause_asked:
                return run
            if run.queued:
                await self._await_turn(run)
            elif not await self._ask(run):
                return run
            else:
                self._display.show(self._engine.runs.load(self._run_id).run)

    async def _drive(self) -> Run:
        if self._door.server is not None:
            return await self._follow_its_server(self._door.server)
        async with self._showing():
            self._driving = True
            try:
                return await drive(self._parts, self._run_id, self._after_following())
            finally:
                self._driving = False

    async def _follow_its_server(self, server: RemoteDoor) -> Run:
        """Nobody drives a run from afar: shows what its server does, until that is done.

        Raises RunBusy while it goes on, where nobody wants to wait.
        """
        loaded = self._engine.runs.load(self._run_id)
        logs = self._logs or self._first_look(server)
        async with self._showing():
            while True:
                # asked first: what was done until then is shown below
                goes_on = is_driven(self._parts, self._run_id)
                for step, chunk in logs.more():
                    self._display.on_output(step, chunk)
                loaded, events = self._engine.runs.refresh(loaded)
                for event in events:
                    self._display.on_event(event, loaded.run)
                if not goes_on:
                    return loaded.run
                if not self._wait:
                    raise RunBusy(f"{self._run_id} is driven by its server", hint=f"sop status {self._run_id} --watch")
                await asyncio.sleep(_FROM_AFAR_SECS)

    def _first_look(self, server: RemoteDoor) -> RemoteLogs:
        """What was printed before the call that is followed was shown then, or is nobody's concern now."""
        logs = self._logs = server.logs(self._run_id, None)
        if not server.begins:
            logs.skip_ended(server.engine.started_since(self._run_id))
        return logs

    def _after_following(self) -> Display:
        shown = self._logs.lengths() if self._logs is not None else {}
        return _GoingOn(self._display, shown) if shown else self._display

    async def _followed(self) -> bool:
        """Whether the other driver let go of the run in time."""
        try:
            async with asyncio.timeout(self.patience_secs):
                await self._follow()
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        """Shows what another driver does, until it lets go of the run."""
        loaded = self._engine.runs.load(self._run_id)
        self._display.show(loaded.run)
        logs = self._logs = self._logs or self._door.logs(self._run_id, None)
        logs.skip_ended()
        async with self._showing():
            while is_driven(self._parts, self._run_id):
                await asyncio.sleep(LOOK_SECS)
                for step, chunk in logs.more():
                    self._display.on_output(step, chunk)
                loaded, events = self._engine.runs.refresh(loaded)
                for event in events:
                    self._display.on_event(event, loaded.run)

    async def _await_turn(self, run: Run) -> None:
        self._display.show(run)
        async with self._showing():
            await asyncio.sleep(_QUEUE_SECS)

    async def _ask(self, run: Run) -> bool:
        """Asks the person at the terminal. False: leave the run waiting."""
        from sopwith.doors.cli.prompt import ask

        about = self._asked_about(run)
        return await ask(self._engine, self._door.actor, about, lambda: self._changed_since(about))

    def _asked_about(self, run: Run) -> Run:
        """The run itself, or the one within it that waits for a person."""
        resting = [step.child for step in children(run) if step.child_standing is not None]
        if open_gates(run) or not resting:
            return run
        return self._asked_about(self._engine.runs.load(resting[0]).run)

    def _changed_since(self, run: Run) -> bool:
        """Whether somebody else answered meanwhile, or a deadline has come."""
        due_at = next_due_at(run)
        if due_at is not None and due_at <= self._parts.clock.now().at:
            return True
        summary = self._parts.store.summary(run.run_id)
        return summary is not None and summary.seq != run.seq

    @asynccontextmanager
    async def _showing(self) -> AsyncIterator[None]:
        with self._display:
            ticking = asyncio.ensure_future(self._tick())
            try:
                yield
            finally:
                ticking.cancel()

    async def _tick(self) -> None:
        while True:
            self._display.tick()
            await asyncio.sleep(_TICK_SECS)

    def _signalled(self, number: signal.Signals, task: asyncio.Task[Run]) -> None:
        if self.left_by is None and self._is_heeded(number):
            return
        self.left_by = number
        task.cancel()

    def _is_heeded(self, number: signal.Signals) -> bool:
        """Whether the signal asks for something that is worth staying for."""
        match self.on_exit:
            case None if number is signal.SIGINT and self._driving and is_interactive(as_json=self._door.as_json):
                return not self._stop_asked and (self._stops() if self._pause_asked else self._pauses())
            case OnExit.PAUSE:
                self._asks(number, "pause", lambda: self._engine.pause(self._run_id, **self._by(number)))
            case OnExit.STOP:
                return self._ends(
                    number, "stop", lambda: self._engine.pause(self._run_id, stop=True, **self._by(number))
                )
            case OnExit.CANCEL:
                return self._ends(number, "cancel", lambda: self._engine.cancel(self._run_id, **self._by(number)))
            case _:
                pass
        return False

    def _pauses(self) -> bool:
        self._pause_asked = True
        asked = self._asks(signal.SIGINT, "pause", lambda: self._engine.pause(self._run_id, **self._by_hand()))
        if asked:
            self._display.note("  pausing after the running step; Ctrl-C again stops it")
        return asked

    def _stops(self) -> bool:
        self._stop_asked = True
        asked = self._asks(
            signal.SIGINT, "stop", lambda: self._engine.pause(self._run_id, stop=True, **self._by_hand())
        )
        if asked:
            self._display.note("  stopping the running step; Ctrl-C again leaves at once")
        return asked

    def _ends(self, number: signal.Signals, what: str, act: Callable[[], Run]) -> bool:
        """Stays until the running step has been ended; the next signal leaves at once."""
        self._pause_asked = True
        if not self._asks(number, what, act):
            return False
        self.left_by = number
        return True

    def _asks(self, number: signal.Signals, what: str, act: Callable[[], Run]) -> bool:
        try:
            act()
        except SopwithError as error:
            self._door.warn(f"{number.name} did not {what} {self._run_id}: {error.message}")
            return False
        return True

    def _by(self, number: signal.Signals) -> dict[str, Any]:
        return {"actor": self._door.actor, "reason": f"{number.name} to process {os.getpid()}, which drove it"}

    def _by_hand(self) -> dict[str, Any]:
        return {"actor": self._door.actor, "reason": "Ctrl-C at the terminal"}
