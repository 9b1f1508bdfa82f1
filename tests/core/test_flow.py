"""Conditions, waits, limits, retries, and where a failure leads: each rule alone, and where two of them meet.

After each test the record is replayed from its bytes: it must give the run that lived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.codec import decode_event, encode_event
from sopwith.core.due import Due, DueKind, due, next_due_at
from sopwith.core.events import Policy
from sopwith.core.evolve import replay
from sopwith.core.procedure import ExecutionMode, OnFailure, RetryRules
from sopwith.core.run import RunStatus, StepStatus, current_step, running_processes
from sopwith.errors import IllegalMove

from . import given
from .given import NOON, MakeStep, manual, shell, wait

PENDING, RUNNING, WAITING = StepStatus.PENDING, StepStatus.RUNNING, StepStatus.WAITING
COMPLETED, FAILED, SKIPPED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED
ASKED = StepStatus.AWAITING_APPROVAL
CONTINUE = {"on_failure": OnFailure.CONTINUE}
YES, NO, UNKNOWN = "1 == 1", "1 == 2", "params.go == 'yes'"
STORIES: list[given.Story] = []


def goto(number: int) -> dict[str, Any]:
    return {"on_failure": OnFailure.GOTO, "goto": number}


def tries(number: int, **more: Any) -> dict[str, Any]:
    return {"retry": RetryRules(max_attempts=number, **more)}


class Story(given.Story):
    """Is replayed at the end of its test."""

    def __init__(self, *steps: MakeStep, **more: Any) -> None:
        super().__init__(*steps, **more)
        STORIES.append(self)

    def fail(self, step: int, **more: Any) -> list[str]:
        return self.finish(step, error="exit code 1", **more)

    def again(self, step: int) -> list[str]:
        """The next try, at its time."""
        return self.at(step).start(step)

    def evaluate(self, step: int) -> list[str]:
        return self.when(cmd.Evaluate, step=step)

    def end_wait(self, step: int) -> list[str]:
        return self.when(cmd.EndWait, step=step)

    def time_out(self, step: int, attempt: int = 1) -> list[str]:
        return self.when(cmd.TimeOut, step=step, attempt=attempt)


@pytest.fixture(autouse=True)
def _replayed() -> Iterator[None]:
    yield
    while STORIES:
        story = STORIES.pop()
        assert replay(story.procedure, [decode_event(encode_event(event)) for event in story.events]) == story.run


# conditions


@pytest.mark.parametrize(
    ("condition", "result", "status", "owed"),
    [
        (YES, True, PENDING, [(DueKind.START_STEP, 1)]),
        (NO, False, SKIPPED, [(DueKind.START_STEP, 2)]),
        (UNKNOWN, None, PENDING, []),
    ],
)
def test_what_a_condition_comes_to(condition: str, result: bool | None, status: StepStatus, owed: list[Any]) -> None:
    story = Story(shell(condition=condition), shell())
    assert story.owed() == [(DueKind.EVALUATE, 1)]
    story.evaluate(1)
    body = story.latest("condition_evaluated").body
    assert isinstance(body, ev.ConditionEvaluated)
    assert (body.condition, body.expression, body.result, bool(body.reason)) == (
        "if",
        condition,
        result,
        result is None,
    )
    assert story.step(1).status is status
    assert story.owed() == owed
    assert story.status is (RunStatus.PAUSED if result is None else RunStatus.RUNNING)


def test_nothing_starts_before_its_condition_was_asked_or_where_it_does_not_hold() -> None:
    story = Story(shell(condition=YES), shell(condition=NO, after=()))
    for step in (1, 2):
        story.refused(IllegalMove, cmd.Start, step=step, digest=given.digest_of(step, 0))
    story.evaluate(2)
    story.refused(IllegalMove, cmd.Start, step=2, digest=given.digest_of(2, 0))


def test_no_gate_opens_before_the_condition_was_asked() -> None:
    story = Story(shell(gate=True, condition=YES))
    story.refused(IllegalMove, cmd.OpenGate, step=1, digest=given.digest_of(1, 1))


@pytest.mark.parametrize("when", [YES, NO], ids=["when asks", "when asks nobody"])
@pytest.mark.parametrize("condition", [YES, NO], ids=["if holds", "if does not"])
def test_first_if_then_when_and_the_gate_then_the_start(condition: str, when: str) -> None:
    from sopwith.core.approval import ApprovalRules

    story = Story(shell(gate=True, condition=condition, approval=ApprovalRules(when=when)))
    seen = story.evaluate(1)
    if condition == NO:
        assert seen == ["condition_evaluated", "step_skipped", "run_completed"]
        assert story.run.nothing_ran
        return
    assert seen == ["condition_evaluated"]
    seen = story.ask(1)
    assert seen == ["condition_evaluated", *(["approval_requested"] if when == YES else [])]
    if when == YES:
        assert story.owed() == []
        story.when(cmd.Approve)
    assert story.owed() == [(DueKind.START_STEP, 1)]
    assert story.start(1) == ["step_started"]


def test_a_condition_is_not_asked_before_what_it_depends_on_has_ended() -> None:
    story = Story(shell(), shell(condition="steps['1'].outputs.go == 'yes'")).drive()
    story.refused(IllegalMove, cmd.Evaluate, step=2)
    story.finish(1, outputs={"go": "yes"})
    assert story.evaluate(2) == ["condition_evaluated"]
    story.refused(IllegalMove, cmd.Evaluate, step=2)


def test_the_dependents_of_a_skipped_step_go_on() -> None:
    story = Story(shell(condition=NO), shell(), shell(after=(1,))).drive()
    assert story.statuses == (SKIPPED, RUNNING, RUNNING)


def test_in_step_by_step_a_step_whose_condition_does_not_hold_asks_nobody() -> None:
    story = Story(shell(gate=True, condition=NO), shell(condition=YES), mode=ExecutionMode.STEP_BY_STEP).drive()
    assert story.statuses == (SKIPPED, ASKED)
    skipped = story.latest("step_skipped")
    assert (skipped.actor.kind, skipped.body.signature) == ("system", None)


def test_a_condition_that_nobody_knows_pauses_and_a_resume_asks_it_again() -> None:
    story = Story(shell(condition=UNKNOWN))
    assert story.evaluate(1) == ["condition_evaluated", "run_paused"]
    assert (story.run.pause_cause, "step 1" in story.run.reason) == ("condition", True)
    assert story.owed() == []
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert story.owed() == [(DueKind.EVALUATE, 1)]
    assert story.evaluate(1) == ["condition_evaluated", "run_paused"]


def test_a_condition_that_nobody_knows_can_be_skipped_and_the_run_goes_on() -> None:
    story = Story(shell(condition=UNKNOWN), shell())
    story.evaluate(1)
    assert story.when(cmd.Skip, reason="not here") == ["step_skipped", "run_resumed"]
    assert story.owed() == [(DueKind.START_STEP, 2)]


def test_a_condition_that_nobody_knows_waits_for_the_processes_and_a_skip_takes_the_pause_back() -> None:
    story = Story(shell(), shell(condition=UNKNOWN, after=()))
    story.start(1)
    assert story.evaluate(2) == ["condition_evaluated", "run_pause_requested"]
    assert story.when(cmd.Skip, step=2, reason="not here") == ["step_skipped", "run_resumed"]
    assert story.finish(1) == ["step_completed", "run_completed"]


def test_a_condition_that_nobody_knows_pauses_once_the_processes_have_ended() -> None:
    story = Story(shell(), shell(condition=UNKNOWN, after=()))
    story.start(1)
    story.evaluate(2)
    assert story.finish(1) == ["step_completed", "run_paused"]
    assert story.run.pause_cause == "condition"


def test_another_step_that_is_resolved_leaves_the_unknown_condition_with_its_pause() -> None:
    story = Story(manual(), shell(condition=UNKNOWN, after=()), wait(60, after=())).drive()
    story.when(cmd.Resume)
    story.drive()
    assert story.status is RunStatus.PAUSED
    assert story.when(cmd.Complete, step=1) == ["step_reported", "step_completed"]
    assert story.status is RunStatus.PAUSED


def test_a_manual_retry_asks_the_condition_again_and_an_automatic_one_does_not() -> None:
    story = Story(shell(condition=YES, **tries(2))).drive()
    story.fail(1)
    assert story.owed() == [(DueKind.START_STEP, 1)]
    story.again(1)
    story.fail(1)
    assert story.status is RunStatus.FAILED
    story.when(cmd.Retry)
    assert story.owed() == [(DueKind.EVALUATE, 1)]


def test_going_back_asks_the_conditions_from_there_on_again() -> None:
    story = Story(shell(), shell(condition="steps['1'].outputs.go == 'yes'"), manual()).drive()
    story.finish(1, outputs={"go": "no"})
    story.drive()
    assert story.statuses == (COMPLETED, SKIPPED, RUNNING)
    story.when(cmd.Complete)
    story = Story(shell(), shell(condition="steps['1'].outputs.go == 'yes'"), shell()).drive()
    story.finish(1, outputs={"go": "no"})
    story.drive().fail(3)
    story.when(cmd.Retry, from_step=1)
    story.drive().finish(1, outputs={"go": "yes"})
    story.drive()
    assert story.statuses == (COMPLETED, RUNNING, PENDING)


@pytest.mark.parametrize("command", [cmd.Pause, cmd.Cancel])
def test_no_condition_is_asked_after_a_pause_or_cancel_was_asked(command: type[cmd.Command]) -> None:
    story = Story(shell(), shell(condition=YES, after=()))
    story.start(1)
    story.when(command)
    assert (DueKind.EVALUATE, 2) not in story.owed()
    story.refused(IllegalMove, cmd.Evaluate, step=2)


# retries


def test_a_failed_step_is_tried_again_under_one_approval() -> None:
    story = Story(shell(gate=True, **tries(3, delay_secs=10))).drive()
    story.when(cmd.Approve)
    story.drive()
    assert story.fail(1) == ["step_failed", "step_retry_scheduled"]
    failed, scheduled = story.events[-2:]
    body = scheduled.body
    assert isinstance(body, ev.StepRetryScheduled)
    assert (body.attempt, body.max_attempts, body.delay_ms) == (2, 3, 10_000)
    assert body.at == failed.at + timedelta(seconds=10)
    assert (story.step(1).status, story.status, current_step(story.run)) == (WAITING, RunStatus.RUNNING, 1)
    assert due(story.run) == (Due(DueKind.START_STEP, 1, scheduled.body.at),)
    assert next_due_at(story.run) == scheduled.body.at
    story.refused(IllegalMove, cmd.Start, step=1, digest=story.gate(1).digest)
    assert story.again(1) == ["step_started"]
    assert story.step(1).attempt == 2
    assert [event.event_type for event in story.events].count("approval_requested") == 1
    assert story.finish(1) == ["step_completed", "run_completed"]
    assert not story.run.with_failures


@pytest.mark.parametrize("number", [2, 3, 5])
def test_it_is_tried_as_often_as_it_says_and_no_more(number: int) -> None:
    story = Story(shell(**tries(number))).drive()
    for _ in range(number - 1):
        story.fail(1)
        story.again(1)
    assert story.fail(1) == ["step_failed", "run_failed"]
    assert story.step(1).attempt == number


def test_a_manual_retry_asks_again_and_counts_from_one() -> None:
    story = Story(shell(gate=True, **tries(2))).drive()
    story.when(cmd.Approve)
    story.drive().fail(1)
    story.again(1)
    story.fail(1)
    story.when(cmd.Retry)
    story.drive()
    assert (story.step(1).status, story.gate(1).revision) == (ASKED, 2)
    story.when(cmd.Approve)
    story.drive()
    assert (story.step(1).attempt, story.step(1).tries) == (3, 1)
    assert story.fail(1) == ["step_failed", "step_retry_scheduled"]
    assert story.last.body.attempt == 2
    story.again(1)
    assert story.fail(1) == ["step_failed", "run_failed"]


@pytest.mark.parametrize(
    ("rules", "delays"),
    [
        ({}, [1, 1, 1]),
        ({"delay_secs": 0}, [0, 0, 0]),
        ({"delay_secs": 5}, [5, 5, 5]),
        ({"delay_secs": 2, "backoff": 2}, [2, 4, 8, 16]),
        ({"delay_secs": 2, "backoff": 3, "max_delay_secs": 10}, [2, 6, 10, 10]),
        ({"delay_secs": 20, "max_delay_secs": 10}, [10, 10]),
        ({"delay_secs": 0.5, "backoff": 1.5}, [0.5, 0.75, 1.125]),
        ({"delay_secs": 0.0004, "backoff": 2}, [0, 0.001, 0.002]),
    ],
)
def test_the_delay_grows_up_to_its_limit(rules: dict[str, Any], delays: list[float]) -> None:
    story = Story(shell(**tries(9, **rules))).drive()
    found = []
    for _ in delays:
        story.fail(1)
        body = story.last.body
        assert isinstance(body, ev.StepRetryScheduled)
        assert body.at == story.last.at + timedelta(milliseconds=body.delay_ms)
        found.append(body.delay_ms / 1000)
        story.again(1)
    assert found == delays


@pytest.mark.parametrize("backoff", [100, 100.0])
def test_a_delay_without_a_limit_stays_a_date(backoff: float) -> None:
    story = Story(shell(**tries(1000, backoff=backoff))).drive()
    step = story.run.steps[1]
    from msgspec.structs import replace

    # as after 900 tries
    before, story.run = story.run, replace(story.run, steps={1: replace(step, tries=900)})
    decision = given.decide(
        story.run,
        story.command(cmd.Finish, step=1, attempt=1, result=cmd.StepResult(exit_code=1, error="exit code 1")),
    )
    assert decision.events[-1].body.delay_ms == 10 * 366 * 24 * 3600 * 1000
    story.run = before


@pytest.mark.parametrize(
    ("codes", "result", "again"),
    [
        ((), {"exit_code": 1}, True),
        ((), {"exit_code": None, "cause": "signal", "signal": "SIGKILL"}, True),
        ((), {"exit_code": None, "cause": "start"}, True),
        ((75,), {"exit_code": 75}, True),
        ((75, 1), {"exit_code": 1}, True),
        ((75,), {"exit_code": 1}, False),
        ((75,), {"exit_code": None, "cause": "signal", "signal": "SIGKILL"}, False),
    ],
)
def test_only_after_the_exit_codes_that_it_names(codes: tuple[int, ...], result: dict[str, Any], again: bool) -> None:
    story = Story(shell(**tries(2, on_exit_codes=codes))).drive()
    told = cmd.StepResult(error="it failed", **result)
    seen = story.when(cmd.Finish, step=1, attempt=1, result=told)
    assert seen == ["step_failed", "step_retry_scheduled" if again else "run_failed"]


def test_an_interrupted_step_is_not_tried_again_by_itself() -> None:
    story = Story(shell(**tries(3))).drive()
    assert story.interrupt(1) == ["step_interrupted", "run_paused"]
    assert story.owed() == []


def test_what_is_reported_to_have_failed_is_not_tried_again() -> None:
    story = Story(manual(**tries(3))).drive()
    assert story.when(cmd.Fail, reason="no") == ["step_reported", "step_failed", "run_failed"]


def test_a_gate_that_fails_by_its_time_is_not_tried_again() -> None:
    from sopwith.core.approval import TimeoutAction

    policy = Policy(approval_timeout_mins=1, approval_timeout_action=TimeoutAction.FAIL)
    story = Story(shell(gate=True, **tries(3), **CONTINUE), policy=policy).drive()
    story.tick(60)
    assert story.expire(1) == ["approval_timeout", "step_failed", "run_failed"]


def _stuck(story: Story) -> None:
    story.when(cmd.Fail, step=2, reason="no")


def _paused(story: Story) -> None:
    story.when(cmd.Pause)


def _cancelled(story: Story) -> None:
    story.when(cmd.Cancel)


@pytest.mark.parametrize("stop", [_stuck, _paused, _cancelled])
def test_no_next_try_once_the_run_is_to_stop(stop: Callable[[Story], None]) -> None:
    story = Story(shell(**tries(5)), manual(after=()), shell(after=())).drive()
    story.fail(1)
    stop(story)
    assert story.step(1).status is WAITING
    assert story.owed() in ([(DueKind.WATCH_STEP, 3)], [(DueKind.STOP_STEP, 3)])
    story.tick(3600)
    story.refused(IllegalMove, cmd.Start, step=1, digest=given.digest_of(1, 0))


def test_a_step_that_fails_while_the_run_is_cancelled_keeps_its_failure_and_is_not_tried_again() -> None:
    story = Story(shell(**tries(5))).drive()
    story.when(cmd.Cancel)
    assert story.fail(1) == ["step_failed", "run_cancelled"]
    assert story.step(1).status is FAILED


def test_a_next_try_survives_a_pause_and_comes_after_it() -> None:
    story = Story(shell(**tries(5, delay_secs=10))).drive()
    story.fail(1)
    story.when(cmd.Pause)
    assert next_due_at(story.run) is None
    story.tick(3600)
    story.when(cmd.Resume)
    assert story.start(1) == ["step_started"]
    assert story.step(1).tries == 2


def test_a_next_try_can_be_skipped() -> None:
    story = Story(shell(**tries(5)), shell()).drive()
    story.fail(1)
    assert story.when(cmd.Skip, step=1, reason="enough") == ["step_skipped"]
    assert story.owed() == [(DueKind.START_STEP, 2)]


def test_what_changed_since_the_approval_asks_before_the_next_try() -> None:
    story = Story(shell(gate=True, **tries(3))).drive()
    story.when(cmd.Approve)
    story.drive().fail(1)
    story.at(1)
    assert story.start(1, digest=given.digest_of(1, -1), changed=("script",)) == ["approval_stale"]
    assert (story.step(1).status, story.step(1).wake_at) == (PENDING, None)
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    assert next_due_at(story.run) is None


# where a failure leads


def test_continue_lets_the_dependents_go_on_and_the_run_completes_with_failures() -> None:
    story = Story(shell(**CONTINUE), shell()).drive()
    assert story.fail(1) == ["step_failed"]
    assert story.last.body.then == "continue"
    assert story.step(1).status is FAILED
    story.drive()
    assert story.finish(2) == ["step_completed", "run_completed"]
    assert (story.run.with_failures, story.run.nothing_ran) == (True, False)


def test_a_run_whose_only_step_failed_and_continues_ran_something() -> None:
    story = Story(shell(**CONTINUE)).drive()
    assert story.fail(1) == ["step_failed", "run_completed"]
    assert (story.run.with_failures, story.run.nothing_ran) == (True, False)


def test_continue_comes_after_the_retries() -> None:
    story = Story(shell(**tries(2), **CONTINUE)).drive()
    story.fail(1)
    assert story.events[-2].body.then == ""
    story.again(1)
    assert story.fail(1) == ["step_failed", "run_completed"]
    assert story.last.body.with_failures


def test_continue_passes_over_no_rejection_and_no_interruption() -> None:
    story = Story(shell(gate=True, **CONTINUE), shell()).drive()
    story.when(cmd.Reject, reason="no")
    assert story.status is RunStatus.PAUSED
    story = Story(shell(**CONTINUE), shell()).drive()
    story.interrupt(1)
    assert story.status is RunStatus.PAUSED


def test_a_step_that_was_passed_over_is_not_retried_with_those_that_are_stuck() -> None:
    story = Story(shell(**CONTINUE), shell()).drive()
    story.fail(1)
    story.drive().fail(2)
    story.when(cmd.Retry)
    assert story.statuses == (FAILED, PENDING)
    story.drive().finish(2)
    assert story.run.with_failures


def test_a_step_that_was_passed_over_is_not_reported_done_in_place_of_one_that_is_open() -> None:
    story = Story(shell(gate=True, **CONTINUE), manual()).drive()
    story.when(cmd.Approve)
    story.drive().fail(1)
    story.drive()
    story.refused(IllegalMove, cmd.Complete, step=1)
    assert story.when(cmd.Complete) == ["step_reported", "step_completed", "run_completed"]


def test_going_back_to_a_step_that_was_passed_over_forgets_that() -> None:
    story = Story(shell(**CONTINUE), shell()).drive()
    story.fail(1)
    story.drive().fail(2)
    story.when(cmd.Retry, from_step=1)
    assert story.statuses == (PENDING, PENDING)
    story.drive().finish(1)
    story.drive().finish(2)
    assert not story.run.with_failures


GRAPHS: dict[str, tuple[list[MakeStep], tuple[StepStatus, ...]]] = {
    "a line": ([shell(**goto(4)), shell(), shell(), shell()], (FAILED, SKIPPED, SKIPPED, RUNNING)),
    "the next step": ([shell(**goto(2)), shell(), shell()], (FAILED, RUNNING, PENDING)),
    "over gates and waits": (
        [shell(**goto(4)), manual(gate=True), wait(9), shell()],
        (FAILED, SKIPPED, SKIPPED, RUNNING),
    ),
    "a diamond": (
        [shell(**goto(4)), shell(after=(1,)), shell(after=(1,)), shell(after=(2, 3))],
        (FAILED, SKIPPED, SKIPPED, RUNNING),
    ),
    "from a branch of a diamond": (
        [manual(), shell(after=(), **goto(4)), shell(after=(1,)), shell(after=(2, 3))],
        (RUNNING, FAILED, PENDING, PENDING),
    ),
    "a branch beside the way": (
        [shell(**goto(3)), shell(), shell(), shell(after=(1,)), shell(after=(2,))],
        (FAILED, SKIPPED, RUNNING, RUNNING, RUNNING),
    ),
    "another branch that the target needs too": (
        [shell(after=(), **goto(4)), shell(after=(1,)), shell(after=()), shell(after=(2, 3))],
        (FAILED, SKIPPED, RUNNING, PENDING),
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_goto_skips_what_lies_between_and_only_that(name: str) -> None:
    steps, after = GRAPHS[name]
    story = Story(*steps).drive()
    failing = next(step.number for step in story.procedure.steps if step.on_failure is OnFailure.GOTO)
    story.fail(failing)
    assert story.latest("step_failed").body.then == "goto"
    story.drive()
    assert story.statuses == after


def test_goto_never_leads_to_an_ancestor_whatever_a_procedure_says() -> None:
    story = Story(shell(), shell(**goto(1)), shell()).drive()
    story.finish(1)
    story.drive().fail(2)
    story.drive()
    assert story.statuses == (COMPLETED, FAILED, RUNNING)
    assert story.step(1).attempt == 1


def test_goto_comes_after_the_retries() -> None:
    story = Story(shell(**tries(2), **goto(3)), shell(), shell()).drive()
    assert story.fail(1) == ["step_failed", "step_retry_scheduled"]
    story.again(1)
    assert story.fail(1) == ["step_failed", "step_skipped"]


def test_goto_that_reaches_the_last_step_which_is_skipped_completes_the_run() -> None:
    story = Story(shell(**goto(3)), shell(), shell(condition=NO)).drive()
    story.fail(1)
    story.drive()
    assert story.statuses == (FAILED, SKIPPED, SKIPPED)
    assert (story.status, story.run.with_failures, story.run.nothing_ran) == (RunStatus.COMPLETED, True, False)


def test_what_was_passed_by_counts_as_done_by_a_retry_of_the_target() -> None:
    story = Story(shell(**goto(3)), shell(), shell()).drive()
    story.fail(1)
    story.drive().fail(3)
    story.when(cmd.Retry)
    story.drive()
    assert story.statuses == (FAILED, SKIPPED, RUNNING)


@pytest.mark.parametrize(
    ("steps", "nothing_ran", "with_failures"),
    [
        ([shell(condition=NO), shell(condition=NO)], True, False),
        ([shell(condition=NO), shell()], False, False),
        ([shell(**CONTINUE), shell(condition=NO)], False, True),
        ([wait(1)], False, False),
    ],
)
def test_how_a_run_ends(steps: list[MakeStep], nothing_ran: bool, with_failures: bool) -> None:
    story = Story(*steps)
    while story.run.ended is None:
        story.drive()
        for number in running_processes(story.run):
            story.finish(number, error="no" if story.procedure.step(number).on_failure is OnFailure.CONTINUE else "")
        for number, step in story.run.steps.items():
            if step.status is WAITING:
                story.tick(5)
                story.end_wait(number)
    body = story.latest("run_completed").body
    assert isinstance(body, ev.RunCompleted)
    assert (body.nothing_ran, body.with_failures) == (nothing_ran, with_failures)


# limits


def test_a_process_that_was_ended_after_its_time_failed_by_the_limit() -> None:
    story = Story(shell(timeout_secs=30)).drive()
    started = story.last.at
    assert due(story.run) == (Due(DueKind.WATCH_STEP, 1), Due(DueKind.TIME_OUT, 1, started + timedelta(seconds=30)))
    story.tick(30)
    stopped = cmd.StepResult(signal="SIGTERM", error="stopped", cause="cancelled")
    story.when(cmd.Finish, step=1, attempt=1, result=stopped)
    body = story.latest("step_failed").body
    assert (body.cause, body.error) == ("timeout", "not done within 30s")
    assert story.status is RunStatus.FAILED


@pytest.mark.parametrize(
    ("wall", "boot", "cause"),
    [(40, 40, "timeout"), (40, 3, "signal"), (3, 40, "timeout"), (-100, 40, "timeout"), (3, 3, "signal")],
)
def test_a_limit_counts_by_the_boot_clock_whatever_the_wall_clock_says(wall: float, boot: float, cause: str) -> None:
    story = Story(shell(timeout_secs=30)).drive()
    story.tick(boot)
    story.set_wall_by(wall - boot)
    story.when(
        cmd.Finish, step=1, attempt=1, result=cmd.StepResult(signal="SIGTERM", error="stopped", cause="cancelled")
    )
    assert story.latest("step_failed").body.cause == cause


def test_after_a_restart_only_the_wall_clock_is_left() -> None:
    story = Story(manual(timeout_secs=3600)).drive()
    story.reboot()
    story.tick(3000)
    assert story.time_out(1) == []
    story.tick(600)
    assert story.time_out(1) == ["step_failed", "run_failed"]


def test_what_was_ended_for_the_cancel_is_cancelled_though_its_time_was_over() -> None:
    story = Story(shell(timeout_secs=30)).drive()
    story.tick(60)
    story.when(cmd.Cancel)
    story.when(
        cmd.Finish, step=1, attempt=1, result=cmd.StepResult(signal="SIGTERM", error="stopped", cause="cancelled")
    )
    assert story.latest("step_failed").body.cause == "cancelled"


def test_what_ended_well_just_after_its_time_is_a_success() -> None:
    story = Story(shell(timeout_secs=30)).drive()
    story.tick(60)
    assert story.finish(1) == ["step_completed", "run_completed"]


def test_nobody_but_its_driver_ends_a_process() -> None:
    story = Story(shell(timeout_secs=30)).drive()
    story.tick(60)
    assert story.time_out(1) == []


def test_a_step_that_is_carried_out_by_hand_fails_by_its_limit_and_not_before() -> None:
    story = Story(manual(timeout_secs=30)).drive()
    story.tick(10)
    assert story.time_out(1) == []
    story.tick(30)
    assert story.time_out(1, attempt=2) == []
    assert story.time_out(1) == ["step_failed", "run_failed"]
    assert story.latest("step_failed").body.cause == "timeout"


def test_a_jump_of_the_wall_clock_takes_nobodys_time() -> None:
    story = Story(manual(timeout_secs=3600)).drive()
    story.set_wall_by(86_400)
    assert story.time_out(1) == []
    story.tick(3600)
    assert story.time_out(1) == ["step_failed", "run_failed"]


def test_a_pause_stops_the_clock_of_what_is_done_by_hand() -> None:
    story = Story(manual(timeout_secs=60)).drive()
    story.tick(20)
    story.when(cmd.Pause)
    assert (due(story.run), next_due_at(story.run)) == ((), None)
    story.tick(3600)
    story.refused(IllegalMove, cmd.TimeOut, step=1, attempt=1)
    story.when(cmd.Resume)
    assert story.time_out(1) == []
    (item,) = due(story.run)
    left = item.at - story.now.at
    assert timedelta(seconds=30) < left < timedelta(seconds=40)
    story.tick(40)
    assert story.time_out(1) == ["step_failed", "run_failed"]


@pytest.mark.parametrize("by", [-3600, 3600], ids=["back", "forward"])
@pytest.mark.parametrize("beside", [(), (shell(after=()),)], ids=["at once", "after a process"])
def test_a_clock_that_is_set_during_a_pause_takes_no_time_from_what_is_done_by_hand(
    by: int, beside: tuple[MakeStep, ...]
) -> None:
    story = Story(manual(timeout_secs=60), *beside).drive()
    story.tick(20)
    story.when(cmd.Pause)
    story.set_wall_by(by)
    story.tick(3600)
    if beside:
        story.finish(2)
    story.when(cmd.Resume)
    assert story.time_out(1) == []
    story.tick(30)
    assert story.time_out(1) == []
    story.tick(10)
    assert story.time_out(1)[0] == "step_failed"


def test_a_pause_that_waits_for_a_process_still_limits_that_process() -> None:
    story = Story(shell(timeout_secs=60), manual(timeout_secs=60, after=())).drive()
    story.when(cmd.Pause)
    assert story.owed() == [(DueKind.WATCH_STEP, 1), (DueKind.TIME_OUT, 1)]


def test_each_try_has_the_whole_limit() -> None:
    story = Story(shell(timeout_secs=30, **tries(2, delay_secs=100))).drive()
    story.tick(30)
    story.when(
        cmd.Finish, step=1, attempt=1, result=cmd.StepResult(signal="SIGTERM", error="stopped", cause="cancelled")
    )
    assert story.last.event_type == "step_retry_scheduled"
    story.again(1)
    assert (DueKind.TIME_OUT, 1) in story.owed()
    assert next_due_at(story.run) == story.last.at + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("more", "follows"),
    [({}, ["run_failed"]), (CONTINUE, []), (goto(3), ["step_skipped"])],
    ids=["stop", "continue", "goto"],
)
def test_where_a_limit_leads(more: dict[str, Any], follows: list[str]) -> None:
    story = Story(manual(timeout_secs=30, **more), shell(), shell()).drive()
    story.tick(30)
    assert story.time_out(1) == ["step_failed", *follows]


# waits


def test_a_wait_takes_no_process_and_ends_at_its_time() -> None:
    story = Story(wait(60), shell())
    assert story.owed() == [(DueKind.START_STEP, 1)]
    assert story.start(1) == ["wait_started"]
    started = story.last
    assert started.body.until == started.at + timedelta(seconds=60)
    assert (running_processes(story.run), story.status, current_step(story.run)) == ((), RunStatus.RUNNING, 1)
    assert (story.step(1).status, story.run.executed) == (WAITING, True)
    assert due(story.run) == (Due(DueKind.END_WAIT, 1, started.body.until),)
    story.tick(10)
    assert story.end_wait(1) == []
    story.tick(60)
    assert story.end_wait(1) == ["wait_ended", "step_completed"]
    assert story.owed() == [(DueKind.START_STEP, 2)]
    story.refused(IllegalMove, cmd.Start, step=1, digest=given.digest_of(1, 0))


@pytest.mark.parametrize(("until", "left"), [(NOON + timedelta(hours=1), 3600), (NOON - timedelta(hours=1), 0)])
def test_a_wait_until_a_time(until: Any, left: float) -> None:
    story = Story(wait(wait_until=until.isoformat())).drive()
    assert story.step(1).wake_at == until
    story.tick(max(0, left - 10))
    assert story.end_wait(1) == ([] if left else ["wait_ended", "step_completed", "run_completed"])
    if left:
        story.tick(10)
        assert story.end_wait(1) == ["wait_ended", "step_completed", "run_completed"]


def test_a_length_counts_by_the_boot_clock_and_a_time_by_the_wall_clock() -> None:
    until = (NOON + timedelta(hours=1)).isoformat()
    story = Story(wait(3600), wait(wait_until=until, after=())).drive()
    story.set_wall_by(86_400)
    assert story.end_wait(1) == []
    assert story.end_wait(2) == ["wait_ended", "step_completed"]
    story.set_wall_by(-2 * 86_400)
    story.tick(3600)
    assert story.end_wait(1) == ["wait_ended", "step_completed", "run_completed"]


def test_a_gate_comes_before_the_wait_and_the_approval_names_what_waits() -> None:
    story = Story(wait(60, gate=True)).drive()
    assert story.step(1).status is ASKED
    story.when(cmd.Approve)
    assert story.start(1, digest=given.digest_of(1, -1)) == ["approval_stale"]
    story.drive()
    story.when(cmd.Approve)
    story.drive()
    assert story.last.body.digest == story.gate(1).digest


def test_only_gates_left_beside_a_wait_is_running() -> None:
    story = Story(wait(60), manual(gate=True, after=())).drive()
    assert story.status is RunStatus.RUNNING
    assert current_step(story.run) == 1
    story.tick(60)
    story.end_wait(1)
    assert (story.status, current_step(story.run)) == (RunStatus.AWAITING_APPROVAL, 2)


def test_a_wait_goes_on_through_a_pause_and_ends_after_it() -> None:
    story = Story(wait(60)).drive()
    assert story.when(cmd.Pause) == ["run_paused"]
    assert (due(story.run), next_due_at(story.run)) == ((), None)
    story.tick(60)
    story.refused(IllegalMove, cmd.EndWait, step=1)
    story.when(cmd.Resume)
    assert story.end_wait(1) == ["wait_ended", "step_completed", "run_completed"]


def test_a_cancel_ends_a_wait_at_once() -> None:
    story = Story(wait(60)).drive()
    assert story.when(cmd.Cancel) == ["run_cancelled"]
    assert (story.step(1).status, story.step(1).wake_at) == (StepStatus.CANCELLED, None)


def test_a_wait_can_be_skipped() -> None:
    story = Story(wait(60), shell()).drive()
    assert story.when(cmd.Skip, reason="no need") == ["step_skipped"]
    assert story.owed() == [(DueKind.START_STEP, 2)]


def test_a_wait_beside_a_failing_branch_goes_on_after_the_retry() -> None:
    story = Story(wait(60), shell(after=())).drive()
    assert story.fail(2) == ["step_failed", "run_failed"]
    story.tick(60)
    story.refused(IllegalMove, cmd.EndWait, step=1)
    story.when(cmd.Retry)
    assert story.step(1).status is WAITING
    assert story.end_wait(1) == ["wait_ended", "step_completed"]


def test_going_back_waits_again() -> None:
    story = Story(wait(60), manual()).drive()
    story.tick(60)
    story.end_wait(1)
    story.drive()
    story.when(cmd.Fail, reason="no")
    story.when(cmd.Retry, from_step=1)
    assert (story.step(1).status, story.step(1).visit) == (PENDING, 2)
    story.drive()
    assert story.latest("wait_started").body.visit == 2
    assert story.end_wait(1) == []


def test_going_back_to_a_step_that_waits_takes_the_wait_back() -> None:
    story = Story(shell(), wait(60), shell(after=())).drive()
    story.finish(1)
    story.drive().finish(3)
    story.when(cmd.Pause)
    story.when(cmd.Retry, from_step=1)
    assert (story.step(2).status, story.step(2).wake_at) == (PENDING, None)


# at once


def test_no_more_processes_than_it_says_run_at_once() -> None:
    story = Story(*(shell(after=()) for _ in range(4)), manual(after=()), wait(60, after=()), max_parallel=2).drive()
    assert running_processes(story.run) == (1, 2)
    assert story.statuses[4:] == (RUNNING, WAITING), "what takes no process is not counted"
    assert (DueKind.START_STEP, 3) not in story.owed()
    error = story.refused(IllegalMove, cmd.Start, step=3, digest=given.digest_of(3, 0))
    assert "2 steps run already" in error.message
    story.finish(1)
    story.drive()
    assert running_processes(story.run) == (2, 3)


def test_a_step_that_waits_for_its_next_try_takes_no_place_and_waits_for_one() -> None:
    story = Story(shell(after=(), **tries(2)), shell(after=()), max_parallel=1).drive()
    story.fail(1)
    story.drive()
    assert running_processes(story.run) == (2,)
    story.tick(60)
    assert story.owed() == [(DueKind.WATCH_STEP, 2)]
    assert next_due_at(story.run) is None
    story.refused(IllegalMove, cmd.Start, step=1, digest=given.digest_of(1, 0))
    story.finish(2)
    assert story.start(1) == ["step_started"]


def test_gates_open_though_there_is_no_room() -> None:
    story = Story(shell(after=()), shell(gate=True, after=()), max_parallel=1).drive()
    assert story.statuses == (RUNNING, ASKED)
    story.when(cmd.Approve)
    assert story.owed() == [(DueKind.WATCH_STEP, 1)]
    story.finish(1)
    assert story.start(2) == ["step_started"]
