"""The file of a backup: a plain tar, so that any system can look into it. Its last member, the signed manifest, names
every other one with its SHA-256; a file that was cut short has none.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sopwith.audit.statements import BackupManifest, BadStatement, line_of, read
from sopwith.engine.files import open_named, open_regular
from sopwith.errors import StoreError, WorkspaceError

DATABASE = "runs.db"
MANIFEST = "manifest.json"
_CHUNK = 1024 * 1024
_MAX_MANIFEST_BYTES = 256 * 1024 * 1024
_PATHS = re.compile(
    r"runs\.db|config\.json|index\.json|keys/checkpoint[a-z0-9.]*\.pub|runs/[a-z]+\.jsonl|runs/sop_run_[a-z0-9_-]+/.+"
)
"""What a backup holds; nothing else is ever written by a restore."""


class ArchiveWriter:
    """Adds files and remembers their hashes."""

    def __init__(self, tar: tarfile.TarFile, made_at: float) -> None:
        self._tar = tar
        self._made_at = made_at
        self.files: dict[str, str] = {}

    def add(self, name: str, source: Path) -> bool:
        """Adds a regular file as it is now; False where there is none. Raises OSError."""
        try:
            descriptor = open_regular(source)
        except FileNotFoundError:
            return False
        if descriptor is None:
            return False
        with os.fdopen(descriptor, "rb") as file:
            hashed = _Hashed(file)
            self._tar.addfile(self._member(name, os.fstat(descriptor).st_size), hashed)
            self.files[name] = hashed.hexdigest
        return True

    def finish(self, manifest: BackupManifest) -> None:
        """The last member."""
        line = line_of(manifest) + b"\n"
        self._tar.addfile(self._member(MANIFEST, len(line)), io.BytesIO(line))

    def _member(self, name: str, size_bytes: int) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size_bytes, 0o600, int(self._made_at)
        return member


@contextmanager
def archive_into(file: BinaryIO, made_at: float) -> Iterator[ArchiveWriter]:
    """Writes an archive into an open file. Raises OSError."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        yield ArchiveWriter(tar, made_at)


def read_manifest(path: Path) -> BackupManifest:
    """The manifest of a whole backup, its signature checked against the key it names. Raises StoreError."""
    with _opened(path) as tar:
        return _manifest(tar, path)


def unpack(path: Path, folder: Path) -> BackupManifest:
    """Writes all files into an empty folder, each compared with its hash. Raises StoreError for a damaged one."""
    with _opened(path) as tar:
        manifest = _manifest(tar, path)
        left = dict(manifest.files)
        for member in tar:
            if member.name == MANIFEST:
                continue
            expected = left.pop(member.name, None)
            if expected is None or not member.isreg() or not _is_ours(member.name):
                raise _damaged(path, f"{member.name!r} does not belong in it")
            if _write(tar, member, folder / member.name) != expected:
                raise _damaged(path, f"{member.name} is not what it was")
        if left:
            raise _damaged(path, f"{min(left)} is missing")
    return manifest


def _manifest(tar: tarfile.TarFile, path: Path) -> BackupManifest:
    try:
        member = tar.getmember(MANIFEST)
        source = tar.extractfile(member) if member.isreg() and member.size <= _MAX_MANIFEST_BYTES else None
    except KeyError:
        raise _damaged(path, "it has no manifest: it was cut short, or is none") from None
    if source is None:
        raise _damaged(path, "its manifest is no file")
    try:
        return read(BackupManifest, source.read().removesuffix(b"\n"))
    except BadStatement as error:
        raise _damaged(path, f"its manifest is not valid: {error}") from error


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> str:
    source = tar.extractfile(member)
    assert source is not None
    digest = hashlib.sha256()
    try:
        _make_folders(target.parent)
        with open(target, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WorkspaceError.from_os("write", target, error) from error
    return digest.hexdigest()


def _make_folders(folder: Path) -> None:
    """All of them private, unlike those that Path.mkdir makes on the way."""
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o700)


def _is_ours(name: str) -> bool:
    parts = PurePosixPath(name).parts
    # marks of processes are never in a backup: somebody wants them believed here
    marks = any(part.isdigit() for part in parts[2:-1])
    return bool(_PATHS.fullmatch(name)) and ".." not in parts and not marks and str(PurePosixPath(*parts)) == name


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    descriptor = open_named(path, "backup", hint="name a file that sop backup made")
    with os.fdopen(descriptor, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield tar
        except (tarfile.TarError, EOFError, UnicodeError) as error:
            raise _damaged(path, f"it cannot be read ({error})") from error


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"cannot use the backup {path}: {what}", hint="nothing was changed; try an older backup")


class _Hashed:
    """Hashes what is read through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    @property
    def hexdigest(self) -> str:
        return self._digest.hexdigest()
