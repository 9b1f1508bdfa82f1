"""`sop serve` in the simulated world: one or two beside the foreground drivers, killed, restarted, told to stop.

What they must keep: told to stop, they return at once and hold no claim; and while one lives and nothing is broken any
more, no run is left with something to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from random import Random

from sopwith.core.address import StepId
from sopwith.core.events import Event
from sopwith.core.run import Run
from sopwith.engine.parts import Parts
from sopwith.engine.ticker import serve
from sopwith.errors import Conflict, SopwithError
from sopwith.ports import Bell, Ear
from sopwith.testing.laws import Laws
from sopwith.testing.mortal import Died, Process

STOPS_WITHIN_SECS = 1.0


class Servers:
    """Those that live. `parts_of`: the world as one process sees it; `retire`: it has ended by itself."""

    def __init__(
        self, laws: Laws, parts_of: Callable[[Process], Parts], retire: Callable[[Process], None], contested: set[str]
    ) -> None:
        self._laws = laws
        self._parts_of = parts_of
        self._retire = retire
        self._contested = contested
        self._stops: dict[Process, asyncio.Event] = {}

    @property
    def alive(self) -> list[Process]:
        return [process for process in self._stops if process.alive]

    async def live(self, process: Process, ear: Ear | None) -> None:
        """The life of one server, until it is told to stop, dies, or gives up. Without an ear it looks often."""
        stop = self._stops[process] = asyncio.Event()
        outcome = "done"
        try:
            witness = _Witness(self._laws, process, self._contested)
            await serve(self._parts_of(process), witness, stop=stop, ear=ear)
        except (Died, asyncio.CancelledError):
            outcome = "died"
        except Exception as error:
            outcome = "broke"
            if not process.hurt:
                self._laws.breaks(f"the server {process.name} broke: {error!r}")
        self._laws.note("server", process.name, outcome)
        self._stops.pop(process, None)
        if process.alive:
            self._laws.let_go(process)
            self._retire(process)

    def tell_to_stop(self, process: Process) -> None:
        """As SIGTERM does."""
        self._laws.note("stop", process.name)
        if process in self._stops:
            self._stops[process].set()

    async def stop_all(self, tasks: dict[Process, asyncio.Task[None]]) -> None:
        """All are told to stop, and do."""
        for process in self.alive:
            task = tasks.get(process)
            self.tell_to_stop(process)
            if task is not None:
                await asyncio.wait([task], timeout=STOPS_WITHIN_SECS)
                if not task.done():
                    self._laws.breaks(f"the server {process.name} was told to stop, and did not")


class Airwaves:
    """Carries the words of bells to the ears of servers, in time or not: words are lost, late, repeated and made up."""

    def __init__(self, chance: Random, loop: asyncio.AbstractEventLoop, saw: Callable[[str], None]) -> None:
        self._chance = chance
        self._loop = loop
        self._saw = saw
        self._ears: dict[Process, tuple[Callable[[str, bool], None], Context]] = {}
        self.calm = False

    def bell(self, process: Process) -> Bell:
        """What one process rings."""
        return _Bell(self, process)

    def ear(self, process: Process) -> Ear:
        """What one server hears with."""
        return _Ear(self, process)

    def open(self, process: Process, hear: Callable[[str, bool], None]) -> None:
        self._ears[process] = (hear, copy_context())

    def close(self, process: Process) -> None:
        self._ears.pop(process, None)

    def carry(self, ringer: Process | None, run_id: str, *, left: bool) -> None:
        """One word on its way to all who listen."""
        for process in self._ears:
            if process is not ringer:
                for delay in self._delays():
                    context = self._ears[process][1]
                    self._loop.call_later(delay, self._arrives, process, run_id, left, context=context)

    def _delays(self) -> tuple[float, ...]:
        if self.calm:
            return (0,)
        fate = self._chance.random()
        if fate < 0.15:
            self._saw("word lost")
            return ()
        if fate < 0.3:
            self._saw("word late")
            return (self._chance.choice((0.2, 2, 8)),)
        if fate < 0.4:
            self._saw("word repeated")
            return (0, 0, 0.3)
        return (0,)

    def _arrives(self, process: Process, run_id: str, left: bool) -> None:
        if process in self._ears and process.alive:
            self._saw("word heard")
            self._ears[process][0](run_id, left)


class _Bell:
    def __init__(self, airwaves: Airwaves, process: Process) -> None:
        self._airwaves = airwaves
        self._process = process

    def ring(self, run_id: str, *, left: bool = False) -> None:
        if self._process.alive:
            self._airwaves.carry(self._process, run_id, left=left)


class _Ear:
    def __init__(self, airwaves: Airwaves, process: Process) -> None:
        self._airwaves = airwaves
        self._process = process

    def listen(self, hear: Callable[[str, bool], None]) -> None:
        self._airwaves.open(self._process, hear)

    def close(self) -> None:
        self._airwaves.close(self._process)


class _Witness:
    def __init__(self, laws: Laws, process: Process, contested: set[str]) -> None:
        self._laws = laws
        self._process = process
        self._contested = contested

    def on_event(self, event: Event, run: Run) -> None:
        pass

    def on_related_event(self, event: Event, run: Run) -> None:
        pass

    def on_output(self, step: StepId, chunk: bytes) -> None:
        pass

    def on_adopted(self, run_id: str, name: str, steps: tuple[StepId, ...]) -> None:
        self._laws.story.saw("server adopted a process")
        for step in steps:
            if not any(key[:2] == (run_id, step) for key in self._laws.began):
                self._laws.story.saw("server adopted an intent")

    def on_clock_jump(self, seconds: float) -> None:
        self._laws.story.saw("server saw the clock jump")

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        self._laws.story.saw("server met trouble")
        lost_a_race = isinstance(error, Conflict | SopwithError) and run_id in self._contested
        if not (self._process.hurt or lost_a_race):
            self._laws.breaks(f"the server {self._process.name} met trouble with {run_id}: {error!r}")
