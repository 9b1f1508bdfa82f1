"""The server's own log: who signed in, what was refused, which tokens were made and revoked.

Each entry's hash covers the one before. Refusals of one source are gathered into one entry a minute, and of all sources
into a bounded number, so that a flood of them cannot fill the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from sopwith.core.instant import iso
from sopwith.engine.documents import Document
from sopwith.ports import AccessEntry, TokenStore

SIGN_IN, REFUSED = "sign_in", "refused"
TOKEN_CREATED, TOKEN_REVOKED = "token_created", "token_revoked"
PRUNED = "pruned"
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
MOST_SOURCES = 50
"""So many sources have entries of their own within a minute; the rest share one."""
MOST_GUESTS = 2_000
"""So many that signed in are remembered."""
OTHERS = "others"
_PAGE = 1_000
_NO_HASH = bytes(32)


def entry_maker(event_type: str, at: datetime, details: Mapping[str, Any]) -> Callable[[bytes], AccessEntry]:
    """Makes the entry when the hash of the one before is known."""
    payload = msgspec.json.encode({"timestamp": iso(at), "type": event_type, "details": dict(details)})

    def make(prev_hash: bytes) -> AccessEntry:
        return AccessEntry(0, event_type, at, prev_hash, hashlib.sha256(prev_hash + payload).digest(), payload)

    return make


def access_document(entry: AccessEntry) -> Document:
    """`{seq, timestamp, type, details, prevHash, hash}`."""
    document: Document = msgspec.json.decode(entry.payload)
    return {"seq": entry.position, **document, "prevHash": entry.prev_hash.hex(), "hash": entry.hash.hex()}


Stated = Callable[[Mapping[str, Any]], tuple[int, bytes]]
"""What an entry states about those that were dropped: the last of them, and its hash. Raises ValueError."""


def _unsigned(_details: Mapping[str, Any]) -> tuple[int, bytes]:
    raise ValueError("nobody can tell who signed it")


def examine_access(store: TokenStore, stated: Stated = _unsigned) -> Iterator[tuple[str, str]]:
    """What is wrong with the log: a sentence and a hint. It begins where the newest statement says that it does."""
    hint = "the server's own log was changed: keep a copy of runs.db, and find out who could write to it"
    last, before = 0, _NO_HASH
    newest = store.newest_of(PRUNED)
    if newest is not None:
        try:
            last, before = stated(msgspec.json.decode(newest.payload, type=_Told).details)
        except (ValueError, msgspec.MsgspecError) as error:
            yield f"entry {newest.position} of the server's own log, on what was dropped, is not valid: {error}", hint
            return
        if (first := store.entries_after(0, 1)) and first[0].position <= last:
            yield f"entry {first[0].position} of the server's own log was dropped, and is there again", hint
            return
    while page := store.entries_after(last, _PAGE):
        for entry in page:
            told = hashlib.sha256(entry.prev_hash + entry.payload).digest()
            if entry.position != last + 1 or entry.prev_hash != before or entry.hash != told or not _fits(entry):
                yield f"entry {last + 1} of the server's own log is not what it was", hint
                return
            last, before = entry.position, entry.hash
    if last != store.high_water():
        yield f"entries of the server's own log are gone, the first is {last + 1}", hint


class _Told(msgspec.Struct):
    details: dict[str, Any]


def _fits(entry: AccessEntry) -> bool:
    """Whether the columns say what the payload says."""
    try:
        told = msgspec.json.decode(entry.payload)
    except msgspec.DecodeError:
        return False
    return bool(told["type"] == entry.event_type and told["timestamp"] == iso(entry.at))


class _Source(msgspec.Struct):
    since_ms: int
    last: dict[str, Any]
    more: int = 0


class Refusals:
    """Gathers refusals. The first of a source is told at once, the others of its minute together when that is over."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def note(self, source: str, details: Mapping[str, Any], now_ms: int) -> list[dict[str, Any]]:
        """The entries that are to be written now."""
        told = self.over(now_ms)
        if source not in self._sources and len(self._sources) >= MOST_SOURCES:
            source = OTHERS
        known = self._sources.get(source)
        if known is None:
            self._sources[source] = _Source(now_ms, dict(details))
            return [*told, {**details, "source": source, "count": 1}]
        known.more += 1
        known.last = dict(details)
        return told

    def over(self, now_ms: int) -> list[dict[str, Any]]:
        """What was gathered in minutes that are over."""
        return [entry for name in self._older(now_ms - MINUTE_MS) for entry in self._ended(name)]

    def rest(self) -> list[dict[str, Any]]:
        """All that was gathered and not told yet."""
        return [entry for name in list(self._sources) for entry in self._ended(name)]

    def _older(self, than_ms: int) -> list[str]:
        return [name for name, source in self._sources.items() if source.since_ms <= than_ms]

    def _ended(self, name: str) -> Iterator[dict[str, Any]]:
        source = self._sources.pop(name)
        if source.more:
            yield {**source.last, "source": name, "count": source.more}


class Guests:
    """Who signed in from where within the last hour."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}

    def is_new(self, token_id: str, address: str, now_ms: int) -> bool:
        """Whether this is a sign-in: the first use of the token by this address in an hour."""
        key = (token_id, address)
        since = self._seen.get(key)
        if since is not None and now_ms - since < HOUR_MS:
            return False
        self._seen.pop(key, None)
        while len(self._seen) >= MOST_GUESTS:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = now_ms
        return True
