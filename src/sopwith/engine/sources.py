"""Where events come from without anybody calling: schedules, folders, and the ends of other runs.

Each source tells what has happened since its cursor, and where that is now; both are kept in one transaction. Whatever
dies in between, or however many look at once: a happening has one id, and is taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from sopwith.core.instant import Instant, iso
from sopwith.core.procedure import Change, ParameterType, TriggerType
from sopwith.core.run import Run
from sopwith.core.schedule import fire, times_after
from sopwith.core.trigger_events import new_event
from sopwith.core.triggers import CHANGES, ENDS, MAX_DEPTH, SETTLE_SECS, misfire_of, said
from sopwith.engine.armed import Armed
from sopwith.engine.engine import Engine
from sopwith.errors import SopwithError
from sopwith.ports import Deliveries, FileStamp, Folder, Log, LogEntry, Move

_AHEAD = timedelta(days=1)
"""A cursor that is further in the future than this was written by a clock that was wrong."""


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that one trigger is to be told of. `refusal`: why nothing may come of it."""

    armed: Armed
    delivery: str
    event: Mapping[str, Any]
    refusal: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What has happened, and how far the sources have come."""

    happenings: tuple[Happening, ...] = ()
    moves: tuple[Move, ...] = ()


class Schedules:
    """Cron. The id of a happening is its time in UTC, so that several schedulers, or a clock set back, repeat none."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._next: dict[str, tuple[datetime, datetime]] = {}
        """By cursor: from when to when nothing comes."""

    def forget(self) -> None:
        """What was told could not be kept: it is told again."""
        self._next.clear()

    def look(self, armed: Armed, now: Instant) -> Seen:
        """What has come of one schedule."""
        quiet = self._next.get(armed.cursor)
        if quiet is not None and quiet[0] <= now.at < quiet[1]:
            return Seen()
        expression, timezone = said(armed.trigger.expression, ""), said(armed.trigger.timezone, "UTC")
        kept = self._deliveries.cursor(armed.cursor)
        cursor = now.at if kept is None else datetime.fromisoformat(kept)
        if cursor > now.at + _AHEAD:
            cursor = now.at
        fired = fire(expression, timezone, misfire_of(armed.trigger), cursor=cursor, now=now.at)
        upcoming = next(times_after(expression, timezone, max(now.at, cursor)), None)
        self._next[armed.cursor] = (now.at, upcoming or datetime.max.replace(tzinfo=UTC))
        happenings = tuple(
            Happening(
                armed=armed,
                delivery=iso(firing.at),
                event=new_event(
                    TriggerType.CRON,
                    iso(firing.at),
                    now.at,
                    scheduledAt=iso(firing.at),
                    expression=expression,
                    timezone=timezone,
                    missed=firing.missed,
                ),
            )
            for firing in fired.firings
        )
        return Seen(happenings, (Move(name=armed.cursor, value=fired.cursor.isoformat()),))


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a file; `sha256` empty: it was there before the trigger was."""

    size: int
    changed_ns: int
    inode: int
    sha256: str = ""

    def is_as(self, stamp: FileStamp) -> bool:
        return (self.size, self.changed_ns, self.inode) == (stamp.size, stamp.changed_ns, stamp.inode)


_KNOWN = msgspec.json.Decoder(Known)
_MOST_READ = 2000
"""So many files are read in one look; the others in the next."""


class Folders:
    """Files that were made, changed or taken away, once they stayed as they are for `settleSecs`."""

    def __init__(self, deliveries: Deliveries, folder: Folder) -> None:
        self._deliveries = deliveries
        self._folder = folder
        self._known: dict[str, dict[str, Known]] = {}
        self._restless: dict[str, dict[str, tuple[FileStamp | None, int]]] = {}
        """By cursor and path: what a file was like when it was seen so first, and when that was, by the boot clock."""

    def is_restless(self, armed: Armed) -> bool:
        """Whether something is to be looked at again soon."""
        return bool(self._restless.get(armed.cursor))

    def forget(self, armed: Armed) -> None:
        """What was told could not be kept: the next look begins with what is in the store."""
        self._known.pop(armed.cursor, None)

    def look(self, armed: Armed, now: Instant) -> Seen:
        """What has happened to the files of one trigger. Raises WorkspaceError."""
        found = self._folder.scan(armed.trigger.path or "")
        if self._deliveries.cursor(armed.cursor) is None:
            return self._begin(armed, found)
        known = self._known.get(armed.cursor)
        if known is None:
            kept = self._deliveries.files(armed.cursor)
            known = self._known[armed.cursor] = {path: _KNOWN.decode(value) for path, value in kept.items()}
        settled = self._settled(armed, found, known, now)
        told = [self._told(armed, path, stamp, known, now) for path, stamp in settled]
        happenings = tuple(happening for happening, _ in told if happening is not None)
        return Seen(happenings, tuple(move for _, move in told if move is not None))

    def _begin(self, armed: Armed, found: Mapping[str, FileStamp]) -> Seen:
        """Files that were there before the trigger start nothing."""
        known = {path: _as_known(stamp) for path, stamp in found.items()}
        self._known[armed.cursor] = known
        files = (Move(name=armed.cursor, path=path, value=_encoded(each)) for path, each in known.items())
        return Seen((), (Move(name=armed.cursor, value="begun"), *files))

    def _settled(
        self, armed: Armed, found: Mapping[str, FileStamp], known: Mapping[str, Known], now: Instant
    ) -> list[tuple[str, FileStamp | None]]:
        before = self._restless.get(armed.cursor, {})
        restless: dict[str, tuple[FileStamp | None, int]] = {}
        settled: list[tuple[str, FileStamp | None]] = []
        settle_ms = said(armed.trigger.settle_secs, SETTLE_SECS) * 1000
        for path, stamp in _different(found, known):
            seen, since_ms = before.get(path, (None, -1))
            if since_ms < 0 or seen != stamp or since_ms > now.boot_ms:
                restless[path] = (stamp, now.boot_ms)
            elif now.boot_ms - since_ms < settle_ms or len(settled) >= _MOST_READ:
                restless[path] = (stamp, since_ms)
            else:
                settled.append((path, stamp))
        self._restless[armed.cursor] = restless
        return settled

    def _told(
        self, armed: Armed, path: str, stamp: FileStamp | None, known: dict[str, Known], now: Instant
    ) -> tuple[Happening | None, Move | None]:
        before = known.get(path)
        if stamp is None:
            assert before is not None
            del known[path]
            gone = self._happening(armed, path, Change.DELETED, before, now)
            return gone, Move(name=armed.cursor, path=path, value=None)
        digest = self._folder.digest(path, stamp)
        if digest is None:
            # it changed again, or went: it has to settle anew
            self._restless[armed.cursor][path] = (stamp, now.boot_ms)
            return None, None
        after = known[path] = _as_known(stamp, digest)
        move = Move(name=armed.cursor, path=path, value=_encoded(after))
        if before is not None and before.sha256 == digest:
            return None, move
        return self._happening(armed, path, Change.CREATED if before is None else Change.MODIFIED, after, now), move

    def _happening(self, armed: Armed, path: str, change: Change, file: Known, now: Instant) -> Happening | None:
        if change not in said(armed.trigger.events, CHANGES):
            return None
        delivery = f"{path}:{change}:{file.sha256}:{file.changed_ns}"
        event = new_event(
            TriggerType.FILESYSTEM,
            delivery,
            now.at,
            path=path,
            name=path.rpartition("/")[2],
            change=change.value,
            sha256=file.sha256,
            size=file.size,
        )
        return Happening(armed=armed, delivery=delivery, event=event)


def _different(found: Mapping[str, FileStamp], known: Mapping[str, Known]) -> Iterable[tuple[str, FileStamp | None]]:
    for path, stamp in found.items():
        if path not in known or not known[path].is_as(stamp):
            yield path, stamp
    yield from ((path, None) for path in known if path not in found)


def _as_known(stamp: FileStamp, digest: str = "") -> Known:
    return Known(stamp.size, stamp.changed_ns, stamp.inode, digest)


def _encoded(known: Known) -> str:
    return msgspec.json.encode(known).decode()


_ENDS = {"run_completed": "completed", "run_failed": "failed", "run_cancelled": "cancelled"}
_PAGE = 500
_BEHIND = 2000
"""A cursor that only passed over what it does not look for is written when it is so far behind."""


class Ends:
    """Runs that ended, read from the log."""

    def __init__(self, engine: Engine, deliveries: Deliveries, log: Log) -> None:
        self._engine = engine
        self._deliveries = deliveries
        self._log = log
        self._positions: dict[str, int] = {}
        self._written: dict[str, int] = {}

    def look(self, triggers: tuple[Armed, ...], now: Instant) -> Seen:
        """What has ended since the cursors of these triggers; a page of the log at most. Raises StoreError."""
        moves = [move for armed in triggers if (move := self._begun(armed)) is not None]
        if not triggers:
            return Seen()
        start = min(self._positions[armed.cursor] for armed in triggers)
        entries = self._log.entries(start, _PAGE)
        if not entries:
            return Seen((), tuple(moves))
        happenings = [
            happening
            for entry in entries
            if entry.event_type in _ENDS
            for happening in self._ended(entry, triggers, now)
        ]
        reached = entries[-1].position
        for armed in triggers:
            self._positions[armed.cursor] = max(self._positions[armed.cursor], reached)
            is_due = happenings or self._positions[armed.cursor] - self._written[armed.cursor] >= _BEHIND
            if is_due:
                self._written[armed.cursor] = self._positions[armed.cursor]
                moves.append(Move(name=armed.cursor, value=str(self._positions[armed.cursor])))
        return Seen(tuple(happenings), tuple(moves))

    def forget(self) -> None:
        """What was told could not be kept: the next look begins at what is in the store."""
        self._positions.clear()

    def _begun(self, armed: Armed) -> Move | None:
        """A new trigger begins at the end of the log: what ended before it starts nothing."""
        if armed.cursor in self._positions:
            return None
        kept = self._deliveries.cursor(armed.cursor)
        position = self._log.end().high_water if kept is None else int(kept)
        self._positions[armed.cursor] = self._written[armed.cursor] = position
        return Move(name=armed.cursor, value=str(position)) if kept is None else None

    def _ended(self, entry: LogEntry, triggers: tuple[Armed, ...], now: Instant) -> Iterable[Happening]:
        status = _ENDS[entry.event_type]
        asking = [
            armed
            for armed in triggers
            if self._positions[armed.cursor] < entry.position and status in said(armed.trigger.status, ENDS)
        ]
        summary = self._engine.parts.store.summary(entry.run_id) if asking and entry.run_id else None
        asking = [armed for armed in asking if summary is not None and armed.trigger.procedure == summary.name]
        if not asking or summary is None:
            return
        try:
            run = self._engine.runs.load(summary.run_id).run
            depth = 1 + depth_of(run, self._load)
        except SopwithError:
            return  # its record was dropped, or cannot be read: sop doctor tells of that
        delivery = f"{run.run_id}:{entry.seq}"
        hidden = {each.name for each in run.procedure.parameters if each.type is ParameterType.SECRET}
        event = new_event(
            TriggerType.PROCEDURE,
            delivery,
            now.at,
            procedure=run.name,
            runId=run.run_id,
            status=status,
            params={name: value for name, value in run.params.items() if name not in hidden},
            depth=depth,
        )
        refusal = ""
        if depth > MAX_DEPTH:
            refusal = f"{MAX_DEPTH} runs have started one another by their ends, and a chain may be no longer"
        for armed in asking:
            yield Happening(armed=armed, delivery=delivery, event=event, refusal=refusal)

    def _load(self, run_id: str) -> Run:
        return self._engine.runs.load(run_id).run


def depth_of(run: Run, load: Callable[[str], Run]) -> int:
    """How many runs before this one started one another by their ends; what runs within another counts as that does."""
    seen: set[str] = set()
    while run.parent is not None and run.parent.run_id not in seen:
        seen.add(run.parent.run_id)
        run = load(run.parent.run_id)
    depth = run.event.get("depth", 0) if run.event is not None else 0
    return depth if isinstance(depth, int) else 0
