"""How much one caller may ask for. The numbers are on the page of the API; nothing here reads a clock."""

from __future__ import annotations

MOST_BODY_BYTES = 1 << 20
BODY_SECS = 30.0
"""How long a body may take to come, and a client to take what it is sent."""
UPLOAD_SECS = 600.0
"""The same for a file; and no part of it may keep the server waiting longer than BODY_SECS."""
MOST_LEFT_BYTES = 2 << 20
LEFT_SECS = 1.0
"""How much of a body that nobody reads is taken, so that whoever sends it is there for the answer."""
PER_SECOND = 10.0
BURST = 100.0
FAILURES_PER_MINUTE = 5
MOST_STREAMS = 256
STREAMS_EACH = 32
MOST_CONNECTIONS = 1024
MOST_QUERY = 20
"""So many parameters in a query."""
_MOST_CALLERS = 10_000


class Buckets:
    """A bucket of calls for each caller: full at first, and filled again at a steady rate."""

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_ms = per_second / 1000
        self._burst = burst
        self._left: dict[str, tuple[float, int]] = {}

    def take(self, caller: str, now_ms: int) -> float:
        """0 where the call may be made; else the seconds until one may."""
        left, at_ms = self._left.pop(caller, (self._burst, now_ms))
        left = min(self._burst, left + (now_ms - at_ms) * self._per_ms)
        while len(self._left) >= _MOST_CALLERS:
            del self._left[next(iter(self._left))]
        allowed = left >= 1
        self._left[caller] = (left - 1 if allowed else left, now_ms)
        return 0.0 if allowed else (1 - left) / self._per_ms / 1000
