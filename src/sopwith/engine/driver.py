"""Drives one run: carries out what is due until the run waits for a person, or ends.

The driver decides nothing. It looks at `due(run)`, does one item, brings the result back as a command, and looks
again; it remembers only which processes it watches. Killed between two items, any other driver goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.admission import Occupancy, admit
from sopwith.core.due import Due, DueKind, due, ready
from sopwith.core.envelope import envelope_bytes, start_envelope
from sopwith.core.events import Event
from sopwith.core.procedure import sha256
from sopwith.core.run import Run, StepStatus
from sopwith.engine.engine import limits_of
from sopwith.engine.envelopes import start_envelope_bytes, step_envelope_bytes, what_changed
from sopwith.engine.environment import MissingVariables, work_order
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Loaded, Runs
from sopwith.errors import Conflict, CoolingDown, IllegalMove, LimitReached, RunBusy
from sopwith.ports import Claim, Executor, Lost, Watch

LOOK_SECS = 0.2
"""How often a driver with running processes looks whether somebody else changed the run."""


class Observer(Protocol):
    """Is told what happens, to show it. Must return quickly."""

    def on_event(self, event: Event, run: Run) -> None: ...

    def on_output(self, step: int, chunk: bytes) -> None: ...


class Silent:
    """Shows nothing."""

    def on_event(self, event: Event, run: Run) -> None:
        pass

    def on_output(self, step: int, chunk: bytes) -> None:
        pass


async def drive(parts: Parts, run_id: str, observer: Observer | None = None) -> Run:
    """Carries the run on until nothing is left to do now. Raises RunBusy while somebody else drives it."""
    runs = Runs(parts)
    loaded = runs.load(run_id)
    claim = parts.store.claim(run_id, parts.owner(), parts.clock.now().at)
    if claim is None:
        holder = parts.store.holder(run_id)
        who = f"process {holder.pid} on {holder.host}" if holder else "another process"
        raise RunBusy(f"{run_id} is driven by {who}", hint=f"sop status {run_id} --watch follows it")
    driver = _Driver(parts, runs, loaded, claim, observer or Silent())
    try:
        return await driver.run()
    finally:
        parts.store.release(claim)


class _Driver:
    def __init__(self, parts: Parts, runs: Runs, loaded: Loaded, claim: Claim, observer: Observer) -> None:
        self._parts = parts
        self._runs = runs
        self._loaded = loaded
        self._claim = claim
        self._observer = observer
        self._executors: dict[str, Executor] = {}
        self._watches: dict[int, Watch] = {}
        self._ends: dict[int, asyncio.Task[cmd.StepResult | Lost]] = {}
        self._stops: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> Run:
        try:
            while True:
                self._refresh()
                if await self._carry_out_one() or self._settle_one():
                    continue
                if not self._ends:
                    return self._loaded.run
                await self._wait()
        finally:
            for task in (*self._ends.values(), *self._stops.values()):
                task.cancel()

    async def _carry_out_one(self) -> bool:
        """Carries out the first item that changes anything. Tells whether there was one."""
        for item in ready(due(self._loaded.run), self._parts.clock.now().at):
            if await self._carry_out(item):
                return True
        return False

    async def _carry_out(self, item: Due) -> bool:
        match item.kind:
            case DueKind.ADMIT:
                return self._admit()
            case DueKind.OPEN_GATE:
                return self._open_gate(item.step)
            case DueKind.EXPIRE_GATE:
                return self._apply(
                    cmd.Expire(actor=SYSTEM, now=self._parts.clock.now(), step=item.step, revision=item.revision)
                )
            case DueKind.START_STEP:
                return await self._start(_number(item))
            case DueKind.WATCH_STEP:
                return await self._watch(_number(item))
            case DueKind.STOP_STEP:
                return await self._stop(_number(item))

    def _admit(self) -> bool:
        run = self._loaded.run
        limits = limits_of(run.procedure, self._parts.library.config())

        def check(occupancy: Occupancy) -> None:
            admit(run.name, limits, occupancy, self._parts.clock.now().at)

        contents = envelope_bytes(start_envelope(run, rebuilding=False))
        command = cmd.Admit(actor=SYSTEM, now=self._parts.clock.now(), start_digest=sha256(contents))
        try:
            return self._apply(command, admit=check, contents=(contents,))
        except (LimitReached, CoolingDown):
            return False

    def _open_gate(self, step: int | None) -> bool:
        run = self._loaded.run
        try:
            contents = (
                start_envelope_bytes(run, rebuilding=False)
                if step is None
                else step_envelope_bytes(self._parts, run, step, rebuilding=False)
            )
        except MissingVariables as missing:
            return self._halt(_missing_text(step, missing))
        command = cmd.OpenGate(actor=SYSTEM, now=self._parts.clock.now(), step=step, digest=sha256(contents))
        return self._apply(command, contents=(contents,))

    async def _start(self, step: int) -> bool:
        run = self._loaded.run
        try:
            found = step_envelope_bytes(self._parts, run, step, rebuilding=True)
        except MissingVariables as missing:
            return self._halt(_missing_text(step, missing))
        gate = run.steps[step].gate
        changed = what_changed(self._parts, gate.digest, found) if gate is not None else ()
        command = cmd.Start(actor=SYSTEM, now=self._parts.clock.now(), step=step, digest=sha256(found), changed=changed)
        applied = self._apply(command)
        if applied and self._loaded.run.steps[step].status is StepStatus.RUNNING:
            await self._launch(step, recovering=False)
        return applied

    async def _launch(self, step: int, *, recovering: bool) -> None:
        """Starts the attempt that was just recorded, or finds out what became of one that a dead driver recorded."""
        run = self._loaded.run
        kind = self._parts.kinds.kind(run.procedure.step(step).executor)
        if kind.make is None:
            return
        executor = self._executors.setdefault(kind.name, kind.make())
        attempt = run.steps[step].attempt
        order = work_order(self._parts, run, step)
        ensure_private_folder(order.folder.parent)

        def show(chunk: bytes) -> None:
            self._observer.on_output(step, chunk)

        watch = await (executor.recover(order, show) if recovering else executor.start(order, show))
        if isinstance(watch, Lost):
            self._interrupted(step, attempt, watch)
            return
        self._watches[step] = watch
        self._ends[step] = asyncio.ensure_future(watch.wait())

    async def _watch(self, step: int) -> bool:
        if step in self._ends:
            return False
        await self._launch(step, recovering=True)
        return True

    async def _stop(self, step: int) -> bool:
        if step in self._stops:
            return False
        if step not in self._watches:
            return await self._watch(step)
        self._stops[step] = asyncio.ensure_future(self._watches[step].stop())
        return True

    def _settle_one(self) -> bool:
        """Records the end of one process that has ended."""
        for step, task in list(self._ends.items()):
            if task.done():
                del self._ends[step]
                self._watches.pop(step, None)
                self._stops.pop(step, None)
                self._ended(step, task.result())
                return True
        return False

    def _ended(self, step: int, result: cmd.StepResult | Lost) -> None:
        attempt = self._loaded.run.steps[step].attempt
        if isinstance(result, Lost):
            self._interrupted(step, attempt, result)
            return
        self._apply(
            cmd.Finish(actor=SYSTEM, now=self._parts.clock.now(), step=step, attempt=attempt, result=result),
            insist=True,
        )

    def _interrupted(self, step: int, attempt: int, lost: Lost) -> None:
        self._apply(
            cmd.Interrupt(
                actor=SYSTEM,
                now=self._parts.clock.now(),
                step=step,
                attempt=attempt,
                reason=lost.reason,
                output=lost.output,
            ),
            insist=True,
        )

    def _halt(self, reason: str) -> bool:
        return self._apply(cmd.Halt(actor=SYSTEM, now=self._parts.clock.now(), reason=reason))

    def _apply(
        self,
        command: cmd.Command,
        *,
        admit: Callable[[Occupancy], None] | None = None,
        contents: tuple[bytes, ...] = (),
        insist: bool = False,
    ) -> bool:
        """Commits the command on the state it was made for. If that has moved on, the world is looked at anew.

        `insist`: the command tells a fact, which holds whatever else happened meanwhile.
        """
        while True:
            before = self._loaded.run.seq
            try:
                self._loaded, events = self._runs.commit(
                    self._loaded, command, claim=self._claim, admit=admit, contents=contents
                )
            except (Conflict, IllegalMove):
                self._refresh()
                if self._loaded.run.seq == before:
                    raise
                if insist:
                    continue
                return True
            for event in events:
                self._observer.on_event(event, self._loaded.run)
            return bool(events)

    def _refresh(self) -> None:
        self._loaded, events = self._runs.refresh(self._loaded)
        for event in events:
            self._observer.on_event(event, self._loaded.run)

    async def _wait(self) -> None:
        """Until a process ends, a deadline comes, or somebody else may have changed the run."""
        ends = set(self._ends.values())
        version = self._parts.store.version()
        deadline = min((item.at for item in due(self._loaded.run) if item.at is not None), default=None)
        while not any(task.done() for task in ends):
            look = asyncio.ensure_future(self._parts.clock.sleep(self._seconds_to(deadline)))
            await asyncio.wait({*ends, look}, return_when=asyncio.FIRST_COMPLETED)
            look.cancel()
            if self._parts.store.version() != version or self._has_passed(deadline):
                return

    def _seconds_to(self, deadline: datetime | None) -> float:
        if deadline is None:
            return LOOK_SECS
        return min(LOOK_SECS, max(0.0, (deadline - self._parts.clock.now().at).total_seconds()))

    def _has_passed(self, deadline: datetime | None) -> bool:
        return deadline is not None and deadline <= self._parts.clock.now().at


def _number(item: Due) -> int:
    assert item.step is not None
    return item.step


def _missing_text(step: int | None, missing: MissingVariables) -> str:
    noun = "variable" if len(missing.names) == 1 else "variables"
    return f"step {step} needs the {noun} {', '.join(missing.names)} from the environment, and they are not set here"
