"""The open database file: one thread at a time, whole transactions, named queries, and only our own errors.

It must not be used after a fork (sqlite.org/howtocorrupt.html), nor after its file was deleted or replaced.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import apsw

from sopwith.errors import StoreError
from sopwith.stores.failures import as_store_error, needs_reopening
from sopwith.stores.opening import open_database
from sopwith.stores.queries import queries
from sopwith.stores.rows import Row


class Database:
    """The file at `path`, made if there is none. Every method raises StoreError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._sql = queries()
        self._unusable = ""
        try:
            self._connection = open_database(path)
            self._file = _identity(path)
        except apsw.Error as error:
            raise as_store_error(error, path) from error

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """The connection, for this thread alone; reads inside see one state only within `snapshot` or `writing`."""
        if self.is_foreign:
            self._refuse("it was opened before a fork")
        with self._lock:
            if self._unusable:
                self._refuse(self._unusable)
            try:
                yield self._connection
            except apsw.Error as error:
                if needs_reopening(error):
                    self._unusable = "the disk failed to keep what was written"
                raise as_store_error(error, self.path) from error

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Reads that all see the same state."""
        with self.reading() as connection, connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """One durable transaction, or, if anything is raised inside, none."""
        with self.reading() as connection:
            if _identity(self.path) != self._file:
                self._refuse("the file was deleted or replaced while it was in use")
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                with suppress(apsw.Error):
                    connection.execute("rollback")
                raise

    def run(self, query: str, **values: Any) -> None:
        """Carries out a query that returns nothing; call it inside `writing`."""
        self._connection.execute(self._sql[query], values)

    def rows(self, query: str, **values: Any) -> list[Row]:
        with self.reading() as connection:
            return connection.execute(self._sql[query], values).fetchall()

    def row(self, query: str, **values: Any) -> Row | None:
        with self.reading() as connection:
            return connection.execute(self._sql[query], values).fetchone()

    def value(self, query: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.row(query, **values)
        return None if row is None else row[0]

    @property
    def is_foreign(self) -> bool:
        """Whether another process opened this, and we are its fork."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """A second time it does nothing."""
        with self._lock:
            self._unusable = "it is closed"
            self._connection.close()

    def _refuse(self, reason: str) -> NoReturn:
        raise StoreError(f"cannot use the store {self.path}: {reason}", hint="open it again")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
