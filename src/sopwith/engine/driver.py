"""Drives one run: carries out what is due until the run waits for a person, or ends.

The driver decides nothing. It looks at `due(run)`, does one item, brings the result back as a command, and looks
again; it remembers only which processes it watches. Killed between two items, any other driver goes on.

Longer than other files: each item of `due` has its few lines here, around one state, the processes that are watched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId
from sopwith.core.admission import Occupancy, admit
from sopwith.core.due import Due, DueKind, due, left_ms, ready, ready_now, settling, waits_by_itself
from sopwith.core.envelope import envelope_bytes, start_envelope
from sopwith.core.events import Event, StepStarted
from sopwith.core.instant import Instant
from sopwith.core.interruption import rules_of
from sopwith.core.people import Directory
from sopwith.core.procedure import OnInterrupt, canonical, sha256
from sopwith.core.rollback import definition_of
from sopwith.core.run import Run, RunStatus, children, is_child, takes_a_process
from sopwith.engine.children import (
    Found,
    bring_in_line,
    found,
    is_over_around,
    is_there,
    make,
    may_begin,
    stop,
)
from sopwith.engine.claiming import Renewal, busy, is_driven
from sopwith.engine.creation import limits_now
from sopwith.engine.envelopes import (
    start_envelope_bytes,
    step_envelope_bytes,
)
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.folders import next_verification_folder
from sopwith.engine.intents import Intent, Intents
from sopwith.engine.observing import Observer, Related, Silent
from sopwith.engine.parts import Parts
from sopwith.engine.recovery import changed_since_recorded, recovery_order
from sopwith.engine.runs import Loaded, Runs
from sopwith.engine.secrets import Lacking
from sopwith.errors import (
    BadRequest,
    Conflict,
    CoolingDown,
    IllegalMove,
    InvalidProcedure,
    LimitReached,
    NotFound,
    Refused,
    RunBusy,
    WorkspaceError,
)
from sopwith.ports import Claim, Lost, Watch, WorkOrder

if TYPE_CHECKING:
    from sopwith.engine.begun import Begun

_Begin = Callable[[WorkOrder, Callable[[bytes], None]], Awaitable[Watch | Lost]]

LOOK_SECS = 0.2
"""How often a driver with running processes looks whether somebody else changed the run."""
LOOK_IF_TOLD_SECS = 5.0
"""The same where a switchboard wakes it: only the net below words that were lost."""


async def drive(
    parts: Parts,
    run_id: str,
    observer: Observer | None = None,
    *,
    linger: bool = True,
    upwards: bool = True,
    begun: Begun | None = None,
) -> Run:
    """Carries the run on until nothing is left to do now. Raises RunBusy while somebody else drives it.

    `linger`: stays for the end of waits and for the next try of a step, which nobody need decide. `upwards`: then
    carries on the run that started it, where that has something to do. `begun`: the run was created for this.
    """
    runs = Runs(parts)
    observer = observer or Silent()
    loaded = runs.load(run_id) if begun is None else begun.loaded
    runs.tell_around(loaded.run)
    claim = None if begun is None else begun.taken_up()
    first = None if claim is None else begun
    claim = claim or _claim(parts, run_id)
    if claim is None:
        raise busy(parts, run_id)
    try:
        while claim is not None:
            driver = _Driver(parts, runs, loaded, claim, observer, linger=linger)
            try:
                loaded = await driver.run(first)
            finally:
                first = None
                if not driver.is_free:
                    parts.store.release(claim)
            # whoever changed the run after our last look and then found it claimed has left it to us
            loaded, events = runs.refresh(loaded)
            for event in events:
                observer.on_event(event, loaded.run)
            if not events or not ready(due(loaded.run), parts.clock.now().at):
                break
            claim = _claim(parts, run_id)
    finally:
        parts.bell.ring(run_id, left=True)
    if upwards and loaded.run.parent is not None:
        await _drive_parent(parts, runs, loaded.run.parent.run_id, observer, linger=linger)
    parts.auditing.seal(parts.clock.now().at)
    if begun is not None:
        begun.loaded = loaded
    return loaded.run


async def _drive_parent(parts: Parts, runs: Runs, run_id: str, observer: Observer, *, linger: bool) -> None:
    with suppress(RunBusy, NotFound):
        run = runs.load(run_id).run
        if ready(due(run), parts.clock.now().at) or (linger and waits_by_itself(run)):
            await drive(parts, run_id, Related(observer), linger=linger)


def _claim(parts: Parts, run_id: str) -> Claim | None:
    return parts.store.claim(run_id, parts.owner(), parts.clock.now().at)


class _Attempt:
    """A process that this driver watches, and perhaps ends."""

    def __init__(self, number: int, watch: Watch, *, verifies: bool) -> None:
        self.number = number
        self.verifies = verifies
        """It is not the attempt itself, but what verifies it."""
        self.end: asyncio.Future[cmd.StepResult | Lost] = asyncio.ensure_future(watch.wait())
        self._watch = watch
        self._stop: asyncio.Future[None] | None = None

    def stop(self) -> bool:
        """Begins to end the process; tells whether that is news. Raises what stood in the way of an earlier try."""
        if self._stop is None:
            self._stop = asyncio.ensure_future(self._watch.stop())
            return True
        if self._stop.done():
            self._stop.result()
        return False

    @property
    def awaited(self) -> set[asyncio.Future[Any]]:
        """What may still come of it."""
        return {self.end} if self._stop is None or self._stop.done() else {self.end, self._stop}

    def drop(self) -> None:
        """Looks no longer; the process goes on."""
        for task in self.awaited:
            task.cancel()


class _Driver:
    def __init__(
        self, parts: Parts, runs: Runs, loaded: Loaded, claim: Claim, observer: Observer, *, linger: bool
    ) -> None:
        self._linger = linger
        self._parts = parts
        self._runs = runs
        self._loaded = loaded
        self._claim = claim
        self._renewal = Renewal(parts, claim)
        self._observer = observer
        self._intents = Intents(parts, runs)
        self._watched: dict[StepId, _Attempt] = {}
        self._nested: dict[StepId, asyncio.Task[Run]] = {}
        """The child runs that are driven here."""
        self._trouble: Exception | None = None
        """What came of driving one of them; told when nothing else is left to do."""
        self._given_up: set[StepId] = set()
        self._told = asyncio.Event()
        """Set when this process hears of a change of the run."""
        self.is_free = False
        """The run has ended, and its claim with it."""
        self._is_own = False
        """What is loaded is what this driver has just recorded itself: whoever was faster would have been met then."""

    async def run(self, begun: Begun | None = None) -> Loaded:
        """`begun`: the run was created for this, perhaps with the intent to start its first step."""
        board = self._parts.switchboard
        with board.waiting(self._loaded.run.run_id, self._told) if board is not None else nullcontext():
            return await self._run(begun)

    async def _run(self, begun: Begun | None) -> Loaded:
        try:
            if begun is not None and begun.intent is not None:
                self._is_own = True
                await self._carry_out_first(begun.intent, begun.events)
            self._ask_for_slots()
            self._stay_with_timers()
            version = -1
            while not self.is_free:
                if not (self._is_own or self._has_news):
                    # read before the run is: what is committed in between must not be missed
                    self._told.clear()
                    version = self._parts.store.version()
                    self._refresh()
                self._is_own = False
                self._renewal.renew_if_due()
                if await self._carry_out_one() or await self._settle_one():
                    continue
                if not (
                    self._watched
                    or self._nested
                    or self._is_followed()
                    or (self._linger and waits_by_itself(self._loaded.run))
                ):
                    if self._trouble is not None:
                        raise self._trouble
                    return self._loaded
                await self._wait(version)
            return self._loaded
        finally:
            for attempt in self._watched.values():
                attempt.drop()
            await self._drop(*self._nested)

    async def _carry_out_one(self) -> bool:
        """Carries out the first item that changes anything. Tells whether there was one."""
        for item in ready_now(self._loaded.run, self._parts.clock.now()):
            if await self._carry_out(item):
                return True
        return False

    async def _carry_out(self, item: Due) -> bool:
        match item.kind:
            case DueKind.ADMIT:
                return self._admit()
            case DueKind.OPEN_GATE:
                return self._open_gate(item.step)
            case DueKind.EXPIRE_GATE | DueKind.REMIND | DueKind.TIME_OUT_RUN:
                return self._apply(settling(item, self._parts.clock.now()))
            case DueKind.EVALUATE:
                return self._apply(cmd.Evaluate(actor=SYSTEM, now=self._parts.clock.now(), step=_number(item)))
            case DueKind.END_WAIT:
                return self._apply(cmd.EndWait(actor=SYSTEM, now=self._parts.clock.now(), step=_number(item)))
            case DueKind.TIME_OUT:
                return await self._time_out(_number(item))
            case DueKind.START_STEP:
                return await self._start(_number(item))
            case DueKind.WATCH_STEP:
                return await self._watch(_number(item))
            case DueKind.STOP_STEP:
                return await self._stop(_number(item))
            case DueKind.VERIFY:
                return await self._verify(_number(item))

    def _admit(self) -> bool:
        run = self._loaded.run
        if not may_begin(self._runs, run):
            return False
        config = self._parts.library.config()
        limits = limits_now(self._runs, run, config)
        # one reading: by another one, the clock could have been set between them
        now = self._parts.clock.now()

        def check(occupancy: Occupancy) -> None:
            admit(run.name, limits, occupancy, now.at)

        nonce = self._parts.ids.nonce()
        contents = envelope_bytes(start_envelope(run, asking=nonce))
        command = cmd.Admit(
            actor=SYSTEM,
            now=now,
            people=Directory(config),
            start_digest=sha256(contents),
            nonce=nonce,
        )
        try:
            return self._apply(command, admit=check, contents=(contents,))
        except (LimitReached, CoolingDown):
            return False

    def _open_gate(self, step: StepId | None) -> bool:
        run = self._loaded.run
        nonce = self._parts.ids.nonce()
        try:
            contents = (
                start_envelope_bytes(run, asking=nonce)
                if step is None
                else step_envelope_bytes(self._parts, run, step, asking=nonce)
            )
        except Lacking as missing:
            return self._halt(f"step {step} needs {missing}")
        except BadRequest as error:
            return self._halt(f"step {step} cannot be started here: {error.message}")
        try:
            people = Directory(self._parts.library.config())
        except (InvalidProcedure, WorkspaceError) as error:
            return self._halt(f"nobody can be asked for approval: {error.message}")
        command = cmd.OpenGate(
            actor=SYSTEM,
            now=self._parts.clock.now(),
            people=people,
            step=step,
            digest=sha256(contents),
            nonce=nonce,
        )
        return self._apply(command, contents=(contents,))

    async def _start(self, step: StepId) -> bool:
        run = self._loaded.run
        if is_over_around(self._runs, run):
            return False
        try:
            intent = self._intents.of(run, step)
        except Lacking as missing:
            return self._halt(f"step {step} needs {missing}")
        except BadRequest as error:
            return self._halt(f"step {step} cannot be started here: {error.message}")
        events = self._commit(intent.command)
        await self._carry_out_intent(intent, events)
        return events is None or bool(events)

    async def _carry_out_intent(self, intent: Intent, events: tuple[Event, ...] | None) -> None:
        """Starts the step, if these are the events of its intent."""
        executor, step = intent.executor, intent.step
        # only the intent that this driver recorded itself is its own to carry out
        if executor is not None and events and isinstance(events[0].body, StepStarted):
            # recorded is what was found before: looked at once more, for it may have changed while that was written
            order = recovery_order(self._parts, self._loaded.run, step)
            await self._launch(step, order, executor.recover if order.withheld else executor.start)

    async def _carry_out_first(self, intent: Intent, events: tuple[Event, ...]) -> None:
        """Starts the first step, if these events of the run's creation hold the intent."""
        started = tuple(event for event in events if isinstance(event.body, StepStarted))
        for event in started:
            self._observer.on_event(event, self._loaded.run)
        await self._carry_out_intent(intent, started)

    async def _verify(self, step: StepId) -> bool:
        """Begins to find out whether a report is to be believed."""
        run = self._loaded.run
        # made before the intent is recorded, as for a step
        folder = next_verification_folder(self._parts, run, step)
        ensure_private_folder(folder.parent)
        ensure_private_folder(folder)
        held = _planted(folder) or changed_since_recorded(self._parts, run, step)
        now, attempt = self._parts.clock.now(), run.steps[step].attempt
        events = self._commit(cmd.BeginVerification(actor=SYSTEM, now=now, step=step, attempt=attempt, held=held))
        executor = self._intents.executor(self._loaded.run, step) if events and not held else None
        if executor is not None:
            order = recovery_order(self._parts, self._loaded.run, step)
            await self._launch(step, order, executor.recover if order.withheld else executor.start)
        return events is None or bool(events)

    async def _launch(self, step: StepId, order: WorkOrder, begin: _Begin) -> None:
        state = self._loaded.run.steps[step]

        def show(chunk: bytes) -> None:
            self._observer.on_output(step, chunk)

        watch = await begin(order, show)
        if isinstance(watch, Lost):
            began = not order.withheld or watch.reason != order.withheld
            self._lost(step, state.attempt, watch, verifies=state.verifying, began=began)
        else:
            self._watched[step] = _Attempt(state.attempt, watch, verifies=state.verifying)

    async def _watch(self, step: StepId) -> bool:
        """Finds out what became of an attempt that another driver recorded, and watches it."""
        if is_child(self._loaded.run, step):
            return await self._watch_child(step)
        executor = self._intents.executor(self._loaded.run, step)
        if step in self._watched or executor is None:
            return False
        await self._launch(step, recovery_order(self._parts, self._loaded.run, step), executor.recover)
        return True

    async def _watch_child(self, step: StepId) -> bool:
        """Makes the child run, keeps it in line, drives it, and records how it stands."""
        run = self._loaded.run
        child = run.steps[step].child
        if not is_there(self._parts, child):
            return self._make_child(step)
        try:
            if bring_in_line(self._parts, self._runs, run, watched=step):
                await self._drop(step)  # to look at it anew
                return True
        except LimitReached as error:
            return self._not_begun(step, f"{child} cannot be tried again: {error.message}")
        told = found(self._runs, run, step, self._parts.clock.now())
        if told is not None:
            news = self._tell(told)
            self._ask_for_slots()
            return news
        self._drive_along(step, child)
        return False

    def _tell(self, told: Found) -> bool:
        """Not insisted on: whoever changed the child may have told this run too, and then all is looked at anew."""
        try:
            return self._apply(told.command, holds=told.holds)
        except Conflict:
            if told.holds():
                raise
            return True

    def _came_to_rest(self, step: StepId, task: asyncio.Task[Run]) -> None:
        """A child run that is not driven any more, and those that may have waited for its slot."""
        known = self._loaded.run.steps.get(step)  # none where the instance is gone
        before = None if known is None else known.child_standing
        try:
            child = task.result()
        except RunBusy:
            return
        except Exception as error:
            # the other child runs and this run's own steps go on
            self._trouble = self._trouble or error
            self._given_up.add(step)
            return
        if child.ended is not None or (before is RunStatus.PENDING and not child.queued):
            self._ask_for_slots(but=step)

    def _ask_for_slots(self, *, but: StepId | None = None) -> None:
        """Of child runs that wait for one: nobody else need be there to ask again."""
        for step in children(self._loaded.run):
            if step.child_standing is RunStatus.PENDING and step.number != but:
                self._drive_along(step.number, step.child)

    def _stay_with_timers(self) -> None:
        """Beside child runs that wait for a time: whoever lingers for the run's own waits lingers for theirs."""
        for step in children(self._loaded.run):
            if self._linger and step.child_standing is RunStatus.RUNNING:
                self._drive_along(step.number, step.child)

    def _drive_along(self, step: StepId, child: str) -> None:
        if step not in self._nested and step not in self._given_up and not is_driven(self._parts, child):
            driving = drive(self._parts, child, Related(self._observer), linger=self._linger, upwards=False)
            self._nested[step] = asyncio.ensure_future(driving)

    def _make_child(self, step: StepId) -> bool:
        run = self._loaded.run
        # a pause is the child's too, as soon as it is there
        if run.cancel_requested or run.timed_out or any(step.stuck for step in run.live):
            return self._not_begun(step, "it was given up before it started", cause="cancelled")
        try:
            make(self._parts, self._runs, run, step)
        except Conflict:
            # somebody has made it, or the step waits for it no longer
            self._refresh()
            if self._loaded.run.seq == run.seq:
                raise
        except (Refused, BadRequest, InvalidProcedure) as error:
            return self._not_begun(step, f"it cannot be started: {error.message}")
        return True

    def _not_begun(self, step: StepId, error: str, *, cause: str = "start") -> bool:
        attempt = self._loaded.run.steps[step].attempt
        result = cmd.StepResult(error=error, cause=cause)
        now = self._parts.clock.now()
        return self._apply(cmd.Finish(actor=SYSTEM, now=now, step=step, attempt=attempt, result=result))

    async def _drop(self, *steps: StepId) -> None:
        """Drives these child runs no longer; what they do goes on."""
        tasks = [self._nested.pop(step) for step in steps if step in self._nested]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_followed(self) -> bool:
        """Whether somebody else drives a child run of this one, and will tell how it ends."""
        return any(
            step.child_standing is None and is_driven(self._parts, step.child) for step in children(self._loaded.run)
        )

    async def _stop(self, step: StepId) -> bool:
        if is_child(self._loaded.run, step):
            if stop(self._parts, self._runs, self._loaded.run, step):
                await self._drop(step)
                return True
            return await self._watch_child(step)
        if step not in self._watched:
            return await self._watch(step)
        return self._watched[step].stop()

    async def _time_out(self, step: StepId) -> bool:
        run = self._loaded.run
        if takes_a_process(run, step):
            return await self._stop(step)
        attempt = run.steps[step].attempt
        return self._apply(cmd.TimeOut(actor=SYSTEM, now=self._parts.clock.now(), step=step, attempt=attempt))

    async def _settle_one(self) -> bool:
        """Records the end of one process that has ended, or lets go of a child run that rests."""
        for step, task in list(self._nested.items()):
            if task.done():
                del self._nested[step]
                self._came_to_rest(step, task)
                return True
        for step, attempt in list(self._watched.items()):
            if attempt.end.done():
                del self._watched[step]
                attempt.drop()
                await self._ended(step, attempt, _outcome(attempt.end))
                return True
        return False

    async def _ended(self, step: StepId, attempt: _Attempt, result: cmd.StepResult | Lost) -> None:
        if isinstance(result, Lost):
            self._lost(step, attempt.number, result, verifies=attempt.verifies)
            return
        told = cmd.EndVerification if attempt.verifies else cmd.Finish
        command = told(actor=SYSTEM, now=self._parts.clock.now(), step=step, attempt=attempt.number, result=result)
        following: Intent | None = None

        def then(run: Run) -> cmd.Command | None:
            nonlocal following
            following = self._intents.first_in(run)
            return None if following is None else following.command

        # a result and the intent to start what follows are one transaction: a disk is waited for once
        events = self._commit(command, then=then)
        while events is None:  # it tells a fact, which holds whatever else happened meanwhile
            events = self._commit(command)
        if following is not None:
            started = tuple(event for event in events if isinstance(event.body, StepStarted))
            await self._carry_out_intent(following, started)

    def _lost(self, step: StepId, attempt: int, lost: Lost, *, verifies: bool, began: bool = True) -> None:
        if not verifies:
            held = self._held(step, lost) if began else "it never began, and nothing follows from that by itself"
            self._interrupted(step, attempt, lost, held)
            return
        result = cmd.StepResult(error=lost.reason, cause="lost", output=lost.output)
        now = self._parts.clock.now()
        self._apply(cmd.EndVerification(actor=SYSTEM, now=now, step=step, attempt=attempt, result=result), insist=True)

    def _interrupted(self, step: StepId, attempt: int, lost: Lost, held: str) -> None:
        self._apply(
            cmd.Interrupt(
                actor=SYSTEM,
                now=self._parts.clock.now(),
                step=step,
                attempt=attempt,
                reason=lost.reason,
                output=lost.output,
                held=held,
            ),
            insist=True,
        )

    def _held(self, step: StepId, lost: Lost) -> str:
        """Why nothing may follow by itself from an interruption; empty where something may, and is prepared."""
        run = self._loaded.run
        rules = rules_of(definition_of(run, step))
        if rules.policy is OnInterrupt.ASK or is_child(run, step) or step not in run.steps:
            return ""
        if lost.still_runs:
            return "something that it started still runs"
        held = changed_since_recorded(self._parts, run, step)
        if not held and rules.policy is OnInterrupt.VERIFY:
            # made before the intent is recorded, as for the step itself
            folder = next_verification_folder(self._parts, run, step)
            ensure_private_folder(folder)
            held = _planted(folder)
        return held

    def _halt(self, reason: str) -> bool:
        return self._apply(cmd.Halt(actor=SYSTEM, now=self._parts.clock.now(), reason=reason))

    def _apply(
        self,
        command: cmd.Command,
        *,
        admit: Callable[[Occupancy], None] | None = None,
        contents: tuple[bytes, ...] = (),
        insist: bool = False,
        holds: Callable[[], bool] | None = None,
    ) -> bool:
        """Commits the command. Tells whether anything is new, here or by somebody else's hand.

        `insist`: the command tells a fact, which holds whatever else happened meanwhile.
        """
        events = self._commit(command, admit=admit, contents=contents, holds=holds)
        while insist and events is None:
            events = self._commit(command)
        return events is None or bool(events)

    def _commit(
        self,
        command: cmd.Command,
        *,
        admit: Callable[[Occupancy], None] | None = None,
        contents: tuple[bytes, ...] = (),
        holds: Callable[[], bool] | None = None,
        then: Callable[[Run], cmd.Command | None] | None = None,
    ) -> tuple[Event, ...] | None:
        """Commits the command on the state it was made for. None: that has moved on, and the world is looked at anew.

        Raises Conflict or IllegalMove where nothing has moved on: somebody else drives the run now.
        """
        before = self._loaded.run.seq
        commit = partial(self._runs.commit, frees=self._may_be_last)
        try:
            self._loaded, events = commit(
                self._loaded, command, claim=self._claim, admit=admit, contents=contents, holds=holds, followed_by=then
            )
        except (Conflict, IllegalMove):
            self._refresh()
            if self._loaded.run.seq == before:
                raise
            return None
        self._is_own = bool(events)
        self.is_free = self._may_be_last and self._loaded.run.ended is not None
        for event in events:
            self._observer.on_event(event, self._loaded.run)
        return events

    @property
    def _has_news(self) -> bool:
        """Whether a process has ended, which is recorded whatever else has happened: a conflict tells of that."""
        return any(attempt.end.done() for attempt in self._watched.values())

    @property
    def _may_be_last(self) -> bool:
        """Whether there is nothing left to do here once the run has ended: nobody to tell, and nobody to look after."""
        return self._loaded.run.parent is None and not self._watched and not self._nested

    def _refresh(self) -> None:
        self._loaded, events = self._runs.refresh(self._loaded)
        for event in events:
            self._observer.on_event(event, self._loaded.run)

    async def _wait(self, version: int) -> None:
        """Until a process ends, a deadline comes, or somebody else may have changed the run since `version`."""
        alarm = _alarm(self._loaded.run, self._parts.clock.now())
        awaited: set[asyncio.Future[Any]] = {*self._nested.values()}
        awaited.update(*(attempt.awaited for attempt in self._watched.values()))
        await asyncio.sleep(0)  # what has ended already needs no clock beside it
        while not any(task.done() for task in awaited):
            if self._parts.store.version() != version or self._seconds_to(alarm) <= 0 or self._was_told():
                return
            if self._renewal.is_due:
                return
            woken: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._parts.clock.sleep(self._seconds_to(alarm)))}
            if self._parts.switchboard is not None:
                woken.add(asyncio.ensure_future(self._told.wait()))
            try:
                await asyncio.wait(awaited | woken, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in woken:
                    task.cancel()

    def _was_told(self) -> bool:
        """Whether somebody told of a change, or this process itself made one: a child run driven beside this one, or a
        person at its terminal.

        The store tells by its version only of what other processes commit.
        """
        if self._told.is_set():
            return True
        summary = self._parts.store.summary(self._loaded.run.run_id)
        return summary is not None and summary.seq != self._loaded.run.seq

    def _seconds_to(self, alarm: _Alarm) -> float:
        now = self._parts.clock.now()
        look = LOOK_SECS if self._parts.switchboard is None else LOOK_IF_TOLD_SECS
        by_wall = look if alarm.at is None else (alarm.at - now.at).total_seconds()
        by_boot = look if alarm.boot_ms is None else (alarm.boot_ms - now.boot_ms) / 1000
        return max(0.0, min(look, by_wall, by_boot))


class _Alarm(NamedTuple):
    """When something comes due, by each clock; None: nothing does."""

    at: datetime | None
    boot_ms: int | None


def _alarm(run: Run, now: Instant) -> _Alarm:
    """The next alarm. What is late by now was tried: a process that is being ended, say."""
    items = due(run)
    left = [left for item in items if (left := left_ms(run, item, now)) is not None and left > 0]
    at = (item.at for item in items if item.at is not None and item.at > now.at and left_ms(run, item, now) is None)
    return _Alarm(min(at, default=None), now.boot_ms + min(left) if left else None)


def _planted(folder: Path) -> str:
    """Why what the folder of a verification tells would be no verification's; empty where nothing is in it."""
    return "something was in the folder of its verification before that began" if any(folder.iterdir()) else ""


def _number(item: Due) -> StepId:
    assert item.step is not None
    return item.step


def _outcome(end: asyncio.Future[cmd.StepResult | Lost]) -> cmd.StepResult | Lost:
    """How the process ended. What cannot be read is not known, and a person says what is true."""
    try:
        result = end.result()
    except OSError as error:
        return Lost(f"how the step ended could not be read: {error.strerror or error}")
    return result if isinstance(result, Lost) or not result.outputs else _recordable(result)


def _recordable(result: cmd.StepResult) -> cmd.StepResult:
    """The result; a failure where what it hands on is no JSON, as only a plugin makes it."""
    try:
        canonical(result.outputs)
    except ValueError as error:
        told = result.error or f"what it handed on cannot be recorded: {error}"
        return replace(result, error=told, cause="output", outputs={})
    return result
