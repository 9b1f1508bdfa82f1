"""Carrying a run on from the command line: drive it until it waits or ends, and on a terminal ask and go on.

While somebody else drives the run, this process follows and shows; when it waits for a person here, it also notices
an answer given elsewhere, and settles a timeout on time.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from sopwith.core.run import Run, RunStatus, next_due_at, status_of
from sopwith.doors.cli.display import Display
from sopwith.doors.cli.door import Door
from sopwith.engine.driver import drive
from sopwith.engine.runs import Loaded
from sopwith.errors import RunBusy

LOOK_SECS = 0.2
_QUEUE_SECS = 2.0

EXIT_CODES = {
    RunStatus.COMPLETED: 0,
    RunStatus.FAILED: 4,
    RunStatus.CANCELLED: 4,
}
NEEDS_A_PERSON = 3


def carry_on(door: Door, run_id: str, display: Display, *, interactive: bool, wait: bool) -> Run:
    """Drives the run until it waits or ends; `interactive` asks and goes on. Tells the run as it is then."""
    return asyncio.run(_Foreground(door, run_id, display, wait=wait, interactive=interactive).carry_on())


def exit_code(run: Run, *, driven: bool) -> int:
    """0 completed or driven elsewhere, 3 a person is needed, 4 failed or cancelled."""
    status = status_of(run)
    if status in EXIT_CODES:
        return EXIT_CODES[status]
    return 0 if driven else NEEDS_A_PERSON


class _Foreground:
    def __init__(self, door: Door, run_id: str, display: Display, *, wait: bool, interactive: bool) -> None:
        self._parts = door.engine.parts
        self._engine = door.engine
        self._actor = door.actor
        self._run_id = run_id
        self._display = display
        self._wait = wait
        self._interactive = interactive

    async def carry_on(self) -> Run:
        while True:
            try:
                with self._display:
                    run = await drive(self._parts, self._run_id, self._display)
            except RunBusy:
                if not self._wait:
                    return self._engine.runs.load(self._run_id).run
                with self._display:
                    await self._follow()
                continue
            if run.ended is not None or not self._interactive or run.paused:
                return run
            if run.queued:
                await asyncio.sleep(_QUEUE_SECS)
            elif not await self._ask(run):
                return run

    async def _follow(self) -> None:
        """Shows what another driver does, until it lets go of the run."""
        loaded = self._engine.runs.load(self._run_id)
        self._display.show(loaded.run)
        while self._parts.store.holder(self._run_id) is not None:
            await asyncio.sleep(LOOK_SECS)
            loaded = self._show_news(loaded)

    def _show_news(self, loaded: Loaded) -> Loaded:
        loaded, events = self._engine.runs.refresh(loaded)
        for event in events:
            self._display.on_event(event, loaded.run)
        return loaded

    async def _ask(self, run: Run) -> bool:
        """Asks the person at the terminal. False: leave the run waiting."""
        from sopwith.doors.cli.prompt import ask

        return await ask(self._engine, self._actor, run, lambda: self._changed_since(run))

    def _changed_since(self, run: Run) -> bool:
        """Whether somebody else answered meanwhile, or a deadline has come."""
        due_at: datetime | None = next_due_at(run)
        if due_at is not None and due_at <= self._parts.clock.now().at:
            return True
        summary = self._parts.store.summary(run.run_id)
        return summary is not None and summary.seq != run.seq
