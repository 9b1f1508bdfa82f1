"""That the laws know when a report is verified: in its turn, and before the time of its step ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.core.given import CHECK, Story, manual, shell

from sopwith.core import commands as cmd
from sopwith.core import due as due_module
from sopwith.core import run as run_module
from sopwith.testing.executor import FakeWorld
from sopwith.testing.laws import Laws, _Timed
from sopwith.testing.memory import MemoryStore
from sopwith.testing.simulator import simulate

from .test_simulator import _rewritten

LATE = "step 1 still runs, and its time was up"


def a_report_that_is_never_verified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(due_module, "_verifications", lambda _run: ())


def a_no_that_does_not_end_the_time(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, due_module, "_time_outs", {"if not step.to_verify": "if not step.verifications"})


@pytest.mark.parametrize("bug", [a_report_that_is_never_verified, a_no_that_does_not_end_the_time])
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert any(simulate(seed).violations for seed in range(400))


def a_report_beside_a_script(max_parallel: int | None) -> Story:
    """The script of step 2 runs, and step 1, which had a minute, was reported done."""
    story = Story(manual(verify=CHECK, timeout_secs=60), shell(after=()), max_parallel=max_parallel).drive()
    story.when(cmd.Complete, step=1)
    return story


def laws_of(story: Story) -> Laws:
    """The laws as they stand after the story, in which no time was lost."""
    laws = Laws(0, MemoryStore(), FakeWorld(), lambda: 66_000)
    laws.runs[story.run.run_id] = story.run
    laws.history[story.run.run_id] = list(story.events)
    laws._timed[story.run.run_id, 1] = _Timed(0, 0)
    return laws


def overdue(story: Story) -> list[str]:
    laws = laws_of(story)
    laws.check_overdue(story.run.run_id, story.now.at)
    return [each.partition(f"{story.run.run_id}: ")[2] for each in laws.broken]


def test_the_time_of_a_step_whose_report_waits_for_its_turn_may_pass() -> None:
    assert overdue(a_report_beside_a_script(1)) == []


def test_once_there_is_room_a_report_does_not_wait() -> None:
    story = a_report_beside_a_script(1)
    story.finish(2)
    assert overdue(story) == [LATE]


@pytest.mark.parametrize("max_parallel", [None, 2])
def test_where_there_is_room_a_report_does_not_wait(max_parallel: int | None) -> None:
    assert overdue(a_report_beside_a_script(max_parallel)) == [LATE]


def test_without_a_report_no_step_waits_for_room() -> None:
    story = Story(manual(verify=CHECK, timeout_secs=60), shell(after=()), max_parallel=1).drive()
    assert overdue(story) == [LATE]


@pytest.mark.parametrize(("max_parallel", "broken"), [(1, True), (2, False)])
def test_a_verification_that_does_not_wait_for_room_is_found(
    max_parallel: int, broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "has_room", lambda _run: True)
    story = a_report_beside_a_script(max_parallel)
    laws = laws_of(story)
    before = story.run
    assert story.when(cmd.BeginVerification, step=1, attempt=1) == ["verification_started"]
    laws._check_event(before, story.last)
    assert any("step 1 verified beside [2], and 1 may run at once" in each for each in laws.broken) == broken
