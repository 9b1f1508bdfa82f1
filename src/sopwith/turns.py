"""The kernel's lock on an open file or folder: waited for with patience, and freed when its holder dies.

Whoever has it mostly gives it back within a millisecond. So one asks again soon at first, and ever more rarely then.
"""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Callable

PATIENCE_SECS = 2.0
_FIRST_SECS = 0.0002
_MOST_SECS = 0.005


class Patience:
    """How long to wait for whoever has a file, for all files that are written together."""

    def __init__(self, seconds: float | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._left = PATIENCE_SECS if seconds is None else seconds
        self._sleep = sleep

    def waits(self, seconds: float) -> bool:
        """Waits for so long; False if there has been enough of that."""
        if self._left <= 0:
            return False
        self._sleep(seconds)
        self._left -= seconds
        return True


def take_turn(descriptor: int, patience: Patience) -> None:
    """Has the open file or folder for this process until it is closed.

    Raises TimeoutError where somebody else has it for longer than `patience` lasts, and OSError.
    """
    pause_secs = _FIRST_SECS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not patience.waits(pause_secs):
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps it") from None
        pause_secs = min(2 * pause_secs, _MOST_SECS)
