"""Restores a backup: verified first, told what is lost, whole or not at all, and so that no step runs twice.

What is in place is kept aside, never deleted. What a restore did is signed and kept in the restored database itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from sopwith.assembly import engine_on_copy, open_engine, this_process
from sopwith.audit.sealing import CHECKPOINTS, checkpoint_places
from sopwith.audit.signing import SigningKey, known_keys
from sopwith.audit.statements import BackupManifest, BadStatement, Checkpoint, Restoration, line_of, read, signed
from sopwith.audit.trust import Copy, read_copy
from sopwith.backup.archive import DATABASE, unpack
from sopwith.backup.living import living_steps
from sopwith.backup.make import verified_store
from sopwith.backup.rest import bring_to_rest, failed_runs
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.instant import iso
from sopwith.core.people import Directory, Right, check_right
from sopwith.engine.files import ensure_private_folder, replace_file
from sopwith.engine.library import Library
from sopwith.errors import NotAllowed, Refused, SopwithError, WorkspaceError
from sopwith.ports import RunFilter, Workspace
from sopwith.stores.replacing import Intent, held_still, interrupted_restore, replace_database, settle, size_of, sync
from sopwith.stores.serving_lock import ServingLock
from sopwith.stores.sqlite import SqliteStore


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was restored, and what that cost."""

    backup_at: str
    events: int
    lost: int
    aside: Path | None
    """Where what was in place is kept; None if nothing was."""
    stopped: tuple[str, ...]
    failed: tuple[str, ...]
    """Runs that had failed: nobody knows from the backup whether they were retried since."""
    ahead: tuple[str, ...]
    """Copies of checkpoints that tell of events which are lost: nothing is signed while they stand in their places."""
    kept: tuple[str, ...]
    """Files of the backup that were not written, because there are some in their place."""


class Loss(msgspec.Struct, frozen=True):
    """How many events are known that the backup does not have, and which copies of checkpoints know of them."""

    known: int
    ahead: tuple[str, ...]


def restore_backup(workspace: Workspace, file: Path, *, actor: Actor, accept_older: bool = False) -> Restored:
    """Puts the backup in the place of the workspace's record.

    Raises StoreError for a backup that does not verify; NotAllowed for agents; Refused while a server, a driver or a
    step is alive, for a backup of another workspace, and, unless `accept_older`, for one that lacks known events.
    """
    ensure_private_folder(workspace.runs)
    _check_actor(actor, workspace)
    with closing(ServingLock(workspace.runs)) as lock:
        if not lock.take(this_process(), staying=False):
            raise lock.refusal("restore")
        with TemporaryDirectory(prefix=".restore-", dir=workspace.runs) as folder:
            restored = _Restore(workspace, file, Path(folder), actor).carry_out(accept_older=accept_older)
        _show_and_sign(workspace)
        return restored


