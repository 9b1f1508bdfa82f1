"""Brings a database to the newest schema. Migrations are numbered, only go up, and all of them commit together."""

from __future__ import annotations

from pathlib import Path

import apsw

from sopwith.errors import StoreError
from sopwith.stores.queries import SQL

_INBOX = 9
"""The migration whose columns only the events can fill."""


def migrations() -> tuple[Path, ...]:
    """The files in the order of their numbers, which count from 1 without a gap."""
    return tuple(sorted((SQL / "migrations").glob("[0-9]*.sql")))


def is_current(db: apsw.Connection, path: Path) -> bool:
    """Whether nothing is left to do. Raises StoreError for a store that a newer Sopwith wrote."""
    version, newest = schema_version(db), len(migrations())
    if version > newest:
        raise StoreError(
            f"cannot use the store {path}: its schema is version {version}, and this Sopwith knows up to {newest}",
            hint="install the newer version of Sopwith that wrote it",
        )
    return version == newest


def migrate(db: apsw.Connection, path: Path) -> None:
    """Applies what is missing in one transaction; whoever comes second finds nothing left to do."""
    db.execute("begin immediate")
    try:
        if not is_current(db, path):
            _apply(db)
        db.execute("commit")
    finally:
        if db.in_transaction:
            db.execute("rollback")


def schema_version(db: apsw.Connection) -> int:
    """The number of the last migration; 0 for an empty file."""
    return int(db.pragma("user_version"))


def _apply(db: apsw.Connection) -> None:
    before = schema_version(db)
    for number, file in enumerate(migrations(), start=1):
        if number > schema_version(db):
            db.execute(file.read_text(encoding="utf-8"))
            db.pragma("user_version", number)
    # by the newest schema, which the queries are for
    if 0 < before < _INBOX:
        from sopwith.stores.brought_over import fill_inbox

        fill_inbox(db)
