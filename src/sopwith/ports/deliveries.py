"""What happened outside, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

CURSOR = "trigger:"
"""What the names of the cursors of triggers begin with."""


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened outside, for one trigger. `run_id`: of the run that it makes, if it makes one.

    `outcome`: where it is settled already, with its reason; empty: it is to be carried out.
    """

    procedure: str
    trigger: str
    delivery: str
    event: bytes
    received_at: datetime
    run_id: str
    outcome: str = ""
    reason: str = ""


class Delivery(NewDelivery, frozen=True, kw_only=True):
    """A delivery as it is kept; `number` grows with each."""

    number: int
    settled_at: datetime | None = None
    digest: bytes = b""
    """The SHA-256 of the event as it was accepted; empty where an older version has kept it."""

    @property
    def is_whole(self) -> bool:
        """Whether the event is what was accepted, as far as that can be told."""
        return not self.digest or hashlib.sha256(self.event).digest() == self.digest


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source of events has come, or, with `path`, what it knows of a file; `value` None: nothing any more."""

    name: str
    value: str | None
    path: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """A delivery as it is kept now, and whether it was not before."""

    delivery: Delivery
    is_new: bool


class Deliveries(Protocol):
    """Keeps what happened outside until it has been carried out, and some time longer for those who ask."""

    def accept(self, new: Sequence[NewDelivery], moves: Sequence[Move] = ()) -> tuple[Accepted, ...]:
        """Keeps all of them, and moves cursors, in one durable transaction. One that is kept already stays as it is.

        What is the same: procedure, trigger and delivery.
        """
        ...

    def waiting(self, after: int, limit: int) -> tuple[Delivery, ...]:
        """Those with a greater number that nobody has carried out, the oldest first."""
        ...

    def waiting_of(self, procedure: str, trigger: str) -> int:
        """How many of one trigger nobody has carried out."""
        ...

    def settle(
        self,
        number: int,
        outcome: str,
        *,
        run_id: str,
        reason: str,
        now: datetime,
        holds: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Says what became of it; False, changing nothing, if somebody said so before, or if `holds` does not.

        `holds` is asked inside the transaction, and reads only.
        """
        ...

    def delivery(self, number: int) -> Delivery | None:
        """The delivery of this number, or None."""
        ...

    def trigger_of(self, run_id: str) -> tuple[str, str] | None:
        """Procedure and trigger of a delivery that is settled with this run, or would make it; None: there is none."""
        ...

    def newest(self, before: int, limit: int) -> tuple[Delivery, ...]:
        """Those with a smaller number, the newest first."""
        ...

    def prune(self, before: datetime) -> None:
        """Forgets what was settled before this time."""
        ...

    def cursor(self, name: str) -> str | None:
        """How far the source of this name has come; None: it has not begun."""
        ...

    def files(self, name: str) -> Mapping[str, str]:
        """What the source of this name knows, by path."""
        ...


class FileStamp(msgspec.Struct, frozen=True, kw_only=True):
    """What tells that a file has changed, without reading it."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class Folder(Protocol):
    """The project folder, as triggers see it: regular files only, and no link is followed."""

    def scan(self, pattern: str) -> Mapping[str, FileStamp]:
        """The files that the pattern matches, by path; none where their folder is not there. Raises WorkspaceError."""
        ...

    def digest(self, path: str, stamp: FileStamp) -> str | None:
        """The SHA-256 of the file, read from one descriptor; None if it is another one than the stamp says."""
        ...
