"""A keeper as the engine sees it: a process that is started, adopted, told to stop, and whose end is noticed.

The end is noticed through a pidfd, which works for a keeper of a dead engine as for a child of our own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from sopwith.executors.launch import Launch
from sopwith.executors.processes import Identity, start_time

POLL_SECS = 0.1
"""How often to look where the kernel has no pidfd."""

# by way of import, not as a script: scripts are compiled anew at every start, which costs 4 ms
_BOOT = "import sys; sys.path.append(sys.argv[1]); import keeper; keeper.main(sys.argv[2])"


class KeeperProcess:
    """One keeper. Made inside a running event loop, which reaps it even when nobody waits any more."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started = start_time(pid)
        self._ended = asyncio.Event()
        self.exit_status: int | None = None
        """Of a keeper that this process started and that has ended."""
        self._handle = _open_handle(pid)
        self._loop = asyncio.get_running_loop()
        if self._handle >= 0:
            self._loop.add_reader(self._handle, self._on_end)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Waits for the end, so many seconds at most. Tells whether it has come."""
        if self._handle < 0 and not self.ended:
            await self._poll(seconds)
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def terminate(self) -> None:
        """Asks the keeper to end the step and all it started."""
        try:
            if self._handle >= 0:
                signal.pidfd_send_signal(self._handle, signal.SIGTERM)
            elif self._runs():
                os.kill(self._pid, signal.SIGTERM)
        except ProcessLookupError:
            return

    async def _poll(self, seconds: float | None) -> None:
        while self._runs():
            await asyncio.sleep(POLL_SECS)
            if seconds is not None:
                break
        if not self._runs():
            self._on_end()

    def _runs(self) -> bool:
        return self._started is not None and start_time(self._pid) == self._started

    def forget(self) -> None:
        """Watches no more; the process is left alone."""
        if self._handle >= 0:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _on_end(self) -> None:
        self.forget()
        self.exit_status = _reap(self._pid)
        self._ended.set()

    def __del__(self) -> None:
        if self._handle >= 0:  # the loop was closed before the process ended
            os.close(self._handle)


def start_keeper(launch: Launch) -> KeeperProcess:
    """Starts a keeper for this launch, in a session of its own. Raises OSError."""
    here = str(Path(__file__).parent)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-c", _BOOT, here, str(launch.folder)],
        {},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(launch.errors), os.O_WRONLY | os.O_CREAT, 0o600),
        ],
        setsid=True,
        setsigmask=[],
    )
    return KeeperProcess(pid)


def adopt_keeper(identity: Identity) -> KeeperProcess | None:
    """The keeper that a dead engine started, or None if it has ended. A process that got its pid since is no keeper."""
    keeper = KeeperProcess(identity.pid)  # its handle first: what is checked then is what is watched
    if identity.alive():
        return keeper
    keeper.forget()
    return None


def _open_handle(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # macOS, a kernel before 5.3, or no such process
        return -1


def _reap(pid: int) -> int | None:
    """Takes the exit of a child of ours; others are reaped by whoever they belong to."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None
