"""Takes checkpoints: signs what the log is by now, keeps it in the store and copies it to other places.

Each one grows from the one before, whose frontier was signed with it, so it costs only the events since, and what
somebody changed behind it stays visible. A log that is shorter than what was signed before is never signed again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from sopwith.audit.merkle import Frontier
from sopwith.audit.places import append_line, holds, last_line
from sopwith.audit.statements import BadStatement, Checkpoint, Signer, line_of, read, signed
from sopwith.core.instant import iso
from sopwith.errors import StoreError
from sopwith.ports import KeptCheckpoint, Log, Seals
from sopwith.turns import Patience

PAGE = 2000
_PREFIX = b'{"format":"sopwith/checkpoint/1",'
_SETTLED_AFTER = timedelta(minutes=1)


class Checkpointer:
    """`places` are files that every checkpoint is appended to, `<runs>/checkpoints.jsonl` first."""

    def __init__(self, log: Log, seals: Seals, signer: Signer, places: tuple[Path, ...]) -> None:
        self._log = log
        self._seals = seals
        self._signer = signer
        self._places = places
        self._usable = places
        self._read: dict[bytes, Checkpoint] = {}
        """What was found to be well signed while the most recent checkpoint was taken: the store and each place mostly
        hold the same line."""
        self.failures: tuple[str, ...] = ()
        """What is wrong with the places of the most recent checkpoint, a sentence each."""

    def take(self, now: datetime) -> Checkpoint | None:
        """A checkpoint over all events, or None if the newest one covers them.

        Raises StoreError, signing nothing, if the log is not what was signed before.
        """
        self.failures = ()
        self._read.clear()
        known = self._is_settled(self._seals.newest_checkpoint(), now)
        ahead = self._furthest(known=known)  # before the log is read: what is signed meanwhile is no sign of trouble
        newest = self._seals.newest_checkpoint()
        frontier = self._frontier_of(newest)
        self._grow(frontier, ahead)
        if ahead is not None and ahead.size > frontier.size:
            raise _shorter(f"a copy of a checkpoint covers {ahead.size}", frontier.size)
        if newest is not None and frontier.size == newest.size:
            self._must_reach(newest)
            return None
        return self._keep(frontier, now) if frontier.size else None

    def _furthest(self, *, known: bool) -> Checkpoint | None:
        """The greatest among the last lines of the places. `known`: there are some for a while."""
        found = []
        self._usable = ()
        for place in self._places:
            try:
                is_ours = holds(place, _PREFIX)
                if is_ours is False:
                    self.failures += (f"{place} holds something else: no checkpoint is written to it",)
                    continue
                self._usable += (place,)
                line = last_line(place)
                found += [] if line is None else [self._checked(line)]
                if line is None and known and place.parent.is_dir():
                    self.failures += (f"{place} had no checkpoint, though there were some before: it begins now",)
            except (OSError, BadStatement) as error:
                self.failures += (f"cannot read the checkpoints in {place}: {_words(error)}",)
        return max(found, key=lambda checkpoint: checkpoint.size, default=None)

    def _checked(self, line: bytes) -> Checkpoint:
        """The checkpoint in this line, its signature checked. Raises BadStatement."""
        if line not in self._read:
            self._read[line] = read(Checkpoint, line)
        return self._read[line]

    def _is_settled(self, newest: KeptCheckpoint | None, now: datetime) -> bool:
        """Whether there are checkpoints for so long that whoever took them has written them to every place."""
        if newest is None:
            return False
        try:
            return datetime.fromisoformat(self._checked(newest.line).timestamp) < now - _SETTLED_AFTER
        except (BadStatement, ValueError):
            return True

    def _frontier_of(self, newest: KeptCheckpoint | None) -> Frontier:
        if newest is None:
            return Frontier()
        try:
            checkpoint = self._checked(newest.line)
            frontier = Frontier.restore(newest.size, newest.frontier)
            if (checkpoint.size, checkpoint.root) != (frontier.size, frontier.root().hex()):
                raise BadStatement("it does not fit its frontier")
        except (BadStatement, ValueError) as error:
            raise StoreError(
                f"cannot sign the log: the checkpoint over {newest.size} events was changed: {error}",
                hint="see: sop audit --verify-all",
            ) from error
        return frontier

    def _grow(self, frontier: Frontier, ahead: Checkpoint | None) -> None:
        known_size = 0 if ahead is None else ahead.size
        page = None
        while page is None or len(page) == PAGE:  # a shorter one was the last
            page = self._log.leaves(frontier.size, PAGE)
            for position, digest in page:
                if position != frontier.size + 1:
                    raise StoreError(
                        f"cannot sign the log: event {frontier.size + 1} is missing", hint="see: sop audit --verify-all"
                    )
                frontier.append(digest)
                if position == known_size and ahead is not None and frontier.root().hex() != ahead.root:
                    raise StoreError(
                        f"cannot sign the log: its first {position} events are not those that were signed before",
                        hint="see: sop audit --verify-all",
                    )

    def _must_reach(self, newest: KeptCheckpoint) -> None:
        if not self._log.leaves(newest.size - 1, 1):
            raise _shorter(f"its own checkpoint covers {newest.size}", self._log.end().high_water)

    def _keep(self, frontier: Frontier, now: datetime) -> Checkpoint | None:
        checkpoint = signed(
            Checkpoint, self._signer, size=frontier.size, root=frontier.root().hex(), timestamp=iso(now)
        )
        line = line_of(checkpoint)
        if not self._seals.keep_checkpoint(KeptCheckpoint(frontier.size, line, frontier.dump())):
            return None
        self.failures += tuple(copy(self._usable, line))
        return checkpoint


def copy(places: tuple[Path, ...], line: bytes, patience: Patience | None = None) -> list[str]:
    """Appends the line to each place; tells which could not be written, and why. `patience` is for all together."""
    failures = []
    patience = patience or Patience()
    for place in places:
        try:
            append_line(place, line, patience)
        except OSError as error:
            failures.append(f"cannot write to {place}: {_words(error)}")
    return failures


def _words(error: OSError | BadStatement) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _shorter(signed_before: str, size: int) -> StoreError:
    return StoreError(
        f"cannot sign the log: it has {size} events, and {signed_before}: it was cut short or restored",
        hint="see: sop audit --verify-all; after a restore on purpose, move the newer checkpoints away and keep them",
    )
