"""Notices of a memory store, so that what sends them can be tested without a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from sopwith.ports import NewNotice, Notice, NoticeEnd
from sopwith.testing.shelf import Shelf


class MemoryNotices:
    """Notices of a memory store."""

    def __init__(self, using: Callable[[], AbstractContextManager[Shelf]]) -> None:
        self._using = using

    def cursor(self) -> int | None:
        with self._using() as shelf:
            return shelf.notices_cursor

    def begin(self, position: int | None) -> None:
        with self._using() as shelf:
            shelf.notices_cursor = position
            shelf.commits += 1

    def add(self, notices: Sequence[NewNotice], *, read_to: int, now: datetime) -> None:
        with self._using() as shelf:
            known = {(each.position, each.channel) for each in shelf.notices.values()}
            for new in notices:
                if (new.position, new.channel) not in known:
                    shelf.notices_made += 1
                    made = Notice(
                        id=shelf.notices_made,
                        position=new.position,
                        channel=new.channel,
                        moment=new.moment,
                        run_id=new.run_id,
                        message=new.message,
                        made_at=now,
                        next_at=now,
                    )
                    shelf.notices[made.id] = made
            shelf.notices_cursor = read_to
            shelf.commits += 1

    def waiting(self) -> Mapping[str, datetime]:
        found: dict[str, datetime] = {}
        for notice in self._waiting():
            assert notice.next_at is not None
            found[notice.channel] = min(found.get(notice.channel, notice.next_at), notice.next_at)
        return found

    def due(self, channel: str, now: datetime, limit: int) -> Sequence[Notice]:
        found = [each for each in self._waiting() if each.channel == channel and each.next_at <= now]
        return sorted(found, key=lambda each: (each.next_at, each.id))[:limit]

    def settle(self, ids: Sequence[int], ended: NoticeEnd, now: datetime, told: str) -> None:
        tries = 0 if ended is NoticeEnd.DROPPED else 1
        with self._using():
            for id_ in ids:
                self._change(id_, tries, ended=ended, ended_at=now, told=told, next_at=None)

    def put_off(self, until: Mapping[int, datetime], told: str) -> None:
        with self._using():
            for id_, next_at in until.items():
                self._change(id_, 1, next_at=next_at, told=told)

    def hurry(self, now: datetime, latest: datetime) -> None:
        with self._using():
            for notice in self._waiting():
                if notice.next_at > latest:
                    self._change(notice.id, 0, next_at=now)

    def newest(self, limit: int) -> Sequence[Notice]:
        with self._using() as shelf:
            return sorted(shelf.notices.values(), key=lambda each: each.id, reverse=True)[:limit]

    def prune(self, before: datetime) -> int:
        with self._using() as shelf:
            old = [each.id for each in shelf.notices.values() if each.ended_at is not None and each.ended_at < before]
            for id_ in old:
                del shelf.notices[id_]
            shelf.commits += 1
        return len(old)

    def _waiting(self) -> list[Any]:
        with self._using() as shelf:
            return [each for each in shelf.notices.values() if each.ended is None]

    def _change(self, id_: int, tries: int, **values: Any) -> None:
        with self._using() as shelf:
            before = shelf.notices.get(id_)
            if before is not None and before.ended is None:
                shelf.notices[id_] = replace(before, attempts=before.attempts + tries, **values)
                shelf.commits += 1
