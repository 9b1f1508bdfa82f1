"""A step that another run carries out, as its own run sees it: intent, rest, end, and what a pause or cancel means."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.child import MAX_OUTPUT_BYTES, given_by, result_of, standing, told_of
from sopwith.core.commands import StepResult
from sopwith.core.config import Config
from sopwith.core.due import DueKind, at_rest, due, next_due_at
from sopwith.core.events import ParentRun
from sopwith.core.people import Role
from sopwith.core.refusal import what_now
from sopwith.core.run import RunStatus, StepStatus
from sopwith.errors import IllegalMove, NotAllowed

from .given import CHILD, RUN, Story, child, manual, shell

ASKS, BY_HAND, QUEUED, PAUSED = (
    RunStatus.AWAITING_APPROVAL,
    RunStatus.RUNNING,
    RunStatus.PENDING,
    RunStatus.PAUSED,
)
OTHER = "sop_run_yzyzyzyzyzyz"


def begun(*more: Any, **about: Any) -> Story:
    return Story(child(**about), *more).drive()


def within(story: Story) -> Story:
    """The same run as one that a step of another run started."""
    story.run = replace(story.run, parent=ParentRun(run_id=OTHER, step=1))
    return story


def test_the_intent_names_the_run_that_will_be_made() -> None:
    story = begun()
    assert (story.last.event_type, story.last.body.child_run_id) == ("step_started", CHILD)
    assert (story.step(1).status, story.step(1).child) == (StepStatus.RUNNING, CHILD)
    assert story.owed() == [(DueKind.WATCH_STEP, 1)]


@pytest.mark.parametrize(("step", "name"), [(child(), ""), (shell(), CHILD)])
def test_a_start_names_a_child_exactly_where_a_procedure_carries_the_step_out(step: Any, name: str) -> None:
    error = Story(step).refused(IllegalMove, cmd.Start, step=1, digest="a" * 64, child_run_id=name)
    assert "it is not known which run carries step 1 out" in error.message


@pytest.mark.parametrize(
    ("rests", "status"),
    [
        (ASKS, RunStatus.AWAITING_APPROVAL),
        (RunStatus.WAITING_APPROVAL, RunStatus.AWAITING_APPROVAL),
        (PAUSED, RunStatus.AWAITING_APPROVAL),
        (BY_HAND, RunStatus.RUNNING),
        (QUEUED, RunStatus.RUNNING),
    ],
)
def test_the_run_stands_as_what_it_waits_for(rests: RunStatus, status: RunStatus) -> None:
    story = begun()
    assert story.notice(1, rests) == ["child_run_changed"]
    assert (story.status, story.owed()) == (status, [])
    assert CHILD in what_now(story.run)
    assert story.notice(1, None) == ["child_run_changed"]
    assert (story.status, story.owed()) == (RunStatus.RUNNING, [(DueKind.WATCH_STEP, 1)])


def test_what_is_known_makes_no_event() -> None:
    story = begun()
    assert story.notice(1, None) == []
    story.notice(1, ASKS)
    assert story.notice(1, ASKS) == []


def test_a_run_that_the_step_does_not_wait_for_has_no_say() -> None:
    story = begun()
    story.refused(IllegalMove, cmd.Notice, step=1, child_run_id=OTHER, standing=ASKS)
    story.finish(1)
    story.refused(IllegalMove, cmd.Notice, step=1, child_run_id=CHILD, standing=ASKS)


def test_a_step_beside_it_keeps_the_run_running() -> None:
    story = Story(child(), shell(after=())).drive()
    story.notice(1, ASKS)
    assert story.status is RunStatus.RUNNING
    story.finish(2)
    assert story.status is RunStatus.AWAITING_APPROVAL


def test_a_pause_waits_for_a_child_that_is_busy_and_for_none_that_rests() -> None:
    busy, resting = begun(), begun()
    resting.notice(1, ASKS)
    assert busy.when(cmd.Pause) == ["run_pause_requested"]
    assert busy.notice(1, PAUSED) == ["child_run_changed", "run_paused"]
    assert resting.when(cmd.Pause) == ["run_paused"]


@pytest.mark.parametrize("rests", [ASKS, QUEUED])
def test_a_pause_comes_beside_a_step_that_has_failed_as_soon_as_only_children_at_rest_are_left(
    rests: RunStatus,
) -> None:
    story = begun(shell(after=()), shell(after=()))
    story.notice(1, rests)
    story.finish(2, error="exit status 1")
    story.when(cmd.Pause)
    assert not story.run.paused
    assert story.finish(3) == ["step_completed", "run_paused"]
    assert (story.run.pause_cause, story.run.reason) == ("asked", "")
    assert story.when(cmd.Retry) == ["run_retried"]
    assert (DueKind.WATCH_STEP, 1) in story.owed()


def test_the_pause_names_the_step_that_somebody_rejected_not_one_that_failed() -> None:
    story = begun(shell(after=()), shell(after=(), gate=True), shell(after=()))
    story.notice(1, QUEUED)
    story.when(cmd.Reject, step=3, reason="no")
    story.finish(2, error="exit status 1")
    story.when(cmd.Pause)
    assert story.finish(4) == ["step_completed", "run_paused"]
    assert (story.run.pause_cause, story.run.reason) == ("rejected", "step 3 rejected: no")


def test_a_run_whose_time_is_up_is_not_paused_beside_a_child_at_rest() -> None:
    story = Story(child(), shell(after=()), timeout_secs=60).drive()
    story.notice(1, QUEUED)
    story.when(cmd.Pause)
    story.tick(100)
    assert story.when(cmd.TimeOutRun) == ["run_timed_out"]
    assert story.finish(2, error="stopped", cause="timeout") == ["step_failed"]
    assert story.owed() == [(DueKind.STOP_STEP, 1)]
    assert story.finish(1, error="cancelled", cause="cancelled") == ["step_failed", "run_failed"]


def test_after_a_pause_nothing_is_known_of_the_child() -> None:
    story = begun()
    story.notice(1, ASKS)
    story.when(cmd.Pause)
    story.notice(1, PAUSED)
    story.when(cmd.Resume)
    assert (story.step(1).child_standing, story.owed()) == (None, [(DueKind.WATCH_STEP, 1)])


def test_after_a_retry_of_another_step_nothing_is_known_of_the_child() -> None:
    story = Story(child(), manual(after=())).drive()
    story.notice(1, ASKS)
    story.when(cmd.Pause)
    story.when(cmd.Fail, step=2, reason="no")
    story.notice(1, PAUSED)
    story.when(cmd.Retry)
    assert story.step(1).child_standing is None


def test_a_child_may_end_while_its_run_is_paused() -> None:
    story = begun(shell())
    story.notice(1, ASKS)
    story.when(cmd.Pause)
    assert story.finish(1) == ["step_completed"]
    assert (story.status, story.owed()) == (RunStatus.PAUSED, [])


def test_a_cancel_waits_for_the_child_also_where_it_rests() -> None:
    story = begun()
    story.notice(1, ASKS)
    assert story.when(cmd.Cancel) == ["run_cancel_requested"]
    assert story.owed() == [(DueKind.STOP_STEP, 1)]
    assert story.finish(1, error="stopped", cause="cancelled") == ["step_failed", "run_cancelled"]


def test_a_run_that_is_being_ended_runs_however_its_child_rests() -> None:
    """Else nobody would look at it again whose own process had died between asking for the end and bringing it."""
    cancelled, timed_out = begun(), Story(child(), timeout_secs=60).drive()
    for story in (cancelled, timed_out):
        story.notice(1, ASKS)
        assert story.status is RunStatus.AWAITING_APPROVAL
    cancelled.when(cmd.Cancel)
    timed_out.tick(60)
    timed_out.when(cmd.TimeOutRun)
    for story in (cancelled, timed_out):
        assert (story.status, story.owed()) == (RunStatus.RUNNING, [(DueKind.STOP_STEP, 1)])


def test_a_limit_counts_while_the_child_rests_and_not_while_the_run_is_paused() -> None:
    story = begun(timeout_secs=60)
    story.notice(1, ASKS)
    assert next_due_at(story.run) is not None
    story.when(cmd.Pause)
    assert next_due_at(story.run) is None
    story.tick(600)
    story.when(cmd.Resume)
    (limit,) = (item for item in due(story.run) if item.kind is DueKind.TIME_OUT)
    assert limit.at is not None
    assert 50 < (limit.at - story.now.at).total_seconds() < 60


@pytest.mark.parametrize(("again", "kept"), [({}, CHILD), ({"from_step": 1}, "")])
def test_a_retry_remembers_the_child_and_a_new_visit_does_not(again: dict[str, int], kept: str) -> None:
    story = begun()
    story.finish(1, error="failed", cause="child")
    story.when(cmd.Retry, **again)
    assert story.step(1).child == kept


def test_nobody_may_pass_over_or_report_a_step_that_a_child_carries_out() -> None:
    story = begun()
    for verb in (cmd.Skip, cmd.Complete, cmd.Fail):
        story.refused(IllegalMove, verb, step=1, **({} if verb is cmd.Complete else {"reason": "so"}))


# a parent's word


LEAD = Config(roles={Role.ADMIN: ("user:alice",)})


@pytest.mark.parametrize("verb", [cmd.Resume, cmd.Retry])
def test_the_system_has_the_right_only_over_a_run_within_another(verb: type[cmd.Command]) -> None:
    story = Story(shell(), manual(after=()), config=LEAD).drive()
    if verb is cmd.Retry:
        story.when(cmd.Complete)
        story.finish(1, error="exit code 1")
    else:
        story.finish(1)
        story.when(cmd.Pause)
    story.refused(NotAllowed, verb, actor=SYSTEM)
    assert within(story).when(verb, actor=SYSTEM)


@pytest.mark.parametrize("verb", [cmd.Skip, cmd.Complete, cmd.Fail, cmd.Rollback])
def test_a_parent_says_nothing_else(verb: type[cmd.Command]) -> None:
    story = within(Story(manual(), config=LEAD).drive())
    more = {"reason": "so"} if verb in (cmd.Skip, cmd.Fail) else {}
    story.refused(NotAllowed, verb, actor=SYSTEM, **more)


# what comes back


def ended(*steps: dict[str, Any], error: str = "") -> Story:
    story = Story(*(shell() for _ in steps))
    for number, outputs in enumerate(steps, 1):
        story.drive()
        last = number == len(steps)
        story.finish(number, error=error if last else "", outputs={} if error and last else outputs)
    return story


def test_later_steps_win() -> None:
    found = result_of(ended({"a": 1, "b": 1}, {"b": 2}).run, declared={}, stopped=False)
    assert (found.outputs, found.error) == ({"a": 1, "b": 2}, "")


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("string", "a", True),
        ("string", 1, False),
        ("integer", 1, True),
        ("integer", True, False),
        ("integer", 1.5, False),
        ("number", 1, True),
        ("number", 1.5, True),
        ("number", False, False),
        ("boolean", True, True),
        ("boolean", 1, False),
        ("json", [1, {"a": None}], True),
    ],
)
def test_declared_outputs_have_their_type(kind: str, value: Any, fits: bool) -> None:
    found = result_of(ended({"a": value, "b": 7}).run, declared={"a": kind}, stopped=False)
    assert (found.outputs == {"a": value}) is fits
    assert (found.cause == "output") is not fits


@pytest.mark.parametrize(("length", "fits"), [(MAX_OUTPUT_BYTES - 8, True), (MAX_OUTPUT_BYTES - 7, False)])
def test_what_is_handed_on_has_a_limit(length: int, fits: bool) -> None:
    found = result_of(ended({"a": "x" * length}).run, declared={}, stopped=False)
    assert (found.error == "") is fits


@pytest.mark.parametrize(("stopped", "cause"), [(True, "cancelled"), (False, "child")])
def test_a_cancelled_child_counts_as_stopped_only_where_its_parent_stopped_it(stopped: bool, cause: str) -> None:
    story = begun()
    other = Story(manual()).drive()
    other.when(cmd.Cancel, reason="enough")
    assert result_of(other.run, declared={}, stopped=stopped) == StepResult(
        error=f"{RUN} was cancelled: enough", cause=cause
    )
    assert story.status is RunStatus.RUNNING


# how a run is told of


def test_a_run_that_is_due_has_no_standing() -> None:
    story = Story(manual(), shell())
    assert standing(story.run) is None
    story.drive()
    assert (at_rest(story.run), standing(story.run)) == (True, RunStatus.RUNNING)
    story.when(cmd.Complete)
    assert standing(story.run) is None
    assert standing(Story(shell(), queued=True).run) is RunStatus.PENDING


def test_a_failed_child_that_is_to_be_tried_again_ends_nothing() -> None:
    story, other = begun(), ended({}, error="exit code 1")
    assert isinstance(told_of(story.run, other.run, 1, story.now), cmd.Finish)
    retried = Story(child())
    retried.start(1, child_seq=other.run.seq)
    assert told_of(retried.run, other.run, 1, retried.now) is None


def test_a_child_that_was_brought_to_its_end_by_itself_ends_the_next_attempt_at_once() -> None:
    other = ended({})
    retried = Story(child())
    retried.start(1, child_seq=other.run.seq)
    assert isinstance(told_of(retried.run, other.run, 1, retried.now), cmd.Finish)


def test_constants_are_handed_on_as_they_are_and_text_is_evaluated() -> None:
    story = Story(child(with_={"tag": "params.version + '-rc'", "count": 3, "dry": True}), params={"version": "v1"})
    assert given_by(story.run, 1).parameters == {"tag": "v1-rc", "count": 3, "dry": True}
    story = Story(child(with_={"tag": "params.version"}))
    assert given_by(story.run, 1).reason.startswith("tag: ")
