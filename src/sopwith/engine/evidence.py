"""Evidence files: the copy stays with the run under its hash, whatever happens to the original.

One that is sent from afar lies in a folder of its own, under its hash, until a report names it. What none has named
within a day goes when the next one comes, or with the doctor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from sopwith.core.events import Evidence
from sopwith.engine.files import draft_in, ensure_private_folder, open_named, sync_folder
from sopwith.errors import BadRequest, Refused, WorkspaceError

if TYPE_CHECKING:
    from sopwith.core.masking import Mask, Masking

_CHUNK = 1024 * 1024
_HINT = "nothing was reported; name a file that exists"
_FOLDERS_ABOVE = 3
"""The run's folder, runs/ and .pi/sops: any of them may be too new to be on disk."""
SENT = ".sent"
"""In the folder of a run. Its dot keeps it out of backups."""
MOST_SENT_BYTES = 64 * 1024 * 1024
MOST_SENT = 16
"""So many files may lie with one run and wait for their report."""
SENT_FOR = timedelta(days=1)
_DIGEST = re.compile("[0-9a-f]{64}")


class Sent(msgspec.Struct, frozen=True):
    """A file that was sent before, as the report names it."""

    name: str
    sha256: str


File = Path | Sent
"""One that lies here, or one that was sent."""


def keep_evidence(run_folder: Path, files: tuple[File, ...], *, mask: Mask | None = None) -> tuple[Evidence, ...]:
    """Copies each file to `<run>/evidence/<sha256>`. Raises BadRequest for what is not a readable regular file.

    So too where one holds a secret: evidence is kept as it is, or not at all.
    """
    named = [(_place(run_folder, file), file) for file in files]
    if mask is not None:
        for path, file in named:
            _check(path, mask.stream(), name=file.name)
    return tuple(_keep(run_folder / "evidence", path, file, mask) for path, file in named)


def forget_sent(run_folder: Path, files: tuple[File, ...]) -> None:
    """Removes what was sent, once a report has its copy."""
    for file in files:
        if isinstance(file, Sent):
            (run_folder / SENT / file.sha256).unlink(missing_ok=True)


def left_sent(run_folder: Path, now: datetime) -> Iterator[Path]:
    """What was sent more than a day ago, and no report has named."""
    oldest = (now - SENT_FOR).timestamp()
    with suppress(OSError):
        yield from (path for path in (run_folder / SENT).iterdir() if path.lstat().st_mtime < oldest)


class Receiving:
    """One file on its way to a run, kept once it is whole. Bounded by `MOST_SENT_BYTES`, whoever sends it."""

    def __init__(self, run_folder: Path, now: datetime) -> None:
        """Raises WorkspaceError."""
        self._folder = run_folder / SENT
        for path in left_sent(run_folder, now):
            path.unlink(missing_ok=True)
        ensure_private_folder(self._folder)
        self._open = ExitStack()
        try:
            self._draft = self._open.enter_context(draft_in(self._folder, mode=0o600))
        except OSError as error:
            raise WorkspaceError.from_os("keep the file in", self._folder, error) from error
        import hashlib  # OpenSSL: most reports come without a file

        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """The next part. Raises BadRequest for a file that is too large, or WorkspaceError."""
        self.size_bytes += len(data)
        if self.size_bytes > MOST_SENT_BYTES:
            raise BadRequest(f"a file may have {MOST_SENT_BYTES} bytes at most", hint="nothing was kept of it")
        self._digest.update(data)
        try:
            self._draft.file.write(data)
        except OSError as error:
            raise WorkspaceError.from_os("keep the file in", self._folder, error) from error

    def keep(self) -> str:
        """Its SHA-256, once it is on disk. Raises Refused where as many others wait already as may."""
        digest = self._digest.hexdigest()
        try:
            # looked at only now: one that waits already may be sent again
            waiting = [name for name in os.listdir(self._folder) if _DIGEST.fullmatch(name)]  # noqa: PTH208
            if len(waiting) >= MOST_SENT and digest not in waiting:
                raise Refused(
                    f"{MOST_SENT} files of {self._folder.parent.name} wait for a report already",
                    hint="report what they show; what is not reported goes after a day",
                )
            self._draft.replace(self._folder / digest)
        except OSError as error:
            raise WorkspaceError.from_os("keep the file in", self._folder, error) from error
        return digest

    def close(self) -> None:
        """Leaves nothing behind of what was not kept."""
        # a full disk may have its say again when what is left is flushed; the file goes either way
        with suppress(OSError):
            self._open.close()


def check_number(files: Sequence[File]) -> None:
    """Raises BadRequest for more than can be sent with a report."""
    if len(files) > MOST_SENT:
        raise BadRequest(
            f"{len(files)} files of evidence were given, and {MOST_SENT} can be sent with a report",
            hint="nothing was reported; put some of them together in an archive",
        )


def check_size(path: Path) -> None:
    """Raises BadRequest for what is no readable regular file, or too large to be sent."""
    descriptor = open_named(path, "evidence", hint=_HINT)
    try:
        size_bytes = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size_bytes > MOST_SENT_BYTES:
        raise BadRequest(
            f"the evidence {path} has {size_bytes} bytes, and {MOST_SENT_BYTES} can be sent",
            hint="nothing was reported; send a part of it, or name it in --comment",
        )


def _place(run_folder: Path, file: File) -> Path:
    if isinstance(file, Path):
        return file
    path = run_folder / SENT / file.sha256
    if not path.is_file():
        raise BadRequest(
            f"no file with the SHA-256 {file.sha256} was sent to {run_folder.name}",
            hint="send it first; what is not reported goes after a day",
        )
    return path


def _check(path: Path, masking: Masking, *, name: str) -> None:
    """Raises BadRequest where masking would change the file."""
    import hashlib

    with os.fdopen(open_named(path, "evidence", hint=_HINT), "rb") as source:
        read, told = hashlib.sha256(), hashlib.sha256()
        while chunk := source.read(_CHUNK):
            read.update(chunk)
            told.update(masking.feed(chunk))
    told.update(masking.end())
    if read.digest() != told.digest():
        raise BadRequest(
            f"the evidence {name} holds a secret of the run",
            hint="nothing was reported; take the secret out of it",
        )


def _keep(folder: Path, path: Path, file: File, mask: Mask | None) -> Evidence:
    descriptor = open_named(path, "evidence", hint=_HINT)
    with os.fdopen(descriptor, "rb") as source:
        ensure_private_folder(folder)
        return _copy(source, folder, file, mask)


def _copy(source: BinaryIO, folder: Path, file: File, mask: Mask | None) -> Evidence:
    import hashlib

    digest = hashlib.sha256()
    size = 0
    try:
        with draft_in(folder, mode=0o600) as draft:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                draft.file.write(chunk)
            if mask is not None:
                # it may have been written to since it was looked at
                draft.file.flush()
                _check(draft.path, mask.stream(), name=file.name)
            if isinstance(file, Sent) and digest.hexdigest() != file.sha256:
                raise WorkspaceError(
                    f"the evidence {file.name} is not what was sent", hint="nothing was reported; send it again"
                )
            draft.replace(folder / digest.hexdigest())
        for above in folder.parents[:_FOLDERS_ABOVE]:
            sync_folder(above)
    except OSError as error:
        raise WorkspaceError.from_os("copy the evidence to", folder, error) from error
    return Evidence(name=file.name, sha256=digest.hexdigest(), size_bytes=size)
