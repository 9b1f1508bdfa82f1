"""Reading and replacing files that people write: regular files only, bounded, never through a surprise.

What is written has its name on disk for good when the call returns.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from sopwith.errors import BadRequest, Refused, WorkspaceError

MAX_BYTES = 1024 * 1024
_PIECE_BYTES = 32 * 1024
_PATIENCE_SECS = 5


def read_bounded(path: Path | str, *, limit: int = MAX_BYTES) -> bytes | None:
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
    try:
        return _first(descriptor, limit + 1)
    finally:
        os.close(descriptor)


def _first(descriptor: int, size: int) -> bytes:
    """So much of the file, or all of it. In pieces: room for all that may be there costs more than most files do."""
    pieces = []
    while size and (piece := os.read(descriptor, min(size, _PIECE_BYTES))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def open_regular(path: Path | str) -> int | None:
    """A descriptor to read from, or None for a folder, pipe, socket or device. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def open_named(path: Path, what: str, *, hint: str) -> int:
    """A descriptor of a file that somebody named. Raises BadRequest where it is not a readable regular file."""
    try:
        descriptor = open_regular(path)
    except OSError as error:
        raise BadRequest(f"cannot read the {what} {path}: {error.strerror}", hint=hint) from error
    if descriptor is None:
        raise BadRequest(f"the {what} {path} is not a regular file", hint=hint)
    return descriptor


def is_file(path: Path) -> bool:
    """Whether it is a regular file; False where nobody can tell."""
    try:
        return path.is_file()
    except OSError:
        return False


class Draft(msgspec.Struct, frozen=True):
    """A file being written under a name of its own, beside the one that it is to have."""

    path: Path
    file: BinaryIO

    def replace(self, path: Path) -> None:
        """Gives it this name for good, whatever had it before. Raises OSError."""
        self._settle()
        self.path.replace(path)
        sync_folder(path.parent)

    def link(self, path: Path) -> None:
        """Gives it this name for good. Raises FileExistsError if another file has it, or OSError."""
        self._settle()
        try:
            path.hardlink_to(self.path)
        finally:
            sync_folder(path.parent)  # the other file, too, is there to stay

    def _settle(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def draft_in(folder: Path, *, mode: int = 0o644) -> Iterator[Draft]:
    """A new draft, which is gone in the end if it got no name. Raises OSError."""
    path = folder / f".{os.urandom(8).hex()}.tmp"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield Draft(path, file)
    finally:
        path.unlink(missing_ok=True)


def new_file(path: Path, what: str, *, force: bool) -> Path:
    """Where a file of this name is written, past links. Raises Refused where there is one already; with `force`, only
    where that is no regular file: a device or a pipe is not replaced.
    """
    place = Path(os.path.realpath(path))
    if not place.exists():
        return place
    if not force:
        raise Refused(f"cannot write the {what}: {path} is there already", hint="choose another name, or add --force")
    if not place.is_file():
        raise Refused(f"cannot write the {what}: {path} is no regular file", hint="choose another name")
    return place


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes the whole file, to stay through a power cut, or leaves it as it was. Raises WorkspaceError."""
    try:
        with draft_in(path.parent, mode=mode) as draft:
            draft.file.write(data)
            draft.replace(path)
    except OSError as error:
        raise WorkspaceError.from_os("write", path, error) from error


def sync_folder(folder: Path) -> None:
    """Puts the names in the folder on disk: a synced file is lost with its name. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


@contextmanager
def turn_in(folder: Path) -> Iterator[None]:
    """Has the folder for this process while inside; freed by the kernel if it dies. Raises WorkspaceError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise WorkspaceError.from_os("open", folder, error) from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    from sopwith.turns import Patience, take_turn  # reading a file takes no turns

    try:
        take_turn(descriptor, Patience(_PATIENCE_SECS))
    except TimeoutError:
        raise WorkspaceError(
            f"cannot write in {folder}: another process has been at it for {_PATIENCE_SECS} seconds",
            hint="try again; if this stays, look for a stopped sop",
        ) from None
    except OSError as error:
        raise WorkspaceError.from_os("lock", folder, error) from error


def ensure_private_folder(folder: Path) -> None:
    """Makes the folder, 0700, where it is missing, and so those above it. Raises WorkspaceError."""
    try:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            ensure_private_folder(folder.parent)  # Path.mkdir would make it for everybody
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise WorkspaceError.from_os("make", folder, error) from error
