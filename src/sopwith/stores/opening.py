"""Opens the database file: private, writable, in WAL mode, with the newest schema, or not at all.

SQLite 3.7.0 to 3.51.2 can lose commits when two processes reset the WAL at once (sqlite.org/wal.html, "The WAL-Reset
Bug"), so those versions are refused. A file that cannot be used is an error; there is no other place to fall back to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import apsw

from sopwith.errors import StoreError
from sopwith.stores.locks import byte_locks
from sopwith.stores.migrate import is_current, migrate
from sopwith.stores.mounts import mount_of
from sopwith.stores.patience import Patience

_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_OPENING_BYTE = 0
"""Shared by whoever opens the file, and held alone by whoever sets it up or replaces it. Ordinals begin at 1."""


def lock_path(path: Path) -> Path:
    """The lock file of the database at `path`."""
    return path.with_name(path.name + ".locks")


def restoring_path(path: Path) -> Path:
    """The file that is there from before a restore replaces the database until all that belongs to it is in place."""
    return path.with_name(path.name + ".restoring")


class Opened(NamedTuple):
    """A connection, and which file it is to."""

    connection: apsw.Connection
    file: tuple[int, int] | None


def identity(path: Path | str) -> tuple[int, int] | None:
    """Which file is there now; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - each transaction asks
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_database(path: Path) -> Opened:
    """A connection to the store at `path`, made if there is none. Raises StoreError."""
    refuse_unsafe_sqlite(apsw.sqlite_lib_version())
    _make_private_folder(path)
    _refuse_shared(path)
    with closing(byte_locks(lock_path(path))) as locks:
        locks.share(_OPENING_BYTE)
        _refuse_half_restored(path)
        _make_private_file(path)
        if (db := _open(path, set_up=False)) is not None:
            return Opened(db, identity(path))
        # a change of the journal mode is refused, not delayed, while others use the file
        locks.release(_OPENING_BYTE)
        locks.wait(_OPENING_BYTE)
        db = _open(path, set_up=True)
        assert db is not None
        return Opened(db, identity(path))


@contextmanager
def opened_by_nobody(path: Path) -> Iterator[None]:
    """While inside, nobody begins to open the database, nor sets it up: it may be replaced."""
    with closing(byte_locks(lock_path(path))) as locks:
        locks.wait(_OPENING_BYTE)
        yield


def refuse_unsafe_sqlite(version: str) -> None:
    """Raises StoreError for a SQLite library that has the WAL-reset bug."""
    number = tuple(int(part) for part in version.split(".")[:3])
    repaired = (3, 44, 6) <= number < (3, 45) or (3, 50, 7) <= number < (3, 51)
    if (3, 7, 0) <= number <= (3, 51, 2) and not repaired:
        raise StoreError(
            f"cannot open a store with SQLite {version}: it can lose what was committed (the WAL-reset bug)",
            hint="install a newer apsw: pip install --upgrade apsw",
        )


def _refuse_shared(path: Path) -> None:
    mount = mount_of(path)
    if mount is not None and mount.is_shared:
        raise StoreError(
            f"cannot open the store {path}: it lies on {mount.kind}, which other machines may write to as well",
            hint="keep the workspace on a local disk; one store is for one machine",
        )


def _refuse_half_restored(path: Path) -> None:
    if restoring_path(path).exists():
        raise StoreError(
            f"cannot open the store {path}: sop restore is replacing it, or was cut short",
            hint="wait for its end, or run the same sop restore again",
        )


def _make_private_folder(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unopened(path, error) from error


def _make_private_file(path: Path) -> None:
    """SQLite gives -wal and -shm the mode of the database file, so that one must exist first.

    A file that exists is never opened here: closing it would drop the locks of this process's other connections.
    """
    try:
        with suppress(FileExistsError):
            path.touch(mode=0o600, exist_ok=False)
        if not path.is_file():
            raise StoreError(f"cannot use the store {path}: it is not a file", hint="move it away")
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise _unopened(path, error) from error


def _unopened(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot open the store {path}: {error.strerror}", hint="look at the file, its folder and their permissions"
    )


def _open(path: Path, *, set_up: bool) -> apsw.Connection | None:
    """An open connection; None where the file must be set up first, which is done only if asked for."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        if _prepare(db, path, set_up=set_up):
            return db
    except BaseException:
        db.close()
        raise
    db.close()
    return None


def _prepare(db: apsw.Connection, path: Path, *, set_up: bool) -> bool:
    db.set_busy_handler(Patience())
    if db.readonly("main"):
        raise StoreError(
            f"cannot open the store {path}: it can only be read",
            hint="give this user the right to write the file and its folder",
        )
    if not is_current(db, path) or db.pragma("journal_mode") != "wal":
        if not set_up:
            return False
        _set_up(db, path)
    db.pragma("synchronous", "full")
    db.pragma("foreign_keys", True)
    # a plan that may depend on the values bound is made anew for each of them, which cost more than all statements
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    db.pragma("journal_size_limit", _WAL_LIMIT_BYTES)
    return True


def _set_up(db: apsw.Connection, path: Path) -> None:
    if db.pragma("journal_mode", "wal") != "wal":
        raise StoreError(
            f"cannot open the store {path}: its file system cannot keep a write-ahead log",
            hint="keep the workspace on a local disk, not on a network share",
        )
    db.pragma("synchronous", "full")
    migrate(db, path)
