"""`approval.when`: whether a gate asks at all: evaluated when it is due, recorded, for one try of the step."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.approval import ApprovalRules
from sopwith.core.due import DueKind
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import GateStatus, RunStatus
from sopwith.errors import IllegalMove

from .given import MakeStep, Story, digest_of, shell

IN_PRODUCTION = "params.environment == 'production'"


def _gated(when: str = IN_PRODUCTION, **more: object) -> MakeStep:
    return shell(gate=True, approval=ApprovalRules(when=when), **more)


def _story(*steps: MakeStep, environment: str = "staging", mode: ExecutionMode = ExecutionMode.AUTO) -> Story:
    return Story(*steps, mode=mode, params={"environment": environment})


def test_where_it_holds_the_gate_asks() -> None:
    story = _story(_gated(), environment="production")
    assert story.ask(1) == ["condition_evaluated", "approval_requested"]
    body = story.latest("condition_evaluated").body
    assert (body.step_number, body.condition, body.expression) == (1, "approval.when", IN_PRODUCTION)
    assert (body.result, body.reason) == (True, "")
    assert story.status is RunStatus.AWAITING_APPROVAL
    assert story.latest("condition_evaluated").actor == SYSTEM


def test_where_it_does_not_hold_the_step_starts_without_being_asked_about() -> None:
    story = _story(_gated())
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    assert story.ask(1) == ["condition_evaluated"]
    assert story.last.body.result is False
    assert (story.status, story.owed()) == (RunStatus.RUNNING, [(DueKind.START_STEP, 1)])
    assert story.start(1) == ["step_started"]
    assert story.finish(1) == ["step_completed", "run_completed"]


def test_before_it_was_evaluated_nothing_starts() -> None:
    _story(_gated()).refused(IllegalMove, cmd.Start, step=1, digest=digest_of(1, 0))


@pytest.mark.parametrize("when", ["params.unknown == 'x'", "params.environment == 1", "params.environment", "1 +"])
def test_what_cannot_be_evaluated_asks_and_says_why(when: str) -> None:
    story = _story(_gated(when))
    assert story.ask(1) == ["condition_evaluated", "approval_requested"]
    body = story.latest("condition_evaluated").body
    assert body.result is None
    assert body.reason


def test_step_by_step_asks_whatever_the_condition_says() -> None:
    story = _story(_gated(), mode=ExecutionMode.STEP_BY_STEP)
    assert story.ask(1) == ["approval_requested"]


def test_the_start_approval_has_no_condition() -> None:
    story = _story(_gated(), mode=ExecutionMode.SUPERVISED)
    assert story.status is RunStatus.WAITING_APPROVAL
    story.when(cmd.Approve)
    assert story.ask(1) == ["condition_evaluated"]


def test_a_retry_evaluates_again() -> None:
    story = _story(_gated())
    story.ask(1)
    story.start(1)
    story.finish(1, error="exit code 1")
    story.when(cmd.Retry)
    assert not story.step(1).waived
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    assert story.ask(1) == ["condition_evaluated"]


def test_going_back_evaluates_again_for_every_step_from_there_on() -> None:
    story = _story(_gated(), _gated())
    story.ask(1)
    story.start(1)
    story.finish(1)
    story.ask(2)
    story.start(2)
    story.finish(2, error="exit code 1")
    story.when(cmd.Retry, from_step=1)
    assert (story.step(1).waived, story.step(2).waived) == (False, False)


def test_it_may_come_to_something_else_in_the_next_try() -> None:
    story = _story(shell(outputs={"size": "integer"}), _gated("steps['1'].outputs.size > 10"))
    for size, events in ((3, ["condition_evaluated"]), (30, ["condition_evaluated", "approval_requested"])):
        story.drive()
        story.finish(1, outputs={"size": size})
        assert story.ask(2) == events
        if size == 3:
            story.start(2)
            story.finish(2, error="exit code 1")
            story.when(cmd.Retry, from_step=1)
    assert story.gate(2).revision == 1


def test_what_changed_is_asked_about_though_the_condition_does_not_hold() -> None:
    story = _story(_gated())
    story.ask(1)
    assert story.start(1, changed=("passed TOKEN",)) == ["approval_stale"]
    assert story.owed() == [(DueKind.OPEN_GATE, 1)]
    assert story.ask(1) == ["approval_requested"]
    assert story.gate(1).status is GateStatus.OPEN


def test_what_changed_is_never_approved_by_silence_where_nobody_was_to_be_asked() -> None:
    story = _story(_gated(approval_timeout_mins=5))
    story.ask(1)
    story.start(1, changed=("passed TOKEN",))
    story.ask(1)
    assert story.gate(1).due_at is None


def test_a_waived_gate_says_nothing_about_the_approval_of_an_earlier_try() -> None:
    story = _story(shell(outputs={"size": "integer"}), _gated("steps['1'].outputs.size > 10")).drive()
    story.finish(1, outputs={"size": 30})
    story.ask(2)
    story.when(cmd.Approve)
    story.start(2)
    story.finish(2, error="exit code 1")
    story.when(cmd.Retry, from_step=1)
    story.drive()
    story.finish(1, outputs={"size": 3})
    assert story.ask(2) == ["condition_evaluated"]
    assert story.step(2).gate_void
    assert story.when(cmd.Start, step=2, digest=digest_of(2, 0)) == ["step_started"]
    assert story.finish(2, error="exit code 1") == ["step_failed", "run_failed"]
    assert story.when(cmd.Complete, step=2)[0] == "step_reported"
    assert story.latest("step_reported").body.signature is None, "there was no gate in this try"


PROGRAM = """
import sys
from tests.core.given import Story, shell
from sopwith.core.approval import ApprovalRules
rules = ApprovalRules(approvers=("user:bob",), quorum=1, when={when!r})
story = Story(shell(gate=True, approval=rules), params={{"environment": "staging"}}).drive()
print(any(name.startswith("cel_expr") for name in sys.modules))
"""


@pytest.mark.parametrize(("when", "imported"), [(None, "False"), (IN_PRODUCTION, "True")])
def test_cel_is_imported_only_where_a_procedure_has_a_condition(when: str | None, imported: str) -> None:
    program = PROGRAM.format(when=when)
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == imported