class _Restore:
    def __init__(self, workspace: Workspace, file: Path, folder: Path, actor: Actor) -> None:
        self._workspace = workspace
        self._folder = folder
        self._actor = actor
        self._file = file

    def carry_out(self, *, accept_older: bool) -> Restored:
        self._manifest = manifest = unpack(self._file, self._folder)
        keys = self._keys(manifest)
        copies = self._copies()
        within = [_up_to(manifest.size, copy) for copy in copies if not copy.problem]
        verified = verified_store(self._staged, keys, [copy for copy in within if copy.lines], what="the backup")
        if verified.events != manifest.size:
            raise Refused(f"cannot restore: the backup has {verified.events} events, and says {manifest.size}")
        cut_short = interrupted_restore(self._workspace.database)
        size = None if cut_short else size_of(self._workspace.database)
        loss = self._loss(copies, known=max(size or 0, cut_short.known if cut_short else 0, manifest.size))
        self._check_loss(manifest, loss, accepted=accept_older or (cut_short is not None and cut_short.accepted))
        self._check_nothing_lives()
        stopped, failed = self._prepare(manifest, loss)
        aside = _unused(self._workspace.runs / f"before-restore-{self._now[:19].replace('-', '').replace(':', '')}Z")
        had_record = self._workspace.database.exists()
        with held_still(self._workspace.database, size):
            self._check_nothing_lives(for_good=True)
            intent = Intent(known=loss.known, accepted=True)
            replace_database(self._workspace.database, self._staged, aside, intent)
            kept = self._replace_files(aside)
            settle(self._workspace.database)
        return Restored(
            backup_at=manifest.timestamp,
            events=manifest.size,
            lost=loss.known - manifest.size,
            aside=aside if had_record else None,
            stopped=stopped,
            failed=failed,
            ahead=loss.ahead,
            kept=kept,
        )

    @property
    def _staged(self) -> Path:
        return self._folder / DATABASE

    def _keys(self, manifest: BackupManifest) -> frozenset[str]:
        """The public keys to verify with: those of this workspace, and where it has none, those in the backup."""
        ours, brought = known_keys(self._workspace.keys), known_keys(self._folder / "keys")
        if ours and manifest.public_key not in ours:
            raise Refused(
                f"cannot restore: the backup is signed by {manifest.origin}, which is no key of this workspace",
                hint="restore it into an empty workspace; or, if it is yours, put its public key into .pi/sops/keys",
            )
        return ours or brought

    def _copies(self) -> list[Copy]:
        """The checkpoints that are known here, and in the places that config.json names, ours or that of the backup."""
        library = Library(self._workspace if self._workspace.config.exists() else _as_workspace(self._folder))
        places, _problems = checkpoint_places(self._workspace, library.config)
        return [read_copy(place, trusted=place != places[0]) for place in places]

    def _loss(self, copies: list[Copy], *, known: int) -> Loss:
        sizes = {copy.name: _greatest(copy) for copy in copies}
        own = str(self._workspace.runs / CHECKPOINTS)
        ahead = tuple(name for name, size in sizes.items() if size > self._manifest.size and name != own)
        return Loss(max([known, *sizes.values()]), ahead)

    def _check_loss(self, manifest: BackupManifest, loss: Loss, *, accepted: bool) -> None:
        lost = loss.known - manifest.size
        if lost <= 0 or accepted:
            return
        events = "1 event" if lost == 1 else f"{lost:,} events"
        where = f" ({', '.join(loss.ahead)})" if loss.ahead else ""
        raise Refused(
            f"cannot restore: the backup of {manifest.timestamp} has {manifest.size:,} events, and {loss.known:,} are "
            f"known{where}: {events} would be lost",
            hint="take a newer backup; or add --accept-older, and find out by other means what those events were",
            lost=lost,
            known=loss.known,
        )

    def _check_nothing_lives(self, *, for_good: bool = False) -> None:
        living = living_steps(self._workspace.runs, for_good=for_good)
        if living:
            raise Refused(
                f"cannot restore: a step is still running: {living[0]}",
                hint="let it end, or end it: sop cancel RUN, or, where the record cannot be read, kill that process",
            )

    def _prepare(self, manifest: BackupManifest, loss: Loss) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Brings all runs of the copy to rest and signs what happens here. Tells which had not ended, which failed."""
        self._bring_keys()
        with closing(SqliteStore(self._staged)) as store:
            engine = engine_on_copy(_as_workspace(self._folder), store)
            stopped = bring_to_rest(engine.parts, manifest.timestamp)
            failed = failed_runs(engine.parts)
            now = engine.parts.clock.now().at
            statement = signed(
                Restoration,
                SigningKey(self._workspace.keys),
                timestamp=iso(now),
                backup_at=manifest.timestamp,
                database=manifest.files[DATABASE],
                size=manifest.size,
                known=loss.known,
                by=str(self._actor),
                stopped=stopped,
            )
            store.begin_anew(line_of(statement), now)
        self._now = iso(now)
        return stopped, failed

    def _bring_keys(self) -> None:
        """A workspace without keys gets the public ones first: its own, made in a moment, must not take their name."""
        if known_keys(self._workspace.keys):
            return
        ensure_private_folder(self._workspace.keys)
        for key in sorted((self._folder / "keys").glob("checkpoint*.pub")):
            replace_file(self._workspace.keys / key.name, key.read_bytes())

    def _replace_files(self, aside: Path) -> tuple[str, ...]:
        """Logs, evidence, views and checkpoints of the old record make room for those of the backup."""
        runs, staged = self._workspace.runs, self._folder / "runs"
        try:
            for path in _of_the_record(runs):
                path.replace(aside / path.name)
            for path in sorted(staged.iterdir()) if staged.is_dir() else ():
                path.replace(runs / path.name)
            kept = tuple(self._add_what_is_missing())
            sync(runs)
            return kept
        except OSError as error:
            raise WorkspaceError.from_os("put the files of the backup into", runs, error) from error

    def _add_what_is_missing(self) -> Iterator[str]:
        """config.json, index.json and public keys: what a person has here now is not written over."""
        for name in ("config.json", "index.json", *(f"keys/{key.name}" for key in (self._folder / "keys").glob("*"))):
            brought, there = self._folder / name, self._workspace.sops / name
            if not brought.exists():
                continue
            if there.exists():
                if there.read_bytes() != brought.read_bytes() and not name.startswith("keys/"):
                    yield name
                continue
            there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(brought, there)  # noqa: PTH105


def _show_and_sign(workspace: Workspace) -> None:
    """The files that show the runs, made from the database, and a checkpoint over what it holds now."""
    engine = open_engine(workspace)
    summaries, _total = engine.parts.store.summaries(RunFilter())
    for summary in summaries:
        # what cannot be shown is for sop doctor to tell
        with suppress(SopwithError):
            run = engine.runs.load(summary.run_id).run
            engine.parts.views.rebuild(summary.run_id, engine.runs.state_json(run))
    engine.parts.auditing.seal(engine.parts.clock.now().at)
    engine.parts.store.close()


def _unused(folder: Path) -> Path:
    """This name, or the first one with a number that nothing has: a restore that was cut short has used one."""
    names = (folder, *(folder.with_name(f"{folder.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())


def _of_the_record(runs: Path) -> list[Path]:
    names = [path for pattern in ("sop_run_*", "checkpoints.jsonl", "tombstones.jsonl") for path in runs.glob(pattern)]
    return sorted(names)


def _as_workspace(folder: Path) -> Workspace:
    """The unpacked backup as a workspace of its own: only its database, its runs and config.json are looked at."""
    return Unpacked(folder)


class Unpacked(Workspace, frozen=True):
    """A workspace whose `.pi/sops` is the folder itself."""

    @property
    def sops(self) -> Path:
        return self.root


def _up_to(size: int, copy: Copy) -> Copy:
    """The checkpoints in it that the backup must agree with."""
    lines = tuple((number, line) for number, line in copy.lines if 0 < _size(line) <= size)
    return msgspec.structs.replace(copy, lines=lines)


def _greatest(copy: Copy) -> int:
    return max((_size(line) for _number, line in copy.lines), default=0)


def _size(line: bytes) -> int:
    try:
        return read(Checkpoint, line).size
    except BadStatement:
        return 0


def _check_actor(actor: Actor, workspace: Workspace) -> None:
    if actor.kind is not ActorKind.HUMAN or actor.inside is not None:
        raise NotAllowed(f"{actor} may not restore a record", hint="a person may")
    if workspace.config.exists():
        check_right(actor, Right.PRUNE, Directory(Library(workspace).config()), "restore a record")
