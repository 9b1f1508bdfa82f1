"""Processes that can die at any call they make, and the ports they see the world through.

A dead process does nothing more: its tasks are dropped, and whatever its `finally` blocks still try meets `Died`. What
it had done stays done, also where it never learned so; what others do goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast

from sopwith.core.admission import Occupancy
from sopwith.core.codec import SealedEvent
from sopwith.core.commands import StepResult
from sopwith.core.run import Run
from sopwith.errors import StoreError
from sopwith.ports import Batch, Claim, Executor, Lost, Owner, RunSummary, Store, Watch, WorkOrder

T = TypeVar("T")


class Died(BaseException):
    """The process has been killed. No program catches that."""


class Process:
    """One engine's process. `fuse`: how many more steps it lives, a step being just before or after a call."""

    def __init__(
        self,
        number: int,
        *,
        drives: str | None,
        environ: dict[str, str],
        fuse: int | None,
        host: str = "here",
        rough: bool = False,
    ) -> None:
        self.name = f"process-{number}"
        self.owner = Owner(
            owner_id=self.name, host=host, pid=1000 + number, process_started=str(number), boot_id=f"boot of {host}"
        )
        self.rough = rough
        """Whether all its calls may end otherwise, also where they could not in former seeds."""
        self.drives = drives
        self.environ = environ
        self.fuse = fuse
        self.alive = True
        self.serves = False
        """Whether it is `sop serve`, which drives all runs."""
        self.speaks = False
        """Whether somebody decides at its terminal now, which takes no claim."""
        self.hurt = False
        """Whether its store or its executor has failed it, so that it may say so."""
        self.hears = 0
        """The version of the store that it knows, where news reaches it late."""
        self.deaf_until_ms = 0
        self.writing = False
        """Whether it is asked something inside its transaction: it may die there, and all others wait."""
        self.superseded = False
        """Its claims were given to others although it lives: a lease ran out, a machine slept."""
        self.calls = 0
        """How many it has made in this minute."""
        self.minute = 0
        self.knows: dict[str, Run] = {}
        """The runs as it has last seen them."""
        self.knew: dict[str, Run] = {}
        """The same when it last asked what had become of an attempt: what it hears after that comes too late."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.store: Any = None
        self.parts: Any = None
        """The world as it sees it, once it has looked."""

    def drop(self) -> None:
        """Its tasks never run again."""
        self.alive = False
        for task in self.tasks:
            task.cancel()


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process whose code runs now; tasks inherit it."""


class Fate(Protocol):
    """Is asked at each call of each process, and told what the calls did."""

    def pass_by(self, process: Process, call: str) -> None:
        """Something may happen now, to this process too; while it writes, only to it. Raises Died in a dead one."""
        ...

    def fault(self, process: Process, call: str) -> None:
        """Raises StoreError or OSError where the call of a living process fails now."""
        ...

    def version(self, process: Process, version: int) -> int:
        """The version that reaches the process, which may be an older one for a while."""
        ...

    def created(self, process: Process, batch: Batch) -> None: ...

    def appended(self, process: Process, batch: Batch, claim: Claim | None) -> None: ...

    def acknowledged(self, batch: Batch) -> None: ...

    def seen(self, process: Process, run_id: str) -> None: ...

    def claimed(self, process: Process, claim: Claim, now: datetime) -> None:
        """`now`: when the process said that it was, just before."""
        ...

    def renewed(self, claim: Claim, now: datetime) -> None: ...

    def released(self, claim: Claim) -> None: ...

    def unlocked(self, claim: Claim) -> None:
        """A claim was recorded, and whoever made it was told that this failed."""
        ...


