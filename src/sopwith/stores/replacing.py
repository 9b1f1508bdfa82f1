"""Puts another database in the place of one that processes may have open, so that nobody writes to the wrong one.

While it is replaced nobody opens it, nobody writes to it and nobody holds a claim. A process that had it open reads on
in the old file; each of its writes looks, with the right to write in hand, whether the file is still the one it opened.
From the first change to the last a mark lies beside the database: with it no store is opened, so a restore that was
cut short leaves a store that stays closed, not one that is half of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import apsw
import msgspec

from sopwith.errors import Refused, StoreError, WorkspaceError
from sopwith.stores.failures import as_store_error
from sopwith.stores.locks import byte_locks
from sopwith.stores.opening import lock_path, open_database, opened_by_nobody, restoring_path

_FIRST_RUN = 1
"""The first byte that stands for a run; the claims are locks on these."""


class Intent(msgspec.Struct, frozen=True, rename="camel"):
    """What the mark says to whoever goes on with a restore that was cut short."""

    known: int
    accepted: bool


def interrupted_restore(path: Path) -> Intent | None:
    """What a restore that was cut short was about to do; None if there is none. Raises StoreError."""
    try:
        return msgspec.json.decode(restoring_path(path).read_bytes(), type=Intent)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        return Intent(known=0, accepted=False)


def size_of(path: Path) -> int | None:
    """How many events the database that is there ever had; None where there is none, or it cannot be read."""
    if not path.exists():
        return None
    try:
        with closing(open_database(path).connection) as db:
            return _size(db)
    except (apsw.Error, StoreError):
        return None


@contextmanager
def held_still(path: Path, size: int | None) -> Iterator[None]:
    """While inside, nobody opens the database at `path`, writes to it or drives a run of it.

    Raises Refused if somebody drives one, or if it no longer has `size` events: nothing may be lost unseen. None: there
    was none that could be read.
    """
    with ExitStack() as stack:
        present = None if size is None else _opened(path)
        stack.enter_context(opened_by_nobody(path))
        if present is not None:
            stack.enter_context(closing(present))  # while nobody else can open the file in its place
        claims = stack.enter_context(closing(byte_locks(lock_path(path))))
        if not claims.acquire_from(_FIRST_RUN):
            raise Refused(
                "cannot restore: a run of this workspace is being driven",
                hint="sop history shows which; let it come to rest, pause it or leave it with Ctrl-C, and try again",
            )
        if present is not None:
            _take_the_right_to_write(present, path, size)
        yield


def replace_database(path: Path, new: Path, aside: Path, intent: Intent) -> None:
    """Puts `new` in place, and what was there into the folder `aside`. Call it inside `held_still`; then `settle`.

    There is no moment without a file at `path`: one that is missing would be made anew, and empty.
    """
    try:
        _mark(path, intent)
        aside.mkdir(mode=0o700, exist_ok=True)
        for suffix in ("", "-wal"):
            there, kept = path.with_name(path.name + suffix), aside / (path.name + suffix)
            if there.exists():
                _keep(there, kept)
        sync(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        new.replace(path)
        sync(path.parent)
    except OSError as error:
        raise WorkspaceError.from_os("put the backup in the place of", path, error) from error


def settle(path: Path) -> None:
    """Everything that belongs to the new database is in place: from now on it may be opened."""
    try:
        sync(path.parent)
        restoring_path(path).unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise WorkspaceError.from_os("finish the restore of", path, error) from error


def sync(folder: Path) -> None:
    """Puts the names in the folder on disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> apsw.Connection:
    try:
        return open_database(path).connection
    except apsw.Error as error:
        raise as_store_error(error, path) from error


def _take_the_right_to_write(db: apsw.Connection, path: Path, size: int | None) -> None:
    try:
        # all that was committed into the one file, so that the copy aside is whole and no WAL is left behind
        db.execute("pragma wal_checkpoint(truncate)").fetchall()
        db.execute("begin immediate")
        found = _size(db)
    except apsw.Error as error:
        raise as_store_error(error, path) from error
    if found != size:
        raise Refused("cannot restore: somebody has just written to the database", hint="try again")


def _size(db: apsw.Connection) -> int:
    row = db.execute("select seq from sqlite_sequence where name = 'events'").fetchone()
    return 0 if row is None else int(row[0])


def _mark(path: Path, intent: Intent) -> None:
    mark = restoring_path(path)
    draft = mark.with_name(mark.name + ".new")
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(msgspec.json.encode(intent))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(mark)
    sync(path.parent)


def _keep(there: Path, kept: Path) -> None:
    """Under both names at once; a file system without hard links gets a copy."""
    import shutil

    try:
        kept.hardlink_to(there)
    except OSError:
        shutil.copy2(there, kept)
