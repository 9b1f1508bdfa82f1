"""Files that hold one signed statement a line, inside the workspace and beyond: appended to, never rewritten.

A last line without its newline was cut off by a crash: the next writer takes it away and readers pass over it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sopwith.turns import Patience, take_turn

_FIRST_REACH_BYTES = 4096


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
        take_turn(descriptor, patience or Patience())  # freed by the close
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
