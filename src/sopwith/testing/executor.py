"""An executor without processes: tests say how steps end, and what a dead engine leaves behind.

`FakeWorld` is what survives the engine: the processes. A `FakeExecutor` is one engine's handle on it, so that a crash
is simply dropping the handle (and cancelling its tasks), and the next engine makes another one on the same world:

    world = FakeWorld()
    world.plays[2] = [Play(result=FAILED, seconds=30), Play()]     # step 2 fails once after 30 s, then succeeds
    executor = FakeExecutor(world, clock)

Between two handles a test says what became of an attempt: nothing (it goes on, and ends on time), `lose` (it was
started and nobody knows the rest), `unstart` (the engine died before its process began). `before_start` and
`after_start` are called around each start and may raise, as an engine that is killed there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from sopwith.core.address import StepId, number_of, step_id
from sopwith.core.commands import StepResult
from sopwith.core.procedure import sha256
from sopwith.errors import Conflict
from sopwith.ports import Clock, Executor, ExecutorKind, Lost, Watch, WorkOrder

Key = tuple[str, StepId, int, int]
"""Run, step, visit, attempt."""

SUCCEEDED = StepResult(exit_code=0)
FAILED = StepResult(exit_code=1, error="exit status 1")
STOPPED = StepResult(signal="SIGTERM", error="stopped before it ended (killed by SIGTERM)", cause="cancelled")


class Play(msgspec.Struct, frozen=True):
    """How one attempt goes. `seconds` None: it runs until the test calls `world.finish`, or somebody stops it."""

    result: StepResult = SUCCEEDED
    seconds: float | None = 0
    output: bytes = b""


class FakeWorld:
    """The processes of all attempts, and what tests may look at.

    `plays`: step number -> one Play for each start of the step, the last one for all further starts; a step without
    any succeeds at once. `starts`: every start, in order. `started`: how often each attempt was started, which is
    never more than once. `finish_at`: boot-clock milliseconds at which an attempt ends. `results`: how it ends.
    `orders`: what each attempt was started with. `void`: attempts that could not be given their environment, and that
    only a recovery may start any more. `checks`: the same world for verifications, which go by themselves; a step's
    succeeds at once unless its plays say otherwise.
    """

    def __init__(self) -> None:
        self.plays: dict[int, Sequence[Play]] = {}
        self.starts: list[Key] = []
        self.started: dict[Key, int] = {}
        self.finish_at: dict[Key, int | None] = {}
        self.results: dict[Key, StepResult] = {}
        self.orders: dict[Key, WorkOrder] = {}
        self.lost: dict[Key, str] = {}
        self._verifies: dict[Key, int] = {}
        self.void: set[Key] = set()
        self.before_start: Callable[[WorkOrder], None] = _nothing
        self.after_start: Callable[[WorkOrder], None] = _nothing
        self._checks: FakeWorld | None = None
        self._outputs: dict[Key, bytes] = {}
        self._ended: dict[Key, asyncio.Event] = {}

    @property
    def checks(self) -> FakeWorld:
        if self._checks is None:
            self._checks = FakeWorld()
        return self._checks

    def lose(self, key: Key, reason: str = "its keeper was killed") -> None:
        """Nobody can know any more how this attempt ends."""
        self.lost[key] = reason
        self._ended[key].set()

    def unstart(self, key: Key) -> None:
        """The engine died after it had recorded the intent, and before the process began."""
        self.starts.remove(key)
        for kept in (self.started, self.finish_at, self.results, self.orders, self._outputs, self._ended):
            kept.pop(key, None)

    def finish(self, key: Key, result: StepResult = SUCCEEDED) -> None:
        """The attempt ends now, like this."""
        self.results[key] = result
        self.finish_at[key] = 0
        self._ended[key].set()

    def ended(self, key: Key) -> asyncio.Event:
        """Set once the attempt was ended by `finish`, `lose` or a stop, and not by its time."""
        return self._ended[key]

    def output(self, key: Key) -> bytes:
        """All that the attempt prints; it prints it at once."""
        return self._outputs[key]

    def begin(self, order: WorkOrder, now_ms: int) -> None:
        """Starts the attempt. Raises Conflict if it was started before: at most one start for an order."""
        key = key_of(order)
        self.make_way(order)
        if key in self.started or key in self.void:
            raise Conflict(f"attempt {key} was started before", hint="recover it instead")
        self.before_start(order)
        play = self._play(order.step.number)
        self.starts.append(key)
        self.started[key] = 1
        self.orders[key] = order
        self.finish_at[key] = None if play.seconds is None else now_ms + round(play.seconds * 1000)
        self.results[key] = play.result
        self._outputs[key] = play.output
        self._ended[key] = asyncio.Event()
        self.after_start(order)

    def make_way(self, order: WorkOrder) -> None:
        """Forgets the last verification of an attempt, where this is another one: several may come after each other."""
        key = key_of(order)
        if self._verifies.get(key, order.verifies) != order.verifies:
            self.started.pop(key, None)
            self.lost.pop(key, None)
            self.void.discard(key)
            # the one before has ended, or was lost
            self.finish_at[key] = 0
        self._verifies[key] = order.verifies

    def _play(self, step: int) -> Play:
        plays = self.plays.get(step) or (Play(),)
        before = sum(1 for key in self.starts if number_of(key[1]) == step)
        return plays[min(before, len(plays) - 1)]


class FakeExecutor:
    """One engine's handle on the world."""

    def __init__(self, world: FakeWorld, clock: Clock) -> None:
        self._world = world
        self._clock = clock

    async def start(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch:
        world = self._of(order)
        world.begin(order, self._clock.now().boot_ms)
        return FakeWatch(world, self._clock, key_of(order), on_output)

    async def recover(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch | Lost:
        key = key_of(order)
        world = self._of(order)
        world.make_way(order)
        if key not in world.started:
            if order.intended_boot != order.this_boot:
                return Lost("the machine was restarted after the step was to be started")
            if order.withheld or key in world.void:
                world.void.add(key)
                return Lost(order.withheld or "another driver has given it up")
            return await self.start(order, on_output)
        if key in world.lost:
            return _lost(world, key)
        return FakeWatch(world, self._clock, key, on_output)

    def _of(self, order: WorkOrder) -> FakeWorld:
        return self._world.checks if order.verifies else self._world


class FakeWatch:
    """Watches one attempt of the world."""

    def __init__(self, world: FakeWorld, clock: Clock, key: Key, on_output: Callable[[bytes], None]) -> None:
        self._world = world
        self._clock = clock
        self._key = key
        self._on_output = on_output

    async def wait(self) -> StepResult | Lost:
        output = self._world.output(self._key)
        if output:
            self._on_output(output)
        await self._until_the_end()
        if self._key in self._world.lost:
            return _lost(self._world, self._key)
        return msgspec.structs.replace(
            self._world.results[self._key],
            output=output.decode(errors="replace"),
            output_bytes=len(output),
            output_sha256=sha256(output),
        )

    async def stop(self) -> None:
        at = self._world.finish_at[self._key]
        if at is None or at > self._clock.now().boot_ms:
            self._world.finish(self._key, STOPPED)

    async def _until_the_end(self) -> None:
        """Until its time has come, or something else ended it."""
        ended = self._world.ended(self._key)
        while not ended.is_set():
            at = self._world.finish_at[self._key]
            left_ms = None if at is None else at - self._clock.now().boot_ms
            if left_ms is not None and left_ms <= 0:
                return
            await self._sleep_or(ended, left_ms)

    async def _sleep_or(self, ended: asyncio.Event, milliseconds: int | None) -> None:
        tasks: list[asyncio.Future[bool]] = [asyncio.ensure_future(_set(ended))]
        if milliseconds is not None:
            tasks.append(asyncio.ensure_future(_slept(self._clock, milliseconds / 1000)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def fake_kind(world: FakeWorld, clock: Clock, name: str = "shell") -> ExecutorKind:
    """Registers the fake under a name, so that an engine under test uses it for that kind of step."""

    def make() -> Executor:
        return FakeExecutor(world, clock)

    return ExecutorKind(name=name, needs_script=True, make=make)


def key_of(order: WorkOrder) -> Key:
    """What names the attempt that an order is for."""
    return (order.run_id, step_id(order.step.number, order.instance), order.visit, order.attempt)


async def _set(event: asyncio.Event) -> bool:
    await event.wait()
    return True


async def _slept(clock: Clock, seconds: float) -> bool:
    await clock.sleep(seconds)
    return True


def _lost(world: FakeWorld, key: Key) -> Lost:
    return Lost(world.lost[key], world.output(key).decode(errors="replace"))


def _nothing(_: WorkOrder) -> None:
    return
