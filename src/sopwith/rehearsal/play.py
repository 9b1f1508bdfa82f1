"""Plays one scenario: lets the run go as far as it goes by itself, has somebody act, and so on to the end.

At each moment everything is done that is due; then the next act is looked at; then the clock goes on to the next
moment at which anything happens. Time passes by itself only while the run goes on by itself.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.codec import decode_event
from sopwith.core.config import Config
from sopwith.core.due import due, ready_now
from sopwith.core.events import Event
from sopwith.core.procedure import Procedure, TriggerType
from sopwith.core.run import Run
from sopwith.core.trigger_events import encode_event, new_event
from sopwith.core.triggers import Match, match, starter_of
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.runs import Loaded
from sopwith.errors import SopwithError
from sopwith.parse.scenario import Act, Happening, Pass, Scenario
from sopwith.rehearsal.acts import act_words, do, is_possible
from sopwith.rehearsal.moments import Endless, QuietLoop, StageClock
from sopwith.rehearsal.stage import open_stage
from sopwith.rehearsal.stubs import StubbedWorld
from sopwith.testing.virtual_time import VirtualClock


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """An act that did not go as the scenario says; those after it were left out."""

    number: int
    words: str
    expected: str
    got: str


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a scenario. `run` None: it was never created, for the reason in `refusal`."""

    run: Run | None = None
    events: tuple[Event, ...] = ()
    refusal: SopwithError | None = None
    unmatched: Match | None = None
    """Why no run comes of the event that was to start it."""
    trouble: Trouble | None = None
    endless: bool = False


def play(procedure: Procedure, config: Config, scenario: Scenario) -> Played:
    """Plays the scenario from beginning to end, in no time and without a trace."""
    loop = QuietLoop()
    clock = StageClock(loop, scenario.starts_at)
    with tempfile.TemporaryDirectory(prefix="sop-test-") as folder:
        engine, world = open_stage(
            procedure,
            config,
            scenario,
            clock=clock,
            process_clock=VirtualClock(loop),
            folder=Path(folder),
        )
        try:
            return _Play(engine, world, loop, clock).play(procedure.name, scenario)
        finally:
            _end(loop)


class _Play:
    def __init__(self, engine: Engine, world: StubbedWorld, loop: QuietLoop, clock: StageClock) -> None:
        self._engine = engine
        self._world = world
        self._loop = loop
        self._clock = clock
        self._loaded: Loaded | None = None
        self._driver: asyncio.Task[Run] | None = None

    def play(self, name: str, scenario: Scenario) -> Played:
        request = RunRequest(name=name, params=scenario.params, mode=scenario.mode)
        starter = scenario.starter
        try:
            if scenario.happening is not None:
                found = self._asked_for(name, scenario.happening)
                if isinstance(found, Match):
                    return Played(unmatched=found)
                request, starter = found
            created = self._engine.create_run(request, actor=starter)
        except SopwithError as refusal:
            return Played(refusal=refusal)
        self._loaded = self._engine.runs.load(created.run_id)
        try:
            trouble = self._loop.run_until_complete(self._follow(scenario))
        except Endless:
            return Played(run=self._run, events=self._events, endless=True)
        return Played(run=self._run, events=self._events, trouble=trouble)

    def _asked_for(self, name: str, happening: Happening) -> tuple[RunRequest, Actor] | Match:
        """The run that the event asks for, and who starts it; or why there is none. Raises BadRequest."""
        trigger, procedure = happening.trigger, self._engine.parts.library.procedure(name)
        event = new_event(TriggerType(trigger.type), "rehearsal", self._clock.now().at) | happening.event
        matched = match(procedure, trigger, event)
        if matched.outcome is not None:
            return matched
        request = RunRequest(name=name, params=matched.params, trigger=trigger.type, event=encode_event(event))
        return request, starter_of(name, trigger, event)

    @property
    def _run(self) -> Run:
        """The run as it is now."""
        assert self._loaded is not None
        self._loaded, _events = self._engine.runs.refresh(self._loaded)
        return self._loaded.run

    @property
    def _events(self) -> tuple[Event, ...]:
        return tuple(decode_event(sealed.payload) for sealed in self._engine.parts.store.events(self._run.run_id))

    async def _follow(self, scenario: Scenario) -> Trouble | None:
        trouble = None
        for number, act in enumerate(scenario.acts, 1):
            if isinstance(act, Pass):
                await self._let_pass(act.secs)
            elif (trouble := await self._act(number, act)) is not None:
                break
        await self._until(lambda: False)
        return trouble

    async def _act(self, number: int, act: Act) -> Trouble | None:
        possible = await self._until(lambda: is_possible(self._engine, self._run, act))
        if not possible and not act.refused:
            return Trouble(number=number, words=act_words(act), expected="a moment at which it can be done", got="none")
        await self._let_pass(act.after_secs)
        refusal = do(self._engine, self._run.run_id, act)
        if (refusal.code if refusal else "") == act.refused:
            return None
        return Trouble(number=number, words=act_words(act), **answers(act.refused, refusal))

    # time

    async def _until(self, reached: Callable[[], bool]) -> bool:
        """Lets the run go on until this is so; False if it has come to rest before."""
        while True:
            await self._settle()
            if reached():
                return True
            if self._is_at_rest or not await self._next_moment():
                return False

    async def _let_pass(self, secs: float) -> None:
        await self._settle()
        until = self._now_ms + round(secs * 1000)
        while self._now_ms < until:
            await self._next_moment(until)
            await self._settle()

    async def _settle(self) -> None:
        """Does all that is due now, and no time passes."""
        while True:
            self._clock.wake()
            await self._loop.quiet()
            if not self._needs_a_driver:
                return
            self._driver = self._loop.create_task(drive(self._engine.parts, self._run.run_id))

    @property
    def _needs_a_driver(self) -> bool:
        return self._is_at_rest and bool(ready_now(self._run, self._clock.now()))

    @property
    def _is_at_rest(self) -> bool:
        """Whether nothing goes on by itself: no process, no wait, no delay before the next try."""
        if self._driver is None or not self._driver.done():
            return self._driver is None
        self._driver.result()
        return True

    async def _next_moment(self, until_ms: int | None = None) -> bool:
        """On to the next moment at which anything happens; False if there is none."""
        now = self._clock.now()
        deadlines = (item.at for item in due(self._run) if item.at is not None)
        moments = [now.boot_ms + math.ceil((at - now.at).total_seconds() * 1000) for at in deadlines]
        playing = (self._world, self._world.checks)
        moments += [at for world in playing for at in world.finish_at.values() if at is not None]
        moments += [] if until_ms is None else [until_ms]
        ahead = [at for at in moments if at > now.boot_ms]
        if not ahead:
            return False
        await asyncio.sleep((min(ahead) - now.boot_ms) / 1000)
        return True

    @property
    def _now_ms(self) -> int:
        return self._clock.now().boot_ms


def answers(expected: str, refusal: SopwithError | None) -> dict[str, str]:
    """`expected` and `got` where an error code, or none, was expected and something else came."""
    return {
        "expected": f"the refusal {expected}" if expected else "to be done",
        "got": f"{refusal.code}: {refusal.message}" if refusal else "no refusal",
    }


def _end(loop: QuietLoop) -> None:
    """Drops whatever still sleeps."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
