"""Evidence files: the copy stays with the run under its hash, whatever happens to the original."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sopwith.core.events import Evidence
from sopwith.engine.files import draft_in, ensure_private_folder, open_named, sync_folder
from sopwith.errors import BadRequest, WorkspaceError

if TYPE_CHECKING:
    from sopwith.core.masking import Mask, Masking

_CHUNK = 1024 * 1024
_HINT = "nothing was reported; name a file that exists"
_FOLDERS_ABOVE = 3
"""The run's folder, runs/ and .pi/sops: any of them may be too new to be on disk."""


def keep_evidence(run_folder: Path, files: tuple[Path, ...], *, mask: Mask | None = None) -> tuple[Evidence, ...]:
    """Copies each file to `<run>/evidence/<sha256>`. Raises BadRequest for what is not a readable regular file.

    So too where one holds a secret: evidence is kept as it is, or not at all.
    """
    if mask is not None:
        for path in files:
            _check(path, mask.stream(), name=path.name)
    return tuple(_keep(run_folder / "evidence", path, mask) for path in files)


def _check(path: Path, masking: Masking, *, name: str) -> None:
    """Raises BadRequest where masking would change the file."""
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


def _keep(folder: Path, path: Path, mask: Mask | None) -> Evidence:
    descriptor = open_named(path, "evidence", hint=_HINT)
    with os.fdopen(descriptor, "rb") as source:
        ensure_private_folder(folder)
        return _copy(source, folder, path, mask)


def _copy(source: BinaryIO, folder: Path, path: Path, mask: Mask | None) -> Evidence:
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
                _check(draft.path, mask.stream(), name=path.name)
            draft.replace(folder / digest.hexdigest())
        for above in folder.parents[:_FOLDERS_ABOVE]:
            sync_folder(above)
    except OSError as error:
        raise WorkspaceError.from_os("copy the evidence to", folder, error) from error
    return Evidence(name=path.name, sha256=digest.hexdigest(), size_bytes=size)
