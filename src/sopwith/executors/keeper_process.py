"""A keeper as the engine sees it: a process that is started, adopted, told to stop, and whose end is noticed.

The end is noticed through a pidfd, which works for a keeper of a dead engine as for a child of our own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair

from sopwith.executors.launch import Launch
from sopwith.executors.processes import Identity, start_time

POLL_SECS = 0.1
"""How often to look where the kernel has no pidfd."""

# by way of import, not as a script: scripts are compiled anew at every start, which costs 4 ms. And it ends at once:
# an interpreter takes 2 ms to tidy up
_BOOT = "import os, sys; sys.path.append(sys.argv[1]); import keeper; keeper.main(%s); os._exit(0)"
_KEEPER = _BOOT % "sys.argv[2]"
_NURSERY = _BOOT.replace("import keeper", "import nursery; import keeper") % "nursery.next_launch(sys.argv[2])"
_HERE = str(Path(__file__).parent)
_ROOM_BYTES = 64
"""So much longer than the first one may be the path of a launch whose keeper comes from a nursery."""
_PATIENCE_SECS = 10.0
"""How long a nursery may take to answer: that is forty times as long as its start."""
_MOST_LOSSES = 3
"""So many nurseries may be lost before all keepers are started in the slow way."""


class KeeperProcess:
    """One keeper. Made inside a running event loop, which reaps it even when nobody waits any more."""

    def __init__(self, pid: int, started: str | None = None) -> None:
        """Raises nothing, for there is a process by now. `started`: its start time, where that is known."""
        self._pid = pid
        self._started = started
        self._ended = asyncio.Event()
        self.exit_status: int | None = None
        """Of a keeper that this process started and that has ended."""
        self._handle = _open_handle(pid)
        self._loop = asyncio.get_running_loop()
        if self._handle >= 0:
            self._loop.add_reader(self._handle, self._on_end)
        else:
            self._runs()

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
        """Asks the keeper to end the step and all it started. One that the step has stopped goes on for that."""
        with suppress(ProcessLookupError):
            for number in (signal.SIGTERM, signal.SIGCONT):
                if self._handle >= 0:
                    signal.pidfd_send_signal(self._handle, number)
                elif self._runs():
                    os.kill(self._pid, number)

    async def _poll(self, seconds: float | None) -> None:
        while self._runs():
            await asyncio.sleep(POLL_SECS)
            if seconds is not None:
                break
        if not self._runs():
            self._on_end()

    def _runs(self) -> bool:
        try:
            started = start_time(self._pid)
        except OSError:  # nobody can tell now
            return True
        if self._started is None:
            self._started = started
        return started is not None and started == self._started

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


class NurseryLost(Exception):
    """The nursery was told of a launch, and died or stopped: nobody knows whether there is a keeper."""


class Nursery:
    """The process that forks this process's keepers; see `nursery.py`. From threads, one request at a time."""

    def __init__(self, room_bytes: int) -> None:
        """Starts it. Raises OSError."""
        self.room_bytes = room_bytes
        self.program = sys.executable
        self.owner = os.getpid()
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        try:
            self._pid = os.posix_spawn(
                self.program,
                [self.program, "-I", "-S", "-c", _NURSERY, _HERE, " " * room_bytes],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=[],
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours.detach()

    def fork(self, folder: bytes) -> int:
        """The pid of a new keeper for the launch in `folder`; -1 where it makes none. Raises NurseryLost."""
        try:
            os.write(self._socket, folder)
            answer = os.read(self._socket, 64) if _readable(self._socket) else b""
        except OSError:
            answer = b""
        if not answer:
            raise NurseryLost
        return int(answer)

    def close(self) -> None:
        """Ends it, where it is ours. Keepers that it has forked go on."""
        os.close(self._socket)
        if self.owner == os.getpid():
            with suppress(OSError):
                # who else waits for any child may have let its pid go: what is no child of ours is another process
                if os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)


class _Nurseries:
    """The nursery of this process, made at first need, and made anew where it was lost."""

    def __init__(self) -> None:
        self.enabled = sys.platform == "linux"
        self._lock = threading.Lock()
        self._nursery: Nursery | None = None
        self._losses = 0
        # it would end by itself, a little later: a step whose engine this is would seem to leave it behind
        atexit.register(self._drop)

    def fork(self, launch: Launch) -> int:
        """The pid of a new keeper; -1 where none is to be had from a nursery here. Raises NurseryLost."""
        folder = os.fsencode(launch.folder)
        if not self.enabled or self._losses >= _MOST_LOSSES:
            return -1
        with self._lock:
            nursery = self._ready(len(folder))
            if nursery is None or nursery.room_bytes < len(folder):
                return -1
            try:
                pid = nursery.fork(folder)
            except BaseException as error:  # by a handler of a signal, say: what it answers late is for no other launch
                self._losses += isinstance(error, NurseryLost)
                self._drop()
                raise
            if pid < 0:
                self._losses = _MOST_LOSSES
            return pid

    def _ready(self, folder_bytes: int) -> Nursery | None:
        known = self._nursery
        if known is not None and known.owner == os.getpid() and known.program == sys.executable:
            return known
        self._drop()
        with suppress(OSError):
            self._nursery = Nursery(folder_bytes + _ROOM_BYTES)
        return self._nursery

    def _drop(self) -> None:
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None


nurseries = _Nurseries()


def start_keeper(launch: Launch) -> KeeperProcess:
    """Starts a keeper for this launch, in a session of its own. Raises OSError or NurseryLost."""
    pid = nurseries.fork(launch)
    return KeeperProcess(pid) if pid > 0 else start_keeper_alone(launch)


def start_keeper_alone(launch: Launch) -> KeeperProcess:
    """The same without a nursery, with an interpreter of its own. Raises OSError."""
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-c", _KEEPER, _HERE, str(launch.folder)],
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


def _readable(file: int) -> bool:
    """Whether there is something to be read, within our patience."""
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(_PATIENCE_SECS * 1000))


def adopt_keeper(identity: Identity) -> KeeperProcess | None:
    """The keeper that a dead engine started, or None if it has ended. A process that got its pid since is no keeper.

    Raises OSError where nobody can tell now.
    """
    # its handle first: what is checked then is what is watched
    keeper = KeeperProcess(identity.pid, identity.started)
    try:
        alive = identity.alive()
    except OSError:
        keeper.forget()
        raise
    if alive:
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
