"""SQLite's errors in our words: the one place that knows both. Nothing above this folder sees an apsw error."""

from __future__ import annotations

from pathlib import Path

import apsw

from sopwith.errors import StoreError

DAMAGED = "sop restore FILE puts a backup in its place and keeps this file aside"
FAILING = "look at the disk and the kernel's log; it goes on by itself when the disk keeps what is written"
_UNKNOWN = "look at the file, its folder and the disk, and try again"
_MEANINGS: tuple[tuple[type[apsw.Error], str, str], ...] = (
    (apsw.FullError, "the disk is full", "make room and try again; what was acknowledged before is safe"),
    (apsw.NotADBError, "it is not a database of Sopwith", DAMAGED),
    (apsw.CorruptError, "its content is damaged", DAMAGED),
    (apsw.BusyError, "another process has kept it locked for too long", "see who uses it, and try again"),
    (apsw.LockedError, "another process has kept it locked for too long", "see who uses it, and try again"),
    (apsw.ReadOnlyError, "it can only be read", "give this user the right to write the file and its folder"),
    (apsw.CantOpenError, "it cannot be opened", "look at the file, its folder and their permissions"),
    (apsw.PermissionsError, "permission was denied", "give this user the right to write the file and its folder"),
    (
        apsw.IOError,
        "reading or writing it failed",
        "look at the disk (full, a quota, a size limit, a fault); read the run again",
    ),
    (apsw.NoMemError, "memory ran out", "free some memory and try again"),
)
_LOST_WRITES = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)


def as_store_error(error: apsw.Error, path: Path) -> StoreError:
    """What went wrong with the store at `path`, and what to do now."""
    for kind, meaning, hint in _MEANINGS:
        if isinstance(error, kind):
            # SQLite has no word of its own for a failure of its backup, and says "not an error"
            said = "" if str(error) == "not an error" else f" ({error})"
            return StoreError(f"cannot use the store {path}: {meaning}{said}", hint=hint)
    return StoreError(f"cannot use the store {path}: {type(error).__name__}: {error}", hint=_UNKNOWN)


def is_damage(error: apsw.Error) -> bool:
    """Whether the content of the file is not what it was: to write on would make it worse."""
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


def needs_reopening(error: apsw.Error) -> bool:
    """Whether the kernel may have dropped pages that it failed to write: to go on would trust what is not on disk."""
    return getattr(error, "extendedresult", 0) in _LOST_WRITES
