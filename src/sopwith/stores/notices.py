"""Notices in the SQLite file: what waits to be told, beside the log that it is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sopwith.ports import NewNotice, Notice, NoticeEnd
from sopwith.stores.database import Database
from sopwith.stores.rows import Row, instant, milliseconds


class SqliteCursor:
    """A ReadingCursor on an open database."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name

    def read(self) -> int | None:
        value = self._db.value("reading_cursor", name=self._name)
        return None if value is None else int(value)

    def move(self, position: int | None) -> None:
        with self._db.writing():
            self.moved(position)

    def moved(self, position: int | None) -> None:
        """The same inside a transaction of the caller's."""
        if position is None:
            self._db.run("drop_reading_cursor", name=self._name)
        else:
            self._db.run("move_reading_cursor", name=self._name, position=str(position))


class SqliteNotices:
    """Notices on an open database."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._cursor = SqliteCursor(db, "notices")

    def cursor(self) -> int | None:
        return self._cursor.read()

    def begin(self, position: int | None) -> None:
        self._cursor.move(position)

    def add(self, notices: Sequence[NewNotice], *, read_to: int, now: datetime) -> None:
        with self._db.writing():
            for notice in notices:
                self._db.run(
                    "insert_notice",
                    position=notice.position,
                    channel=notice.channel,
                    moment=notice.moment,
                    run_id=notice.run_id,
                    message=notice.message,
                    now=milliseconds(now),
                )
            self._cursor.moved(read_to)

    def void(self, now: datetime) -> None:
        """In a restored copy, inside its transaction: what waits is told no more, and reading begins anew."""
        self._db.run("void_notices", now=milliseconds(now))
        self._cursor.moved(None)

    def waiting(self) -> Mapping[str, datetime]:
        return {channel: instant(next_at) for channel, next_at in self._db.rows("waiting_channels")}

    def due(self, channel: str, now: datetime, limit: int) -> Sequence[Notice]:
        rows = self._db.rows("due_notices", channel=channel, now=milliseconds(now), limit=limit)
        return [_notice(row) for row in rows]

    def settle(self, ids: Sequence[int], ended: NoticeEnd, now: datetime, told: str) -> None:
        tries = 0 if ended is NoticeEnd.DROPPED else 1
        with self._db.writing():
            for id_ in ids:
                self._db.run(
                    "settle_notice", id=id_, outcome=ended.value, now=milliseconds(now), told=told, tries=tries
                )

    def put_off(self, until: Mapping[int, datetime], told: str) -> None:
        with self._db.writing():
            for id_, next_at in until.items():
                self._db.run("put_off_notice", id=id_, next_at=milliseconds(next_at), told=told)

    def hurry(self, now: datetime, latest: datetime) -> None:
        with self._db.writing():
            self._db.run("hurry_notices", now=milliseconds(now), latest=milliseconds(latest))

    def newest(self, limit: int) -> Sequence[Notice]:
        return [_notice(row) for row in self._db.rows("newest_notices", limit=limit)]

    def prune(self, before: datetime) -> int:
        with self._db.writing():
            return len(self._db.rows("prune_notices", before=milliseconds(before)))


def _notice(row: Row) -> Notice:
    id_, position, channel, moment, run_id, message, made_at, attempts, next_at, outcome, ended_at, told = row
    return Notice(
        id=id_,
        position=position,
        channel=channel,
        moment=moment,
        run_id=run_id,
        message=message,
        made_at=instant(made_at),
        attempts=attempts,
        next_at=None if next_at is None else instant(next_at),
        ended=None if outcome is None else NoticeEnd(outcome),
        ended_at=None if ended_at is None else instant(ended_at),
        told=told,
    )
