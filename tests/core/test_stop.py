"""`pause --now`: what runs is ended, its step is interrupted, and a person decides; nothing else follows from it."""

from __future__ import annotations

import pytest

from sopwith.core import commands as cmd
from sopwith.core.due import DueKind
from sopwith.core.evolve import replay
from sopwith.core.procedure import OnFailure, RetryRules
from sopwith.core.run import RunStatus, StepStatus
from sopwith.errors import IllegalMove

from .given import AGENT, BOB, SYSTEM, Story, child, manual, shell

ENDED = {"error": "stopped before it ended (killed by SIGTERM)", "cause": "cancelled", "signal": "SIGTERM"}


def stopped(*steps: object, **more: object) -> Story:
    """A run whose first step is being ended."""
    story = Story(*(steps or (shell(), shell())), **more).drive()  # type: ignore[arg-type]
    assert story.when(cmd.Pause, stop=True, reason="wrong cluster") == ["run_pause_requested"]
    return story


def test_whoever_drives_the_run_is_to_end_what_runs() -> None:
    story = stopped(shell(), shell(after=()), manual(after=()))
    assert story.owed() == [(DueKind.STOP_STEP, 1), (DueKind.STOP_STEP, 2)]
    assert (story.last.body.stop, story.run.reason) == (True, "wrong cluster")


def test_the_step_is_interrupted_by_name_and_the_run_is_paused() -> None:
    story = stopped()
    assert story.finish(1, output="half of it", **ENDED) == ["step_interrupted", "run_paused"]
    assert (story.status, story.statuses) == (RunStatus.PAUSED, (StepStatus.INTERRUPTED, StepStatus.PENDING))
    assert (story.step(1).error, story.step(1).output) == ("stopped by alice", "half of it")
    assert story.run.reason == "step 1 interrupted: stopped by alice"
    assert (story.run.stopping, story.owed()) == ("", [])


def test_an_agent_that_stops_it_is_told_as_one() -> None:
    story = Story(shell()).drive()
    story.when(cmd.Pause, stop=True, actor=AGENT)
    story.finish(1, **ENDED)
    assert story.step(1).error == f"stopped by {AGENT}"


@pytest.mark.parametrize("way", [cmd.Complete, cmd.Retry, cmd.Skip])
def test_a_person_decides_how_it_goes_on(way: type[cmd.Command]) -> None:
    story = stopped()
    story.finish(1, **ENDED)
    story.when(way, **({"reason": "not needed"} if way is cmd.Skip else {}))
    assert story.status is RunStatus.RUNNING
    assert story.owed() == [(DueKind.START_STEP, 1 if way is cmd.Retry else 2)]


def test_a_step_that_was_done_before_keeps_its_own_result() -> None:
    story = stopped()
    assert story.finish(1) == ["step_completed", "run_paused"]
    assert (story.latest("run_paused").body.cause, story.run.reason) == ("asked", "wrong cluster")
    assert story.when(cmd.Resume) == ["run_resumed"]


def test_a_step_that_failed_by_itself_fails() -> None:
    story = stopped()
    assert story.finish(1, error="exit status 1") == ["step_failed", "run_failed"]


def test_neither_a_retry_nor_what_follows_a_failure_is_for_a_stopped_step() -> None:
    again = stopped(shell(retry=RetryRules(max_attempts=3)))
    assert again.finish(1, **ENDED) == ["step_interrupted", "run_paused"]
    going_on = stopped(shell(on_failure=OnFailure.CONTINUE), shell())
    assert going_on.finish(1, **ENDED) == ["step_interrupted", "run_paused"]


def test_a_pause_that_waits_can_be_made_one_at_once() -> None:
    story = Story(shell()).drive()
    story.when(cmd.Pause, reason="lunch")
    assert story.owed() == [(DueKind.WATCH_STEP, 1)]
    assert story.when(cmd.Pause, stop=True) == ["run_pause_requested"]
    assert (story.owed(), story.run.reason) == ([(DueKind.STOP_STEP, 1)], "lunch")
    assert story.when(cmd.Pause, stop=True, actor=BOB) == []
    assert story.when(cmd.Pause) == []
    story.finish(1, **ENDED)
    assert story.step(1).error == "stopped by alice"


def test_without_a_process_it_is_a_pause_like_any_other() -> None:
    story = Story(manual(), shell(gate=True, after=())).drive()
    assert story.when(cmd.Pause, stop=True, reason="lunch") == ["run_paused"]
    assert (story.status, story.run.stopping, story.run.reason) == (RunStatus.PAUSED, "", "lunch")


