"""Sends what is to be told, in `sop serve`: each channel by itself, at least once, and never in the way of a run.

What was not taken is tried again less and less often, and given up after a day. What nobody need be told any more is
dropped. Very many at once are gathered. A crash between sending and recording repeats a message, and loses none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from sopwith.core.config import Config
from sopwith.core.messages import Message, gathered
from sopwith.core.notifications import ChannelConfig
from sopwith.engine.aside import in_thread
from sopwith.engine.noticing import AT_ONCE, MESSAGE, Noticing
from sopwith.engine.parts import Parts
from sopwith.errors import NotSent
from sopwith.ports import Log, Messenger, Notice, NoticeEnd, Notices

DELAYS_SECS = (10, 60, 300, 1800, *(3600,) * 24)
"""After a first try, a second one …; after the last one it is given up."""
TRY_SECS = 25.0
"""A try that a channel does not end by itself, as it should after 20 seconds, is waited for no longer."""
PATIENCE = 3
"""After so many failures in a row the rest of what is due over a channel is put off with them."""
BURST = 20
"""More than so many within a minute are gathered into one."""
WINDOW_MS = 60_000
MOST_GATHERED = 500
POLL_SECS = 60.0
"""How often it looks where nobody says that something happened."""
QUIET_SECS = 0.2
"""So long after a look, what happens meanwhile is gathered for the next one."""
KEPT = timedelta(days=90)
"""What has ended is kept so long, or as long as records are, where that is less."""
_HOUR_MS = 3_600_000
_FAR = timedelta(hours=2)


class PostWitness(Protocol):
    """Is told how it goes. Must return quickly, and raise nothing."""

    def on_channel_failing(self, channel: str, reason: str) -> None:
        """It took a message not, after it had taken others or none were sent; told once until it is well again."""
        ...

    def on_channel_well(self, channel: str) -> None:
        """It failed and takes messages again."""
        ...

    def on_given_up(self, channel: str, count: int, reason: str) -> None:
        """So many messages are tried no more."""
        ...

    def on_post_trouble(self, error: BaseException) -> None:
        """Notices cannot be made or recorded now; it is tried again."""
        ...


class _Line:
    """One channel, as it went since the start."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.hanging: asyncio.Future[str] | None = None
        self.failing = False
        self.sent_ms: list[int] = []
        self.gathered_ms: int | None = None
        self.not_before_ms = 0
        self.owed: Callable[[], None] | None = None
        """What became of a message and could not be recorded: nothing is sent before that is."""

    @property
    def is_busy(self) -> bool:
        return self.task is not None and not self.task.done()


