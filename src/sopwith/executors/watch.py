"""Watches one launch: streams its output, notices its end, and takes the result or tells that the attempt is lost.

The keeper, not this process, is the step's parent: a watch can be dropped and taken up by another engine at any time.
Output is given from its first byte on, also to a watch that adopts a running step.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from sopwith.core.commands import StepResult
from sopwith.executors.keeper import boot_id
from sopwith.executors.keeper_process import KeeperProcess
from sopwith.executors.launch import Ending, Launch, Marks, cookie_of, launches, read_if_there
from sopwith.executors.masked import Secrecy, forget
from sopwith.executors.outcome import not_started, start_error, step_result
from sopwith.executors.outputs import MAX_FILE_BYTES, Values, read_values
from sopwith.executors.processes import PASSING, carried
from sopwith.executors.spool import Excerpt, Log, SpoolReader, is_whole
from sopwith.executors.strays import hidden_in_group, in_group
from sopwith.ports import Lost, WorkOrder

_T = TypeVar("_T")
_PASSING_SECS = 0.25
_UNABLE = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""What a keeper that could not even make its mark leaves with, as its exit status."""
TAIL_SECS = 0.05
QUIET_TAIL_SECS = 0.25
"""How often to look for output: while there is some, and after a while without."""
_LOOKS = 10
"""How often to look whether what was killed with its keeper is gone."""


class LaunchWatch:
    """The Watch of a launch. `keeper` None: it is known to have ended."""

    def __init__(
        self, order: WorkOrder, launch: Launch, keeper: KeeperProcess | None, on_output: Callable[[bytes], None]
    ) -> None:
        self._order = order
        self._launch = launch
        self._keeper = keeper
        self._on_output = on_output
        self._log = Log(order.folder)
        self._begun = False
        self._secrecy: Secrecy
        self._reader: SpoolReader
        self._stopping = False
        self._result: StepResult | Lost | None = None

    async def wait(self) -> StepResult | Lost:
        """How the attempt ended; Lost if its keeper died before it could tell. May be cancelled and called again."""
        if self._result is None:
            await _patiently(self._begin)
            await _patiently(self._follow)
            self._reader.close()
            self._result = await _patiently(self._conclude)
        return self._result

    async def stop(self) -> None:
        """Ends the step and all it started. `wait` tells the result, which may be a success that came first."""
        self._stopping = True
        if self._keeper is not None and not self._keeper.ended:
            self._keeper.terminate()
            await self._keeper.wait()

    async def _begin(self) -> None:
        """The first look. It takes files to open, and the step may run by now: what fails is tried again."""
        if self._begun:
            return
        self._secrecy = Secrecy(self._launch, self._order.confidential)
        is_there = self._launch.spool.exists() or self._keeper is not None or self._secrecy.stands_in
        self._reader = self._secrecy.reader(self._log) if is_there else SpoolReader(self._log.path)
        self._begun = True

    async def _follow(self) -> None:
        pause = TAIL_SECS
        while True:
            last = self._keeper is None or self._keeper.ended
            if (chunk := self._reader.read()) is not None:
                if chunk:
                    self._on_output(chunk)
                pause = TAIL_SECS
                await asyncio.sleep(0)
            elif last or self._keeper is None:
                if rest := self._reader.end():
                    self._on_output(rest)
                return
            else:
                await self._keeper.wait(pause)
                pause = min(pause * 1.2, QUIET_TAIL_SECS)

    async def _conclude(self) -> StepResult | Lost:
        excerpt = self._reader.excerpt
        # what was read is the log, which may have been cut
        is_log = not self._launch.spool.exists() or self._secrecy.reads_log(self._log)
        if is_log and (whole := self._log.whole()):
            excerpt.stand_for(*whole)
        ending = self._launch.ending()
        result = self._without_result(excerpt) if ending is None else self._with(ending, excerpt)
        if isinstance(result, Lost):
            result = msgspec.structs.replace(result, still_runs=await still_runs(self._order))
        trouble = await self._keep_log(excerpt)
        if self._secrecy.hides:
            trouble += forget(self._launch, ended=ending is not None)
        if trouble and isinstance(result, StepResult):
            return msgspec.structs.replace(result, warnings=(*result.warnings, *trouble))
        return result

    async def _keep_log(self, excerpt: Excerpt) -> tuple[str, ...]:
        """Makes the log; tells what stood in the way, which takes nothing from what is known of the step."""
        if self._secrecy.hides and not self._launch.spool.exists() and not self._secrecy.stands_in:
            self._launch.masked.unlink(missing_ok=True)  # nothing was started, or the log was made before
            return ()
        source = self._launch.masked if self._secrecy.hides else self._launch.spool
        try:
            if is_whole(excerpt):
                self._log.keep(source, excerpt)  # a file gets another name: no thread is as quick
            else:
                await asyncio.to_thread(self._log.keep, source, excerpt)
        except OSError as error:
            if error.errno in PASSING:
                raise
            return (f"its log could not be kept: {error.strerror or error}",)
        except RuntimeError:  # no thread to be had
            self._log.keep(source, excerpt)
        return (f"its log could not be kept whole: {self._reader.trouble}",) if self._reader.trouble else ()

    def _with(self, ending: Ending, excerpt: Excerpt) -> StepResult:
        values = self._secrecy.values(_values(self._launch, ending, self._order))
        result = step_result(ending, excerpt, values)
        if told := self._secrecy.warnings():
            return msgspec.structs.replace(result, warnings=(*result.warnings, *told))
        return result

    def _without_result(self, excerpt: Excerpt) -> StepResult | Lost:
        try:
            if self._launch.void():
                return self._never_started()
        except FileNotFoundError:
            return Lost("the folder in which it ran is gone, so nobody knows how it ended", excerpt.text())
        return Lost(_why_lost(self._launch.marks()), excerpt.text())

    def _never_started(self) -> StepResult:
        """The keeper died before it could begin: killed by our own stop, or it cannot run on this machine."""
        if self._stopping:
            return msgspec.structs.replace(not_started("stopped before it was started"), cause="cancelled")
        status = self._keeper.exit_status if self._keeper is not None else None
        if status in _UNABLE:
            return not_started(start_error(status))
        said = read_if_there(self._launch.errors)[-500:].decode(errors="replace").strip()
        return not_started("cannot start the step: its keeper ended at once" + (f": {said}" if said else ""))


