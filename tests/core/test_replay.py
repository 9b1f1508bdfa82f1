"""Replay: the run that lived, at a cost that does not grow with the number of steps, and in nobody else's hands."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core import evolve as module
from sopwith.core.address import StepId
from sopwith.core.due import DueKind
from sopwith.core.evolve import begin, evolve, replay
from sopwith.core.run import Run, StepState
from sopwith.core.steps import Unshared, with_state

from .given import Story, manual, shell


def story_of(items: int) -> Story:
    """Two steps for each of so many items, all under way at once, then a step with a gate."""
    names = tuple(f"item-{number}" for number in range(items))
    story = Story(shell(for_each=names), shell(after=(), for_each=names), manual(gate=True))
    story.drive()
    for number in list(story.run.frontier):
        story.finish(number)
    return story.drive()


def test_replay_gives_what_the_events_make_one_after_the_other() -> None:
    story = story_of(20)
    assert replay(story.procedure, story.events) == story.run
    assert reduce(evolve, story.events[1:], begin(story.procedure, story.events[0])) == story.run


def test_a_replayed_run_is_not_changed_by_what_comes_after_it() -> None:
    story = story_of(2)
    before = replay(story.procedure, story.events[:-1])
    kept = dict(before.steps)
    after = evolve(before, story.events[-1])
    assert type(before.steps) is dict
    assert before.steps == kept != after.steps


def test_replay_copies_no_states_for_an_event_of_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []

    class Counted(Unshared):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            copies.append(self)

    story = story_of(50)
    kept: list[dict[StepId, StepState]] = []

    def noted(run: Run, event: Any) -> Run:
        kept.append(run.steps)
        return evolve(run, event)

    monkeypatch.setattr(module, "Unshared", Counted)
    monkeypatch.setattr("sopwith.core.steps.Unshared", Counted)
    monkeypatch.setattr(module, "evolve", noted)
    replay(story.procedure, story.events)
    assert len(story.events) > 200
    # at the beginning, and after each step was made into its instances
    assert len(copies) == 3 == len({id(each) for each in kept})


def test_a_step_is_found_in_a_long_frontier_without_a_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    rank = module._rank

    def counted(run: Run, number: StepId) -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return rank(run, number)

    story = story_of(500)
    monkeypatch.setattr(module, "_rank", counted)
    replay(story.procedure, story.events)
    assert looks < 60 * len(story.events)


@pytest.mark.parametrize("items", [3, 40])
def test_what_is_under_way_stays_in_order(items: int) -> None:
    names = tuple(f"item-{number}" for number in range(items))
    story = Story(shell(for_each=names), shell(after=()))
    while owed := [number for kind, number in story.owed() if kind is DueKind.EVALUATE]:
        story.when(cmd.Evaluate, step=owed[0])
    everything = list(story.run.frontier)
    for number in reversed(everything):
        story.start(number)
    assert list(story.run.begun) == everything
    story.finish(everything[items // 2])
    assert list(story.run.begun) == [each for each in everything if each != everything[items // 2]]
    assert list(story.run.frontier) == list(story.run.begun)


def test_a_shared_mapping_is_left_as_it_is() -> None:
    story = Story(shell())
    step = replace(story.run.steps[1], attempt=7)
    shared, own = {1: story.run.steps[1]}, Unshared({1: story.run.steps[1]})
    assert with_state(shared, step)[1].attempt == 7
    assert shared[1].attempt == 0
    assert with_state(own, step) is own
    assert own[1].attempt == 7