class Postman:
    """Reads on, and sends what is due. `beside` does what blocks."""

    def __init__(
        self,
        parts: Parts,
        log: Log,
        notices: Notices,
        messenger: Callable[[ChannelConfig], Messenger],
        witness: PostWitness,
        *,
        beside: Callable[[Callable[[], Any]], Awaitable[Any]] = in_thread,
    ) -> None:
        self._parts = parts
        self._notices = notices
        self._messenger = messenger
        self._witness = witness
        self._beside = beside
        self._noticing = Noticing(parts, log, notices)
        self._lines: dict[str, _Line] = {}
        self._stirred = asyncio.Event()
        self._kept_house_ms: int | None = None
        self._told = ""

    def stir(self) -> None:
        """Somebody may have committed; cheap, and called from the loop."""
        self._stirred.set()

    async def stay(self) -> None:
        """Until it is cancelled. No failure ends it."""
        try:
            while True:
                self._stirred.clear()
                await self._pause(await self._round())
        finally:
            for line in self._lines.values():
                if line.task is not None:
                    line.task.cancel()

    async def once(self) -> None:
        """Reads to the end of the log and tries once what is due."""
        await self._round()
        await asyncio.gather(*(line.task for line in self._lines.values() if line.task is not None))

    def finish(self) -> None:
        """Keeps how far it came. Raises StoreError."""
        self._noticing.finish()

    async def _round(self) -> float:
        """Reads on and begins what is due; tells for how many seconds nothing else will be."""
        try:
            config = await self._beside(self._read)
            self._told = ""
            return await self._begin(config)
        except Exception as error:
            if self._told != str(error):
                self._told = str(error)
                self._witness.on_post_trouble(error)
            return POLL_SECS

    def _read(self) -> Config:
        config = self._parts.library.config()
        while self._noticing.read_on(config.notifications) == AT_ONCE:
            pass
        self._keep_house(config)
        return config

    def _keep_house(self, config: Config) -> None:
        """Once an hour. A clock that was set back would hold up what waits for a time far ahead."""
        now = self._parts.clock.now()
        if self._kept_house_ms is None or now.boot_ms - self._kept_house_ms >= _HOUR_MS:
            kept = KEPT if config.audit_retention_days is None else timedelta(days=config.audit_retention_days)
            self._notices.prune(now.at - min(KEPT, kept))
            if self._notices.waiting():
                self._notices.hurry(now.at, now.at + _FAR)
            self._kept_house_ms = now.boot_ms

    async def _begin(self, config: Config) -> float:
        now = self._parts.clock.now()
        soonest = POLL_SECS
        for name, next_at in (await self._beside(self._notices.waiting)).items():
            line = self._lines.setdefault(name, _Line())
            if line.is_busy:
                continue
            left = max((next_at - now.at).total_seconds(), (line.not_before_ms - now.boot_ms) / 1000)
            if left > 0:
                soonest = min(soonest, left)
                continue
            channel = config.notifications.channels.get(name)
            line.task = asyncio.create_task(self._serve(name, channel, line))
            line.task.add_done_callback(lambda _task: self.stir())
        return soonest

    async def _pause(self, seconds: float) -> None:
        sleep = self._parts.clock.sleep
        pausing = [asyncio.ensure_future(self._stirred.wait()), asyncio.ensure_future(sleep(seconds))]
        try:
            await asyncio.wait(pausing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in pausing:
                each.cancel()
        await sleep(QUIET_SECS)

    # one channel

    async def _serve(self, name: str, channel: ChannelConfig | None, line: _Line) -> None:
        """Sends what is due over one channel."""
        try:
            if line.owed is not None:
                await self._record(line, line.owed)
            due = await self._beside(lambda: self._still_due(name))
            if channel is None:
                await self._give_up(name, line, due, f"config.json has no channel {name} any more")
                return
            await self._send_all(name, channel, line, self._batches(line, due))
        except Exception as error:
            line.not_before_ms = self._now_ms + round(POLL_SECS * 1000)
            self._witness.on_post_trouble(error)

    @property
    def _now_ms(self) -> int:
        return self._parts.clock.now().boot_ms

    def _still_due(self, name: str) -> list[Notice]:
        """What is due, without what nobody need be told any more, which is dropped."""
        due = []
        now = self._parts.clock.now().at
        for notice in self._notices.due(name, now, MOST_GATHERED):
            if reason := self._noticing.why_stale(notice):
                self._notices.settle([notice.id], NoticeEnd.DROPPED, now, reason)
            else:
                due.append(notice)
        return due

    def _batches(self, line: _Line, due: Sequence[Notice]) -> list[tuple[Notice, ...]]:
        """What is sent as one message each: every notice by itself, or all of them gathered, or nothing for now."""
        now_ms = self._now_ms
        line.sent_ms = [sent_ms for sent_ms in line.sent_ms if now_ms - sent_ms < WINDOW_MS]
        if len(line.sent_ms) + len(due) <= BURST:
            return [(notice,) for notice in due]
        if line.gathered_ms is not None and now_ms - line.gathered_ms < WINDOW_MS:
            line.not_before_ms = line.gathered_ms + WINDOW_MS
            return []
        line.gathered_ms = now_ms
        return [tuple(due)]

    async def _send_all(
        self, name: str, channel: ChannelConfig, line: _Line, batches: Sequence[tuple[Notice, ...]]
    ) -> None:
        failures = 0
        for index, batch in enumerate(batches):
            try:
                told = await self._try(channel, line, _message(batch))
            except NotSent as error:
                failures += 1
                if not line.failing:
                    self._witness.on_channel_failing(name, error.message)
                line.failing = True
                gone = line.hanging is not None or failures >= PATIENCE
                behind = [notice for others in batches[index + 1 :] for notice in others] if gone else []
                again_secs = float(error.details.get("again_secs", 0.0))
                await self._put_off(name, line, [*batch, *behind], error.message, again_secs)
                if gone:
                    return
                continue
            failures = 0
            line.sent_ms.append(self._now_ms)
            if line.failing:
                self._witness.on_channel_well(name)
            line.failing = False
            await self._settle(line, batch, NoticeEnd.SENT, told)

    async def _try(self, channel: ChannelConfig, line: _Line, message: Message) -> str:
        """Raises NotSent. A try that hangs is left behind, and no other one is begun while it does."""
        if line.hanging is not None and not line.hanging.done():
            raise NotSent("the try before still hangs")
        line.hanging = None
        trying = asyncio.ensure_future(self._beside(lambda: self._messenger(channel).send(message)))
        limit = asyncio.ensure_future(self._parts.clock.sleep(TRY_SECS))
        try:
            await asyncio.wait({trying, limit}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
        if not trying.done():
            line.hanging = trying
            trying.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody asks any more
            raise NotSent(f"no end after {TRY_SECS:.0f} s")
        try:
            return str(trying.result())
        except NotSent:
            raise
        except Exception as error:
            raise NotSent(f"the channel broke: {type(error).__name__}") from error

    async def _put_off(self, name: str, line: _Line, notices: Sequence[Notice], reason: str, again_secs: float) -> None:
        """`again_secs`: who did not take it wants to be left alone for so long at least."""
        now = self._parts.clock.now().at
        lost = [notice for notice in notices if notice.attempts >= len(DELAYS_SECS)]
        until = {
            notice.id: now + timedelta(seconds=max(DELAYS_SECS[notice.attempts], again_secs))
            for notice in notices
            if notice not in lost
        }
        if until:
            await self._record(line, lambda: self._notices.put_off(until, reason))
        if lost:
            await self._give_up(name, line, lost, reason)

    async def _give_up(self, name: str, line: _Line, notices: Sequence[Notice], reason: str) -> None:
        if notices:
            await self._settle(line, notices, NoticeEnd.GIVEN_UP, reason)
            self._witness.on_given_up(name, len(notices), reason)

    async def _settle(self, line: _Line, notices: Sequence[Notice], ended: NoticeEnd, told: str) -> None:
        now = self._parts.clock.now().at
        ids = [notice.id for notice in notices]
        await self._record(line, lambda: self._notices.settle(ids, ended, now, told))

    async def _record(self, line: _Line, write: Callable[[], None]) -> None:
        """Where it cannot be written, it is owed: else a full disk would send the same message for ever."""
        line.owed = write
        await self._beside(write)
        line.owed = None


def _message(batch: Sequence[Notice]) -> Message:
    messages = [MESSAGE.decode(notice.message) for notice in batch]
    return messages[0] if len(messages) == 1 else gathered(messages)
