"""What a simulation saw: the hash by which two of one seed are compared, the tale, and counts of each kind.

An event, a refusal or a trouble that a thousand seeds never saw is a hole in what is tried, and `holes` names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256

from sopwith.core.events import Event


class Story:
    """Grows by one line at a time. `now_ms` is the virtual boot clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._trace = sha256()
        self._now_ms = now_ms
        self._lines: list[tuple[int, object]] = []
        self.seen: Counter[str] = Counter()

    @property
    def digest(self) -> str:
        """The same for the same history, on every machine."""
        return self._trace.hexdigest()

    def note(self, *what: object) -> None:
        """Something that happened; `repr` of it must be the same wherever it happens."""
        self._trace.update(repr(what).encode())
        self._lines.append((self._now_ms(), what))

    def event(self, event: Event, digest: str) -> None:
        """An event was stored."""
        self._trace.update(digest.encode())
        self._lines.append((self._now_ms(), event))
        self.seen[f"event {event.event_type}"] += 1

    def saw(self, what: str) -> None:
        """Counts one more of these."""
        self.seen[what] += 1

    def __len__(self) -> int:
        return len(self._lines)

    def lines(self, end: int | None = None) -> list[str]:
        """The tale, a line for each thing that happened."""
        return [f"{at / 1000:10.3f}  {_told(what)}" for at, what in self._lines[:end]]


def _told(what: object) -> str:
    if not isinstance(what, Event):
        return " ".join(str(each) for each in what) if isinstance(what, tuple) else str(what)
    step = "" if what.step_number is None else f" step {what.step_number}"
    details = []
    for name in ("attempt", "error", "reason", "action", "cause", "digest", "child_run_id", "status", "steps"):
        value = getattr(what.body, name, None)
        if value not in (None, "", ()):
            details.append(f"{name}={value[:12] if name == 'digest' else value}")
    return f"  {what.run_id} #{what.seq} {what.event_type}{step} by {what.actor}  {' '.join(details)}".rstrip()


def holes(seen: Mapping[str, int], expected: Iterable[str]) -> list[str]:
    """What was expected and never seen."""
    return sorted(name for name in expected if not seen.get(name))
