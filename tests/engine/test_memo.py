"""What a simulation remembers: each state is asked once, nothing is taken for something else, and nothing stays."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from msgspec.structs import replace

from core.given import Story, shell
from sopwith.core import due as due_module
from sopwith.core import evolve as evolve_module
from sopwith.core.due import DueKind
from sopwith.core.evolve import evolve, replay
from sopwith.engine import driver
from sopwith.engine import records as engine_records
from sopwith.testing.memo import remembering


def _names_of_ours() -> dict[tuple[str, str], object]:
    return {
        (name, known): found
        for name, module in sys.modules.items()
        if name.startswith("sopwith.") and module is not None
        for known, found in vars(module).items()
        if callable(found)
    }


def test_nothing_that_was_put_in_place_stays() -> None:
    before = _names_of_ours()
    with remembering():
        assert _names_of_ours() != before
    assert _names_of_ours() == before


def test_each_state_is_asked_once_wherever_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(due_module, "_of_run", lambda run: asked.append(run) or ())
    run = Story(shell()).run
    with remembering():
        first = driver.due(run)
        assert due_module.due(run) is first
        assert not due_module.at_rest(run)
        assert len(asked) == 1
        assert due_module.due(replace(run, queued=True))[0].kind is DueKind.ADMIT, "another state is another question"
    due_module.due(run)
    assert len(asked) == 2


def test_an_event_is_evolved_once_on_the_same_state_and_anew_on_another() -> None:
    story = Story(shell())
    story.drive()
    *rest, last = story.events
    before = replay(story.procedure, rest)
    with remembering():
        after = evolve_module.evolve(before, last)
        assert evolve_module.evolve(before, last) is after
        other = evolve_module.evolve(replace(before, umask=0o077), last)
        assert other.umask == 0o077
    assert after == evolve(before, last) == story.run


def test_a_history_that_was_changed_is_read_anew() -> None:
    story = Story(shell())
    story.drive()
    *rest, last = story.events
    with remembering():
        assert engine_records.replay(story.procedure, story.events) == story.run
        assert engine_records.replay(story.procedure, rest).seq == last.seq - 1
        later = replace(last, at=last.at.replace(year=2027))
        changed = engine_records.replay(story.procedure, [*rest, later])
        assert changed.updated_at == later.at
        assert engine_records.replay(story.procedure, story.events) == story.run
        assert all(one.seq + 1 == two.seq for one, two in pairwise(story.events))


def test_what_somebody_put_in_place_of_a_rule_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "due", lambda run: "planted")
    with remembering():
        assert driver.due(Story(shell()).run) == "planted"
    assert driver.due(Story(shell()).run) == "planted"
