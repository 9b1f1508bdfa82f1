"""Who may call over the network, and the server's own log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept. `hash` is its SHA-256; `procedures` are patterns of names, none: all."""

    id: str
    hash: bytes
    name: str
    kind: str
    role: str
    procedures: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None


class AccessEntry(msgspec.Struct, frozen=True):
    """One entry of the server's own log; `hash` covers `prev_hash` and `payload`."""

    position: int
    event_type: str
    at: datetime
    prev_hash: bytes
    hash: bytes
    payload: bytes


class TokenStore(Protocol):
    """Keeps who may call over the network, and the server's own log. Each write is one durable transaction."""

    def token(self, token_id: str) -> TokenRow | None:
        """The token of this id, whether or not it still holds."""
        ...

    def tokens(self) -> tuple[TokenRow, ...]:
        """All of them, the oldest first."""
        ...

    def add(self, token: TokenRow, entry: Callable[[bytes], AccessEntry]) -> None:
        """Keeps a new token together with the entry that tells of it, which is made from the hash of the last one."""
        ...

    def revoke(self, token_id: str, by: str, now: datetime, entry: Callable[[bytes], AccessEntry]) -> bool:
        """Ends a token, with the entry that tells of it; False, changing nothing, for one that was revoked before."""
        ...

    def used(self, token_id: str, now: datetime, entry: Callable[[bytes], AccessEntry]) -> None:
        """Notes a sign-in."""
        ...

    def tell(self, entry: Callable[[bytes], AccessEntry]) -> None:
        """Adds an entry to the log."""
        ...

    def prune(self, last: AccessEntry, entry: Callable[[bytes], AccessEntry]) -> bool:
        """Drops the entries up to this one, and adds the one that tells of it; False where this one is gone already."""
        ...

    def entries(self, *, limit: int, before: int | None = None) -> tuple[AccessEntry, ...]:
        """Entries of the log below a position, the newest first."""
        ...

    def entries_after(self, position: int, limit: int) -> tuple[AccessEntry, ...]:
        """Entries of the log beyond a position, in order."""
        ...

    def newest_of(self, event_type: str) -> AccessEntry | None:
        """The newest entry of this type, or None."""
        ...

    def high_water(self) -> int:
        """The greatest position that an entry ever had."""
        ...
