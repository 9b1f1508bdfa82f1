"""accessLogRetentionDays: the oldest entries of the server's own log go, and a signed statement in that log says so.

The statement is an entry as any other, chained to those before it; whoever examines the log begins where the newest
one says that it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from sopwith.audit.statements import AccessPruned, BadStatement, Signer, read, signed
from sopwith.core.instant import iso
from sopwith.core.procedure import canonical
from sopwith.errors import Refused, StoreError
from sopwith.ports import AccessEntry, TokenStore

PRUNED = "pruned"
_PAGE = 1000
_TOLERANCE = timedelta(hours=1)

Entry = Callable[[bytes], AccessEntry]
"""Makes an entry when the hash of the one before is known."""


class DroppedEntries(msgspec.Struct, frozen=True):
    """How many entries went, or would go, after so many days; None: every entry is kept."""

    days: int | None = None
    count: int = 0

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {"accessLogRetentionDays": self.days, "accessEntries": self.count}


class AccessRetention:
    """Drops what is too old. `tell` makes the entry of a type with these details, at this time.

    `troubles`: what is wrong with the log, a sentence and a hint each. `check_clock` raises Refused where the record of
    runs says that the clock is wrong.
    """

    def __init__(
        self,
        tokens: TokenStore,
        signer: Signer,
        tell: Callable[[str, datetime, Mapping[str, Any]], Entry],
        *,
        troubles: Callable[[], Iterable[tuple[str, str]]],
        check_clock: Callable[[datetime], None],
    ) -> None:
        self._tokens = tokens
        self._signer = signer
        self._tell = tell
        self._troubles = troubles
        self._check_clock_of_runs = check_clock

    def too_old(self, days: int, now: datetime) -> Sequence[AccessEntry]:
        """The entries at the beginning that are older, and may go.

        Raises StoreError where the log is not what it was, and Refused where the clock is wrong.
        """
        old = self._too_old(now - timedelta(days=days))
        if all(entry.event_type == PRUNED for entry in old):
            return ()  # a statement does not go for another one alone
        # what was changed is evidence, and is not signed away
        for sentence, hint in self._troubles():
            raise StoreError(f"no entry of the server's own log is dropped: {sentence}", hint=hint)
        self._check_clock_of_runs(now)
        self._check_clock(now)
        return old

    def drop(self, old: Sequence[AccessEntry], days: int, now: datetime, *, by: str) -> DroppedEntries:
        """Drops what `too_old` found, unless somebody else has."""
        if not old:
            return DroppedEntries(days)
        last = old[-1]
        statement = signed(
            AccessPruned,
            self._signer,
            timestamp=iso(now),
            days=days,
            by=by,
            up_to=last.position,
            head=last.hash.hex(),
        )
        entry = self._tell(PRUNED, now, msgspec.to_builtins(statement))
        return DroppedEntries(days, len(old) if self._tokens.prune(last, entry) else 0)

    def _too_old(self, before: datetime) -> list[AccessEntry]:
        """Those at the beginning; what is younger keeps all after it."""
        found: list[AccessEntry] = []
        for entry in self._entries():
            if entry.at >= before:
                break
            found.append(entry)
        return found

    def _entries(self) -> Iterator[AccessEntry]:
        last = 0
        while page := self._tokens.entries_after(last, _PAGE):
            yield from page
            last = page[-1].position

    def _check_clock(self, now: datetime) -> None:
        newest = self._tokens.entries(limit=1)
        if newest and newest[0].at > now + _TOLERANCE:
            raise Refused(
                f"no entry is dropped: the clock is wrong, or was: it says {iso(now)}, and {iso(newest[0].at)} was "
                "recorded",
                hint="set the clock right; then prune again",
            )


def stated(details: Mapping[str, Any], keys: frozenset[str]) -> tuple[int, bytes]:
    """Up to which entry all are gone, as a `pruned` entry says, and the hash of that one. Raises ValueError."""
    try:
        statement = read(AccessPruned, canonical(dict(details)))
    except BadStatement as error:
        raise ValueError(str(error)) from error
    if statement.public_key not in keys:
        raise ValueError(f"it is signed by {statement.origin}, which is no key of this workspace")
    return statement.up_to, bytes.fromhex(statement.head)
