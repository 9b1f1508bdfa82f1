"""Makes a backup while others work: one state of the database, verified, and the files that its events tell of.

Private keys are not in it: whoever got hold of a backup could sign another history with them. Nor are the marks by
which a driver knows whether a process was started, which are true on this machine only, and only now.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import msgspec

from sopwith.assembly import open_engine
from sopwith.audit.sealing import CHECKPOINTS, Sealer
from sopwith.audit.signing import SigningKey, known_keys
from sopwith.audit.statements import BackupManifest, signed
from sopwith.audit.trust import Copy, read_copy
from sopwith.audit.verify import verify_all
from sopwith.backup.archive import DATABASE, ArchiveWriter, archive_into
from sopwith.core.instant import iso
from sopwith.engine.engine import Engine
from sopwith.engine.files import draft_in, new_file
from sopwith.errors import NotFound, Refused, StoreError, WorkspaceError
from sopwith.ports import RunFilter, Workspace
from sopwith.stores.sqlite import SqliteStore

_KEPT = (CHECKPOINTS, "tombstones.jsonl", "restorations.jsonl")


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made and verified. `signed_size`: so many of its events a checkpoint covers."""

    path: Path | None = None
    """None: it has no name yet."""
    size_bytes: int
    events: int
    runs: int
    open_runs: int
    files: int
    signed_size: int
    made_at: str
    key: str

    def document(self) -> dict[str, Any]:
        """The JSON form, without the path."""
        return {
            "sizeBytes": self.size_bytes,
            "events": self.events,
            "signedEvents": self.signed_size,
            "runs": self.runs,
            "openRuns": self.open_runs,
            "files": self.files,
            "madeAt": self.made_at,
            "publicKey": self.key,
        }


def make_backup(workspace: Workspace, path: Path, *, force: bool = False) -> Made:
    """Writes the backup to a new file, 0600, which has its name only when it is whole and on disk.

    Raises NotFound without a record, Refused where the file is there already or lies in the workspace's own folder,
    StoreError for a record that does not verify, WorkspaceError where it cannot be written.
    """
    _must_have_a_record(workspace)
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(workspace.sops)):
        raise Refused(
            f"cannot write the backup: {path} lies in the folder that it is to save",
            hint="keep backups elsewhere, best on another disk",
        )
    place = new_file(path, "backup", force=force)
    try:
        with draft_in(place.parent, mode=0o600) as draft:
            made = write_backup(workspace, draft.file)
            draft.replace(place)
    except OSError as error:
        raise WorkspaceError.from_os("write the backup", path, error) from error
    return msgspec.structs.replace(made, path=path)


def write_backup(workspace: Workspace, file: BinaryIO) -> Made:
    """Writes the backup into an open file. Raises NotFound, StoreError, OSError."""
    _must_have_a_record(workspace)
    engine = open_engine(workspace)
    with closing(_store(engine)) as store:
        now = engine.parts.clock.now().at
        engine.parts.auditing.seal(now)
        sealer = Sealer(store.log, workspace, engine.parts.library.config)
        # read before the log is: what is signed meanwhile is no sign of trouble
        copies = [read_copy(place, trusted=False) for place in sealer.places()[0]]
        with TemporaryDirectory(prefix=".backup-", dir=workspace.runs) as folder:
            copy = Path(folder) / DATABASE
            store.copy_to(copy)
            verified = _verified(copy, workspace, [each for each in copies if not each.problem])
            with archive_into(file, now.timestamp()) as writer:
                for name, source in _members(workspace, copy, verified.run_ids):
                    writer.add(name, source)
                writer.finish(_manifest(writer, sealer.key, verified.events, engine, iso(now)))
            size_bytes = file.tell()
    return Made(
        size_bytes=size_bytes,
        events=verified.events,
        runs=len(verified.run_ids),
        open_runs=verified.open_runs,
        files=len(writer.files),
        signed_size=verified.signed_size,
        made_at=iso(now),
        key=sealer.key.public_key.hex(),
    )


def _must_have_a_record(workspace: Workspace) -> None:
    if not workspace.database.exists():
        raise NotFound("there is no record here to back up", hint=f"it would be {workspace.database}")


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a database holds that was looked through and found sound."""

    events: int
    signed_size: int
    run_ids: tuple[str, ...]
    open_runs: int


def _verified(database: Path, workspace: Workspace, copies: list[Copy]) -> Verified:
    return verified_store(database, known_keys(workspace.keys), copies, what="the record")


def verified_store(database: Path, keys: frozenset[str], copies: list[Copy], *, what: str) -> Verified:
    """Looks through a database that nobody else uses: the file, every chain, every checkpoint. Raises StoreError."""
    store = SqliteStore(database)
    try:
        troubles = store.check()
        if not troubles:
            report = verify_all(store.log, store.log, store.content, keys=lambda: keys, copies=copies)
            troubles = [] if report.first_bad is None else [str(report.first_bad)]
        if troubles:
            raise StoreError(f"{what} does not verify: {troubles[0]}", hint="see: sop doctor, sop audit --verify-all")
        summaries, _total = store.summaries(RunFilter())
    finally:
        store.close()
    return Verified(
        events=report.events,
        signed_size=max([report.signed_size, *report.reached.values()]),
        run_ids=tuple(summary.run_id for summary in summaries),
        open_runs=sum(summary.ended_at is None for summary in summaries),
    )


def _members(workspace: Workspace, database: Path, run_ids: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    yield DATABASE, database
    yield "config.json", workspace.config
    yield "index.json", workspace.index
    for key in sorted(workspace.keys.glob("checkpoint*.pub")):
        yield f"keys/{key.name}", key
    for name in _KEPT:
        yield f"runs/{name}", workspace.runs / name
    for run_id in sorted(run_ids):
        for path in _files_of(workspace.run_folder(run_id)):
            yield f"runs/{path.relative_to(workspace.runs).as_posix()}", path


def _files_of(folder: Path) -> Iterator[Path]:
    """Logs and evidence of a run, without the launches of its attempts and drafts, and through no link."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.isdigit() and not name.startswith("."))
        yield from (Path(here) / name for name in sorted(names) if not name.startswith("."))


def _manifest(writer: ArchiveWriter, key: SigningKey, events: int, engine: Engine, made_at: str) -> BackupManifest:
    """Of a moment before the database was copied: nothing that came after it is in the backup for certain."""
    return signed(
        BackupManifest,
        key,
        timestamp=made_at,
        size=events,
        host=engine.parts.owner().host,
        files=writer.files,
    )


def _store(engine: Engine) -> SqliteStore:
    assert isinstance(engine.parts.store, SqliteStore)
    return engine.parts.store


def default_name(made_at: str) -> str:
    """`sop-backup-20260131T120000Z.tar`."""
    return f"sop-backup-{made_at[:19].replace('-', '').replace(':', '')}Z.tar"