class MortalStore:
    """A process's own handle on the store."""

    def __init__(self, process: Process, store: Store, fate: Fate) -> None:
        self._process = process
        self._store = store
        self._fate = fate

    def create(
        self, name: str, plan: Callable[[Occupancy], Batch], *, group: str = "", driver: Owner | None = None
    ) -> Batch:
        self._fate.pass_by(self._process, "create")
        self._fate.fault(self._process, "create")
        batch = self._store.create(name, self._inside(plan), group=group, driver=driver)
        self._fate.created(self._process, batch)
        if batch.claim is not None:
            self._fate.claimed(self._process, batch.claim, batch.summary.created_at)
        self._fate.pass_by(self._process, "created")
        self._fate.fault(self._process, "created")
        self._fate.acknowledged(batch)
        return batch

    def append(
        self,
        run_id: str,
        after_seq: int,
        batch: Batch,
        *,
        claim: Claim | None = None,
        admit: Callable[[Occupancy], None] | None = None,
        frees: bool = False,
    ) -> None:
        self._fate.pass_by(self._process, "append")
        self._fate.fault(self._process, "append")
        self._store.append(run_id, after_seq, batch, claim=claim, admit=admit and self._inside(admit), frees=frees)
        self._fate.appended(self._process, batch, claim)
        if claim is not None and frees:
            self._fate.released(claim)
        self._fate.pass_by(self._process, "appended")
        # the commit happened, and whoever asked for it is told that it failed
        self._fate.fault(self._process, "appended")
        self._fate.acknowledged(batch)

    def claim(self, run_id: str, owner: Owner, now: datetime) -> Claim | None:
        self._fate.pass_by(self._process, "claim")
        self._fate.fault(self._process, "claim")
        claim = self._store.claim(run_id, owner, now)
        if claim is not None:
            self._fate.claimed(self._process, claim, now)
        self._fate.pass_by(self._process, "claimed")
        unlock = getattr(self._store, "unlock", None)
        if claim is not None and unlock is not None:
            try:
                self._fate.fault(self._process, "claimed")
            except StoreError:
                unlock(claim)
                self._fate.unlocked(claim)
                raise
        return claim

    def renew(self, claim: Claim, now: datetime) -> None:
        self._fate.pass_by(self._process, "renew")
        self._fate.fault(self._process, "renew")
        self._store.renew(claim, now)
        self._fate.renewed(claim, now)
        if self._process.rough:
            self._fate.pass_by(self._process, "renewed")
            self._fate.fault(self._process, "renewed")

    def release(self, claim: Claim) -> None:
        self._fate.pass_by(self._process, "release")
        self._store.release(claim)
        self._fate.released(claim)
        self._fate.pass_by(self._process, "released")
        # the lock is free all the same, as that of a file is
        self._fate.fault(self._process, "released")

    def events(self, run_id: str, after_seq: int = 0) -> tuple[SealedEvent, ...]:
        self._fate.pass_by(self._process, "events")
        self._fate.fault(self._process, "events")
        events = self._store.events(run_id, after_seq)
        self._fate.seen(self._process, run_id)
        return events

    def version(self) -> int:
        self._fate.pass_by(self._process, "version")
        self._fate.fault(self._process, "version")
        return self._fate.version(self._process, self._store.version())

    def content(self, digest: str) -> bytes | None:
        self._fate.pass_by(self._process, "content")
        self._fate.fault(self._process, "content")
        return self._store.content(digest)

    def summary(self, run_id: str) -> RunSummary | None:
        self._fate.pass_by(self._process, "summary")
        self._fate.fault(self._process, "summary")
        return self._store.summary(run_id)

    def __getattr__(self, name: str) -> Any:
        """All else that only reads."""
        self._fate.pass_by(self._process, name)
        self._fate.fault(self._process, name)
        return getattr(self._store, name)

    def _inside(self, ask: Callable[[Occupancy], T]) -> Callable[[Occupancy], T]:
        """What is asked inside a transaction may read: other processes wait meanwhile, in this one thread too."""

        def asked(occupancy: Occupancy) -> T:
            self._process.writing = True
            try:
                return ask(occupancy)
            finally:
                self._process.writing = False

        return asked


class MortalExecutor:
    """A process's own executor."""

    def __init__(self, process: Process, executor: Executor, fate: Fate, delay: Callable[[], float]) -> None:
        self._process = process
        self._executor = executor
        self._fate = fate
        self._delay = delay

    async def start(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch:
        # its intent was recorded this moment, on the run as it was then
        self._process.knew.pop(order.run_id, None)
        watch = await self._call("start", lambda: self._executor.start(order, on_output))
        return MortalWatch(self._process, watch, self._fate, self._delay)

    async def recover(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch | Lost:
        self._process.knew |= self._process.knows
        watch = await self._call("recover", lambda: self._executor.recover(order, on_output))
        return watch if isinstance(watch, Lost) else MortalWatch(self._process, watch, self._fate, self._delay)

    async def _call(self, name: str, act: Callable[[], Any]) -> Any:
        self._fate.pass_by(self._process, name)
        await asyncio.sleep(self._delay())
        self._fate.pass_by(self._process, name)
        self._fate.fault(self._process, name)
        outcome = await act()
        self._fate.pass_by(self._process, f"{name} done")
        self._fate.fault(self._process, f"{name} done")
        await asyncio.sleep(self._delay())
        self._fate.pass_by(self._process, f"{name} told")
        return outcome


class MortalWatch:
    """A process's own watch of an attempt."""

    def __init__(self, process: Process, watch: Watch, fate: Fate, delay: Callable[[], float]) -> None:
        self._process = process
        self._watch = watch
        self._fate = fate
        self._delay = delay

    async def wait(self) -> StepResult | Lost:
        self._fate.pass_by(self._process, "wait")
        result = await self._watch.wait()
        self._fate.pass_by(self._process, "waited")
        await asyncio.sleep(self._delay())
        self._fate.fault(self._process, "waited")
        return result

    async def stop(self) -> None:
        self._fate.pass_by(self._process, "stop")
        await asyncio.sleep(self._delay() * 100)
        await self._watch.stop()
        self._fate.pass_by(self._process, "stopped")


def mortal_store(process: Process, store: Store, fate: Fate) -> Store:
    """The store as this process sees it."""
    process.store = store
    return cast(Store, MortalStore(process, store, fate))
