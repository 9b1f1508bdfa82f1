"""The open database file: one thread at a time, whole transactions, named queries, and only our own errors.

It must not be used after a fork (sqlite.org/howtocorrupt.html), nor after its file was deleted or replaced.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import apsw

from sopwith.errors import StoreError
from sopwith.stores.failures import DAMAGED, FAILING, as_store_error, is_damage, needs_reopening
from sopwith.stores.opening import identity, open_database
from sopwith.stores.queries import queries
from sopwith.stores.rows import Row


class Database:
    """The file at `path`, made if there is none. Every method raises StoreError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = str(path)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._sql = queries()
        self._unusable = ""
        self._lost_writes = False
        """The disk failed to keep something: this connection is used no more."""
        self._damaged = ""
        self._openings = 0
        self._depth = 0
        try:
            self._open()
        except apsw.Error as error:
            raise as_store_error(error, path) from error

    def reading(self) -> AbstractContextManager[apsw.Connection]:
        """The connection, for this thread alone; reads inside see one state only within `snapshot` or `writing`."""
        # no generator and no object of its own: a run comes by here fifty times
        return self

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Reads that all see the same state."""
        with self.reading() as connection, connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """One durable transaction, or, if anything is raised inside, none."""
        with self.reading() as connection:
            if self._damaged:
                self._refuse(f"its content is damaged ({self._damaged})", hint=DAMAGED)
            connection.execute("begin immediate")
            try:
                # looked at with the right to write in hand: who replaces the file takes that right first
                self._refuse_another_file()
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

    def copy_to(self, path: Path) -> None:
        """The whole database in a new, private file, as of one moment. Raises StoreError."""
        try:
            path.touch(mode=0o600, exist_ok=False)
            # a connection of its own: the copy reads one state, and holds up neither writers nor other threads
            with closing(open_database(self.path).connection) as source, closing(apsw.Connection(str(path))) as target:
                with target.backup("main", source, "main") as copying:
                    copying.step(-1)
                target.pragma("journal_mode", "delete")
        except apsw.Error as error:
            raise as_store_error(error, self.path) from error

    def version(self) -> int:
        """Changes when anybody else commits, and when the file had to be opened anew.

        Raises StoreError where the file is gone: who waits for a change would wait for ever.
        """
        with self.reading() as connection:
            self._refuse_another_file()
            return (self._openings << 32) + int(connection.pragma("data_version"))

    @property
    def is_foreign(self) -> bool:
        """Whether another process opened this, and we are its fork."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """A second time it does nothing."""
        with self._lock:
            self._unusable = "it is closed"
            # the last one to close copies the WAL into the database; where that fails, the next one to open does
            with suppress(apsw.Error):
                self._connection.close()

    def _open(self) -> None:
        self._connection, self._file = open_database(self.path)
        self._openings += 1

    def _open_anew(self) -> None:
        """Leaves behind the connection whose writes the disk failed to keep, once it keeps them.

        The kernel may have dropped the pages, and a later sync would prove nothing. But what was acknowledged was
        synced into the WAL before: to copy it from there into the database writes and syncs those pages anew, and what
        was not acknowledged goes with the WAL. If the disk still fails, so does this.
        """
        if self._depth or identity(self.path) != self._file:
            self._refuse("the disk failed to keep what was written")
        try:
            busy = self._connection.execute("pragma wal_checkpoint(truncate)").fetchall()[0][0]
            if busy:
                self._refuse("the disk failed to keep what was written, and others are reading it now")
            self._connection.close()
            self._open()
        except apsw.Error as error:
            self._refuse(f"the disk failed to keep what was written, and still does ({error})", hint=FAILING)
        self._lost_writes = False

    def _refuse_another_file(self) -> None:
        if identity(self._place) != self._file:
            self._refuse(
                "the file was deleted or replaced while it was in use",
                hint="open it again; if its folder was moved, in the new place",
            )

    def _refuse(self, reason: str, *, hint: str = "open it again") -> NoReturn:
        raise StoreError(f"cannot use the store {self.path}: {reason}", hint=hint)

    def __enter__(self) -> apsw.Connection:
        if self._pid != os.getpid():
            self._refuse("it was opened before a fork")
        self._lock.acquire()
        try:
            if self._unusable:
                self._refuse(self._unusable)
            if self._lost_writes:
                self._open_anew()
        except BaseException:
            self._lock.release()
            raise
        self._depth += 1
        return self._connection

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        self._depth -= 1
        try:
            if isinstance(error, apsw.Error):
                self._lost_writes |= needs_reopening(error)
                self._damaged = self._damaged or (str(error) if is_damage(error) else "")
                raise as_store_error(error, self.path) from error
        finally:
            self._lock.release()
