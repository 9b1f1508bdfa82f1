"""Stores and executors that fail their callers: once, after the deed, or for a while, and news that comes late.

A store fails at a read, before a write, or after the commit, so that nobody who asked knows whether it happened; and a
disk is full for a while and then is not. An executor cannot start a process, or cannot say that it did.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from sopwith.errors import StoreError
from sopwith.testing.mortal import Process

_WRITES = ("create", "append", "claim")
_AFTER_WRITES = ("created", "appended", "released", "claimed", "renewed")
_OF_EXECUTORS = ("start", "start done", "recover", "recover done", "waited")


class Troubles:
    """What goes wrong with the calls of one simulation; `tell` is told each time, by name."""

    def __init__(self, chance: Random, now_ms: Callable[[], int], tell: Callable[[str], None]) -> None:
        self._chance = chance
        self._now_ms = now_ms
        self._tell = tell
        self._store = chance.choice((0, 0, 0, 0.003, 0.012))
        self._executor = chance.choice((0, 0, 0, 0.03))
        self._late = chance.choice((0, 0, 0.05))
        self._full_until_ms = 0
        self.over = False
        self.unread = False
        """Whether it could not be read how some process ended: then nobody knows, and a person says."""
        self.happened = False
        """Whether a call has failed anybody."""

    def fill_the_disk(self) -> None:
        """No write works for a while; what can be read can be read."""
        if self._store:
            self._full_until_ms = self._now_ms() + self._chance.choice((100, 1000, 6000))
            self._tell("disk full")

    def end(self) -> None:
        """From now on all works."""
        self.over = True

    def meet(self, process: Process, call: str) -> None:
        """Raises StoreError or OSError where this call fails."""
        if self.over or not process.alive:
            return
        if call in _OF_EXECUTORS:
            if self._executor and self._chance.random() < self._executor:
                self._hurt(process, f"executor failed at {call}")
                self.unread |= call == "waited"
                raise OSError(11, "Resource temporarily unavailable")
            return
        if not self._store:
            return
        writes = call in _WRITES or (process.rough and call == "renew")
        if self._now_ms() < self._full_until_ms and writes:
            self._hurt(process, f"disk full at {call}")
            raise StoreError("cannot write to the store: the disk is full", hint="free some space")
        if self._chance.random() < self._store:
            if call in _AFTER_WRITES:
                self._hurt(process, f"store failed after it {call}")
            else:
                self._hurt(process, f"store failed at {call if writes else 'a read'}")
            raise StoreError("cannot use the store: disk I/O error", hint="look at the disk")

    def heard(self, process: Process, version: int) -> int:
        """The version of the store that this process sees; an older one while news is late."""
        if self.over or not self._late:
            return version
        now_ms = self._now_ms()
        if process.deaf_until_ms <= now_ms:
            if process.hears == version or self._chance.random() >= self._late:
                process.hears = version
                return version
            process.deaf_until_ms = now_ms + self._chance.choice((100, 600, 3000))
            self._tell("news is late")
        return process.hears or version

    def _hurt(self, process: Process, what: str) -> None:
        process.hurt = self.happened = True
        self._tell(what)
