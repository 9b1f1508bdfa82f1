"""Files that hold one signed statement a line, inside the workspace and beyond: appended to, never rewritten.

A last line without its newline was cut off by a crash: the next writer takes it away and readers pass over it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECS = 2.0
_RETRY_SECS = 0.01
_FIRST_REACH_BYTES = 4096


class Patience:
    """How long to wait for whoever has a file, for all files that are written together."""

    def __init__(self, seconds: float | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._left = PATIENCE_SECS if seconds is None else seconds
        self._sleep = sleep

    def waits(self) -> bool:
        """Waits a moment; False if there has been enough of that."""
        if self._left <= 0:
            return False
        self._sleep(_RETRY_SECS)
        self._left -= _RETRY_SECS
        return True


def lies_inside(path: Path, folder: Path) -> bool:
    """Whether the file lies in the folder, wherever links and mounts lead, and whether it is there or not."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return home in real.parents or any(same_file(parent, home) for parent in real.parents)


def same_file(one: Path, other: Path) -> bool:
    """Whether both are the same place: by another spelling, a symbolic link or a hard link."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


def append_line(path: Path, line: bytes, patience: Patience | None = None) -> None:
    """Adds the line and its newline, durably, or nothing. The file is made, 0600, if there is none.

    Raises OSError, also where somebody else has the file for longer than `patience` lasts.
    """
    with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        _lock(descriptor, patience or Patience())  # freed by the close
        end = _end_of_line(descriptor, os.fstat(descriptor).st_size)
        if end != os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, end)
        data = line + b"\n"
        if os.pwrite(descriptor, data, end) != len(data):
            os.ftruncate(descriptor, end)
            raise OSError(f"{path} took only a part of a line")
        os.fsync(descriptor)


def last_line(path: Path) -> bytes | None:
    """The last whole line without its newline; None if there is none, or no file. Raises OSError."""
    try:
        with _opened(path, os.O_RDONLY) as descriptor:
            end = _end_of_line(descriptor, os.fstat(descriptor).st_size)
            start = _end_of_line(descriptor, end - 1)
            return os.pread(descriptor, end - 1 - start, start) or None if end else None
    except FileNotFoundError:
        return None


def holds(path: Path, prefix: bytes) -> bool | None:
    """Whether the file begins as such lines do, a torn one included; None if there is none. Raises OSError."""
    try:
        with _opened(path, os.O_RDONLY) as descriptor:
            start = os.pread(descriptor, len(prefix), 0)
    except FileNotFoundError:
        return None
    return prefix.startswith(start)


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines with their numbers from 1, without newline and without those that are empty. Raises OSError."""
    with _opened(path, os.O_RDONLY) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n") and line.strip():
                yield number, line[:-1]


def _lock(descriptor: int, patience: Patience) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not patience.waits():
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps it") from None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A regular file: a pipe or a device in its place could block for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _end_of_line(descriptor: int, before: int) -> int:
    """Where the last line that ends at or before this offset ends; 0 if none does."""
    reach = _FIRST_REACH_BYTES
    while before > 0:
        start = max(0, before - reach)
        newline = os.pread(descriptor, before - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        before, reach = start, reach * 8
    return 0
