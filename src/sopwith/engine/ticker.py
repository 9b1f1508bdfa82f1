"""`sop serve`: takes up every run that has something due and that nobody drives, until it is told to stop.

It decides nothing; `driver.drive` does the work, except what a gate's clock brings, which is recorded here when it is
due. Otherwise this file only says when to look, and at which runs. A run that
waits costs a row in the store and, where its status does not tell that it waits, an entry here: no task, no replay.

Longer than other files: what is remembered of a run and what makes it worth a look again belong on one page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Protocol

import msgspec

from sopwith.core.address import StepId
from sopwith.core.due import Due, DueKind, due, left_ms, ready_now
from sopwith.core.instant import Instant
from sopwith.core.run import Run, RunStatus, is_child, running_processes
from sopwith.engine.claiming import is_driven
from sopwith.engine.driver import drive
from sopwith.engine.observing import Observer
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Runs
from sopwith.engine.switchboard import Switchboard
from sopwith.errors import IllegalMove, RunBusy, SopwithError, StoreError
from sopwith.ports import Ear, RunFilter, RunSummary

SWEEP_SECS = 5.0
"""How often the store is asked whether anybody committed, and what is due soon: the net below words that were lost.
Deadlines have an alarm of their own. Also how often a run that somebody else drove, or that found no slot, is looked
at where no commit told of it.
"""
POLL_SECS = 0.5
"""The same where no word can be heard, and how often a store is tried that cannot be read."""
QUIET_SECS = 0.01
"""So long after a look the words that come in meanwhile are gathered for the next one."""
MOST_WORDS = 1000
"""So many runs are looked at because of words; what is told beyond that is found by listing."""
GRACE_SECS = 0.5
"""What was changed this recently is left to whoever changed it: `sop run` and `sop approve` drive on themselves.

