"""Reads the log on, makes notices of what is to be told, and says which of them nobody need be told any more.

The log is the outbox: an event is durable before anybody reads it here, and the cursor moves with the notices that were
made of it. What was read and came to nothing moves the stored cursor only now and then; reading it again is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sopwith.core.codec import decode_event
from sopwith.core.events import Event
from sopwith.core.messages import Message, compose, unreadable
from sopwith.core.notices import NOTABLE, asked_by, channels_for, moment_of, moment_of_type, why_stale
from sopwith.core.notifications import Notifications
from sopwith.core.procedure import Priority
from sopwith.core.run import Run
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Runs
from sopwith.engine.secrets import mask_of
from sopwith.errors import SopwithError
from sopwith.ports import Log, LogEntry, NewNotice, Notice, Notices

AT_ONCE = 200
"""So many events are read, and the notices of them kept, in one transaction."""
FAR = 1000
"""The stored cursor is moved at last when it is so far behind."""
MESSAGE = msgspec.json.Decoder(Message)


class Noticing:
    """The reading side. Blocks; one thread at a time."""

    def __init__(self, parts: Parts, log: Log, notices: Notices) -> None:
        self._parts = parts
        self._log = log
        self._notices = notices
        self._runs = Runs(parts)
        self._read_to: int | None = None
        self._kept_to: int | None = None
        self._passed_to: int | None = None
        """How far the log had come at the last look without any channel."""

    def read_on(self, notifications: Notifications) -> int | None:
        """Makes the notices of the next events; tells how many events were read, None where nothing is to be told.

        The first time it begins at the end of the log; after a time without any channel, with what has happened since
        the last look: a server that idles hears of a channel only when something happens, and that is to be told.
        """
        if self._read_to is None:
            self._read_to = self._kept_to = self._notices.cursor()
        if not notifications.channels:
            if self._kept_to is not None:
                self._notices.begin(None)
            self._read_to = self._kept_to = None
            self._passed_to = self._log.end().high_water
            return None
        end = self._log.end().high_water
        if self._read_to is None and self._passed_to is not None:
            self._move(self._passed_to)
        if self._read_to is None or self._read_to > end:
            self._move(end)
            return 0
        entries = self._log.entries(self._read_to, AT_ONCE)
        self._take(entries, notifications)
        return len(entries)

    def finish(self) -> None:
        """Keeps how far it came: the next server need not read it again."""
        if self._read_to is not None and self._read_to != self._kept_to:
            self._move(self._read_to)

    def why_stale(self, notice: Notice) -> str:
        """Why nobody need be told any more; empty where it is not known that it is so."""
        try:
            return why_stale(MESSAGE.decode(notice.message).document, self._runs.load(notice.run_id).run)
        except (SopwithError, msgspec.MsgspecError):
            return ""

    def _take(self, entries: Sequence[LogEntry], notifications: Notifications) -> None:
        loaded: dict[str, Run] = {}
        made = [
            notice
            for entry in entries
            if entry.event_type in NOTABLE and entry.payload is not None and entry.run_id is not None
            for notice in self._made(entry, entry.run_id, entry.payload, notifications, loaded)
        ]
        if not entries:
            return
        read_to = entries[-1].position
        if made:
            self._notices.add(made, read_to=read_to, now=self._parts.clock.now().at)
            self._read_to = self._kept_to = read_to
        else:
            self._read_to = read_to
            if read_to - (self._kept_to or 0) >= FAR:
                self._move(read_to)

    def _move(self, position: int) -> None:
        self._notices.begin(position)
        self._read_to = self._kept_to = position

    def _made(
        self, entry: LogEntry, run_id: str, payload: bytes, notifications: Notifications, loaded: dict[str, Run]
    ) -> list[NewNotice]:
        try:
            run = loaded[run_id] = loaded.get(run_id) or self._runs.load(run_id).run
            return self._told_of(entry, decode_event(payload), run, notifications)
        except Exception:
            # whatever it is: it must not keep what comes after it, nor this, from everybody
            return self._of_unreadable(entry, run_id, notifications)

    def _told_of(self, entry: LogEntry, event: Event, run: Run, notifications: Notifications) -> list[NewNotice]:
        moment = moment_of(event.body, run, notifications)
        if moment is None:
            return []
        channels = channels_for(
            moment,
            notifications,
            procedure=run.name,
            priority=run.procedure.priority,
            asked=asked_by(event.body, run),
        )
        if not channels:
            return []
        mask = mask_of(self._parts, run)
        message = compose(
            event,
            run,
            moment,
            message_id=_message_id(entry),
            public_url=notifications.public_url,
            mask=str if mask is None else mask.text,
        )
        return [_notice(entry, run.run_id, channel, message) for channel in channels]

    def _of_unreadable(self, entry: LogEntry, run_id: str, notifications: Notifications) -> list[NewNotice]:
        """Somebody may be waited for: that the record cannot be read must not keep that from everybody."""
        moment = moment_of_type(entry.event_type)
        summary = self._parts.store.summary(run_id)
        if moment not in notifications.moments or summary is None:
            return []
        channels = channels_for(
            moment, notifications, procedure=summary.name, priority=Priority(summary.priority), asked=()
        )
        message = unreadable(run_id, summary.name, moment, message_id=_message_id(entry))
        return [_notice(entry, run_id, channel, message) for channel in channels]


def _message_id(entry: LogEntry) -> str:
    """Of the event, so that whoever gets a message twice can tell."""
    return f"notice_{entry.hash.hex()[:24]}"


def _notice(entry: LogEntry, run_id: str, channel: str, message: Message) -> NewNotice:
    return NewNotice(
        position=entry.position,
        channel=channel,
        moment=str(message.document["moment"]),
        run_id=run_id,
        message=msgspec.json.encode(message),
    )