def test_what_is_carried_out_by_hand_need_not_end() -> None:
    story = stopped(shell(), manual(after=()))
    assert story.finish(1, **ENDED) == ["step_interrupted", "run_paused"]
    assert story.statuses == (StepStatus.INTERRUPTED, StepStatus.RUNNING)
    assert story.when(cmd.Complete, step=2) == ["step_reported", "step_completed"]
    assert story.status is RunStatus.PAUSED


def test_a_failure_beside_work_by_hand_waits_for_it_as_the_pause_does() -> None:
    story = stopped(shell(), manual(after=()))
    assert story.finish(1, error="exit status 1") == ["step_failed", "run_paused"]
    assert (story.run.pause_cause, story.run.reason) == ("asked", "wrong cluster")


def test_a_stop_that_interrupted_nothing_holds_though_a_step_was_rejected_before() -> None:
    story = Story(shell(), shell(gate=True, after=()), shell(after=(2,))).drive()
    story.when(cmd.Reject, step=2, reason="not today")
    assert story.when(cmd.Pause, stop=True, reason="wrong cluster") == ["run_pause_requested"]
    assert story.finish(1) == ["step_completed", "run_paused"]
    assert (story.run.pause_cause, story.run.reason) == ("asked", "wrong cluster")
    assert story.when(cmd.Skip, step=2, reason="not needed") == ["step_skipped"]
    assert (story.status, story.owed()) == (RunStatus.PAUSED, [])
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert story.owed() == [(DueKind.START_STEP, 3)]


def test_all_processes_end_before_the_pause() -> None:
    story = stopped(shell(), shell(after=()))
    assert story.finish(1, **ENDED) == ["step_interrupted"]
    assert story.owed() == [(DueKind.STOP_STEP, 2)]
    assert story.finish(2) == ["step_completed", "run_paused"]


def test_it_is_not_taken_back() -> None:
    story = stopped()
    assert "is being ended" in story.refused(IllegalMove, cmd.Resume).message


def test_a_cancel_on_top_of_it_cancels() -> None:
    story = stopped()
    assert story.when(cmd.Cancel) == ["run_cancel_requested"]
    assert story.finish(1, **ENDED) == ["step_failed", "run_cancelled"]
    assert story.step(1).status is StepStatus.CANCELLED


def test_a_run_whose_time_is_up_meanwhile_fails_for_that() -> None:
    story = stopped(shell(), timeout_secs=60)
    story.tick(100)
    assert story.when(cmd.TimeOutRun) == ["run_timed_out"]
    assert story.finish(1, **ENDED) == ["step_failed", "run_failed"]


def test_a_child_run_is_told_and_ends_its_own() -> None:
    story = stopped(child(), shell(after=()))
    assert story.owed() == [(DueKind.WATCH_STEP, 1), (DueKind.STOP_STEP, 2)]
    story.finish(2, **ENDED)
    assert story.notice(1, RunStatus.PAUSED) == ["child_run_changed", "run_paused"]
    assert story.statuses == (StepStatus.RUNNING, StepStatus.INTERRUPTED)


def test_what_a_parent_hands_on_is_told_by_its_reason() -> None:
    story = Story(shell()).drive()
    story.when(cmd.Pause, actor=SYSTEM, stop=True, reason="sop_run_1 is stopped", cause="parent")
    story.finish(1, **ENDED)
    assert story.step(1).error == "stopped: sop_run_1 is stopped"


def test_the_next_pause_stops_nothing() -> None:
    story = stopped()
    story.finish(1)
    story.when(cmd.Resume)
    story.start(2)
    story.when(cmd.Pause)
    assert (story.run.stopping, story.owed()) == ("", [(DueKind.WATCH_STEP, 2)])


def test_an_end_forgets_that_it_was_asked_for() -> None:
    story = stopped(shell())
    assert story.finish(1) == ["step_completed", "run_completed"]
    assert story.run.stopping == ""
    assert replay(story.procedure, story.events) == story.run


def test_where_nothing_is_left_to_end_it_is_no_news() -> None:
    story = Story(shell(), manual(after=())).drive()
    story.when(cmd.Pause)
    story.finish(1, error="exit status 1")  # the run fails when the work by hand has ended
    assert story.when(cmd.Pause, stop=True) == []