class Settled:
    """The Watch of an attempt whose result is known without a process."""

    def __init__(self, result: StepResult | Lost) -> None:
        self._result = result

    async def wait(self) -> StepResult | Lost:
        return self._result

    async def stop(self) -> None:
        return


async def _patiently(act: Callable[[], Awaitable[_T]]) -> _T:
    """Tries again while something passing stands in the way."""
    while True:
        try:
            return await act()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        await asyncio.sleep(_PASSING_SECS)


async def still_runs(order: WorkOrder) -> bool:
    """Whether something that the attempt, or its verification, started lives. What is being killed gets a moment.

    What has another environment by now is told by the keeper's notes: the step's own process and the control group.
    """
    cookie = f"SOP_COOKIE={cookie_of(order)}"
    for _ in range(_LOOKS):
        if not carried(cookie) and not any(_noted_lives(launch) for launch in launches(order.folder)):
            return False
        await asyncio.sleep(TAIL_SECS)
    return True


def _noted_lives(launch: Launch) -> bool:
    child = launch.marks().child
    return (child is not None and child.alive()) or bool(in_group(launch)) or hidden_in_group(launch)


def _why_lost(marks: Marks) -> str:
    if marks.copied:
        return "its folder was copied while it ran elsewhere, so nobody knows here how the step ended"
    if marks.keeper is None:
        return "everything was killed just as the step was about to start, so nobody knows whether it did"
    if marks.keeper.boot not in (boot_id(), "-"):
        return "the machine was restarted while the step ran, so nobody knows how far it came"
    reason = f"the keeper of the step (process {marks.keeper.pid}) was killed, so nobody knows how the step ended"
    if marks.child is not None and marks.child.alive():
        reason += f"; the step's own process {marks.child.pid} still runs"
    return reason


def _values(launch: Launch, ending: Ending, order: WorkOrder) -> Values:
    """What the step had written to $SOP_OUTPUT when it ended; what a left-over process adds later does not count."""
    try:
        file = os.open(launch.values, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Values({})
    except OSError as error:
        return Values({}, problem=f"cannot read $SOP_OUTPUT: {error.strerror}")
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return Values({}, problem="cannot read $SOP_OUTPUT: expected a file, got something else")
        data = os.read(file, min(ending.values_bytes, MAX_FILE_BYTES + 1))
    finally:
        os.close(file)
    if len(data) < min(ending.values_bytes, MAX_FILE_BYTES + 1):
        return Values({}, problem=f"cannot read $SOP_OUTPUT: it had {ending.values_bytes} bytes, {len(data)} are left")
    return read_values(data, order.output_types)
