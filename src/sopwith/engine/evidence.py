"""Evidence files: the copy stays with the run under its hash, whatever happens to the original."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from sopwith.core.events import Evidence
from sopwith.engine.files import ensure_private_folder, open_regular
from sopwith.errors import BadRequest, WorkspaceError

_CHUNK = 1024 * 1024


def keep_evidence(run_folder: Path, files: tuple[Path, ...]) -> tuple[Evidence, ...]:
    """Copies each file to `<run>/evidence/<sha256>`. Raises BadRequest for what is not a readable regular file."""
    return tuple(_keep(run_folder / "evidence", path) for path in files)


def _keep(folder: Path, path: Path) -> Evidence:
    try:
        descriptor = open_regular(path)
    except OSError as error:
        raise BadRequest(
            f"cannot read the evidence {path}: {error.strerror}", hint="nothing was reported; name a file that exists"
        ) from error
    if descriptor is None:
        raise BadRequest(f"the evidence {path} is not a regular file", hint="nothing was reported; name a file")
    with os.fdopen(descriptor, "rb") as source:
        ensure_private_folder(folder)
        return _copy(source, folder, path)


def _copy(source: BinaryIO, folder: Path, path: Path) -> Evidence:
    digest = hashlib.sha256()
    size = 0
    temporary = folder / f".{os.getpid()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(descriptor)
        temporary.replace(folder / digest.hexdigest())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WorkspaceError.from_os("copy the evidence to", folder, error) from error
    return Evidence(name=path.name, sha256=digest.hexdigest(), size_bytes=size)
