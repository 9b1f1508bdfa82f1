"""Which process is which: a pid alone names nobody, for the kernel gives it to another one later.

Reads /proc. Where there is none (macOS) the start time is `-` and a pid is believed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec

from sopwith.executors.keeper import boot_id, processes

PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""This process has too much open, or the machine too little left: what cannot be looked at now may well be there."""


class Identity(msgspec.Struct, frozen=True):
    """One process for good: `started` is field 22 of /proc/PID/stat, clock ticks since the boot `boot`."""

    pid: int
    started: str
    boot: str

    def alive(self) -> bool:
        """Whether exactly this process still runs; one that has ended and waits to be reaped does not.

        Raises OSError where nobody can tell now.
        """
        return start_time(self.pid) == self.started and self.boot in (boot_id(), "-")


def carried(cookie: str) -> bool:
    """Whether a living process has a variable in its environment that begins so. Nobody knows where there is no /proc.

    What has cleared its environment is not found.
    """
    sought = os.fsencode(cookie)
    return any(_carries(name, sought) for name in processes())


def _carries(pid: str, cookie: bytes) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return variables.startswith(cookie) or b"\0" + cookie in variables


def start_time(pid: int) -> str | None:
    """When the process started, or None if it has ended. Raises OSError where nobody can tell now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError as error:
        if error.errno in PASSING:
            raise
        return _without_proc(pid)
    return None if fields[0] in "ZX" else fields[19]


def _without_proc(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "-"
