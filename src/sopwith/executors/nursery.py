"""The nursery: a process that has the keeper's code ready, and forks a keeper for each launch that it is told of.

An interpreter's start is most of what a keeper costs, and a fork of one is a twentieth of that. Run by
`keeper_process.py` with a socket as standard input; it imports nothing of Sopwith. The keepers that it forked do not
need it: each has its own session, and is a child of the engine (CLONE_PARENT), as if that had started it. It ends with
the engine, whose end of the socket closes then.

A keeper names its launch in its command line, by which a step's processes are known: a fork writes it there.
"""

import os

import keeper  # type: ignore[import-not-found, unused-ignore]

CLONE_PARENT = 1 << 15
MESSAGE_BYTES = 1 << 16
FIELD_OF_ARGUMENTS_END = 49
"""In /proc/PID/stat, counted from 1."""


def next_launch(room: str) -> str:
    """Serves the engine until that is gone; each fork returns from here with the folder of its launch.

    `room`: the last argument, in whose place the folder is written.
    """
    os.chdir("/")
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # as a keeper does, but those are gone when their step is
    place = room_for_name(len(room))
    while request := os.read(0, MESSAGE_BYTES):
        pid = fork_beside() if place and len(request) <= len(room) else -1
        if pid == 0:
            begin(request, place, len(room))
            return os.fsdecode(request)
        os.write(0, str(pid).encode())
    os._exit(0)


def room_for_name(size: int) -> int:
    """The address of our last argument, 0 where it cannot be written. Ours is "-": we keep no launch."""
    fields = keeper.stat("self")
    place = int(fields[FIELD_OF_ARGUMENTS_END - 3]) - 1 - size if len(fields) > FIELD_OF_ARGUMENTS_END - 3 else 0
    return place if place > 0 and rename(b"-", place, size) else 0


def rename(name: bytes, place: int, size: int) -> bool:
    """Writes the last argument anew; tells whether the kernel allows that."""
    try:
        memory = os.open("/proc/self/mem", os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.pwrite(memory, name.ljust(size, b"\0"), place) == size
    except OSError:
        return False
    finally:
        os.close(memory)


def fork_beside() -> int:
    """A fork that is a child of our parent; 0 in the fork, -1 where there is no such thing."""
    try:
        return int(keeper.clone(CLONE_PARENT))
    except Exception:  # as in keeper.become_subreaper
        return -1


def begin(launch: bytes, place: int, size: int) -> None:
    """What is a keeper's own before its code begins: session, name, and where it writes. Ends it where that fails."""
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(os.open(launch + b"/keeper.err", os.O_WRONLY | os.O_CREAT, 0o600), 2)
    except OSError as error:  # nothing was started: the exit status says why, as in keeper.main
        os._exit(error.errno or 1)
    if not rename(launch, place, size):
        os._exit(1)
