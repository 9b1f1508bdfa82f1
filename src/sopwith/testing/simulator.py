"""The real engine and the real driver in a world of fakes: one seed fixes chance, time, crashes and people.

`python -m sopwith.testing.simulator --seeds 0:1000`. Processes die at any call or await, lose their claims, are
interrupted; people act between any two calls of any process. When the seed's troubles are over, drivers are left
alone, and then a patient person ends every run. `laws.py` says what must hold; a seed always replays the same way.

Longer than other files: chance, fate and people share one random source and one view of the world.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.due import DueKind, ready_now
from sopwith.core.instant import Instant
from sopwith.core.run import Run, is_final, status_of
from sopwith.engine import driver as drivers
from sopwith.engine.begun import Begun
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.parts import Parts
from sopwith.engine.ticker import GRACE_SECS, SWEEP_SECS
from sopwith.errors import Conflict, Refused, RunBusy, SopwithError, StoreError
from sopwith.ports import LEASE, Batch, Claim, ExecutorKind, Owner, Store, WorkOrder
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import SequentialIds
from sopwith.testing.executor import FAILED, SUCCEEDED, FakeExecutor, FakeWorld, Play, key_of
from sopwith.testing.hosts import HOSTS, HostStore, LeaseLaws
from sopwith.testing.laws import Laws
from sopwith.testing.memo import remembering
from sopwith.testing.memory import MemoryStore
from sopwith.testing.mortal import CURRENT, Died, MortalExecutor, Process, mortal_store
from sopwith.testing.scenario import (
    ANN,
    BEN,
    BOT,
    GROUPS,
    PEOPLE,
    PLAIN,
    SECRET,
    VERBS,
    WORKSPACE,
    DocumentsOnly,
    FixedKeyring,
    MadeUpLibrary,
    bring_on,
    random_checks,
    random_config,
    random_groups,
    random_plays,
    random_procedure,
    used_in_one_another,
)
from sopwith.testing.servers import Airwaves, Servers
from sopwith.testing.troubles import Troubles
from sopwith.testing.virtual_time import Stalled, VirtualClock, VirtualLoop

T = TypeVar("T")

_MAX_CALLS = 12_000
"""A process that makes more calls than this in one minute turns on the spot. To ask once a second for the slot of one
queued run takes 1,400, and so does each of two servers, to which the other's asking is news.
"""
_MAX_RUNS = 3
_BEGINS_EVERY = 5
"""In one of so many seeds programs create runs to drive them on at once; the others play as they did before."""
_ROUGH_EVERY, _ROUGH = 10, 7
"""In these of ten seeds there are several hosts, machines sleep, clocks are slewed, a store tells nobody of one's own
commits, people decide at the terminals of drivers, and servers are started in all the ways they can be.
"""
_NOTICES_SECS = 3
"""So soon a driver has seen what was decided in its own process."""
_ROUNDS = 400
_TURNS = 60
"""Of half a minute each, for the drivers that live when the troubles are over: steps may take two and a half."""
_MOVES = 8
_LONG_PAUSES = {9: 3600, 19: 3600, 29: 90}
"""How many seconds a patient person rests in some of forty rounds."""
_HOPELESS = 4
"""For how many times forty rounds a patient person sees a run queued before they give up what it waits within."""
_SERVERS_LOOK_SECS = 70
"""After their longest rest from a run that failed them, they have looked at all runs."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed did. `trace` is the same for the same seed, always."""

    seed: int
    runs: int
    events: int
    starts: int
    crashes: int
    takeovers: int
    trace: str
    violations: tuple[str, ...]
    seen: dict[str, int]
    """How often each event, refusal and trouble was met."""
    story: tuple[str, ...]
    """What happened until the first violation; empty without one."""


class Disk(Protocol):
    """What survives all processes, and the handles on it."""

    takes_over: bool
    """Whether a claim can pass to another while its owner lives."""

    def open(self, owner: Owner | None = None) -> Store:
        """A handle; of this process, where there are several hosts."""
        ...

    def bury(self, process: Process) -> None:
        """The kernel frees what a dead process held; a living one is superseded."""
        ...


class MemoryDisk:
    """One MemoryStore for all. `former`: for one host, and its version counts one's own commits too."""

    takes_over = True

    def __init__(self, *, former: bool = False) -> None:
        self._store = MemoryStore()
        self._former = former

    def open(self, owner: Owner | None = None) -> Store:
        if self._former:
            return _TellingStore(self._store)
        return MemoryStore(self._store) if owner is None else HostStore(self._store, owner)

    def bury(self, process: Process) -> None:
        self._store.kill(process.owner.owner_id)


class _TellingStore(MemoryStore):
    def version(self) -> int:
        return super().version() + self._own.commits


class FileDisk:
    """A SQLite file. A claim is a kernel lock, so nobody takes it from a living process."""

    takes_over = False

    def __init__(self, file: Path) -> None:
        self._file = file

    def open(self, owner: Owner | None = None) -> Store:
        return SqliteStore(self._file)

    def bury(self, process: Process) -> None:
        if process.store is not None:
            process.store.close()


