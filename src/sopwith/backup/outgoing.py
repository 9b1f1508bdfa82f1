"""A backup or an export for somebody elsewhere: one file without a name, which is gone when it is closed.

It lies on the disk of the workspace, never in memory, and its SHA-256 is told, so that who gets it knows it is whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, BinaryIO, cast

import msgspec

from sopwith.assembly import open_keeper
from sopwith.audit.trust import Copy
from sopwith.backup.archive import archive_into
from sopwith.backup.make import write_backup
from sopwith.core.actor import Actor
from sopwith.core.people import Directory, Right, check_right
from sopwith.engine.engine import Engine
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.reading import Reader
from sopwith.errors import NotFound, WorkspaceError

_CHUNK = 1024 * 1024


class Outgoing(msgspec.Struct, frozen=True):
    """`file`: read it from its beginning, and close it. `document` tells what is in it."""

    file: FileIO
    size_bytes: int
    sha256: str
    document: dict[str, Any]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs: these, or those that began since, or all."""

    run_ids: tuple[str, ...] = ()
    since: datetime | None = None


def backup_for(engine: Engine, actor: Actor) -> Outgoing:
    """The whole record. Raises NotAllowed, NotFound, StoreError, WorkspaceError."""
    check_right(actor, Right.MANAGE, Directory(engine.parts.library.config()), "have a backup made")
    workspace = engine.parts.workspace
    return _made(engine, lambda file: write_backup(workspace, file).document())


def export_for(engine: Engine, actor: Actor, choice: Choice, brought: Sequence[Copy]) -> Outgoing:
    """The bundle of runs that `sop audit export` makes, as a tar. Raises NotFound for what the actor may not see.

    Of those that are not named, it holds what the actor may see.
    """
    reader = Reader(engine, actor)
    for run_id in choice.run_ids:
        reader.events_after(run_id, 0, 0)
    with open_keeper(engine.parts.workspace) as keeper:
        chosen = choice.run_ids or tuple(filter(_seen_by(reader), keeper.runs_since(choice.since)))
        if not chosen:
            raise NotFound("no run began since then", hint="sop history shows all runs")

        def write(file: BinaryIO) -> dict[str, Any]:
            now = engine.parts.clock.now().at
            with TemporaryDirectory(prefix=".export-", dir=engine.parts.workspace.runs) as folder:
                exported = keeper.export(Path(folder), chosen, now=now, brought=brought, reader=actor)
                _pack(Path(folder), file, now)
            return {**exported.document(), "warnings": list(exported.failures)}

        return _made(engine, write)


def _seen_by(reader: Reader) -> Callable[[str], bool]:
    def sees(run_id: str) -> bool:
        try:
            reader.check(run_id)
        except NotFound:
            return False
        return True

    return sees


def _pack(folder: Path, file: BinaryIO, now: datetime) -> None:
    with archive_into(file, now.timestamp()) as writer:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            writer.add(path.relative_to(folder).as_posix(), path)


def _made(engine: Engine, write: Callable[[BinaryIO], dict[str, Any]]) -> Outgoing:
    runs = engine.parts.workspace.runs
    ensure_private_folder(runs)
    try:
        file = TemporaryFile(dir=runs)  # noqa: SIM115 whoever gets it closes it
        try:
            document = write(file)
            # a file without a buffer may take a part of what it is given, and whoever writes an archive does not ask
            file.flush()
            size_bytes, digest = _read_through(file)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise WorkspaceError.from_os("write what is to be sent to", runs, error) from error
    return Outgoing(cast(FileIO, file.detach()), size_bytes, digest, document)


def _read_through(file: BinaryIO) -> tuple[int, str]:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return file.seek(0, os.SEEK_END), digest.hexdigest()
