"""A bell and its ear in one process, whose words a test or a simulation can lose, hold back or repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class FakeBell:
    """A Bell and an Ear. `carry` is asked for each word and tells after which delays it arrives; () loses it."""

    def __init__(self, carry: Callable[[str, bool], tuple[float, ...]] = lambda _run_id, _left: (0,)) -> None:
        self.rung: list[tuple[str, bool]] = []
        self.carry = carry
        self._hear: Callable[[str, bool], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ring(self, run_id: str, *, left: bool = False) -> None:
        self.rung.append((run_id, left))
        if self._loop is not None:
            for delay in self.carry(run_id, left):
                self._loop.call_later(delay, self._tell, run_id, left)

    def listen(self, hear: Callable[[str, bool], None]) -> None:
        self._hear = hear
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        self._hear = self._loop = None

    def _tell(self, run_id: str, left: bool) -> None:
        if self._hear is not None:
            self._hear(run_id, left)
