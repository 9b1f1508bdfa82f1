"""Carrying a run on from the command line: drive it until it waits or ends, and on a terminal ask and go on.

While somebody else drives the run, this process follows and shows; when it waits for a person here, it also notices
an answer given elsewhere, and settles a timeout on time. On a terminal the first Ctrl-C asks for a pause after the
running step, the second leaves at once; elsewhere the first one leaves.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sopwith.core.due import next_due_at
from sopwith.core.run import Run, children, open_gates, status_of
from sopwith.doors.cli.display import Display, is_interactive
from sopwith.doors.cli.door import EXIT_CODES, NEEDS_A_PERSON, Door
from sopwith.doors.cli.logs import LogReader
from sopwith.engine.driver import drive
from sopwith.errors import RunBusy, SopwithError

LOOK_SECS = 0.2
_TICK_SECS = 0.1
_QUEUE_SECS = 1.0
_TERMINATED = 128 + signal.SIGTERM


def carry_on(
    door: Door, run_id: str, display: Display, *, interactive: bool, wait: bool, patience_secs: float | None = None
) -> Run:
    """Drives the run until it waits or ends; `interactive` asks and goes on. Tells the run as it is then.

    `wait`: while somebody else drives it, follows, for `patience_secs` at most.

    Raises KeyboardInterrupt after Ctrl-C and SystemExit after SIGTERM; the run can be resumed.
    """
    foreground = _Foreground(door, run_id, display, wait=wait, interactive=interactive)
    foreground.patience_secs = patience_secs
    try:
        return asyncio.run(foreground.carry_on())
    except asyncio.CancelledError:
        if foreground.left_by is signal.SIGTERM:
            raise SystemExit(_TERMINATED) from None
        raise KeyboardInterrupt from None


def exit_code(run: Run, *, driven: bool) -> int:
    """0 completed or driven elsewhere, 3 a person is needed, 4 failed or cancelled."""
    status = status_of(run)
    if status in EXIT_CODES:
        return EXIT_CODES[status]
    return 0 if driven else NEEDS_A_PERSON


class _Foreground:
    def __init__(self, door: Door, run_id: str, display: Display, *, wait: bool, interactive: bool) -> None:
        self.left_by: signal.Signals | None = None
        self.patience_secs: float | None = None
        self._door = door
        self._parts = door.engine.parts
        self._engine = door.engine
        self._run_id = run_id
        self._display = display
        self._wait = wait
        self._interactive = interactive
        self._driving = False
        self._pause_asked = False

    async def carry_on(self) -> Run:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number, task)
        return await self._until_it_waits()

    async def _until_it_waits(self) -> Run:
        while True:
            try:
                run = await self._drive()
            except RunBusy:
                if not self._wait or not await self._followed():
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
        async with self._showing():
            self._driving = True
            try:
                return await drive(self._parts, self._run_id, self._display)
            finally:
                self._driving = False

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
        logs = LogReader(self._door.reader, self._run_id, None)
        logs.skip_ended()
        async with self._showing():
            while self._parts.store.holder(self._run_id) is not None:
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
        graceful = self._driving and not self._pause_asked and is_interactive(as_json=self._door.as_json)
        if number is signal.SIGINT and graceful and self._asks_for_pause():
            return
        self.left_by = number
        task.cancel()

    def _asks_for_pause(self) -> bool:
        self._pause_asked = True
        try:
            self._engine.pause(self._run_id, actor=self._door.actor, reason="Ctrl-C at the terminal")
        except SopwithError:
            return False
        self._display.note("  pausing after the running step; Ctrl-C again leaves at once")
        return True
