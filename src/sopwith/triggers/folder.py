"""The files below the project folder that a pattern matches: found, and hashed, without following a single link.

Each folder is opened from the one above it with O_NOFOLLOW: a link that is put in the place of a folder leads nowhere.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sopwith.core.globs import fixed_folder, matches, may_hold
from sopwith.errors import WorkspaceError
from sopwith.ports import FileStamp

MOST_FILES = 100_000
"""So many files one pattern may match."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OWN = ".pi"
_CHUNK = 1024 * 1024


class FileFolder:
    """`ports.Folder` on the project folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def scan(self, pattern: str) -> Mapping[str, FileStamp]:
        found: dict[str, FileStamp] = {}
        fixed = fixed_folder(pattern)
        try:
            with self._opened(fixed) as descriptor:
                for path, stamp in _walk(descriptor, fixed, pattern):
                    found[path] = stamp
                    if len(found) > MOST_FILES:
                        raise WorkspaceError(
                            f"cannot watch {pattern}: it matches more than {MOST_FILES:,} files",
                            hint="make the pattern narrower",
                        )
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            if _is_link(error):
                return {}
            raise WorkspaceError.from_os("look into", self._root / fixed, error) from error
        return found

    def digest(self, path: str, stamp: FileStamp) -> str | None:
        folder, _, name = path.rpartition("/")
        try:
            with self._opened(folder) as above:
                descriptor = os.open(name, _FILE, dir_fd=above)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if _stamp(os.fstat(descriptor)) != stamp:
                return None
            digest = hashlib.sha256()
            try:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            except OSError:
                return None
            return digest.hexdigest() if _stamp(os.fstat(descriptor)) == stamp else None

    @contextmanager
    def _opened(self, folder: str) -> Iterator[int]:
        """A descriptor of a folder below the project folder. Raises OSError."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in filter(None, folder.split("/")):
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _walk(descriptor: int, folder: str, pattern: str) -> Iterator[tuple[str, FileStamp]]:
    below: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            # names that are not UTF-8 cannot be told in an event
            if path == _OWN or not _is_text(path):
                continue
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    below += [entry.name] if may_hold(pattern, path) else []
                elif entry.is_file(follow_symlinks=False) and matches(pattern, path):
                    stamp = _stamp(os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False))
                    if stamp is not None:
                        yield path, stamp
    for name in below:
        try:
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
        except OSError:
            continue  # gone, turned into a link, or not ours to read
        try:
            yield from _walk(inner, f"{folder}/{name}" if folder else name, pattern)
        finally:
            os.close(inner)


def _stamp(found: os.stat_result) -> FileStamp | None:
    """None for what is no regular file."""
    if not stat.S_ISREG(found.st_mode):
        return None
    return FileStamp(
        size=found.st_size, changed_ns=found.st_ctime_ns, modified_ns=found.st_mtime_ns, inode=found.st_ino
    )


def _is_link(error: OSError) -> bool:
    return error.errno in (errno.ELOOP, errno.ENOTDIR)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
