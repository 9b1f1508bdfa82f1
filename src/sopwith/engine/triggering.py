"""Triggers at work: one log of deliveries, one matcher, one clerk.

`receive` takes webhooks (`hooks.py`), `serve` looks at the other sources and lets the clerk make runs of whatever was
delivered, from whichever side. Several servers may do so at once, and any may die at any point: nothing starts twice,
nothing that was acknowledged is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from sopwith.core.globs import fixed_folder
from sopwith.core.instant import Instant
from sopwith.core.procedure import TriggerType
from sopwith.core.request import run_id_of
from sopwith.core.trigger_events import BadEvent, encode_event
from sopwith.core.triggers import MAX_DELIVERY, SETTLE_SECS, Outcome, match, request_for, said
from sopwith.core.webhooks import digest_of
from sopwith.engine.armed import Armed, Armory
from sopwith.engine.aside import Aside, Worker
from sopwith.engine.clerk import Clerk
from sopwith.engine.engine import Engine
from sopwith.engine.hooks import Answer, Caller, Hook, Hooks, Refusal
from sopwith.engine.intake import Intake
from sopwith.engine.sources import Ends, Folders, Happening, Schedules, Seen
from sopwith.ports import Deliveries, Delivery, Folder, Log, NewDelivery

LOOK_SECS = 1.0
"""How often schedules are looked at, and how late one may be."""
READ_SECS = 2.0
"""How often it is looked whether files of procedures have changed."""
_SPARED = 20
"""Where there are thousands, that takes one part in so many of the time at most."""
SCAN_SECS = 10.0
"""How often folders are looked through where somebody tells of changes: the net below words that were lost."""
POLL_SECS = 2.0
"""The same where nobody tells."""
KEPT = timedelta(days=30)
"""How long what was carried out is remembered."""
_AGAIN_MS = 10 * 60 * 1000
"""What stays in the way is told again after so long."""
_MOST_TOLD = 100
_RESTS = 3
"""While deliveries come in, the clerk works at most one part in four of the time."""
_T = TypeVar("_T")
_PRUNE_MS = 24 * 60 * 60 * 1000


class TriggerWitness(Protocol):
    """Is told what becomes of what happens outside, to show it. Must return quickly, and raise nothing."""

    def on_delivery(self, delivery: Delivery) -> None:
        """It was carried out, or nothing came of it."""
        ...

    def on_refused(self, refusal: Refusal) -> None:
        """A webhook was not believed."""
        ...

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        """Something stands in the way of triggers; it is tried again."""
        ...


class Watcher(Protocol):
    """Tells that something has changed in folders. Only a hint: the folders are looked through."""

    def watch(self, folders: Sequence[tuple[str, bool]], changed: Callable[[], None]) -> bool:
        """From now on tells of these folders below the project folder, with all below them where that is said.

        False: nothing can be told here. Called again, it watches those instead.
        """
        ...

    def close(self) -> None:
        """Watches no more."""
        ...


class NoWatcher:
    """Where nothing can be told."""

    def watch(self, folders: Sequence[tuple[str, bool]], changed: Callable[[], None]) -> bool:
        return False

    def close(self) -> None:
        pass


class Triggering:
    """All triggers of one workspace, in one process."""

    def __init__(
        self,
        engine: Engine,
        deliveries: Deliveries,
        log: Log,
        folder: Folder,
        witness: TriggerWitness,
        *,
        watcher: Watcher | None = None,
        aside: Callable[[str], Aside] = Worker,
    ) -> None:
        self._engine = engine
        self._deliveries = deliveries
        self._witness = witness
        self._clock = engine.parts.clock
        self._watcher = watcher or NoWatcher()
        self.armory = Armory(engine.parts.library, lambda _name, error: self._in_loop(lambda: self._trouble(error)))
        self._schedules = Schedules(deliveries)
        self._folders = Folders(deliveries, folder)
        self._ends = Ends(engine, deliveries, log)
        self._looking, self._working = aside("triggers"), aside("clerk")
        self.intake = Intake(deliveries, aside("intake"))
        self.hooks = Hooks(
            engine.parts,
            deliveries,
            self.intake,
            armed=lambda: self.armory.all if self.armory.has_looked else None,
            refused=witness.on_refused,
            told=witness.on_delivery,
            carry_out=self.carry_out,
        )
        self._clerk = Clerk(
            engine,
            deliveries,
            self.armory,
            told=lambda delivery: self._in_loop(lambda: self._settled(delivery)),
            troubled=lambda _delivery, error: self._in_loop(lambda: self._trouble(error)),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._to_do = asyncio.Event()
        self._to_see = asyncio.Event()
        self._told: dict[str, int] = {}
        """What was in the way, and when that was told last."""
        self._read_ms: float = -(2**62)
        """When the procedures are read again."""
        self._looked_ms = self._scanned_ms = self._pruned_ms = -(2**62)
        self._touched = True
        self._hears = False

    async def receive(self, hook: Hook, *, caller: Caller | None = None) -> Answer:
        """See `hooks.py`."""
        return await self.hooks.receive(hook, caller=caller)

    def carry_out(self) -> None:
        """There may be deliveries to carry out."""
        self._to_do.set()

    def stir(self) -> None:
        """Somebody may have committed: a run may have ended. Called often, from the loop."""
        self._to_see.set()

    def touch(self) -> None:
        """A folder may have changed."""
        self._touched = True
        self._to_see.set()

    async def begin(self) -> None:
        """Reads the definitions, so that webhooks can be received."""
        self._loop = asyncio.get_running_loop()
        await self._try(self._looking, self.armory.look)

    async def serve(self) -> None:
        """Until it is cancelled."""
        await self.begin()
        try:
            await asyncio.gather(self._see_on(), self._carry_on())
        finally:
            self._watcher.close()

    async def once(self) -> None:
        """What can be done now: one look at each source, a second one where files have to settle, and the clerk."""
        await self.begin()
        await self._try(self._looking, self._see)
        if settling := [each for each in self.armory.of(TriggerType.FILESYSTEM) if self._folders.is_restless(each)]:
            await self._clock.sleep(max(_settle_secs(each) for each in settling))
            self._touched = True
            await self._try(self._looking, self._see)
        while await self._try(self._working, self._clerk.carry_on):
            pass

    async def _carry_on(self) -> None:
        while True:
            self._to_do.clear()
            began_ms = self._clock.now().boot_ms
            while await self._try(self._working, self._clerk.carry_on):
                # who waits for an answer comes first; runs are made meanwhile too, but more slowly
                took_secs = (self._clock.now().boot_ms - began_ms) / 1000
                if self.intake.is_busy:
                    await self._clock.sleep(min(took_secs * _RESTS, LOOK_SECS))
                began_ms = self._clock.now().boot_ms
            # what another server has accepted, or what was in trouble
            with suppress(TimeoutError):
                await asyncio.wait_for(self._to_do.wait(), 5 * LOOK_SECS)

    async def _see_on(self) -> None:
        while True:
            self._to_see.clear()
            if await self._try(self._looking, self._see):
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._to_see.wait(), LOOK_SECS)
            # words come in crowds
            await asyncio.sleep(LOOK_SECS / 20)

    async def _try(self, aside: Aside, work: Callable[[], bool | None]) -> bool:
        """What the work tells; what it raises is told, and nothing more."""
        try:
            more = await aside.do(work)
        except Exception as error:
            self._trouble(error)
            return False
        return bool(more)

    def _trouble(self, error: Exception) -> None:
        now_ms = self._clock.now().boot_ms
        if now_ms - self._told.get(str(error), -_AGAIN_MS) >= _AGAIN_MS:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told[str(error)] = now_ms
            self._witness.on_trouble(None, error)

    def _in_loop(self, tell: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(tell)

    def _settled(self, delivery: Delivery) -> None:
        self.hooks.settled(delivery)
        self._witness.on_delivery(delivery)

    # in the thread that looks

    def _see(self) -> bool:
        """One look at every source that may have something; tells whether there is more at once."""
        now = self._clock.now()
        if now.boot_ms >= self._read_ms:
            self._guarded(self.armory.look)
            took_ms = self._clock.now().boot_ms - now.boot_ms
            self._read_ms = now.boot_ms + max(READ_SECS * 1000, took_ms * _SPARED)
        if now.boot_ms - self._looked_ms >= LOOK_SECS * 1000:
            self._looked_ms = now.boot_ms
            self._look_at_schedules(now)
        self._look_at_folders(now)
        if now.boot_ms - self._pruned_ms >= _PRUNE_MS:
            self._pruned_ms = now.boot_ms
            self._guarded(lambda: self._deliveries.prune(now.at - KEPT))
        seen = self._ends.look(self.armory.of(TriggerType.PROCEDURE), now)
        self._keep(seen, self._ends.forget)
        return bool(seen.happenings)

    def _guarded(self, work: Callable[[], _T]) -> _T | None:
        """What is wrong with one trigger keeps no other from being looked at."""
        try:
            return work()
        except Exception as error:
            trouble = error
            self._in_loop(lambda: self._trouble(trouble))
            return None

    def _look_at_schedules(self, now: Instant) -> None:
        armed = self.armory.of(TriggerType.CRON)
        seen = [found for each in armed if (found := self._guarded(partial(self._schedules.look, each, now)))]
        happenings = tuple(each for found in seen for each in found.happenings)
        self._guarded(
            lambda: self._keep(
                Seen(happenings, tuple(m for found in seen for m in found.moves)), self._schedules.forget
            )
        )

    def _look_at_folders(self, now: Instant) -> None:
        armed = self.armory.of(TriggerType.FILESYSTEM)
        if armed and (self._touched or now.boot_ms - self._scanned_ms >= self._pause_secs * 1000):
            self._touched, self._scanned_ms = False, now.boot_ms
            self._in_loop(partial(self._watch, armed))
        else:
            armed = tuple(each for each in armed if self._folders.is_restless(each))
        for each in armed:
            self._guarded(partial(self._look_at_folder, each, now))

    def _look_at_folder(self, armed: Armed, now: Instant) -> None:
        self._keep(self._folders.look(armed, now), lambda: self._folders.forget(armed))

    @property
    def _pause_secs(self) -> float:
        return SCAN_SECS if self._hears else POLL_SECS

    def _watch(self, armed: Sequence[Armed]) -> None:
        folders = sorted({_watched(each) for each in armed})
        self._hears = self._watcher.watch(folders, self.touch)

    def _keep(self, seen: Seen, forget: Callable[[], None]) -> None:
        if not seen.happenings and not seen.moves:
            return
        try:
            accepted = self._deliveries.accept(
                [_delivery(each, self._clock.now().at) for each in seen.happenings], seen.moves
            )
        except BaseException:
            forget()
            raise
        for each in accepted:
            if each.is_new and each.delivery.outcome:
                self._in_loop(lambda each=each: self._witness.on_delivery(each.delivery))  # type: ignore[misc]
        if accepted:
            self._in_loop(self.carry_out)


def _delivery(happening: Happening, now: datetime) -> NewDelivery:
    armed, event = happening.armed, happening.event
    name = happening.delivery
    delivery = name if len(name) <= MAX_DELIVERY else digest_of(name.encode())
    matched = match(armed.procedure, armed.trigger, event)
    outcome, reason = ("", "") if matched.outcome is None else (matched.outcome.value, matched.reason)
    if happening.refusal:
        outcome, reason = Outcome.REFUSED.value, happening.refusal
    try:
        data = encode_event(event)
    except BadEvent as error:
        data = encode_event({key: event[key] for key in ("type", "id", "at")})
        outcome, reason = Outcome.REFUSED.value, str(error)
    return NewDelivery(
        procedure=armed.procedure.name,
        trigger=armed.name,
        delivery=delivery,
        event=data,
        received_at=now,
        run_id=run_id_of(request_for(armed.procedure.name, armed.trigger, delivery)),
        outcome=outcome,
        reason=reason,
    )


def _watched(armed: Armed) -> tuple[str, bool]:
    """The folder to watch for a trigger, and whether what is below it counts as well."""
    pattern = armed.trigger.path or ""
    folder = fixed_folder(pattern)
    return folder, pattern.count("/") > folder.count("/") + bool(folder)


def _settle_secs(armed: Armed) -> float:
    return said(armed.trigger.settle_secs, SETTLE_SECS)
