"""Is each event what its hash says, and does it follow the one before in its run? One look at each, in log order.

Memory grows with the runs that are open at one point of the log, not with the log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec

from sopwith.audit.graves import Graves
from sopwith.ports import LogEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NO_HASH = bytes(32)
_REMEMBERED_CONTENTS = 4096

Content = Callable[[str], bytes | None]
"""The bytes stored under a SHA-256, as `Store.content` gives them."""


class _Details(msgspec.Struct, rename="camel"):
    digest: str = ""
    procedure_digest: str = ""
    event_digest: str = ""


class _Said(msgspec.Struct, rename="camel"):
    """What an event says of itself."""

    run_id: str
    seq: int
    event_type: str
    timestamp: datetime
    details: _Details


_decode = msgspec.json.Decoder(_Said).decode


class Chains:
    """The chains of all runs, as far as they were looked at."""

    def __init__(self, graves: Graves, content: Content) -> None:
        self._graves = graves
        self._content = content
        self._sound: set[str] = set()
        self._open: dict[str, tuple[int, bytes]] = {}
        """Runs that go on after the last entry seen: seq and hash of their last event so far."""
        self.runs = 0
        self.dropped = 0

    def wrong_with(self, entry: LogEntry) -> str | None:
        """What is wrong with the next event of the log, or None."""
        run_id = entry.run_id
        if run_id is None or entry.run_seq is None:
            return "it belongs to no run: the run's row is missing or another"
        seq, prev_hash = self._open.get(run_id, (0, _NO_HASH))
        if entry.seq != seq + 1:
            return f"it has seq {entry.seq} where {seq + 1} of its run is due" if seq else _unexpected(entry)
        if entry.prev_hash != prev_hash:
            return "it does not follow from the event before it in its run"
        wrong = self._wrong_content(entry, run_id)
        if wrong:
            return wrong
        if entry.seq < entry.run_seq:
            self._open[run_id] = (entry.seq, entry.hash)
            self.runs += entry.seq == 1
            return None
        self._open.pop(run_id, None)
        self.runs += entry.seq == 1
        if entry.seq > entry.run_seq:
            return f"its run's row ends at event {entry.run_seq}"
        return None if entry.hash == entry.run_head else "its hash is not the one that its run's row names as the last"

    def unfinished(self) -> tuple[str, int] | None:
        """A run whose row tells of more events than there were, and the first of them."""
        for run_id, (seq, _hash) in self._open.items():
            return run_id, seq + 1
        return None

    def follows(self, entry: LogEntry) -> tuple[str, int] | None:
        """For an event after a gap: the run and seq of an event that is missing before it, as its run tells."""
        if entry.run_id is None:
            return None
        seq = self._open.get(entry.run_id, (0, b""))[0] + 1
        self._open[entry.run_id] = (entry.seq, entry.hash)
        if entry.run_seq is not None and entry.seq >= entry.run_seq:
            del self._open[entry.run_id]
        return (entry.run_id, seq) if entry.seq > seq else None

    def _wrong_content(self, entry: LogEntry, run_id: str) -> str | None:
        if self._graves.contradicts(run_id, entry.seq, entry.hash):
            return "its hash is not the one that the tombstone of its run names"
        payload = entry.payload
        if payload is None:
            if not self._graves.covers(run_id, entry.seq):
                return "its content is gone, and no valid tombstone covers it"
            self.dropped += 1
            return None
        if sha256(entry.prev_hash + payload).digest() != entry.hash:
            return "its content is not what its hash says"
        try:
            said = _decode(payload)
        except msgspec.MsgspecError as error:
            return f"its content is no event ({error})"
        if said.run_id != run_id or said.seq != entry.seq:
            return f"its content says that it is event {said.seq} of {said.run_id}"
        if said.event_type != entry.event_type or (said.timestamp - _EPOCH) // _MILLISECOND != entry.at_ms:
            return "its row names another type or time than its content"
        if said.event_type == "run_created":
            wrong = self._wrong_reference("procedure", said.details.procedure_digest)
            started_by = said.details.event_digest
            return wrong or (self._wrong_reference("event", started_by) if started_by else None)
        if said.event_type == "approval_requested":
            return self._wrong_reference("envelope", said.details.digest)
        return None

    def _wrong_reference(self, what: str, digest: str) -> str | None:
        if digest in self._sound:
            return None
        data = self._content(digest)
        if data is None:
            return f"the {what} that it names is missing"
        if sha256(data).hexdigest() != digest:
            return f"the {what} that it names was changed"
        if len(self._sound) >= _REMEMBERED_CONTENTS:
            self._sound.clear()
        self._sound.add(digest)
        return None


def _unexpected(entry: LogEntry) -> str:
    if entry.seq == 1:
        return "its run has begun before"
    return f"it has seq {entry.seq}, and its run has no event before it, or ended there"
