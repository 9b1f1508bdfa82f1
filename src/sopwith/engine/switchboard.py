"""Passes on, within one process, the word that a run has changed, to the drivers that wait for it.

Only hints go through here: whoever is woken looks into the store. Rings nobody outside the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class NoBell:
    """A Bell where nobody listens."""

    def ring(self, run_id: str, *, left: bool = False) -> None:
        pass


class Switchboard:
    """The Bell of the process that serves the workspace; `heard` is told of each word that is rung here."""

    def __init__(self, heard: Callable[[str, bool], None]) -> None:
        self._heard = heard
        self._waiting: dict[str, list[asyncio.Event]] = {}

    def ring(self, run_id: str, *, left: bool = False) -> None:
        self.wake(run_id)
        self._heard(run_id, left)

    def wake(self, run_id: str) -> None:
        """Sets the events of all who wait for this run."""
        for event in self._waiting.get(run_id, ()):
            event.set()

    @contextmanager
    def waiting(self, run_id: str, event: asyncio.Event) -> Iterator[None]:
        """Within, the event is set at each word of this run."""
        self._waiting.setdefault(run_id, []).append(event)
        try:
            yield
        finally:
            self._waiting[run_id].remove(event)
            if not self._waiting[run_id]:
                del self._waiting[run_id]