Not where whoever changed it says that it does not.
"""
SLICE_MS = 20
"""A look that takes longer lets others have their turn: signals, drivers, whoever asks how the server is."""
JUMP_SECS = 2.0
"""By so much the wall clock must have left the boot clock since the last look to be told as a jump."""
QUEUE_SECS = 1.0
"""A refused queue asks again no sooner, however often others commit: asking writes to the database."""
AT_ONCE = 32
"""So many runs are driven at a time. Deadlines take no place: to settle a gate is one commit, and behind long steps
it would come too late. Nor does a process that somebody has started, for it has limits, and people may want it ended.
"""
GIVE_UP_SECS = 60.0
"""A store that cannot even be read for so long ends the server: whoever watches over it starts another."""
_LONGEST_BACK_OFF_SECS = 60.0
_LISTING_SHARE = 20
"""Listing runs takes at most one part in so many of the time, however many they are and however often they change."""
LISTED = (RunStatus.PENDING, RunStatus.RUNNING)
"""In these a run may have something due now. In all others it is a deadline, which the store finds by itself."""
_ALL = 1_000_000
_FAR = datetime(9998, 1, 1, tzinfo=UTC)
_TIMED = (DueKind.TIME_OUT_RUN, DueKind.EXPIRE_GATE, DueKind.REMIND)


class Witness(Observer, Protocol):
    """Is told what happens, to show it. Must return quickly, and raise nothing."""

    def on_adopted(self, run_id: str, name: str, steps: tuple[StepId, ...]) -> None:
        """The processes of these steps were started by a driver that is gone; from now on they are watched here."""
        ...

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        """This run cannot be driven now, or, without a run, the store cannot be read; told once for each message."""
        ...

    def on_clock_jump(self, seconds: float) -> None:
        """The wall clock was set forward, or back, by about so much since the last look."""
        ...


async def serve(
    parts: Parts,
    witness: Witness,
    *,
    stop: asyncio.Event,
    once: bool = False,
    at_once: int = AT_ONCE,
    ear: Ear | None = None,
    anew: asyncio.Event | None = None,
    pulse: Pulse | None = None,
    stirred: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """Drives runs until `stop` is set, or, with `once`, until nothing is left to do now.

    `ear`: hears of the commits of other processes; without one, the store is asked often. `anew`: when it is set,
    everything is looked at again at once, what was in trouble too. `pulse` shows how it is going. `stirred` is called,
    often and from the loop, when somebody may have committed. Tells which runs it let go of on their way; their
    processes go on. Raises StoreError if the store stays unreadable.
    """
    server = _Server(parts, witness, at_once, pulse or Pulse(), stirred)
    watching = [asyncio.ensure_future(_when(stop, server.wake))]
    if anew is not None:
        watching.append(asyncio.ensure_future(_whenever(anew, server.look_anew)))
    try:
        # before the first look: what is told from now on is not missed
        server.listen(ear)
        await server.run(stop, once=once)
    finally:
        for task in watching:
            task.cancel()
        if ear is not None:
            ear.close()
        left = await server.let_go()
    return left


class Pulse(msgspec.Struct):
    """How the server is, for whoever asks; written by the loop alone."""

    looked_at: Instant | None = None
    """When it last got on with looking."""
    hears: bool = False
    """Whether other processes can tell it of what they commit."""
    readable: bool = True
    """Whether the store could be read at the last look."""
    driven: int = 0
    """Runs that are driven here now."""
    queue: int = 0
    """Runs that wait for a place to be driven."""
    troubles: int = 0
    """Runs that cannot be driven now."""
    jumps: int = 0
    """How often the clock was set since the start."""


class _Why(Enum):
    HELD = auto()
    FRESH = auto()
    QUEUED = auto()
    STILL_DUE = auto()
    TROUBLED = auto()


class _Settled(msgspec.Struct, frozen=True):
    """Nothing was to be done at this seq, and nothing is before `until`, by the wall clock, or `boot_ms`, by the boot
    clock; both None: before somebody changes the run.
    """

    seq: int
    until: datetime | None
    boot_ms: int | None


class _Later(msgspec.Struct, frozen=True):
    """To be looked at again when the boot clock says `at_ms`, or when its seq is another."""

    seq: int
    at_ms: int
    why: _Why
    since_ms: int = 0


class _Found(msgspec.Struct, frozen=True):
    """A run to drive."""

    name: str
    seq: int
    adopts: tuple[StepId, ...]
    at_work: bool
    """Whether a process of it may run already."""


class _Driven(msgspec.Struct):
    """A run that is driven here, what had happened elsewhere when that began, and whether it was left to us since."""

    found: _Found
    task: asyncio.Task[Run]
    version: int | None
    freed: int
    left: bool = False


class _Trouble(msgspec.Struct):
    told: set[str]
    back_off_secs: float = 0.5


class _Server:
    def __init__(self, parts: Parts, witness: Witness, at_once: int, pulse: Pulse, stirred: Callable[[], None]) -> None:
        self._pulse = pulse
        self._stir = stirred
        self._board = Switchboard(self._hear_inside)
        self._parts = parts = msgspec.structs.replace(parts, bell=self._board)
        self._store = parts.store
        self._witness = witness
        self._at_once = at_once
        self._runs = Runs(parts)
        self._found: dict[str, _Found] = {}
        self._driven: dict[str, _Driven] = {}
        self._settled: dict[str, _Settled] = {}
        self._timers: dict[str, int] = {}
        """When runs that rest are to be looked at, by the boot clock; the store finds them by the wall clock only."""
        self._jumped = False
        self._later: dict[str, _Later] = {}
        self._troubles: dict[str | None, _Trouble] = {}
        self._version: int | None = None
        self._stirred = True
        """Whether there may be something new to list."""
        self._freed = 0
        """How often a run that is driven here went on, which may have freed a slot."""
        self._list_again_ms = 0
        self._alarm: datetime | None = None
        self._failing_since_ms: int | None = None
        self._woken = asyncio.Event()
        self._look_secs = POLL_SECS
        """How long the longest pause between two looks is."""
        self._words: dict[str, bool] = {}
        """The runs that somebody told of since the last look, and whether nobody drives them on."""
        self._gathering: asyncio.TimerHandle | None = None
        self._looked_at: Instant | None = None

    def listen(self, ear: Ear | None) -> None:
        """Hears of other processes' commits. Where that cannot be had, drivers and this loop look often instead."""
        if ear is None:
            return
        try:
            ear.listen(self._hear_outside)
        except OSError as error:
            reason = error.strerror or str(error)
            self._tell(None, SopwithError(f"decisions are noticed late: nobody can be heard here: {reason}"))
            return
        self._look_secs = SWEEP_SECS
        self._pulse.hears = True
        self._parts = msgspec.structs.replace(self._parts, switchboard=self._board)

    def _hear_outside(self, run_id: str, left: bool) -> None:
        self._board.wake(run_id)
        if left and run_id in self._driven:
            self._driven[run_id].left = True
        self._note(run_id, left)

    def _hear_inside(self, run_id: str, _left: bool) -> None:
        # whoever changed it here does not drive it on, unless it is among those driven here
        self._note(run_id, True)

    def _note(self, run_id: str, left: bool) -> None:
        self._stir()
        if run_id in self._driven:
            return
        if len(self._words) < MOST_WORDS or run_id in self._words:
            self._words[run_id] = left or self._words.get(run_id, False)
        else:
            self._stirred = True
        if self._gathering is None:
            looked_ms = self._looked_at.boot_ms if self._looked_at is not None else 0
            quiet = QUIET_SECS - (self._now.boot_ms - looked_ms) / 1000
            if quiet <= 0:
                self.wake()
            else:
                self._gathering = asyncio.get_running_loop().call_later(quiet, self.wake)

    def wake(self, _task: object = None) -> None:
        """Ends the pause between two looks."""
        self._woken.set()

    async def run(self, stop: asyncio.Event, *, once: bool) -> None:
        while not stop.is_set():
            self._woken.clear()
            await self._look(stop)
            if stop.is_set():
                return
            self._begin()
            self._feel()
            if once and self._is_done:
                return
            await self._pause()

    def look_anew(self) -> None:
        """Forgets what was put off and what was found to rest."""
        self._later.clear()
        self._settled.clear()
        self._stirred = True
        self._list_again_ms = 0
        for trouble in self._troubles.values():
            trouble.told.clear()
        self.wake()

    async def let_go(self) -> tuple[str, ...]:
        """Watches no longer: processes go on, claims are given back. Tells the runs that were driven."""
        left = tuple(self._driven)
        tasks = [driven.task for driven in self._driven.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return left

    @property
    def _is_done(self) -> bool:
        fresh = any(later.why is _Why.FRESH for later in self._later.values())
        return not (self._driven or self._found or self._stirred or self._words or fresh)

    # what to look at

    async def _look(self, stop: asyncio.Event) -> None:
        self._notice_a_jump()
        try:
            self._reap()
            self._notice_commits()
            began_ms = self._now.boot_ms
            for _considered in self._all_there_is_to_look_at():
                if self._now.boot_ms - began_ms >= SLICE_MS:
                    await asyncio.sleep(0)
                    if stop.is_set():
                        return
                    self._begin()
                    self._feel()
                    began_ms = self._now.boot_ms
        except StoreError as error:
            self._unreadable(error)
        else:
            self._failing_since_ms = None
            self._troubles.pop(None, None)

    def _all_there_is_to_look_at(self) -> Iterator[None]:
        yield from self._follow_words()
        yield from self._list_if_stirred()
        yield from self._read_deadlines_anew()
        yield from self._consider_what_is_due()

    def _notice_a_jump(self) -> None:
        before, now = self._looked_at, self._now
        self._looked_at = now
        if before is not None and before.boot_id == now.boot_id:
            seconds = ((now.at - before.at) / timedelta(milliseconds=1) - (now.boot_ms - before.boot_ms)) / 1000
            if abs(seconds) > JUMP_SECS:
                self._pulse.jumps += 1
                self._jumped = True
                self._witness.on_clock_jump(seconds)

    def _feel(self) -> None:
        self._pulse.looked_at = self._now
        self._pulse.readable = self._failing_since_ms is None
        self._pulse.driven = len(self._driven)
        self._pulse.queue = len(self._found)
        self._pulse.troubles = len(self._troubles) - (None in self._troubles)

    def _follow_words(self) -> Iterator[None]:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        words, self._words = self._words, {}
        for run_id, left in words.items():
            self._consider(self._store.summary(run_id), run_id, left=left)
            yield

    def _notice_commits(self) -> None:
        version = self._store.version()
        if version == self._version:
            return
        self._version = version
        self._stirred = True
        self._stir()
        for run_id, later in self._later.items():
            if later.why is _Why.HELD:
                self._later[run_id] = msgspec.structs.replace(later, at_ms=0)
            elif later.why is _Why.QUEUED:
                at_ms = min(later.at_ms, later.since_ms + _ms(QUEUE_SECS))
                self._later[run_id] = msgspec.structs.replace(later, at_ms=at_ms)

    def _list_if_stirred(self) -> Iterator[None]:
        """Looks at all whose status does not tell that they only wait: what is new, or has changed."""
        began_ms = self._now.boot_ms
        if not self._stirred or began_ms < self._list_again_ms:
            return
        listed, _total = self._store.summaries(RunFilter(statuses=LISTED))
        overdue = self._store.due(self._now.at, _ALL)
        candidates = [*reversed(listed), *(summary for run_id in overdue if (summary := self._store.summary(run_id)))]
        self._stirred = False
        for summary in _without_those_behind(candidates):
            self._consider(summary)
            yield
        kept = {summary.run_id for summary in candidates}
        self._settled = {
            run_id: settled
            for run_id, settled in self._settled.items()
            if run_id in kept or self._timers.get(run_id) == settled.boot_ms is not None
        }
        ended_ms = self._now.boot_ms
        self._list_again_ms = ended_ms + (ended_ms - began_ms) * _LISTING_SHARE

    def _read_deadlines_anew(self) -> Iterator[None]:
        """After a jump the wall clock no longer tells which deadlines come next: each run that has one is asked."""
        if not self._jumped:
            return
        for run_id in self._store.due(_FAR, _ALL):
            if run_id not in self._later:
                self._settled.pop(run_id, None)
                self._consider(self._store.summary(run_id), run_id)
            yield
        self._jumped = False

    def _consider_what_is_due(self) -> Iterator[None]:
        now = self._now
        for run_id in [run_id for run_id, later in self._later.items() if later.at_ms <= now.boot_ms]:
            self._consider(self._store.summary(run_id), run_id)
            yield
        for run_id in [run_id for run_id, boot_ms in self._timers.items() if boot_ms <= now.boot_ms]:
            # where it cannot be read now, it is still to be looked at
            summary = self._store.summary(run_id)
            del self._timers[run_id]
            self._consider(summary, run_id)
            yield
        self._alarm = None
        soon = now.at + timedelta(seconds=self._look_secs)
        for run_id in self._store.due(soon, _ALL):
            if run_id in self._driven or run_id in self._later:
                continue
            summary = self._store.summary(run_id)
            if summary is not None and summary.due_at is not None and summary.due_at > now.at:
                self._alarm = min(self._alarm or summary.due_at, summary.due_at)
            else:
                self._consider(summary, run_id)
                yield

    def _consider(self, summary: RunSummary | None, run_id: str = "", *, left: bool = False) -> None:
        """Puts the run among those to be driven, or remembers why not. `left`: whoever changed it leaves it to us."""
        if summary is None:
            self._later.pop(run_id, None)
            self._troubles.pop(run_id, None)
            return
        run_id = summary.run_id
        later = self._later.get(run_id)
        if left and later is not None and later.why in (_Why.FRESH, _Why.HELD):
            del self._later[run_id]
        if run_id in self._driven or self._still_waits(summary) or self._still_rests(summary):
            return
        self._found.pop(run_id, None)
        self._settled.pop(run_id, None)
        self._later.pop(run_id, None)
        try:
            if is_driven(self._parts, run_id):
                self._put_off(run_id, summary.seq, SWEEP_SECS, _Why.HELD)
            elif not left and (grace_secs := self._grace_left(summary)):
                self._put_off(run_id, summary.seq, grace_secs, _Why.FRESH)
            else:
                self._examine(self._runs.load(run_id).run)
        except Exception as error:
            self._troubled(run_id, summary.seq, error)

    def _still_waits(self, summary: RunSummary) -> bool:
        """Whether the run waits for a place, and none of its deadlines has come meanwhile."""
        if summary.run_id not in self._found:
            return False
        return summary.due_at is None or summary.due_at > self._now.at

    def _still_rests(self, summary: RunSummary) -> bool:
        now = self._now
        settled = self._settled.get(summary.run_id)
        if settled is not None and settled.seq == summary.seq:
            by_wall = settled.until is None or settled.until > now.at
            return by_wall and (settled.boot_ms is None or settled.boot_ms > now.boot_ms)
        later = self._later.get(summary.run_id)
        return later is not None and later.seq == summary.seq and later.at_ms > now.boot_ms

    def _grace_left(self, summary: RunSummary) -> float:
        age_secs = (self._now.at - summary.updated_at).total_seconds()
        # recorded times may lie ahead of a clock that was set back
        return GRACE_SECS - age_secs if 0 <= age_secs < GRACE_SECS else 0.0

    def _examine(self, run: Run) -> None:
        run = self._settle(run)
        if ready_now(run, self._now):
            running = running_processes(run)
            at_work = not all(is_child(run, step) for step in running)
            self._found[run.run_id] = _Found(run.name, run.seq, running, at_work)
        else:
            self._rest(run)
            self._troubles.pop(run.run_id, None)

    def _settle(self, run: Run) -> Run:
        """Records what the clocks of the run and of its gates have brought; tells the run after that.

        What cannot be settled is left to whoever drives it.
        """
        tried: set[Due] = set()
        while item := self._timed(run, tried):
            try:
                loaded, events = self._runs.settle(run.run_id, item)
            except IllegalMove:
                # somebody stopped the run meanwhile, and the clocks of its gates with it
                loaded, events = self._runs.load(run.run_id), ()
            run = loaded.run
            for event in events:
                self._witness.on_event(event, run)
            if events:
                self._stir_queues()
            else:
                tried.add(item)
        return run

    def _rest(self, run: Run) -> None:
        """Remembers until when nothing is to be done; what counts by the boot clock, by that."""
        now = self._now
        left = {item: left_ms(run, item, now) for item in due(run)}
        by_wall = min((item.at for item, ms in left.items() if ms is None and item.at is not None), default=None)
        by_boot = min((now.boot_ms + ms for ms in left.values() if ms is not None), default=None)
        self._settled[run.run_id] = _Settled(run.seq, by_wall, by_boot)
        if by_boot is not None:
            self._timers[run.run_id] = by_boot

    def _timed(self, run: Run, tried: set[Due]) -> Due | None:
        items = ready_now(run, self._now)
        return next((item for item in items if item.kind in _TIMED and item not in tried), None)

    # driving

    def _begin(self) -> None:
        """The first found are the first driven."""
        for run_id, found in list(self._found.items()):
            if found.at_work or len(self._driven) < self._at_once:
                del self._found[run_id]
                self._later.pop(run_id, None)
                # a try that follows on trouble takes nothing over from anybody else
                if found.adopts and run_id not in self._troubles:
                    self._witness.on_adopted(run_id, found.name, found.adopts)
                task = asyncio.ensure_future(drive(self._parts, run_id, self._witness, linger=False, upwards=False))
                task.add_done_callback(self.wake)
                self._driven[run_id] = _Driven(found, task, self._version, self._freed)

    def _reap(self) -> None:
        for run_id, driven in list(self._driven.items()):
            if driven.task.done():
                del self._driven[run_id]
                self._ended(run_id, driven)

    def _ended(self, run_id: str, driven: _Driven) -> None:
        found = driven.found
        try:
            run = driven.task.result()
        except RunBusy:
            self._put_off(run_id, found.seq, SWEEP_SECS, _Why.HELD)
            return
        except (Exception, asyncio.CancelledError) as error:
            # what it recorded before it failed is no reason to try at once again
            self._troubled(run_id, self._seq_of(run_id, found.seq), error)
            return
        self._troubles.pop(run_id, None)
        if run.seq != found.seq:
            self._stir_queues()
        if driven.left and self._seq_of(run_id, run.seq) != run.seq:
            # decided after the driver's last look
            self._consider(self._store.summary(run_id), run_id, left=True)
            return
        if not ready_now(run, self._now):
            self._rest(run)
        elif run.queued:
            self._put_off(run_id, run.seq, self._queue_secs(driven), _Why.QUEUED)
        else:
            self._put_off(run_id, run.seq, SWEEP_SECS, _Why.STILL_DUE)

    def _queue_secs(self, driven: _Driven) -> float:
        """How long a refused run waits; what happened since it asked may have been too late for that answer."""
        if self._freed != driven.freed:
            return 0
        return SWEEP_SECS if self._version == driven.version else QUEUE_SECS

    def _seq_of(self, run_id: str, otherwise: int) -> int:
        try:
            summary = self._store.summary(run_id)
        except StoreError:
            return otherwise
        return otherwise if summary is None else summary.seq

    def _stir_queues(self) -> None:
        """A run went on, which may have freed a slot. Its own commits change no version that this process sees."""
        self._stirred = True
        self._freed += 1
        for run_id in [run_id for run_id, later in self._later.items() if later.why is _Why.QUEUED]:
            del self._later[run_id]

    def _troubled(self, run_id: str, seq: int, error: BaseException) -> None:
        trouble = self._tell(run_id, error)
        trouble.back_off_secs = min(trouble.back_off_secs * 2, _LONGEST_BACK_OFF_SECS)
        self._put_off(run_id, seq, trouble.back_off_secs, _Why.TROUBLED)

    def _unreadable(self, error: StoreError) -> None:
        self._tell(None, error)
        now_ms = self._now.boot_ms
        self._failing_since_ms = now_ms if self._failing_since_ms is None else self._failing_since_ms
        if now_ms - self._failing_since_ms > _ms(GIVE_UP_SECS):
            raise error

    def _tell(self, run_id: str | None, error: BaseException) -> _Trouble:
        trouble = self._troubles.setdefault(run_id, _Trouble(set()))
        words = error.message if isinstance(error, SopwithError) else f"{type(error).__name__}: {error}"
        if words not in trouble.told:
            trouble.told.add(words)
            self._witness.on_trouble(run_id, error)
        return trouble

    # time

    @property
    def _now(self) -> Instant:
        return self._parts.clock.now()

    def _put_off(self, run_id: str, seq: int, seconds: float, why: _Why) -> None:
        now_ms = self._now.boot_ms
        self._later[run_id] = _Later(seq, now_ms + _ms(seconds), why, now_ms)

    async def _pause(self) -> None:
        """Until the next look is due, or a driven run has come to rest."""
        nap = asyncio.ensure_future(self._parts.clock.sleep(self._seconds_to_the_next_look()))
        nap.add_done_callback(self.wake)
        try:
            await self._woken.wait()
        finally:
            nap.remove_done_callback(self.wake)
            nap.cancel()

    def _seconds_to_the_next_look(self) -> float:
        if self._failing_since_ms is not None:
            # what is due stays due as long as it cannot be read
            return POLL_SECS
        now = self._now
        waits = [(later.at_ms - now.boot_ms) / 1000 for later in self._later.values()]
        if self._timers:
            waits.append((min(self._timers.values()) - now.boot_ms) / 1000)
        if self._alarm is not None:
            waits.append((self._alarm - now.at).total_seconds())
        return max(0.0, min((self._look_secs, *waits)))


def _without_those_behind(summaries: Iterable[RunSummary]) -> Iterable[RunSummary]:
    """Of the runs that wait for a slot only the first of each queue: the others cannot come before it.

    A queue is that of a concurrency group, or that of a procedure's runs without one: what waits for its group holds
    up nobody outside it.
    """
    queues: set[tuple[str, str]] = set()
    for summary in summaries:
        if summary.status is RunStatus.PENDING and not summary.parent:
            group = summary.concurrency_group
            queue = (group, "") if group else ("", summary.name)
            if queue in queues:
                continue
            queues.add(queue)
        yield summary


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


async def _whenever(event: asyncio.Event, call: Callable[[], None]) -> None:
    while True:
        await event.wait()
        event.clear()
        call()


async def _when(stop: asyncio.Event, call: Callable[[], None]) -> None:
    await stop.wait()
    call()
