"""What pure functions of the core have answered, kept for one simulation: a run is read thousands of times in it.

Each event is decoded once from the stored bytes, and evolved once on the run before it; and what the core says of a
state of a run, it is asked once. An answer is used again only for the very same events and the very same state, so a
history that was changed is read anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from operator import is_
from pathlib import Path
from typing import Any, cast

from sopwith.core import codec, evolve
from sopwith.core.child import standing
from sopwith.core.due import due
from sopwith.core.events import Event
from sopwith.core.procedure import Procedure, Step
from sopwith.core.run import Run, current_step, open_gates, running_processes, status_of
from sopwith.engine import records as engine_records
from sopwith.engine.environment import working_dir
from sopwith.engine.runs import summarise

records: Any = engine_records
"""Its names are put in place of others here; to the type checker a module's names are fixed."""
_OF_A_RUN: tuple[Callable[[Run], object], ...] = (
    current_step,
    due,
    open_gates,
    running_processes,
    standing,
    status_of,
    summarise,
)
"""What is asked of one state of a run again and again, and answered with what nobody can change."""


@contextmanager
def remembering() -> Iterator[None]:
    """Within it, `engine.records` reads each event and each state of a run once, and each state is asked once."""
    kept = records.decode_event, records.replay, records.decode_procedure, records.sha256
    records.decode_event = cache(records.decode_event)
    records.replay = _Replays().replay
    records.decode_procedure = cache(records.decode_procedure)
    records.sha256 = cache(records.sha256)
    answers: dict[Any, Any] = {function: _asked_once(function) for function in _OF_A_RUN}
    answers[codec.link] = cache(codec.link)
    answers[evolve.evolve] = _evolved_once(evolve.evolve)
    answers[working_dir] = _found_once(working_dir)
    _put_in_place(answers)
    try:
        yield
    finally:
        _put_in_place({answer: function for function, answer in answers.items()})
        records.decode_event, records.replay, records.decode_procedure, records.sha256 = kept


def _put_in_place(instead: dict[Any, Any]) -> None:
    """Each of these functions gives way to another, wherever a module of ours knows it by its name."""
    names = {function.__name__ for function in instead}
    for name, module in list(sys.modules.items()):
        if name.startswith("sopwith.") and module is not None:
            for known in names & module.__dict__.keys():
                found = module.__dict__[known]
                if callable(found) and found in instead:
                    module.__dict__[known] = instead[found]


def _asked_once(function: Callable[[Run], Any]) -> Callable[[Run], Any]:
    answers: dict[int, tuple[Run, Any]] = {}

    def asked(run: Run) -> Any:
        found = answers.get(id(run))
        if found is None:
            # the run is kept with its answer, so that no other can have its id
            answers[id(run)] = found = (run, function(run))
        return found[1]

    asked.__name__ = function.__name__
    return asked


def _evolved_once(function: Callable[[Run, Event], Run]) -> Callable[[Run, Event], Run]:
    answers: dict[tuple[int, int], tuple[Run, Event, Run]] = {}

    def asked(run: Run, event: Event) -> Run:
        found = answers.get((id(run), id(event)))
        if found is None:
            answers[id(run), id(event)] = found = (run, event, function(run, event))
        return found[2]

    asked.__name__ = function.__name__
    return asked


def _found_once(function: Callable[[Path, Procedure, Step], Path]) -> Callable[[Path, Procedure, Step], Path]:
    """Nobody turns a link while a simulation is played."""
    answers: dict[tuple[Path, str | None, str | None], Path] = {}

    def asked(root: Path, procedure: Procedure, step: Step) -> Path:
        named = (root, procedure.working_dir, step.working_dir)
        if named not in answers:
            answers[named] = function(root, procedure, step)
        return answers[named]

    asked.__name__ = function.__name__
    return asked


class _Replays:
    """The states that each run went through."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[Event], list[Run]]] = {}

    def replay(self, procedure: Procedure, events: Sequence[Event]) -> Run:
        if not events:
            return evolve.replay(procedure, events)
        known, states = self._known.setdefault(events[0].run_id, ([], []))
        if not _are_the_same(known, events):
            same = sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(known, events, strict=False)))
            del known[same:], states[same:]
            run = states[-1] if same else None
            for event in events[same:]:
                run = evolve.replay(procedure, [event]) if run is None else evolve.evolve(run, event)
                known.append(event)
                states.append(run)
        return states[len(events) - 1]


def _are_the_same(known: Sequence[Event], events: Sequence[Event]) -> bool:
    """Whether the one begins with the very events of the other."""
    return len(known) >= len(events) and all(map(is_, known, events))


def decode(payload: bytes) -> Event:
    """The event of these bytes, as the engine reads it now."""
    return cast(Event, records.decode_event(payload))
