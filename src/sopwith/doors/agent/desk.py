"""One agent's calls in one workspace: checked, carried out in turn, waited for, answered in one shape.

A write and the start of a driver for it are one piece that no client which goes away can split; waiting for the run
comes after that and may be given up at any moment. Rules are the engine's; none is written here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.run import Run
from sopwith.doors.agent.arguments import Arguments, check_arguments, find_tool, run_id_in, with_whole_numbers
from sopwith.doors.agent.failures import failure_document
from sopwith.doors.agent.frames import Frames
from sopwith.doors.agent.reads import Reads
from sopwith.doors.agent.texts import twin
from sopwith.doors.agent.tools import DEFAULT_WAIT_MS, Tool
from sopwith.doors.agent.writes import Writes, Written
from sopwith.doors.detached import start_detached
from sopwith.doors.opened import Opened
from sopwith.engine.documents import Document
from sopwith.engine.waiting import WaitingOn
from sopwith.errors import SopwithError, StaleApproval
from sopwith.ports import Workspace

_LOOK_SECS = (0.02, 0.25)
"""How soon a run is looked at again: at first, and after a while."""
_TOLD_MS = 500
"""How often a run is looked at that does not move: for who drives it, and to tell whoever waits."""

_T = TypeVar("_T")
Progress = Callable[[float, int, str], Awaitable[None]]
"""Told how many steps are finished, of how many, and whom the run waits for; see `Growing`."""


class Answer(msgspec.Struct, frozen=True):
    """What a tool answers: the same as a JSON object and in a few lines."""

    document: Document
    text: str
    is_error: bool


class Growing:
    """How far a run is, as a number that grows each time it is told, as MCP wants it: a fraction stands for waiting."""

    def __init__(self) -> None:
        self._most = -1
        self._times = 0

    def after(self, done: int) -> float:
        """The number to tell when so many steps are finished: these, or more where there were more before."""
        self._times = 0 if done > self._most else self._times + 1
        self._most = max(self._most, done)
        return self._most + self._times / (self._times + 1)


async def _tell_nobody(done: float, total: int, words: str) -> None:
    pass


class Desk:
    """Carries out the calls of one agent in one workspace. Safe to use from several tasks of one event loop."""

    def __init__(
        self, opened: Opened, actor: Actor, *, carry_on: Callable[[Workspace, str], None] = start_detached
    ) -> None:
        """`carry_on` sees to it that somebody who outlives this process drives the run."""
        self._opened = opened
        self._reads = Reads(opened, actor)
        self._writes = Writes(opened, actor, carry_on)
        # one thread: msgspec crashes where several meet a type for the first time, and a call takes milliseconds
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="desk")

    async def call(self, name: str, arguments: Arguments, *, progress: Progress = _tell_nobody) -> Answer:
        """Carries out one call; whatever goes wrong is an answer too."""
        frames = Frames()
        try:
            document = await self._answered_or_refused(name, arguments, frames, progress)
        except Exception as error:
            unexpected = Unexpected(f"something went wrong inside sop: {type(error).__name__}: {error}")
            document = failure_document(unexpected, frames)
        if note := frames.note():
            document["untrusted"] = note
        return Answer(document, twin(document), "error" in document)

    def close(self) -> None:
        """Lets the call that is being carried out come to its end; those that wait for their turn are not begun."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    async def _answered_or_refused(
        self, name: str, arguments: Arguments, frames: Frames, progress: Progress
    ) -> Document:
        try:
            tool = find_tool(name)
            arguments = with_whole_numbers(tool, arguments)
            check_arguments(tool, arguments)
            return await self._answered(tool, arguments, frames, progress)
        except SopwithError as error:
            return await self._in_turn(self._reads.failure, error, arguments, frames)

    async def _answered(self, tool: Tool, given: Arguments, frames: Frames, progress: Progress) -> Document:
        if tool.writes:
            written = await self._in_turn(self._writes.write, tool, given)
            wait_ms = given.get("waitMs", DEFAULT_WAIT_MS)
            await self._wait(written.run_id, wait_ms, progress, is_over=_rests, sees_to_it=True)
            return await self._in_turn(self._after, written, frames)
        if wait_ms := given.get("waitMs", 0):
            run_id = await self._in_turn(run_id_in, self._opened, given)
            since = given.get("sinceSeq")
            is_over = _rests if since is None else lambda run, _waiting: run.seq > since
            await self._wait(run_id, wait_ms, progress, is_over=is_over)
        return await self._in_turn(self._reads.by_tool[tool.name], given, frames)

    def _after(self, written: Written, frames: Frames) -> Document:
        approved_at = written.approved_at
        if approved_at is not None and self._opened.reader.went_stale(written.run_id, approved_at):
            raise StaleApproval(f"the approval of {written.run_id} did not count: what would run has changed")
        told = written.told
        if written.reported_at is not None:
            believed = self._opened.reader.check_believed(written.run_id, written.reported_at)
            told = {**told, **({"verification": believed} if believed else {})}
        document = self._reads.run_document(written.run_id, frames)
        if "status" in written.told:
            document["decision"] = written.told["status"]
        return {**document, **told, **({"replayed": True} if written.replayed else {})}

    async def _wait(
        self,
        run_id: str,
        wait_ms: int,
        progress: Progress,
        *,
        is_over: Callable[[Run, WaitingOn], bool],
        sees_to_it: bool = False,
    ) -> None:
        """Returns when it is over, or the time is up; whoever waits is told where the run is.

        `sees_to_it`: a run that its driver left in the middle is given another one.
        """
        parts = self._opened.engine.parts
        seen, told_at = -1, parts.clock.now().boot_ms
        until = told_at + wait_ms
        pause, longest = _LOOK_SECS
        growing = Growing()
        while True:
            version, now = await self._in_turn(parts.store.version), parts.clock.now().boot_ms
            if version != seen or now - told_at > _TOLD_MS:
                seen, told_at = version, now
                run, waiting = await self._in_turn(self._reads.standing, run_id)
                if is_over(run, waiting):
                    return
                done = sum(step.finished for step in run.steps.values() if isinstance(step.number, int))
                await progress(growing.after(done), len(run.procedure.steps), f"waiting on: {waiting}")
                if sees_to_it and waiting is WaitingOn.ENGINE:
                    await self._in_turn(lambda: self._writes.keep_going(run_id, again=True))
            if now >= until:
                return
            await parts.clock.sleep(min(pause, max(0, until - now) / 1000))
            pause = min(longest, pause * 1.5)

    async def _in_turn(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """What `function` tells, in the desk's own thread: the loop goes on meanwhile, and other calls wait."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)


class Unexpected(SopwithError):
    """A fault of Sopwith's own."""

    code = "internal"


def _rests(run: Run, waiting: WaitingOn) -> bool:
    return waiting is not WaitingOn.ENGINE
