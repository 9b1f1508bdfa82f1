"""The second opinion itself: what it lets pass, and what it does not. Each story was once told by random commands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.events import Event, RunTimedOut, WaitEnded
from sopwith.core.instant import iso
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import RunStatus, StepStatus

from .given import AGENT, ALICE, NOON, RUN, MakeStep, Story, manual, shell, wait
from .ledger import Ledger


class Checked(Story):
    """A story whose ledger reads each event in the moment in which it was made."""

    def __init__(self, *steps: MakeStep, **more: Any) -> None:
        super().__init__(*steps, **more)
        self.ledger = Ledger(self.procedure, more.get("mode", ExecutionMode.AUTO), ALICE)
        self.read_on()

    def when(self, command: type[cmd.Command], **fields: Any) -> list[str]:
        made = super().when(command, **fields)
        self.read_on()
        return made

    def read_on(self) -> None:
        for event in self.events[self.ledger.seq :]:
            self.ledger.read(event, self.config, self.now)

    def claim(self, body: Any) -> None:
        """The ledger is told of an event that the core did not make."""
        made = Event(run_id=RUN, seq=self.ledger.seq + 1, at=self.now.at, actor=SYSTEM, body=body)
        self.ledger.read(made, self.config, self.now)


def started_anew() -> Checked:
    """A run of 20 seconds that was paused for 90, and then took a start approval for other parameters."""
    story = Checked(manual(gate=True), mode=ExecutionMode.SUPERVISED, params={"to": "staging"}, timeout_secs=20)
    story.drive()
    story.when(cmd.Approve)
    story.drive()
    story.when(cmd.Pause)
    story.tick(90)
    assert story.when(cmd.Retry, params={"to": "production"}, from_step=1)[-1] == "run_retried"
    story.drive()
    assert story.when(cmd.Approve)[-1] == "run_started"
    return story


def test_the_time_of_a_run_that_starts_anew_begins_anew_whatever_it_rested_before() -> None:
    story = started_anew()
    story.tick(19)
    assert story.when(cmd.TimeOutRun)[0] == "run_timed_out"


def test_and_none_of_it_is_cut_short() -> None:
    story = started_anew()
    story.tick(19)
    with pytest.raises(AssertionError, match="ended before its time"):
        story.claim(RunTimedOut(limit_ms=20_000))


UNTIL = NOON + timedelta(minutes=5)


def waiting_until(days: float) -> Checked:
    """A wait until five past noon, begun so many days later; then the machine starts anew, its clock a day back."""
    story = Checked(wait(wait_until=iso(UNTIL)))
    story.tick(days * 86_400)
    story.drive()
    story.reboot()
    story.set_wall_by(-86_400)
    return story


def test_a_wait_until_a_moment_is_over_in_that_moment_though_the_clock_was_set_to_before_its_start() -> None:
    story = waiting_until(days=1)
    assert story.when(cmd.EndWait, step=1) == []
    story.tick(300)
    assert story.now.at < story.events[-1].at
    assert story.when(cmd.EndWait, step=1)[:2] == ["wait_ended", "step_completed"]


def test_and_not_before_that_moment() -> None:
    story = waiting_until(days=1)
    with pytest.raises(AssertionError, match="over before its time"):
        story.claim(WaitEnded(step_number=1, title="Step 1", until=UNTIL))


def test_a_step_whose_condition_does_not_hold_is_skipped_once_though_there_are_no_items_for_it_either() -> None:
    nothing = shell(condition="params.go == 'yes'", for_each="steps['1'].outputs.list")
    story = Checked(shell(), nothing, shell(), params={"go": "no"})
    story.drive()
    story.finish(1, outputs={"list": []})
    story.drive()
    assert story.finish(3)[-1] == "run_completed"
    assert story.run.ended is RunStatus.COMPLETED


def test_an_agent_that_reported_a_step_is_nobody_who_could_pass_a_gate_of_the_run() -> None:
    alone = ApprovalRules(approvers=("agent:claude",), on_timeout=TimeoutAction.REJECT)
    story = Checked(manual(), shell(gate=True, approval=alone))
    story.drive()
    story.when(cmd.Complete, step=1, actor=AGENT)
    story.drive()
    assert story.step(2).status is StepStatus.REJECTED
    assert story.ledger.seq == story.events[-1].seq
