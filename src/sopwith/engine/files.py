"""Reading and replacing files that people write: regular files only, bounded, never through a surprise."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sopwith.errors import WorkspaceError

MAX_BYTES = 1024 * 1024


def read_bounded(path: Path, *, limit: int = MAX_BYTES) -> bytes | None:
    """The file's bytes, one more than `limit` at most, or None if there is none. Raises WorkspaceError.

    A pipe, socket or device is refused, not read: it could block for ever.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorkspaceError.from_os("read", path, error) from error
    if descriptor is None:
        raise WorkspaceError(f"cannot read {path}: it is not a regular file", hint="replace it by a plain file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit + 1)


def open_regular(path: Path) -> int | None:
    """A descriptor to read from, or None for a folder, pipe, socket or device. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes the whole file or leaves it as it was. Raises WorkspaceError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WorkspaceError.from_os("write", path, error) from error


def ensure_private_folder(folder: Path) -> None:
    """Makes the folder, 0700, where it is missing. Raises WorkspaceError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError.from_os("make", folder, error) from error
