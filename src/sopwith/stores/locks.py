"""Locks that the kernel frees when their holder dies: one byte of one file for each thing that can be held.

Linux has open-file-description locks, which belong to one `open`. Elsewhere POSIX locks must do; those belong to the
whole process and end with *any* close of the file, so there the file is opened once and never closed. The file is
never unlinked: a lock on an unlinked file protects nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import ClassVar, Protocol

from sopwith.errors import StoreError

_FLOCK = "hhqqi4x"
_TO_THE_END = 0
"""As a length: up to the end of the file, however long it will be."""


class ByteLocks(Protocol):
    """Exclusive locks on single bytes of a file; each object is one holder, whatever its process or thread."""

    def acquire(self, byte: int) -> bool:
        """Takes the lock; False if it is held, by this object too."""
        ...

    def wait(self, byte: int) -> None:
        """Takes the lock as soon as its holder lets go or dies."""
        ...

    def share(self, byte: int) -> None:
        """The same together with others that share it, and with nobody that holds it alone."""
        ...

    def acquire_from(self, byte: int) -> bool:
        """Takes this byte and all after it at once; False if any is held, by this object too."""
        ...

    def release(self, byte: int) -> None:
        """Gives the lock back; nothing happens if it was not held."""
        ...

    def is_held(self, byte: int) -> bool:
        """Whether anybody alive holds the lock, this object included."""
        ...

    def is_named(self) -> bool:
        """Whether the file that was opened still has its name: whoever comes now finds no lock in another one."""
        ...

    def close(self) -> None:
        """Gives all locks back."""
        ...


class DescriptionLocks:
    """Open-file-description locks (Linux 3.15)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._held: set[int] = set()

    def acquire(self, byte: int) -> bool:
        if byte in self._held:
            return False
        try:
            self._control(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, byte)
        except (BlockingIOError, PermissionError):
            return False
        self._held.add(byte)
        return True

    def wait(self, byte: int) -> None:
        self._control(fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, byte)
        self._held.add(byte)

    def share(self, byte: int) -> None:
        self._control(fcntl.F_OFD_SETLKW, fcntl.F_RDLCK, byte)
        self._held.add(byte)

    def acquire_from(self, byte: int) -> bool:
        if any(held >= byte for held in self._held):
            return False
        try:
            self._control(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, byte, _TO_THE_END)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, byte: int) -> None:
        if byte in self._held:
            self._control(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, byte)
            self._held.discard(byte)

    def is_held(self, byte: int) -> bool:
        return byte in self._held or self._control(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte) != fcntl.F_UNLCK

    def is_named(self) -> bool:
        return _is_named(self._fd, self._path)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._held.clear()

    def _control(self, command: int, kind: int, byte: int, length: int = 1) -> int:
        if self._fd < 0:
            self._fd = _open(self._path)
        answer = fcntl.fcntl(self._fd, command, struct.pack(_FLOCK, kind, os.SEEK_SET, byte, length, 0))
        found: int = struct.unpack(_FLOCK, answer)[0]
        return found


class ProcessLocks:
    """POSIX locks, with a table of what this process holds, which the kernel would not tell apart."""

    _fds: ClassVar[dict[Path, int]] = {}
    _taken: ClassVar[set[tuple[Path, int]]] = set()

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._held: set[int] = set()

    def acquire(self, byte: int) -> bool:
        if (self._path, byte) in self._taken or not self._try(byte):
            return False
        self._keep(byte)
        return True

    def wait(self, byte: int) -> None:
        fcntl.lockf(self._fd(), fcntl.LOCK_EX, 1, byte)
        self._keep(byte)

    def share(self, byte: int) -> None:
        fcntl.lockf(self._fd(), fcntl.LOCK_SH, 1, byte)
        self._held.add(byte)

    def acquire_from(self, byte: int) -> bool:
        if any(path == self._path and taken >= byte for path, taken in self._taken):
            return False
        try:
            fcntl.lockf(self._fd(), fcntl.LOCK_EX | fcntl.LOCK_NB, _TO_THE_END, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, byte: int) -> None:
        if byte in self._held:
            fcntl.lockf(self._fd(), fcntl.LOCK_UN, 1, byte)
            self._held.discard(byte)
            self._taken.discard((self._path, byte))

    def is_held(self, byte: int) -> bool:
        if (self._path, byte) in self._taken:
            return True
        if not self._try(byte):
            return True
        fcntl.lockf(self._fd(), fcntl.LOCK_UN, 1, byte)
        return False

    def is_named(self) -> bool:
        return _is_named(self._fd(), self._path)

    def close(self) -> None:
        for byte in tuple(self._held):
            self.release(byte)

    def _try(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._fd(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _keep(self, byte: int) -> None:
        self._held.add(byte)
        self._taken.add((self._path, byte))

    def _fd(self) -> int:
        if self._path not in self._fds:
            self._fds[self._path] = _open(self._path)
        return self._fds[self._path]


def byte_locks(path: Path) -> ByteLocks:
    """The best locks of this platform on the file at `path`, which is made at first use."""
    return DescriptionLocks(path) if hasattr(fcntl, "F_OFD_SETLK") else ProcessLocks(path)


def _is_named(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open the lock file {path}: {error.strerror}",
            hint="look at the file, its folder and their permissions",
        ) from error
