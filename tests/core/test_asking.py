"""What of a run waits for a person, and since when something of it waits for a driver."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from sopwith.core import commands as cmd
from sopwith.core.asking import asks, waiting_steps
from sopwith.core.due import AT_ONCE, due, is_left, left_at
from sopwith.core.procedure import ExecutionMode, OnFailure, RollbackScript, Script

from .given import NOON, Story, manual, shell, wait

UNDO = RollbackScript(script=Script(interpreter="bash", text="undo\n"))


def _paused(story: Story) -> Story:
    story.when(cmd.Pause)
    return story


def _stuck() -> Story:
    story = Story(shell(), shell()).drive()
    story.interrupt(1)
    return story


ASKING: dict[str, tuple[Callable[[], Story], int]] = {
    "a start gate": (lambda: Story(shell(), mode=ExecutionMode.SUPERVISED), 1),
    "a gate": (lambda: Story(shell(gate=True)).drive(), 1),
    "two gates beside each other": (lambda: Story(shell(gate=True), shell(gate=True, after=())).drive(), 2),
    "a gate beside a step by hand": (lambda: Story(shell(gate=True), manual(after=())).drive(), 2),
    "a step by hand": (lambda: Story(manual()).drive(), 1),
    "a paused run and nothing in it": (lambda: _paused(Story(shell(), mode=ExecutionMode.SUPERVISED)), 1),
    "a paused run whose gate asks nobody meanwhile": (lambda: _paused(Story(shell(gate=True)).drive()), 1),
    "a paused run with a step by hand, which may be done": (
        lambda: _paused(Story(shell(gate=True), manual(after=())).drive()),
        1,
    ),
    "a queued run": (lambda: Story(shell(), queued=True), 0),
    "a run that goes on": (lambda: Story(shell()).drive(), 0),
    "a run that waits for a time": (lambda: Story(wait(60)).drive(), 0),
}


@pytest.mark.parametrize("what", ASKING)
def test_so_much_of_a_run_waits_for_a_person(what: str) -> None:
    make, expected = ASKING[what]
    assert asks(make().run) == expected


def test_an_interrupted_step_that_has_paused_the_run_is_asked_about() -> None:
    run = _stuck().run
    assert run.paused
    assert [step.number for step in waiting_steps(run)] == [1]
    assert asks(run) == 1


def test_a_paused_rollback_asks_for_itself_and_not_for_the_step_whose_failure_led_to_it() -> None:
    story = Story(shell(rollback=UNDO), shell(on_failure=OnFailure.ROLLBACK)).drive()
    story.finish(1)
    story.drive().when(cmd.Pause)
    assert story.finish(2, error="no") == ["step_failed", "rollback_started", "run_paused"]
    assert (asks(story.run), waiting_steps(story.run)) == (1, ())


@pytest.mark.parametrize("what", [what for what in ASKING if what != "a run that waits for a time"])
def test_a_run_that_has_ended_asks_nothing_and_is_not_left(what: str) -> None:
    story = ASKING[what][0]()
    story.when(cmd.Cancel)
    if story.run.ended is None:
        story.finish(1)
    assert story.run.ended is not None
    assert (asks(story.run), left_at(due(story.run))) == (0, None)


def test_what_is_owed_now_is_left_at_once_however_a_clock_is_set() -> None:
    for story in (Story(shell(), queued=True), Story(shell()), Story(shell()).drive()):
        assert left_at(due(story.run)) == AT_ONCE
        assert is_left(story.run, NOON - timedelta(days=900))


def test_a_run_that_waits_for_a_time_is_left_from_then_on() -> None:
    story = Story(wait(60)).drive()
    ends_at = story.run.steps[1].wake_at
    assert ends_at is not None
    assert left_at(due(story.run)) == ends_at
    assert not is_left(story.run, ends_at - timedelta(milliseconds=1))
    assert is_left(story.run, ends_at)


def test_a_run_that_only_waits_for_a_person_is_not_left() -> None:
    for story in (Story(manual()).drive(), Story(shell(gate=True), mode=ExecutionMode.SUPERVISED)):
        assert left_at(due(story.run)) is None


def test_the_deadline_of_a_gate_leaves_nobody() -> None:
    """It is settled by whoever carries the run on; until then the gate still asks, and is overdue."""
    story = Story(shell(gate=True, approval_timeout_mins=5)).drive()
    assert story.run.steps[1].gate.due_at is not None
    assert (asks(story.run), left_at(due(story.run))) == (1, None)
