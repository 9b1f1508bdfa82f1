"""What waits to be told, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec


class NewNotice(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told over one channel of the event at `position` of the log."""

    position: int
    channel: str
    moment: str
    run_id: str
    message: bytes
    """A `core.messages.Message` as JSON."""


class NoticeEnd(StrEnum):
    """What became of a notice. `dropped`: there was nothing to tell any more."""

    SENT = "sent"
    DROPPED = "dropped"
    GIVEN_UP = "given_up"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice as it is kept. It waits while `ended` is None; `told` is what came back of the last try, or why."""

    id: int
    position: int
    channel: str
    moment: str
    run_id: str
    message: bytes
    made_at: datetime
    attempts: int = 0
    next_at: datetime | None = None
    ended: NoticeEnd | None = None
    ended_at: datetime | None = None
    told: str = ""


class ReadingCursor(Protocol):
    """How far somebody has read the log; durable."""

    def read(self) -> int | None:
        """The position; None: it was never begun."""
        ...

    def move(self, position: int | None) -> None:
        """On to there, or, with None, as if it had never begun."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What became of one delivery of a trigger."""

    id: int
    procedure: str
    trigger: str
    outcome: str
    settled_at: datetime


class Tally(Protocol):
    """What triggers brought, to be counted."""

    def settled(self, since: datetime, limit: int) -> Sequence[Outcome]:
        """What was settled at that time or later, the earliest first."""
        ...

    def waiting(self) -> tuple[int, datetime | None]:
        """How many deliveries nobody has carried out yet, and since when the first of them waits."""
        ...


class Notices(Protocol):
    """What is to be told of the log, until it was, and how far the log was read for it. All writes are durable."""

    def cursor(self) -> int | None:
        """The position up to which notices were made; None: it was never begun."""
        ...

    def begin(self, position: int | None) -> None:
        """Reads on from there, or, with None, not at all; what waits stays."""
        ...

    def add(self, notices: Sequence[NewNotice], *, read_to: int, now: datetime) -> None:
        """Keeps them, due now, and moves the cursor, in one transaction.

        One that is there for this position and channel already is left as it is.
        """
        ...

    def waiting(self) -> Mapping[str, datetime]:
        """The channels that have something waiting, and when the first of it is due."""
        ...

    def due(self, channel: str, now: datetime, limit: int) -> Sequence[Notice]:
        """What is due over a channel, the longest waiting first."""
        ...

    def settle(self, ids: Sequence[int], ended: NoticeEnd, now: datetime, told: str) -> None:
        """These wait no more; a try is counted unless they were dropped. What has ended stays as it is."""
        ...

    def put_off(self, until: Mapping[int, datetime], told: str) -> None:
        """These were tried in vain, and are due again then."""
        ...

    def hurry(self, now: datetime, latest: datetime) -> None:
        """What is due after `latest` is due now: the clock was set back."""
        ...

    def newest(self, limit: int) -> Sequence[Notice]:
        """The newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Drops what ended before that; tells how many."""
        ...