def is_rough(seed: int) -> bool:
    """Whether what was added to the simulation late goes wrong in this seed; the others play as they did before."""
    return seed % _ROUGH_EVERY == _ROUGH


def simulate(seed: int, *, disk: Disk | None = None, acts: int | None = None, trace: bool = False) -> Report:
    """Plays one seed from beginning to end. `acts`: how much happens; the seed says so otherwise.

    `trace`: the report tells all that happened, also where no law was broken.
    """
    loop = VirtualLoop()
    loop.set_task_factory(_task_of_a_process)
    simulation = _Simulation(seed, loop, disk or MemoryDisk(former=not is_rough(seed)), acts)
    with remembering():
        try:
            loop.run_until_complete(simulation.play())
        except Stalled as stalled:
            simulation.laws.breaks(str(stalled))
        finally:
            loop.run_until_complete(_end_tasks(loop))
            simulation.forget_the_dead()
            loop.close()
    return simulation.report(trace=trace)


class _Simulation:
    def __init__(self, seed: int, loop: VirtualLoop, disk: Disk, acts: int | None) -> None:
        self._chance = Random(seed)  # noqa: S311 - the same history for the same seed is the point
        self._loop = loop
        self._disk = disk
        self._clock = VirtualClock(loop)
        self._world = FakeWorld()
        self._world.plays.update(random_plays(self._chance))
        if is_rough(seed):
            # longer than a lease holds that nobody renews
            self._world.plays[self._chance.randint(1, 4)] = [Play(seconds=150)]
        self._world.before_start = self._launched
        self._world.checks.plays.update(random_checks(self._chance))
        self._world.checks.before_start = self._launched
        self._god = disk.open()
        self.laws = Laws(seed, self._god, self._world, lambda: self._clock.now().boot_ms)
        self._rough = is_rough(seed)
        self._leases = LeaseLaws(self.laws.breaks, loop.time)
        self._begins = seed % _BEGINS_EVERY == _BEGINS_EVERY - 1
        # where a run may meet no secret, the intent to start is recorded with what comes before it
        self._variable = PLAIN if self._begins else SECRET
        made = (random_procedure(self._chance, f"procedure-{n}", passes=self._variable) for n in (1, 2, 3))
        self._procedures = {p.name: p for p in used_in_one_another(self._chance, tuple(made))}
        self._library = MadeUpLibrary(self._procedures, random_config(self._chance))
        self.laws.configured(self._library.config())
        self._ids = SequentialIds()
        self._keyring = FixedKeyring(Path("/nowhere"))
        self._kinds = _Kinds(self._world, self._clock, self, self._delay)
        self._crashes_allowed = self._chance.random() < 0.75
        drawn = self._chance.randint(15, 60)
        self._acts = drawn if acts is None else acts
        self._restless = self._chance.choice((0.01, 0.04, 0.15))
        self._keepers_to_die = self._chance.choice((0, 8, 16)) if self._crashes_allowed else 0
        """How many attempts are lost right after their start, most in a row, also when other trouble is over."""
        self._world.after_start = self._perhaps_lost
        self._troubled = True
        self._troubles = Troubles(self._chance, lambda: self._clock.now().boot_ms, self.laws.story.saw)
        self.laws.unread = lambda: self._troubles.unread
        self._serves = self._chance.random() < 0.4
        self._airwaves = Airwaves(self._chance, loop, self.laws.story.saw)
        self._depth = 0
        self._processes: list[Process] = []
        self._drivers: dict[Process, asyncio.Task[None]] = {}
        self._speakers: list[Process] = []
        """The processes in which somebody says something this moment; one may speak while another does."""
        self._contested: set[str] = set()
        self._let_down: set[str] = set()
        """Runs that whoever had begun them let go: what was left to them meanwhile is as after a crash."""
        self._leaving: list[Owner] = []
        """Drivers and servers that somebody has interrupted, or told to stop."""
        self._left: dict[str, int] = {}
        """The runs that these gave back, each with its last event by then."""
        self._changed_ms: dict[str, int] = {}
        """When each run last changed, by the boot clock."""
        self._servers = Servers(self.laws, self._parts, self._retire, self._contested)
        self._last_call = ""
        self._last_calls_left = 0
        self._last_word_on: str | None = None
        self._crashes = 0
        self._set_back = 0
        self._takeovers = 0

    def report(self, *, trace: bool) -> Report:
        return Report(
            seed=self.laws.seed,
            runs=len(self.laws.runs),
            events=self.laws.events,
            starts=len(self._world.starts),
            crashes=self._crashes,
            takeovers=self._takeovers,
            trace=self.laws.story.digest,
            violations=tuple(self.laws.broken),
            seen=dict(self.laws.story.seen),
            story=tuple(self.laws.story.lines(self.laws.broken_at) if trace or self.laws.broken else ()),
        )

    async def play(self) -> None:
        if self._serves:
            self._start_a_server()
        self._create()
        for _ in range(self._acts):
            pauses = (0, 0.01, 0.2, 0.5, 1, 3, 20) if self._rough else (0, 0.01, 0.2, 0.5, 1, 3)
            await self._clock.sleep(self._chance.choice(pauses))
            self._act()
        self._troubled = False
        self._troubles.end()
        self._airwaves.calm = True
        # after a restart only the wall clock tells how long a wait has lasted: it gets back what was taken from it
        self._clock.slew(0)
        self._clock.set_wall_by(self._set_back + max(0, -self._clock.drifted))
        self._library.regroup(GROUPS)
        if self._rough:
            # what dead processes of other hosts had claimed can be had again
            await self._clock.sleep(LEASE.total_seconds() + 1)
        self._prepare_the_last_word()
        await self._calm()
        self._last_calls_left = 0  # whoever has not spoken by now is silent
        await self._let_servers_finish()
        self._check_nobody_is_stranded()
        await self._servers.stop_all(self._drivers)
        self._world.plays = {}
        self.laws.check_children()
        for run_id in list(self.laws.runs):
            await self._drive_in_peace(run_id)
        self.laws.check_children()
        if not self.laws.broken:
            with _seldom_looking():
                await self._end_all_runs()
        self.laws.check_record()
        self._god.close()

    # fate: what happens at each call of a process

    def pass_by(self, process: Process, call: str) -> None:
        if not process.alive:
            raise Died
        minute = self._clock.now().boot_ms // 60_000
        if minute != process.minute:
            process.minute, process.calls = minute, 0
        process.calls += 1
        if process.calls > _MAX_CALLS:
            self.laws.breaks(f"{process.name} turns on the spot: {process.calls} calls, the last one {call}")
            self._kill(process)
            raise Died
        if not self._troubled:
            self._speak_the_last_word(process, call)
            return
        if self._fuse_burns_down(process, call):
            self.laws.story.saw(f"killed at {call}")
            self._kill(process)
            if call == "start" and self._chance.random() < 0.2:
                # recorded, never begun, and no mark of it can be trusted any more
                self._cut_the_power()
            raise Died
        if self._depth < 2 and self._chance.random() < self._restless and not process.writing:
            self._depth += 1
            try:
                self._act()
            finally:
                self._depth -= 1
        if not process.alive:
            raise Died

    def _fuse_burns_down(self, process: Process, call: str) -> bool:
        # between the intent and the process is where it hurts most
        if call == "start" and self._crashes_allowed and self._chance.random() < 0.12:
            return True
        # so seldom is a lease renewed that hardly any fuse would end there
        if process.rough and call in ("renew", "renewed") and self._crashes_allowed and self._chance.random() < 0.2:
            return True
        if process.fuse is None:
            return False
        process.fuse -= 1
        return process.fuse < 0

    def fault(self, process: Process, call: str) -> None:
        self._troubles.meet(process, call)

    def version(self, process: Process, version: int) -> int:
        return self._troubles.heard(process, version)

    def created(self, process: Process, batch: Batch) -> None:
        self.laws.created(batch, self._procedures[batch.summary.name])
        self._changed_ms[batch.summary.run_id] = self._clock.now().boot_ms

    def appended(self, process: Process, batch: Batch, claim: Claim | None) -> None:
        self.laws.appended(process, batch, claim)
        self._changed_ms[batch.summary.run_id] = self._clock.now().boot_ms

    def acknowledged(self, batch: Batch) -> None:
        self.laws.acknowledged(batch)

    def claimed(self, process: Process, claim: Claim, now: datetime) -> None:
        former = self._leases.claimed(process, claim, now)
        if former is not None:
            self.laws.story.saw("lease ran out under a driver")
            self._overtake(former, claim.run_id)
        self.laws.claimed(process, claim)
        if process.superseded:
            # what it claims after that is free for others too
            self._overtake(process, claim.run_id)

    def renewed(self, claim: Claim, now: datetime) -> None:
        self._leases.renewed(claim, now)
        self.laws.story.saw("lease renewed")

    def unlocked(self, claim: Claim) -> None:
        self.laws.released(claim)

    def released(self, claim: Claim) -> None:
        self._leases.released(claim)
        self.laws.released(claim)
        if claim.owner in self._leaving:
            self._left[claim.run_id] = self.laws.runs[claim.run_id].seq

    def seen(self, process: Process, run_id: str) -> None:
        # what somebody reads who speaks beside a driver, the driver has not seen by that
        if run_id in self.laws.runs and not process.speaks:
            process.knows[run_id] = self.laws.runs[run_id]

    def _launched(self, order: WorkOrder) -> None:
        self.laws.launched(order, CURRENT.get())

    def _perhaps_lost(self, order: WorkOrder) -> None:
        if self._keepers_to_die and self._chance.random() < 0.8:
            self._keepers_to_die -= 1
            self._world.lose(key_of(order))

    def _delay(self) -> float:
        return self._chance.choice((0, 0, 0, 0.05, 0.3)) if self._troubled else 0

    # acts

    def _act(self) -> None:
        acts: list[tuple[float, Callable[[], None]]] = [
            (12, self._somebody_says_something),
            (1.5 if len(self.laws.runs) < _MAX_RUNS else 0, self._create),
            (1.5, self._resume_somewhere),
            (1, self._finish_something),
            (0.8, self._stop_something),
            (0.3, self._set_the_clock),
            (0.3, self._regroup),
            (0.5, self._troubles.fill_the_disk),
            (0.6 if self._serves and len(self._servers.alive) < 2 else 0, self._start_a_server),
            (0.2 if self._serves else 0, self._stop_a_server),
            (0.4 if self._serves else 0, self._forge_a_word),
        ]
        if self._crashes_allowed:
            acts += [
                (2, self._kill_somebody),
                (0.7, self._interrupt_somebody),
                (0.6, self._supersede_somebody),
                (0.6, self._lose_something),
                (0.2, self._cut_the_power),
            ]
        if self._rough:
            acts += [(0.4, self._suspend), (0.3, self._slew_the_clock)]
        weights, choices = zip(*acts, strict=True)
        self._chance.choices(choices, weights)[0]()

    def _create(self) -> None:
        process = self._process(drives=None)
        name = self._chance.choice(list(self._procedures))
        request = RunRequest(name=name, params={"to": "staging"}, queue=self._chance.random() < 0.6)
        starter = self._chance.choice((ANN, ANN, BEN, BOT))
        if self._begins and self._chance.random() < 0.7:
            self._begin(process, request, starter)
            return
        run = self._say(process, "create", lambda engine: engine.create_run(request, actor=starter))
        if run is not None:
            self._carry_on(run.run_id)

    def _begin(self, process: Process, request: RunRequest, starter: Actor) -> None:
        """A program creates a run and drives it on under the claim that it got with it, or thinks better of that."""
        begun = self._say(process, "begin", lambda engine: _Start(engine, request, starter), stays=True)
        if begun is not None:
            process.drives = begun.run_id
            drives = self._chance.random() < 0.9
            self._run(process, self._drive(process, begun.run_id, begun) if drives else self._let_go(process, begun))
            # one that is interrupted before it comes to drive
            self._drivers[process].add_done_callback(lambda _: self._leave(process, begun))

    def _somebody_says_something(self) -> None:
        run_id = self._some_run()
        if run_id is None:
            return
        verb = self._chance.choices(list(VERBS), [weight for weight, _, _ in VERBS.values()])[0]
        _, drives, say = VERBS[verb]
        step = self._chance.choice((None, None, *self.laws.runs[run_id].steps))
        actor = BOT if self._chance.random() < 0.1 else self._chance.choice(PEOPLE)
        if self._rough and self._chance.random() < 0.4 and (driver := self._driver_of(run_id)) is not None:
            self._loop.call_soon(
                self._say_beside, driver, run_id, verb, lambda engine: say(engine, run_id, actor, step)
            )
            return
        process = self._process(drives=None)
        said = self._say(process, verb, lambda engine: say(engine, run_id, actor, step))
        if said is not None and drives:
            self._carry_on(run_id)

    def _driver_of(self, run_id: str) -> Process | None:
        """The living process that drives the run for somebody at its terminal."""
        holder = self._god.holder(run_id)
        return next((each for each in self._drivers if each.owner == holder and not each.serves), None)

    def _say_beside(self, driver: Process, run_id: str, verb: str, say: Callable[[Engine], object]) -> None:
        """Somebody decides at the terminal of the very process that drives, between two of its own turns."""
        if driver not in self._drivers or not driver.alive or driver.parts is None:
            return
        self.laws.note("beside", driver.name)
        self.laws.story.saw("said beside a driver")
        driver.speaks = True
        before = self.laws.runs[run_id].seq
        self._say(driver, verb, say, beside=True)
        driver.speaks = False
        if (said := self.laws.runs[run_id].seq) > before:
            self._loop.call_later(_NOTICES_SECS, self._check_noticed, driver, run_id, said)

    def _check_noticed(self, driver: Process, run_id: str, seq: int) -> None:
        """No commit of the process itself changes the version that it sees."""
        known = driver.knows.get(run_id)
        if driver.alive and self._god.holder(run_id) == driver.owner and (known is None or known.seq < seq):
            self.laws.breaks(f"{run_id}: {driver.name} has not seen event {seq}, which was decided beside it")

    def _say(
        self, process: Process, verb: str, say: Callable[[Engine], T], *, stays: bool = False, beside: bool = False
    ) -> T | None:
        """What the engine answers, or None if it refused or the process died first. `stays`: it lives on after it.

        `beside`: the process drives runs, and goes on whatever the answer is.
        """
        self._speakers.append(process)
        try:
            answer = say(Engine(process.parts if beside else self._parts(process)))
        except Died:
            answer, outcome = None, "died"
        except SopwithError as error:
            answer, outcome = None, error.code
            if not isinstance(error, Refused) and error.exit_code != 2 and not process.hurt:
                self.laws.breaks(f"{verb} met {error.code}: {error.message}")
        except Exception as error:
            answer, outcome = None, "broke"
            self.laws.breaks(f"{verb} broke: {error!r}")
        else:
            outcome = "done"
            if not (stays or beside):
                self._retire(process)
        finally:
            self._speakers.remove(process)
        if process.alive and outcome not in ("died", "done") and not beside:
            self._retire(process)
        self.laws.note(verb, outcome)
        self.laws.story.saw(f"{verb}: {outcome}")
        return answer

    def _start_a_server(self) -> None:
        process = self._process(drives=None)
        process.serves = True
        hears = self._chance.random() < 0.6
        self._run(process, self._servers.live(process, self._airwaves.ear(process) if hears else None))
        self.laws.story.saw("server started")

    def _stop_a_server(self) -> None:
        if self._servers.alive:
            process = self._chance.choice(self._servers.alive)
            self._leaving.append(process.owner)
            self._servers.tell_to_stop(process)
            self.laws.story.saw("server told to stop")

    def _forge_a_word(self) -> None:
        said = self._chance.choice(("sop_run_nobody", "no run id at all", self._some_run() or ""))
        self._airwaves.carry(None, said, left=self._chance.random() < 0.7)
        self.laws.story.saw("word forged")

    async def _let_servers_finish(self) -> None:
        """They look at all there is, and what they have begun comes to rest."""
        if self._rough and not self._servers.alive and self._chance.random() < 0.5:
            self._start_a_server()
            await self._clock.sleep(1)
        if self._servers.alive:
            if self._rough:
                self._a_crowd_comes()
            await self._clock.sleep(_SERVERS_LOOK_SECS)

    def _a_crowd_comes(self) -> None:
        """Several runs of one procedure at once, which only the server drives: most of them wait for the one before."""
        request = RunRequest(name=self._chance.choice(list(self._procedures)), params={"to": "staging"}, queue=True)
        for _ in range(3):
            process = self._process(drives=None)
            self._say(process, "create", lambda engine: engine.create_run(request, actor=ANN))
        self.laws.story.saw("crowd left to a server")

    def _regroup(self) -> None:
        self._library.regroup(random_groups(self._chance))
        self.laws.configured(self._library.config())

    def _resume_somewhere(self) -> None:
        run_id = self._some_run()
        if run_id is not None:
            self._start_driver(run_id)

    def _finish_something(self) -> None:
        hanging = [key for key, at in self._world.finish_at.items() if at is None and key not in self._world.lost]
        if hanging:
            self._world.finish(self._chance.choice(hanging), self._chance.choice((SUCCEEDED, FAILED)))
        checks = self._world.checks
        for key in [key for key, at in checks.finish_at.items() if at is None and key not in checks.lost]:
            checks.finish(key, self._chance.choice((SUCCEEDED, FAILED)))

    def _stop_something(self) -> None:
        """Somebody pauses a run and wants what runs to be ended; then it is driven, for that is left to do."""
        running = sorted({key[0] for key in self._world.starts if self.laws.is_running(key)})
        run_id = self._chance.choice(running) if running else self._some_run()
        if run_id is None:
            return
        actor = self._chance.choice(PEOPLE)
        process = self._process(drives=None)
        if self._say(process, "stop", lambda engine: engine.pause(run_id, actor=actor, stop=True)) is not None:
            self._carry_on(run_id)

    def _lose_something(self) -> None:
        running = [key for key in self._world.starts if self.laws.is_running(key)]
        if running:
            lost = self._chance.choice(running)
            self._world.lose(lost)
            self.laws.note("lost", lost)
            self.laws.story.saw("process lost")
        verified = [key for key in self._world.checks.starts if self.laws.is_verified(key)]
        if verified and self._chance.random() < 0.5:
            self._world.checks.lose(self._chance.choice(verified))

    def _cut_the_power(self) -> None:
        self.laws.note("power cut")
        self.laws.story.saw("power cut")
        for process in (*self._drivers, *self._speakers):
            # what is said this moment is not committed after the restart, with the boot clock of before
            if process.alive:
                self._kill(process)
        for key in self._world.starts:
            if self.laws.is_running(key):
                self._world.lose(key, "the machine was restarted")
        for key in self._world.checks.starts:
            if self.laws.is_verified(key):
                self._world.checks.lose(key, "the machine was restarted")
        self._clock.reboot()
        self.laws.restarted()

    def _set_the_clock(self) -> None:
        seconds = self._chance.choice((-3600, -2, 5, 90, 86400))
        self._clock.set_wall_by(seconds)
        self._set_back += max(0, -seconds)
        self.laws.note("wall clock", seconds)
        self.laws.story.saw("wall clock set")

    def _kill_somebody(self) -> None:
        process = self._some_driver()
        if process is not None:
            self._kill(process)

    def _interrupt_somebody(self) -> None:
        process = self._some_driver()
        if process is not None:
            self._leaving.append(process.owner)
            self._drivers[process].cancel()
            self.laws.note("interrupt", process.name)
            self.laws.story.saw("driver interrupted")

    def _supersede_somebody(self) -> None:
        process = self._some_driver()
        if process is not None and process.drives is not None and self._disk.takes_over and not process.superseded:
            # with the run that it drives it loses those within
            for run_id in [process.drives, *self.laws.held_by(process)]:
                self._overtake(process, run_id)
            self._takeovers += 1
            self.laws.story.saw("claim taken over")
            self.laws.note("supersede", process.name)
            self._disk.bury(process)
            self._start_driver(process.drives, host=process.owner.host)

    def _overtake(self, process: Process, run_id: str) -> None:
        """One who lives and drives the run has lost it to another, or will."""
        process.superseded = True
        while run_id not in self._contested:
            self._contested.add(run_id)
            parent = self.laws.runs[run_id].parent if self._rough else None
            if parent is not None:
                run_id = parent.run_id

    def _suspend(self) -> None:
        """The machines sleep, and all that runs on them; not within a call, which no clock could tell."""
        self._loop.call_soon(self._sleep, self._chance.choice((2, 30, 90, 3600)))

    def _sleep(self, seconds: int) -> None:
        now_ms = self._clock.now().boot_ms
        for world in (self._world, self._world.checks):
            for key, at in world.finish_at.items():
                if at is not None and at > now_ms:
                    world.finish_at[key] = at + seconds * 1000
        self._clock.suspend(seconds)
        self.laws.note("suspended", seconds)
        self.laws.story.saw("machine slept")

    def _slew_the_clock(self) -> None:
        rate = self._chance.choice((-0.05, 0.0, 0.05))
        self._clock.slew(rate)
        self.laws.note("slewed", rate)
        self.laws.story.saw("wall clock slewed")

    def _kill(self, process: Process) -> None:
        self._crashes += 1
        self.laws.note("kill", process.name, process.calls)
        process.drop()
        self._disk.bury(process)
        self._drivers.pop(process, None)

    def _some_run(self) -> str | None:
        return self._chance.choice(list(self.laws.runs)) if self.laws.runs else None

    def _some_driver(self) -> Process | None:
        return self._chance.choice(list(self._drivers)) if self._drivers else None

    # processes

    def _process(self, *, drives: str | None, host: str = "") -> Process:
        doomed = self._troubled and self._crashes_allowed and self._chance.random() < (0.35 if drives else 0.1)
        token = self._chance.choice((None, "old", "old", "old", "new")) if self._troubled else "old"
        process = Process(
            len(self._processes) + 1,
            drives=drives,
            environ={} if token is None else {self._variable: token},
            fuse=self._chance.randint(0, 60) if doomed else None,
            host=host or (self._chance.choice(HOSTS) if self._rough else "here"),
            rough=self._rough,
        )
        self._processes.append(process)
        return process

    def forget_the_dead(self) -> None:
        """What a dead process would have said is nobody's concern; a living one must look at its tasks itself."""
        for process in self._processes:
            for task in process.tasks:
                if not process.alive and task.done() and not task.cancelled():
                    task.exception()

    def _parts(self, process: Process) -> Parts:
        store = mortal_store(process, self._disk.open(process.owner), self)
        parts = process.parts = Parts(
            workspace=WORKSPACE,
            store=store,
            views=DocumentsOnly(),
            library=self._library,
            kinds=_KindsOf(self._kinds, process),
            clock=self._clock,
            ids=self._ids,
            keyring=self._keyring,
            owner=lambda: process.owner,
            environ=process.environ,
            umask=0o022,
            bell=self._airwaves.bell(process),
        )
        return parts

    def _retire(self, process: Process) -> None:
        process.alive = False
        process.store.close()

    def _carry_on(self, run_id: str) -> None:
        """What a driving verb does after its change. A quick one finds the run claimed at this very moment."""
        if self._chance.random() < 0.5 and self._god.holder(run_id) is not None:
            self.laws.note("busy", run_id)
            return
        self._start_driver(run_id)

    def _start_driver(self, run_id: str, *, host: str = "") -> Process:
        process = self._process(drives=run_id, host=host)
        self._run(process, self._drive(process, run_id))
        return process

    def _run(self, process: Process, life: Coroutine[Any, Any, None]) -> None:
        context = copy_context()
        context.run(CURRENT.set, process)
        task = self._loop.create_task(life, context=context)
        self._drivers[process] = task
        task.add_done_callback(lambda _: self._drivers.pop(process, None))

    async def _drive(self, process: Process, run_id: str, begun: _Start | None = None) -> None:
        outcome = "done"
        try:
            linger = self._chance.random() < 0.7
            run = await (begun.drive(linger) if begun else drive(self._parts(process), run_id, linger=linger))
            self.laws.check_driven(run)
        except (Died, asyncio.CancelledError):
            outcome = "died"
        except RunBusy:
            outcome = "busy"
        except (Conflict, Refused) as error:
            outcome = error.code
            # where a superseded driver still lives, or lived until now, one of the two must lose
            if run_id not in self._contested and not (process.hurt or process.superseded):
                self.laws.breaks(f"{process.name} met {error.code} though nobody took its claim: {error.message}")
        except Exception as error:
            outcome = "broke"
            if not (process.hurt and isinstance(error, StoreError | OSError)):
                self.laws.breaks(f"{process.name} broke: {error!r}")
        self.laws.note("driver", process.name, outcome)
        if process.alive:
            self.laws.let_go(process)
            self._retire(process)

    async def _let_go(self, process: Process, begun: _Start) -> None:
        await self._clock.sleep(self._delay())
        self.laws.story.saw("begun run let go")
        self._leave(process, begun)

    def _leave(self, process: Process, begun: _Start) -> None:
        if not process.alive:
            return
        self._let_down.add(begun.run_id)
        with suppress(Died, StoreError, OSError):
            begun.let_go()
        if process.alive:
            self.laws.let_go(process)
            self._retire(process)

    # the end

    def _prepare_the_last_word(self) -> None:
        """One person speaks at one chosen moment of some driver, and then nothing happens that could wake it again."""
        self._last_call = self._chance.choice(("release", "version", "events", "waited", "wait"))
        if self._rough:
            # whoever drives has just begun to wait: nothing that it does itself will make it look
            self._last_call = self._chance.choice((self._last_call, "wait", "wait"))
        self._last_calls_left = self._chance.choice((1, 1, 2, 3, 5))
        for run_id in self.laws.runs:
            self._start_driver(run_id)

    def _speak_the_last_word(self, process: Process, call: str) -> None:
        if process.drives is None or self._last_calls_left <= 0 or call != self._last_call or self._depth:
            return
        if process.writing:  # others wait until it has written
            return
        self._last_calls_left -= 1
        if self._last_calls_left or process.drives in self._contested:
            return
        self._depth += 1
        run_id = process.drives
        say: Callable[[Engine], Any] = self._chance.choice(
            (
                lambda engine: engine.cancel(run_id, actor=ANN),
                lambda engine: bring_on(engine, self.laws.runs[run_id]),
                lambda engine: bring_on(engine, self.laws.runs[run_id]),
            )
        )
        if self._rough and self._chance.random() < 0.7:
            self._loop.call_soon(self._have_the_last_word, process, run_id, say, True)
        else:
            self._have_the_last_word(process, run_id, say, False)
        self._depth -= 1

    def _have_the_last_word(
        self, driver: Process, run_id: str, say: Callable[[Engine], object], is_beside: bool
    ) -> None:
        before = self.laws.runs[run_id].seq
        if is_beside:
            self._say_beside(driver, run_id, "last word", say)
        else:
            self._say(self._process(drives=None), "last word", say)
        if self.laws.runs[run_id].seq > before:
            self._last_word_on = run_id
            if self._god.holder(run_id) is None:
                self._start_driver(run_id)

    async def _calm(self) -> None:
        """No more trouble: what hangs ends, and the drivers that still live do their work."""
        for turn in range(_TURNS):
            if turn:
                self._let_what_hangs_end()
            at_work = {process: task for process, task in self._drivers.items() if not process.serves}
            if not at_work:
                return
            await asyncio.wait(list(at_work.values()), timeout=30)
        self.laws.breaks(f"drivers never came to rest: {[process.name for process in at_work]}")

    def _let_what_hangs_end(self) -> None:
        for world in (self._world, self._world.checks):
            for key in world.starts:
                # what is to be ended must be ended by its driver
                run = self.laws.runs[key[0]]
                if world.finish_at[key] is None and not (run.cancel_requested or run.stopping):
                    world.finish(key)

    def _check_nobody_is_stranded(self) -> None:
        """Without a crash, whoever changes a run drives it on, or leaves that to somebody who does.

        Who was interrupted or told to stop leaves what it drives, also where somebody was told just before that it
        does. Where a server lives, none is left, whatever crashed.
        """
        served, now = bool(self._servers.alive), self._clock.now()
        for run_id, run in self.laws.runs.items():
            # what comes due in this very moment is being done; and a server waits whether who changed a run drives it
            rests = now.boot_ms - self._changed_ms[run_id] > round(GRACE_SECS * 1000)
            if served and rests and (left := self._ready(run, ago_ms=1)) and self._god.holder(run_id) is None:
                self.laws.breaks(f"{run.run_id} is {status_of(run)}, a server lives, and {left} is due")
            # a queue whose procedure rests is asked again at the next sweep
            then = now.at - timedelta(seconds=SWEEP_SECS)
            if served and self._rough and self.laws.may_begin(run, then) and self._god.holder(run_id) is None:
                self.laws.breaks(f"{run.run_id} waits for a slot, a server lives, and nothing stands in its way")
            if served and self._god.holder(run_id) is None:
                self.laws.check_overdue(run_id, self._clock.now().at)
            if (self._crashes_allowed or self._troubles.happened) and run_id != self._last_word_on:
                continue
            if run_id in self._let_down or self._left.get(run_id) == run.seq:
                continue
            left = [item for item in self._ready(run) if item.at is None]
            # a server may watch what hangs
            if left and self._god.holder(run_id) is None:
                self.laws.breaks(f"{run.run_id} is {status_of(run)} and nobody drives it: {left} is due")

    async def _drive_in_peace(self, run_id: str, *, again: bool = True) -> None:
        # a server may have left it to hang
        self._let_what_hangs_end()
        process = self._start_driver(run_id)
        driving = self._drivers[process]
        await asyncio.wait([driving], timeout=600)
        run = self.laws.runs[run_id]
        if not driving.done():
            self.laws.breaks(f"{run_id} is driven for ten minutes, and nothing comes of it")
            self._kill(process)
        elif run.parent is not None and self._ready(run) and again:
            # it drove the run around it on, and stayed with that
            await self._drive_in_peace(run_id, again=False)
        elif left := self._ready(run):
            self.laws.breaks(f"{run_id} is {status_of(run)} and a driver leaves {left} undone")
        elif run.parent is None:
            self.laws.check_overdue(run_id, self._clock.now().at)

    def _ready(self, run: Run, *, ago_ms: int = 0) -> list[Any]:
        """What a driver could do now, or could have done then; waiting for a slot is not in its power."""
        now = self._clock.now()
        then = Instant(now.at - timedelta(milliseconds=ago_ms), now.boot_ms - ago_ms, now.boot_id)
        return [item for item in ready_now(run, then) if item.kind is not DueKind.ADMIT]

    async def _end_all_runs(self) -> None:
        """A patient person ends every run: there is no state that nobody can resolve."""
        stood: list[int] = []
        queued: dict[str, int] = {}
        for patience in range(_ROUNDS):
            unfinished = [run_id for run_id, run in self.laws.runs.items() if not is_final(run)]
            if not unfinished or self.laws.broken:
                return
            if patience % 40 == 0:
                moved, stood = stood, [self.laws.runs[run_id].seq for run_id in unfinished]
                # how many looks each has been queued for: others may be tried again and again meanwhile
                queued = {each: queued.get(each, 0) + 1 for each in unfinished if self.laws.runs[each].queued}
                if stood == moved or max(queued.values(), default=0) == _HOPELESS:
                    self._part(unfinished)
            for run_id in unfinished:
                await self._attend_to(run_id)
            # some gates close soon or ask others, within a limit of time too, and some deadlines are long
            waits = patience % 10 == 4 or any(run.queued for run in self.laws.runs.values())
            await self._clock.sleep(_LONG_PAUSES.get(patience % 40, 5 if waits else 0.1))
        for run_id in unfinished:
            run = self.laws.runs[run_id]
            self.laws.breaks(f"{run_id} is {status_of(run)} and no person can end it: {run.reason}")

    def _part(self, unfinished: list[str]) -> None:
        """Where runs wait for the slots of those around others only the end of one lets them go on (decision 9)."""
        runs = [self.laws.runs[run_id] for run_id in unfinished]
        run = next((run for run in runs if run.queued and run.parent is not None), None)
        if run is None:
            return
        # what goes on by itself, after the run around it has ended, is ended by itself
        while run.parent is not None and not is_final(around := self.laws.runs[run.parent.run_id]):
            run = around
        process = self._process(drives=None)
        Engine(self._parts(process)).cancel(run.run_id, actor=ANN)
        self._retire(process)

    async def _attend_to(self, run_id: str) -> None:
        """Brings one run on until nothing more comes of that: its time may be short, and others wait for long."""
        for _ in range(_MOVES):
            before = self.laws.runs[run_id].seq
            self._resolve(self.laws.runs[run_id])
            await self._drive_in_peace(run_id)
            run = self.laws.runs[run_id]
            if self.laws.broken or is_final(run) or run.seq == before:
                return

    def _resolve(self, run: Run) -> None:
        process = self._process(drives=None)
        engine = Engine(self._parts(process))
        try:
            bring_on(engine, run)
        except Refused as error:
            self.laws.note("refused", error.code)
        except Exception as error:
            self.laws.breaks(f"a patient person met {error!r}")
        self._retire(process)


