"""Tokens and the server's own log in the SQLite file. What they mean is the engine's business (`engine/tokens.py`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from sopwith.ports import AccessEntry, TokenRow
from sopwith.stores.database import Database
from sopwith.stores.rows import Row, instant, milliseconds

RESTORED = "a restored backup"
"""Revokes what was valid in it."""
_NO_HASH = bytes(32)
_LAST = 2**62
_PATTERNS = msgspec.json.Decoder(tuple[str, ...])


class SqliteTokens:
    """TokenStore on an open database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def token(self, token_id: str) -> TokenRow | None:
        row = self._db.row("token_by_id", id=token_id)
        return None if row is None else _token(row)

    def tokens(self) -> tuple[TokenRow, ...]:
        return tuple(map(_token, self._db.rows("all_tokens")))

    def add(self, token: TokenRow, entry: Callable[[bytes], AccessEntry]) -> None:
        with self._db.writing():
            values = msgspec.structs.asdict(token)
            for unset in ("revoked_at", "revoked_by", "last_used_at"):
                del values[unset]
            values |= {
                "procedures": msgspec.json.encode(token.procedures).decode(),
                "created_at": milliseconds(token.created_at),
                "expires_at": _stored(token.expires_at),
            }
            self._db.run("insert_token", **values)
            self._append(entry)

    def revoke(self, token_id: str, by: str, now: datetime, entry: Callable[[bytes], AccessEntry]) -> bool:
        with self._db.writing():
            row = self._db.row("token_by_id", id=token_id)
            if row is None or _token(row).revoked_at is not None:
                return False
            self._db.run("revoke_token", id=token_id, at=milliseconds(now), by=by)
            self._append(entry)
        return True

    def used(self, token_id: str, now: datetime, entry: Callable[[bytes], AccessEntry]) -> None:
        with self._db.writing():
            self._db.run("note_token_use", id=token_id, at=milliseconds(now))
            self._append(entry)

    def tell(self, entry: Callable[[bytes], AccessEntry]) -> None:
        with self._db.writing():
            self._append(entry)

    def prune(self, last: AccessEntry, entry: Callable[[bytes], AccessEntry]) -> bool:
        with self._db.writing():
            if self._db.value("access_hash", position=last.position) != last.hash:
                return False
            self._append(entry)  # first: it follows the newest, which may be among those that go
            self._db.run("prune_access", position=last.position)
        return True

    def entries(self, *, limit: int, before: int | None = None) -> tuple[AccessEntry, ...]:
        rows = self._db.rows("access_before", before=_LAST if before is None else before, limit=limit)
        return tuple(map(_entry, rows))

    def entries_after(self, position: int, limit: int) -> tuple[AccessEntry, ...]:
        return tuple(map(_entry, self._db.rows("access_after", after=position, limit=limit)))

    def newest_of(self, event_type: str) -> AccessEntry | None:
        row = self._db.row("newest_access_of", event_type=event_type)
        return None if row is None else _entry(row)

    def high_water(self) -> int:
        return self._db.value("access_high_water") or 0

    def _append(self, make: Callable[[bytes], AccessEntry]) -> None:
        entry = make(self._db.value("newest_access") or _NO_HASH)
        self._db.run(
            "insert_access",
            event_type=entry.event_type,
            at=milliseconds(entry.at),
            prev_hash=entry.prev_hash,
            hash=entry.hash,
            payload=entry.payload,
        )


def _stored(at: datetime | None) -> int | None:
    return None if at is None else milliseconds(at)


def _instant(stored: Any) -> datetime | None:
    return None if stored is None else instant(stored)


def _token(row: Row) -> TokenRow:
    token_id, digest, name, kind, role, procedures, created_at, created_by, *times = row
    expires_at, revoked_at, revoked_by, last_used_at = times
    return TokenRow(
        id=token_id,
        hash=digest,
        name=name,
        kind=kind,
        role=role,
        procedures=_PATTERNS.decode(procedures),
        created_at=instant(created_at),
        created_by=created_by,
        expires_at=_instant(expires_at),
        revoked_at=_instant(revoked_at),
        revoked_by=revoked_by,
        last_used_at=_instant(last_used_at),
    )


def _entry(row: Row) -> AccessEntry:
    position, event_type, at, prev_hash, digest, payload = row
    return AccessEntry(position, event_type, instant(at), prev_hash, digest, payload)
