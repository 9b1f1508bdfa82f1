"""The keeper: a small process that starts one step, outlives the engine, and writes down how the step ended.

Run as `python -I -S keeper.py LAUNCH_FOLDER`; it imports nothing of Sopwith. Only whoever creates the file `started`
may run the step, so a step starts at most once. Standard library modules are chosen by their price, for the
interpreter's start is most of what a step costs: `_signal` is free where `signal` costs 5 ms, `json` 10, `ctypes` 4.

The step writes into a pipe, never straight into the spool: stdout on a regular file is lost at the first
`> /dev/stderr`, which opens the file anew and truncates it.

Longer than other files: it is run as it is, and each module it would import is paid for at every step.
"""

import os
import select
import sys
import time

try:
    import _signal as signal  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # an interpreter other than CPython
    import signal  # type: ignore[no-redef, unused-ignore]

PR_SET_CHILD_SUBREAPER = 36
SYS_CLONE3 = 435
CLONE_INTO_CGROUP = 1 << 33
CHUNK = 1 << 16
PIPE_CHUNKS = 16
"""As many chunks as the largest pipe holds that a step can ask for (1 MiB)."""
KILL_SECS = 10.0
"""How long a tree may survive KILL (uninterruptible sleep) before the keeper gives up and says so."""
RESULT_BYTES = 512
"""The length of a result, which is written over blanks: room that the disk has given before the step starts."""
RESULT_PAUSES = (0.05, 5.0)
"""How long to wait before a result is written once more: at first, and at most. In seconds."""
NO_ROOM = (5, 27, 28, 30, 122)
"""EIO, EFBIG, ENOSPC, EROFS and EDQUOT: a file cannot be written now. The module `errno` has a price too."""
GROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
"""Where control groups of version 2 are mounted: alone, or beside those of version 1."""


class Order:
    """The file `order`: fields ended by NUL, which no argument, variable or path can hold. See `launch.py`."""

    def __init__(self, data: bytes) -> None:
        fields = data.split(b"\0")[:-1]
        self.cookie = fields[0]
        self.grace, self.drain = (int(field) / 1000 for field in fields[1:3])
        self.umask = int(fields[3])
        self.folder = fields[4]
        self.stdin = fields[5]
        argc = int(fields[6])
        self.argv = fields[7 : 7 + argc]
        self.environment = dict(field.split(b"=", 1) for field in fields[7 + argc :])


