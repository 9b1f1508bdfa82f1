"""A server in virtual time, and a store that counts what it is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec

from sopwith.core.events import Event
from sopwith.core.run import Run
from sopwith.engine.ticker import serve
from sopwith.errors import StoreError
from sopwith.testing.memory import MemoryStore

from .bench import Bench

_MOST_CALLS = 10_000
"""In virtual time, whoever asks without a pause asks for ever."""


class Counted:
    """A store as one process has it."""

    def __init__(self, bench: Bench) -> None:
        self.calls: Counter[str] = Counter()
        self.claimed: list[str] = []
        self.failing = ""
        self.fails_next = ""
        """The call that fails once more."""
        self.listing_takes = 0.0
        self._loop = bench.loop
        self._store = MemoryStore(bench.store)

    def version(self) -> int:
        self.calls["version"] += 1
        if self.failing:
            assert self.calls["version"] < _MOST_CALLS, "whoever asks a store that fails turns on the spot"
            raise StoreError(self.failing)
        return self._store.version()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if name == self.fails_next:
                self.fails_next = ""
                raise StoreError("disk I/O error")
            if name == "claim":
                self.claimed.append(args[0])
            if name == "summaries":
                self._loop._virtual += self.listing_takes
            return getattr(self._store, name)(*args, **options)

        return call


class Server:
    """A server that goes on while the test does."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        self.events: list[Event] = []
        self.adopted: list[tuple[str, tuple[int, ...]]] = []
        self.troubles: list[tuple[str | None, str]] = []
        self.jumps: list[float] = []
        self.store = Counted(bench)
        self._bench = bench
        self._stop = asyncio.Event()
        parts = msgspec.structs.replace(bench.engine().parts, store=self.store)
        self.task = bench.loop.create_task(serve(parts, self, stop=self._stop, **options))

    def on_event(self, event: Event, run: Run) -> None:
        self.events.append(event)

    def on_output(self, step: int, chunk: bytes) -> None:
        pass

    def on_adopted(self, run_id: str, name: str, steps: tuple[int, ...]) -> None:
        self.adopted.append((run_id, steps))

    def on_clock_jump(self, seconds: float) -> None:
        self.jumps.append(seconds)

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        self.troubles.append((run_id, str(error)))

    def stop(self) -> tuple[str, ...]:
        self._stop.set()
        return self.end()

    def end(self) -> tuple[str, ...]:
        return self._bench.loop.run_until_complete(self.task)


def ended(bench: Bench, run_id: str) -> bool:
    return bench.now(run_id).ended == "completed"
