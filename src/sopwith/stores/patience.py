"""How long one waits for the right to write, and how often one asks again meanwhile.

SQLite's own way is to ask ever more rarely: where many write at once, whoever comes last is served first, and somebody
may never be. Here whoever has waited long asks the most often.
"""

from __future__ import annotations

import time

MOST_SECS = 10.0
"""Then the store is told to be locked for too long: somebody stands still with the right to write in hand."""
LONG_SECS = 0.5
"""Whoever has waited for so long is among those who come next."""
_FIRST = (0.0001, 0.0002, 0.0004, 0.0008, 0.002, 0.004)
"""A transaction mostly takes less than a millisecond: of two that write, neither is to sleep through three of them."""
_USUAL_SECS = 0.015
_PRESSING_SECS = 0.003


class Patience:
    """A busy handler of SQLite: is asked whether to try again, and sleeps before it says yes."""

    def __init__(self) -> None:
        self._since = 0.0

    def __call__(self, tries: int) -> bool:
        now = time.monotonic()
        if tries == 0:
            self._since = now
        waited = now - self._since
        if waited >= MOST_SECS:
            return False
        time.sleep(pause(tries, waited))
        return True


def pause(tries: int, waited_secs: float) -> float:
    """How long to sleep before the next try, in seconds."""
    if tries < len(_FIRST):
        return _FIRST[tries]
    return _PRESSING_SECS if waited_secs >= LONG_SECS else _USUAL_SECS
