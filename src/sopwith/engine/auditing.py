"""What the engine asks of whoever keeps the log: sign it now; was this run's record dropped; is it still what it was.

Imports nothing of the keeper, so that readers, who never sign, do not carry it. Signing never fails a run: what stood
in the way is a warning, told once by the door.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from sopwith.core.instant import iso
from sopwith.errors import RecordDropped, SopwithError, UnreadableRecord


def _nothing(*_: object) -> tuple[()]:
    return ()


class DroppedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """When and after how many days retention dropped a run's record, as its tombstone says; unverified."""

    at: datetime
    days: int

    def __str__(self) -> str:
        return (
            f"its record was dropped on {iso(self.at)[:10]}, after {self.days} days, by auditRetentionDays; "
            "its hashes are kept"
        )


class Auditing:
    """`seal` signs the log and tells what it could not do; `examine` verifies all of it.

    `tombstones` and `restorations` are the store's lines.
    """

    def __init__(
        self,
        *,
        seal: Callable[[datetime], tuple[str, ...]] = _nothing,
        tombstones: Callable[[], Sequence[bytes]] = _nothing,
        restorations: Callable[[], Sequence[bytes]] = _nothing,
        examine: Callable[[], tuple[str, ...]] = _nothing,
    ) -> None:
        self._seal = seal
        self._tombstones = tombstones
        self._restorations = restorations
        self.examine = examine
        """Verifies the whole log: what is wrong with it, a sentence each."""
        self.warnings: tuple[str, ...] = ()
        """What could not be signed or copied since this was made, each sentence once."""
        self.sealed_at: datetime | None = None
        """When the log was last signed without a word of complaint."""

    def seal(self, now: datetime) -> None:
        """Signs what the log is by now and copies that to its places. Never raises."""
        try:
            told = self._seal(now)
        except SopwithError as error:
            told = (f"{error.message}; {error.hint}" if error.hint else error.message,)
        except Exception as error:
            # the run has been recorded, and no fault in here may make it look otherwise
            told = (f"the record was not signed: {type(error).__name__}: {error}",)
        self.warnings = tuple(dict.fromkeys((*self.warnings, *told)))
        if not told:
            self.sealed_at = now

    def dropped(self, run_id: str) -> DroppedRecord | None:
        """What the newest tombstone over this run says; None if there is none."""
        named = b'"' + run_id.encode() + b'"'
        for line in reversed(self._tombstones()):
            if named not in line:
                continue
            try:
                tombstone = _TOMBSTONE.decode(line)
            except msgspec.MsgspecError:
                continue
            if any(run.run_id == run_id for run in tombstone.runs):
                return DroppedRecord(at=tombstone.timestamp, days=tombstone.days)
        return None

    def restored_at(self) -> datetime | None:
        """When a backup was last put in the place of this record, as the store says; None if never.

        What cannot be read counts as just now: whoever asks would rather be refused than do something twice.
        """
        lines = self._restorations()
        if not lines:
            return None
        try:
            return _RESTORATION.decode(lines[-1]).timestamp
        except msgspec.MsgspecError:
            return datetime.max.replace(tzinfo=UTC)

    def why_empty(self, run_id: str) -> SopwithError:
        """The error for whoever needs what a run without payloads said: RecordDropped, or UnreadableRecord."""
        dropped = self.dropped(run_id)
        if dropped is None:
            return UnreadableRecord(
                f"the record of {run_id} cannot be read: its content is gone, and no tombstone says why",
                hint=f"sop audit {run_id} --verify tells more",
            )
        return RecordDropped(
            f"{run_id} cannot be shown or changed: {dropped}",
            hint=f"sop audit {run_id} shows what is left",
            run_id=run_id,
            dropped_at=iso(dropped.at),
            days=dropped.days,
        )


class Deferred(Auditing):
    """Signs in a thread of its own, for a process that stays: a place that hangs holds up nothing else.

    What is asked for while it signs is signed once, afterwards. Warnings are those of the one it was made from.
    """

    def __init__(self, auditing: Auditing) -> None:
        super().__init__(tombstones=auditing._tombstones, restorations=auditing._restorations, examine=auditing.examine)
        self._auditing = auditing
        self._changed = threading.Condition()
        self._wanted: datetime | None = None
        self._busy = False

    def seal(self, now: datetime) -> None:
        with self._changed:
            self._wanted = now
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="seal", daemon=True).start()

    def finish(self, patience_secs: float) -> None:
        """Waits for what was asked for, so long at most; then it is a warning."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._busy, patience_secs):
                self._auditing.warnings += ("the newest events are not signed yet: a place for checkpoints hangs",)

    def _work(self) -> None:
        while True:
            with self._changed:
                now, self._wanted = self._wanted, None
                if now is None:
                    self._busy = False
                    self._changed.notify_all()
                    return
            self._auditing.seal(now)


class _Run(msgspec.Struct, rename="camel"):
    run_id: str


class _Tombstone(msgspec.Struct, rename="camel"):
    timestamp: datetime
    days: int
    runs: tuple[_Run, ...]


_TOMBSTONE = msgspec.json.Decoder(_Tombstone)


class _Restoration(msgspec.Struct):
    timestamp: datetime


_RESTORATION = msgspec.json.Decoder(_Restoration)
