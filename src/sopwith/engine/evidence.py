"""Evidence files: the copy stays with the run under its hash, whatever happens to the original."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from sopwith.core.events import Evidence
from sopwith.engine.files import draft_in, ensure_private_folder, open_named, sync_folder
from sopwith.errors import WorkspaceError

_CHUNK = 1024 * 1024
_FOLDERS_ABOVE = 3
"""The run's folder, runs/ and .pi/sops: any of them may be too new to be on disk."""


def keep_evidence(run_folder: Path, files: tuple[Path, ...]) -> tuple[Evidence, ...]:
    """Copies each file to `<run>/evidence/<sha256>`. Raises BadRequest for what is not a readable regular file."""
    return tuple(_keep(run_folder / "evidence", path) for path in files)


def _keep(folder: Path, path: Path) -> Evidence:
    descriptor = open_named(path, "evidence", hint="nothing was reported; name a file that exists")
    with os.fdopen(descriptor, "rb") as source:
        ensure_private_folder(folder)
        return _copy(source, folder, path)


def _copy(source: BinaryIO, folder: Path, path: Path) -> Evidence:
    digest = hashlib.sha256()
    size = 0
    try:
        with draft_in(folder, mode=0o600) as draft:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                draft.file.write(chunk)
            draft.replace(folder / digest.hexdigest())
        for above in folder.parents[:_FOLDERS_ABOVE]:
            sync_folder(above)
    except OSError as error:
        raise WorkspaceError.from_os("copy the evidence to", folder, error) from error
    return Evidence(name=path.name, sha256=digest.hexdigest(), size_bytes=size)