@contextmanager
def _seldom_looking() -> Iterator[None]:
    """Nobody changes a run behind its driver's back any more: it sleeps until something comes due, not to look."""
    kept = drivers.LOOK_SECS
    drivers.LOOK_SECS = drivers.LOOK_IF_TOLD_SECS
    try:
        yield
    finally:
        drivers.LOOK_SECS = kept


class _Start(Begun):
    """A run that one process has begun, and drives through the same handles."""

    def __init__(self, engine: Engine, request: RunRequest, actor: Actor) -> None:
        super().__init__(engine, request, actor=actor)
        self.parts = engine.parts

    async def drive(self, linger: bool) -> Run:
        try:
            return await drive(self.parts, self.run_id, linger=linger, begun=self)
        finally:
            self.let_go()


class _Kinds:
    def __init__(
        self, world: FakeWorld, clock: VirtualClock, simulation: _Simulation, delay: Callable[[], float]
    ) -> None:
        self._world = world
        self._clock = clock
        self._simulation = simulation
        self._delay = delay

    def executor(self, process: Process) -> MortalExecutor:
        return MortalExecutor(process, FakeExecutor(self._world, self._clock), self._simulation, self._delay)


class _KindsOf:
    """The kinds of steps as one process has them."""

    def __init__(self, kinds: _Kinds, process: Process) -> None:
        self._shell = ExecutorKind(name="shell", needs_script=True, make=partial(kinds.executor, process))

    def kind(self, name: str) -> ExecutorKind:
        return self._shell if name == "shell" else ExecutorKind(name=name, needs_script=False, by_hand=True)


def _task_of_a_process(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    context = options.get("context")
    process = CURRENT.get() if context is None else context.get(CURRENT)
    if process is not None:
        process.tasks.append(task)
    return task


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    left = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def main(arguments: list[str] | None = None) -> int:
    """Plays a range of seeds, or tells of one; 1 if any broke a law."""
    from sopwith.testing import campaign

    return campaign.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
