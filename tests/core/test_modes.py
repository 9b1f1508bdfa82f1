"""Execution modes (DESIGN section 4): they only add gates, and only a person may loosen one."""

from __future__ import annotations

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM, Actor
from sopwith.core.approval import ApprovalRules
from sopwith.core.config import Config, Role
from sopwith.core.gates import needs_gate, needs_start_gate
from sopwith.core.modes import choose_mode, declared_mode, effective_mode, strictness
from sopwith.core.procedure import ExecutionMode, Priority
from sopwith.core.run import RunStatus
from sopwith.errors import NotAllowed

from .given import AGENT, ALICE, TRIGGER, Story, procedure, shell

AUTO, SUPERVISED, STEP_BY_STEP, PRIORITY_BASED = ExecutionMode
RUN_MODES = (AUTO, SUPERVISED, STEP_BY_STEP)


@pytest.mark.parametrize("mode", RUN_MODES)
def test_an_explicit_gate_holds_in_every_mode(mode: ExecutionMode) -> None:
    story = Story(shell(gate=True), mode=mode)
    if mode is SUPERVISED:
        story.when(cmd.Approve)
    story.drive()
    assert story.status is RunStatus.AWAITING_APPROVAL


def test_auto_asks_only_at_explicit_gates() -> None:
    story = Story(shell(), mode=AUTO).drive()
    assert [event.event_type for event in story.events] == ["run_created", "run_started", "step_started"]


def test_supervised_asks_once_before_the_start_and_then_only_at_explicit_gates() -> None:
    story = Story(shell(), mode=SUPERVISED)
    assert story.status is RunStatus.WAITING_APPROVAL
    story.when(cmd.Approve)
    story.drive()
    assert story.last.event_type == "step_started"


def test_step_by_step_asks_before_every_step_and_not_before_the_start() -> None:
    story = Story(shell(), shell(), mode=STEP_BY_STEP).drive()
    assert story.last.event_type == "approval_requested"
    assert story.last.step_number == 1
    story.when(cmd.Approve)
    story.drive()
    story.finish(1)
    story.drive()
    assert (story.last.event_type, story.last.step_number) == ("approval_requested", 2)


def test_modes_only_add_gates() -> None:
    gated, plain = procedure(shell(gate=True), shell()).steps
    for mode in RUN_MODES:
        assert needs_gate(mode, gated)
        assert needs_gate(mode, plain) == (mode is STEP_BY_STEP)
        assert needs_start_gate(mode) == (mode is SUPERVISED)


def test_without_a_mode_anywhere_a_run_is_supervised() -> None:
    assert declared_mode(procedure(shell()), Config()) is SUPERVISED


def test_the_files_mode_comes_before_the_configs() -> None:
    config = Config(default_execution_mode=STEP_BY_STEP)
    assert declared_mode(procedure(shell()), config) is STEP_BY_STEP
    assert declared_mode(procedure(shell(), execution_mode=AUTO), config) is AUTO


@pytest.mark.parametrize(
    ("priority", "mode"),
    [
        (Priority.CRITICAL, AUTO),
        (Priority.HIGH, AUTO),
        (Priority.NORMAL, SUPERVISED),
        (Priority.LOW, SUPERVISED),
    ],
)
def test_priority_based_stands_for_another_mode_at_each_priority(priority: Priority, mode: ExecutionMode) -> None:
    assert effective_mode(PRIORITY_BASED, priority, Config()) is mode
    for other in RUN_MODES:
        assert effective_mode(other, priority, Config()) is other


def test_the_config_changes_what_priority_based_stands_for() -> None:
    config = Config(priority_modes={Priority.CRITICAL: STEP_BY_STEP})
    assert effective_mode(PRIORITY_BASED, Priority.CRITICAL, config) is STEP_BY_STEP
    assert effective_mode(PRIORITY_BASED, Priority.HIGH, config) is AUTO


def test_strictness_orders_the_modes() -> None:
    assert [strictness(mode) for mode in RUN_MODES] == [0, 1, 2]
    with pytest.raises(ValueError, match="not in tuple"):
        strictness(PRIORITY_BASED)


@pytest.mark.parametrize("actor", [ALICE, AGENT, TRIGGER, SYSTEM])
def test_anybody_may_ask_for_a_stricter_mode_and_only_a_person_for_a_looser_one(actor: Actor) -> None:
    sop = procedure(shell(), execution_mode=SUPERVISED)
    for wanted in (None, SUPERVISED, STEP_BY_STEP):
        assert choose_mode(sop, Config(), requested=wanted, actor=actor) is (wanted or SUPERVISED)
    if actor == ALICE:
        assert choose_mode(sop, Config(), requested=AUTO, actor=actor) is AUTO
        return
    for wanted in (AUTO, PRIORITY_BASED):
        critical = procedure(shell(), execution_mode=SUPERVISED, priority=Priority.CRITICAL)
        with pytest.raises(NotAllowed) as caught:
            choose_mode(critical, Config(), requested=wanted, actor=actor)
        assert caught.value.message.startswith(f"{actor} may not run deploy as auto: it is supervised")


def test_approvals_that_name_somebody_are_taken_away_by_an_admin_only() -> None:
    for rules in (ApprovalRules(approvers=("user:bob",)), ApprovalRules(quorum=2)):
        named = procedure(shell(), execution_mode=SUPERVISED, approval=rules)
        with pytest.raises(NotAllowed, match="takes away approvals"):
            choose_mode(named, Config(), requested=AUTO, actor=ALICE)
        admin = Config(roles={Role.ADMIN: ("user:alice",)})
        assert choose_mode(named, admin, requested=AUTO, actor=ALICE) is AUTO
        assert choose_mode(named, Config(), requested=STEP_BY_STEP, actor=ALICE) is STEP_BY_STEP
    anybody = procedure(shell(), execution_mode=SUPERVISED, approval=ApprovalRules(comment_required=True))
    assert choose_mode(anybody, Config(), requested=AUTO, actor=ALICE) is AUTO