def main(launch: str) -> None:
    os.umask(0o077)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # descriptors that the engine's own parent left inheritable
    alarm = heed_signals()
    try:
        result = os.open(f"{launch}/result", os.O_WRONLY | os.O_CREAT, 0o600)
        hold(result)
        if not claim(launch):
            return
    except OSError as error:  # nothing was started: the exit status says why where the disk has no room for words
        sys.exit(error.errno)
    adopts = become_subreaper()
    home = own_group()
    group = make_group(home)
    limiting = memory_group()
    ooms = ends_for_memory(group or home, limiting)
    try:
        order = read_order(launch)
        spool = os.open(f"{launch}/spool", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        source, sink = os.pipe()
        if group:  # noted before there is a step, which may well end us
            note(f"{launch}/started", f"group {group}\n")
        pid, group = spawn(order, sink, group)
        note(f"{launch}/started", f"child {pid} {start_time(pid)}\n")
        stay_with(launch)
    except OSError as error:
        remove_group(group)
        write_result(result, startErrno=error.errno or 1)
        return
    os.close(sink)
    os.set_blocking(source, False)
    Keeping(
        order=order,
        pid=pid,
        adopts=adopts,
        source=source,
        spool=spool,
        alarm=alarm,
        result=result,
        group=group,
        home=home,
        limiting=limiting,
        ooms=ooms,
    ).keep()


def heed_signals() -> int:
    """Deaf to the terminal; TERM and CHLD arrive as bytes in the pipe whose reading end this gives."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    alarm, ring = os.pipe()
    os.set_blocking(alarm, False)
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)
    return alarm


def hold(result: int) -> None:
    """Locks the result while this keeper lives: seen also where its pid says nothing, as from within a container."""
    try:
        os.lockf(result, os.F_TLOCK, 0)
    except OSError:  # a file system without locks: the pid is what is left
        return


def claim(launch: str) -> bool:
    """Whether this keeper, and nobody else ever, may run this launch. The one thing that makes a start unique.

    A link fails where the name exists, as O_EXCL does, and nobody ever sees the file half written.
    """
    pid = os.getpid()
    draft, started = f"{launch}/started.{pid}", f"{launch}/started"
    place = os.stat(f"{launch}/..").st_ino  # noqa: PTH116 - the attempt's folder: a copy of this has another
    line = f"{pid} {start_time(pid)} {boot_id()}\nplace {place:x}\n".encode()
    try:
        write_new(draft, line)
        os.link(draft, started)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return claim_without_links(started, line)  # a file system without hard links
    finally:
        remove(draft)
    return True


def remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return


def claim_without_links(started: str, line: bytes) -> bool:
    try:
        write_new(started, line)
    except FileExistsError:
        return False
    return True


def stay_with(launch: str) -> None:
    """The workspace may be moved while the step runs: what the step hands on is then found by where we are."""
    try:
        os.chdir(launch)
    except OSError:  # the folder is gone already
        return


def read_order(launch: str) -> Order:
    """Reads the order and removes it: it holds the values of secrets."""
    data = contents(f"{launch}/order")
    os.unlink(f"{launch}/order")  # noqa: PTH108
    return Order(data)


def spawn(order: Order, sink: int, group: str) -> tuple[int, str]:
    """Starts the step's process: own session, only its own environment, every signal as it is by default; born in its
    control group, where that can be. Tells its pid and the group that it is in.
    """
    os.chdir(order.folder)
    os.umask(order.umask)
    try:
        pid = spawn_into(group, order, sink) if group else 0
        if pid:
            return pid, group
        remove_group(group)
        pid = os.posix_spawn(
            order.argv[0],
            order.argv,
            order.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, order.stdin, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, sink, 1),
                (os.POSIX_SPAWN_DUP2, sink, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
        return pid, ""
    finally:
        os.umask(0o077)
        os.chdir("/")


def spawn_into(group: str, order: Order, sink: int) -> int:
    """The same into a control group; 0 where the kernel does not do that. Raises OSError as posix_spawn does.

    Not by way of moving ourselves there and back: that waits for all processors, 8 ms after a quiet while.
    """
    report, told = os.pipe()
    folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    try:
        pid = clone_into(folder)
        if pid == 0:
            become(order, sink, told)
    finally:
        os.close(folder)
        os.close(told)
    try:
        failed = os.read(report, 16) if pid > 0 else b""
    finally:
        os.close(report)
    if failed:
        os.waitpid(pid, 0)
        raise OSError(int(failed), os.strerror(int(failed)))
    return max(0, pid)


def clone_into(folder: int) -> int:
    """A fork of us whose child is in the control group that `folder` is open on; -1 where there is no such thing."""
    try:
        return clone(CLONE_INTO_CGROUP, end_signal=signal.SIGCHLD, group=folder)
    except Exception:  # as in become_subreaper
        return -1


def clone(flags: int, *, end_signal: int = 0, group: int = 0) -> int:
    """A fork of us as only the kernel knows it; -1 where it does not. Python's own part of a fork is left out: it is
    for other threads, and there are none.
    """
    # flags, pidfd, two thread ids, the signal at its end, stack, its size, tls, pid, number of pids, control group
    words = (flags, 0, 0, 0, end_signal, 0, 0, 0, 0, 0, group)
    data = b"".join(int(word).to_bytes(8, sys.byteorder) for word in words)
    return call("syscall", SYS_CLONE3, data, len(data))


def become(order: Order, sink: int, told: int) -> None:
    """What the fork does: becomes the step, or tells why it cannot. Never returns."""
    try:
        os.setsid()
        os.dup2(os.open(order.stdin, os.O_RDONLY), 0)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
        os.execve(order.argv[0], order.argv, order.environment)  # noqa: S606
    except OSError as error:
        os.write(told, str(error.errno).encode())
    finally:
        os._exit(127)


class Keeping:
    """Watches over one running step until it has ended and that is written down."""

    def __init__(
        self,
        *,
        order: Order,
        pid: int,
        adopts: bool,
        source: int,
        spool: int,
        alarm: int,
        result: int,
        group: str,
        home: str,
        limiting: str,
        ooms: int,
    ) -> None:
        self.order, self.pid, self.adopts = order, pid, adopts
        self.source, self.spool, self.alarm, self.result = source, spool, alarm, result
        self.group, self.home, self.limiting, self.ooms = group, home, limiting, ooms
        self.code: int | None = None
        self.stopping = self.childless = self.dry = False
        self.kept = self.dropped = 0

    def keep(self) -> None:
        while self.code is None and not self.stopping:
            self.attend(None)
        stopped = self.code is None
        if stopped:
            self.end_tree()
        # the boot clock, as the engine dates starts by: a step's duration does not grow until somebody looks
        ended_boot_ms = time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000
        self.drain(time.monotonic() + self.order.drain)
        left_over = len(self.tree())
        write_result(
            self.result,
            exit=None if self.code is None or self.code < 0 else self.code,
            signal=-self.code if self.code is not None and self.code < 0 else None,
            stopped=stopped,
            leftOver=left_over,
            outOfMemory=ends_for_memory(self.group or self.home, self.limiting) > self.ooms,
            outputBytes=self.kept,
            droppedBytes=self.dropped,
            valuesBytes=size("values"),
            endedBootMs=ended_boot_ms,
        )
        remove_group(self.group)
        sweep(self.group.rpartition("/")[0])
        if not self.dry:
            self.leave_a_drain()

    def attend(self, seconds: float | None) -> None:
        """Waits for output, a signal, or so many seconds, and deals with what came."""
        poll = select.poll()
        poll.register(self.alarm, select.POLLIN)
        if not self.dry:
            poll.register(self.source, select.POLLIN)
        for file, _ in poll.poll(None if seconds is None else max(0, seconds) * 1000):
            if file == self.alarm:
                self.stopping |= signal.SIGTERM in os.read(self.alarm, CHUNK)
                self.reap()
            else:
                self.copy()

    def reap(self) -> None:
        """Takes the step's exit, and the exits of orphans that came to us as their subreaper."""
        while not self.childless:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.code = os.waitstatus_to_exitcode(status)

    def copy(self) -> bool:
        """Moves one chunk from pipe to spool; False when none is there now. A full disk never blocks the step."""
        try:
            chunk = os.read(self.source, CHUNK)
        except BlockingIOError:
            return False
        self.dry = not chunk
        try:
            written = os.write(self.spool, chunk)
        except OSError:
            written = 0
        self.kept += written
        self.dropped += len(chunk) - written
        return not self.dry

    def drain(self, deadline: float) -> None:
        """Takes what the ended step has left in the pipe; a left-over that holds it open gets until the deadline."""
        for _ in range(PIPE_CHUNKS):
            if not self.copy():
                break
        while not self.dry and time.monotonic() < deadline:
            self.attend(deadline - time.monotonic())
        self.reap()

    def end_tree(self) -> None:
        """TERM to all that the step started, KILL to what is left after the grace."""
        asked: set[tuple[int, str]] = set()
        deadline = time.monotonic() + self.order.grace
        while time.monotonic() < deadline and ((tree := self.tree()) or self.may_hide()):
            for member in oldest_first(tree - asked):
                send(member, signal.SIGTERM)
            asked |= tree
            self.attend(min(0.05, deadline - time.monotonic()))
        deadline = time.monotonic() + KILL_SECS
        while time.monotonic() < deadline and ((tree := self.tree()) or self.may_hide()):
            kill_group(self.group)  # all at once, also what is only just being forked
            for member in oldest_first(tree):
                send(member, signal.SIGKILL)
            self.attend(0.01)

    def tree(self) -> set[tuple[int, str]]:
        """Every living process that the step started, as (pid, start time)."""
        self.reap()
        if self.childless and self.adopts:
            return set()  # orphans would have become our children: no need to read all of /proc
        if not os.path.exists("/proc/self/stat"):  # noqa: PTH110 - macOS: the process group is all we can see
            return set() if self.code is not None else {(-self.pid, "-")}
        return living_tree(os.getpid(), b"SOP_COOKIE=" + self.order.cookie) | group_members(self.group)

    def may_hide(self) -> bool:
        """A reading of /proc misses a process whose parent died meanwhile; as long as we have children, look again."""
        return self.adopts and not self.childless

    def leave_a_drain(self) -> None:
        """A left-over that still writes must not die of a closed pipe: a fork of us swallows what it says."""
        try:
            if os.fork():
                return
        except OSError:  # no process to be had: the result counts more than what a left-over says
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(self.spool)
        os.set_blocking(self.source, True)
        while os.read(self.source, CHUNK):
            pass


def living_tree(root: int, cookie: bytes) -> set[tuple[int, str]]:
    """The descendants of `root`, and all processes that carry the cookie in their environment."""
    parents: dict[int, int] = {}
    starts: dict[int, str] = {}
    for name in processes():
        fields = stat(name)
        if fields and fields[0] not in "ZX":
            parents[int(name)], starts[int(name)] = int(fields[1]), fields[19]
    members = {pid for pid in parents if descends(pid, root, parents) or carries(pid, cookie)}
    return {(pid, starts[pid]) for pid in members - {root}}


def make_group(home: str) -> str:
    """A control group for the step, where this user may make one within our own; else empty. Nothing leaves it by
    starting a session, by a new environment or by the death of its parents, and all of it can be ended at once.
    """
    group = f"{home}/sop-{os.getpid()}-{start_time(os.getpid())}"
    try:
        if not home:
            return ""
        os.mkdir(group)  # noqa: PTH102
    except OSError:
        return ""
    return group


def own_group() -> str:
    """The folder of the control group (version 2) that we are in; empty where there is none."""
    for line in lines_of("/proc/self/cgroup"):
        if line.startswith("0::/") and "/.." not in line:
            for root in GROUP_ROOTS:
                home = (root + line[3:]).rstrip("/")
                if os.path.exists(f"{home}/cgroup.procs"):  # noqa: PTH110
                    return home
    return ""


def group_members(group: str) -> set[tuple[int, str]]:
    """The living processes of a control group, as (pid, start time)."""
    pids = lines_of(f"{group}/cgroup.procs") if group else []
    found = ((int(pid), stat(pid)) for pid in pids if pid.isdigit())
    return {(pid, fields[19]) for pid, fields in found if fields and fields[0] not in "ZX"}


def kill_group(group: str) -> None:
    """KILL to all of a control group at once; kernels before 5.14 cannot, and the scan is what is left."""
    if group:
        put(f"{group}/cgroup.kill", "1")


def sweep(home: str) -> None:
    """Removes the empty groups of keepers that were killed."""
    for name in folder_names(home) if home else []:
        words = name.split("-")
        if words[0] == "sop" and len(words) == 3 and words[1].isdigit() and start_time(words[1]) != words[2]:
            remove_group(f"{home}/{name}")


def remove_group(group: str) -> None:
    """Removes a control group, and those of keepers that were in it, unless something still lives in there."""
    try:
        if group:
            for name in folder_names(group):
                if name.startswith("sop-"):
                    remove_group(f"{group}/{name}")
            os.rmdir(group)  # noqa: PTH106
    except OSError:
        return


def ends_for_memory(group: str, limiting: str) -> int:
    """How often the kernel ended a process for want of memory, as the control groups of either version count it.

    `limiting`: that of version 1, as `memory_group` tells it.
    """
    return oom_kills(group) + oom_kills_in(f"{limiting}/memory.oom_control")


def oom_kills(group: str) -> int:
    """The same in this group (version 2) or the nearest around it that counts."""
    while group.startswith(GROUP_ROOTS[0]):
        if os.path.exists(f"{group}/memory.events"):  # noqa: PTH110
            return oom_kills_in(f"{group}/memory.events")
        group = group.rpartition("/")[0]
    return 0


def oom_kills_in(path: str) -> int:
    for line in lines_of(path):
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0


def memory_group() -> str:
    """The folder of the control group (version 1) that limits our memory and the step's; none: version 2 does."""
    for line in lines_of("/proc/self/cgroup"):
        _number, names, path = line.split(":", 2)
        if "memory" in names.split(",") and "/.." not in path:
            return (f"{GROUP_ROOTS[0]}/memory{path}").rstrip("/")
    return ""


def lines_of(path: str) -> list[str]:
    return os.fsdecode(said(path)).splitlines()


def said(path: str) -> bytes:
    """What a file of the kernel's says; nothing where it cannot be read."""
    try:
        return contents(path)
    except OSError:
        return b""


def contents(path: str) -> bytes:
    """All that is in a file. By hand: a file object asks the kernel six more things, and takes longer to make."""
    file = os.open(path, os.O_RDONLY)
    try:
        data = more = os.read(file, CHUNK)
        while more:
            more = os.read(file, CHUNK)
            data += more
        return data
    finally:
        os.close(file)


def put(path: str, word: str) -> bool:
    """Writes a word to a file of the kernel's; tells whether it took it."""
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(file, word.encode()) > 0
    except OSError:
        return False
    finally:
        os.close(file)


def oldest_first(members: set[tuple[int, str]]) -> list[tuple[int, str]]:
    """Parents before their children: a shell whose command dies first ends before its own trap for TERM could run."""
    return sorted(members, key=lambda member: (len(member[1]), member[1], member[0]))


def processes() -> list[str]:
    return [name for name in folder_names("/proc") if name.isdigit()]


def folder_names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    for _ in parents:
        pid = parents.get(pid, 0)
        if pid in (root, 0):
            break
    return pid == root


def carries(pid: int, cookie: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return cookie in file.read().split(b"\0")
    except OSError:
        return False


def send(member: tuple[int, str], number: int) -> None:
    """A signal to exactly this process; a pid that another process has got by now is left alone."""
    pid, started = member
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # gone, an old kernel, or macOS
        handle = -1
    try:
        if start_time(pid) != started:
            return
        if handle < 0:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except OSError:  # gone, or not ours to signal
        return
    finally:
        if handle >= 0:
            os.close(handle)


def stat(pid: int | str) -> list[str]:
    """/proc/PID/stat from field 3 (state) on; empty when there is no such process. Names may hold blanks and `)`."""
    return said(f"/proc/{pid}/stat").rpartition(b")")[2].decode().split()


def start_time(pid: int | str) -> str:
    """Field 22, in clock ticks since boot: with the pid and the boot id it names a process for good."""
    fields = stat(pid)
    return fields[19] if fields else "-"


def boot_id() -> str:
    return said("/proc/sys/kernel/random/boot_id").decode().strip() or "-"


def become_subreaper() -> bool:
    """Makes orphans of the step our children, also when they left its session. Best effort; tells whether it worked."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    except Exception:  # private parts of CPython: without them the scan for the cookie is what is left
        return False


def prctl(option: int, value: int) -> int:
    return call("prctl", option, value, 0, 0, 0)


def call(name: str, *arguments: int | bytes) -> int:
    """Calls a function of the C library."""
    try:
        import _ctypes  # what ctypes itself calls, without the 3 ms of its Python half
    except ImportError:
        import ctypes

        return int(getattr(ctypes.CDLL(None), name)(*arguments))
    address = _ctypes.dlsym(_ctypes.dlopen(None, 2), name)  # type: ignore[arg-type, unused-ignore]
    return int(_ctypes.call_function(address, arguments))


def write_new(path: str, data: bytes) -> None:
    """A new file with all of these bytes. Raises OSError, also where only a part would fit."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if os.write(file, data) < len(data):
            raise OSError(28, "No space left on device")
    finally:
        os.close(file)


def note(path: str, lines: str) -> None:
    """Adds lines to a file, where there is room: they tell who the step is, and it runs by now."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    try:
        os.write(file, lines.encode())
    except OSError:
        return
    finally:
        os.close(file)


def write_result(file: int, **fields: int | bool | None) -> None:
    """One line of JSON in one write; it counts only with its newline. Tries again until it is written."""
    line = ",".join(f'"{name}":{literal(value)}' for name, value in fields.items())
    data = f"{{{line}}}".ljust(RESULT_BYTES - 1).encode() + b"\n"
    pause, longest = RESULT_PAUSES
    while not written_over(file, data):
        time.sleep(pause)
        pause = min(pause * 2, longest)


def written_over(file: int, data: bytes) -> bool:
    try:
        return os.pwrite(file, data, 0) == len(data)
    except OSError:
        return False


def literal(value: int | bool | None) -> str:
    return "null" if value is None else str(value).lower()


def size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


if __name__ == "__main__":
    main(sys.argv[1])
