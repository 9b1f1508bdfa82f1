"""What pure functions of the core have answered, kept for one simulation: a run is read thousands of times in it.

Each event is decoded once from the stored bytes, and evolved once on the run before it. An answer is used again only
for the very same events, so a history that was changed is read anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

from sopwith.core import evolve
from sopwith.core.events import Event
from sopwith.core.procedure import Procedure
from sopwith.core.run import Run
from sopwith.engine import runs as engine_runs

runs: Any = engine_runs
"""Its names are put in place of others here; to the type checker a module's names are fixed."""


@contextmanager
def remembering() -> Iterator[None]:
    """Within it, `engine.runs` reads each event and each state of a run once."""
    kept = runs.decode_event, runs.replay, runs.decode_procedure
    runs.decode_event = cache(runs.decode_event)
    runs.replay = _Replays().replay
    runs.decode_procedure = cache(runs.decode_procedure)
    try:
        yield
    finally:
        runs.decode_event, runs.replay, runs.decode_procedure = kept


class _Replays:
    """The states that each run went through."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[Event, Run]]] = {}

    def replay(self, procedure: Procedure, events: Sequence[Event]) -> Run:
        if not events:
            return evolve.replay(procedure, events)
        known = self._known.setdefault(events[0].run_id, [])
        same = 0
        for (event, _run), found in zip(known, events, strict=False):
            if event is not found:
                break
            same += 1
        if same < len(events):
            del known[same:]
            run = known[-1][1] if same else None
            for event in events[same:]:
                run = evolve.replay(procedure, [event]) if run is None else evolve.evolve(run, event)
                known.append((event, run))
        return known[len(events) - 1][1]


def decode(payload: bytes) -> Event:
    """The event of these bytes, as the engine reads it now."""
    return cast(Event, runs.decode_event(payload))
