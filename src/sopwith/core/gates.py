"""Where gates stand, how long they wait and what silence means (DESIGN section 4, "approval timeout" 1 to 4)."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.approval import TimeoutAction
from sopwith.core.events import Policy
from sopwith.core.procedure import ExecutionMode, Priority, Procedure, Step
from sopwith.core.run import Run
from sopwith.errors import ApproverNotAllowed


class Terms(msgspec.Struct, frozen=True):
    """How a gate waits: minutes until it times out and what happens then, or None and None for ever."""

    timeout_mins: int | float | None = None
    action: TimeoutAction | None = None

    def due_at(self, asked_at: datetime) -> datetime | None:
        if self.timeout_mins is None:
            return None
        # whole milliseconds, as all recorded times are
        return asked_at + timedelta(milliseconds=round(self.timeout_mins * 60_000))


FOR_EVER = Terms()


def needs_gate(mode: ExecutionMode, step: Step) -> bool:
    """Modes only add gates: an explicit one holds in every mode."""
    return step.requires_approval or mode is ExecutionMode.STEP_BY_STEP


def is_gated(run: Run, number: int) -> bool:
    """Whether a person must approve this step in this run: the files, the mode, or what was found to have changed."""
    return run.steps[number].must_ask or needs_gate(run.mode, run.procedure.step(number))


def needs_start_gate(mode: ExecutionMode) -> bool:
    return mode is ExecutionMode.SUPERVISED


def step_terms(procedure: Procedure, step: Step, policy: Policy) -> Terms:
    """The step's own timeout approves; the config's does what it says, and pauses where the stakes are high."""
    if step.never_times_out:
        return FOR_EVER
    if step.approval_timeout_mins is not None:
        return Terms(step.approval_timeout_mins, TimeoutAction.APPROVE)
    if policy.approval_timeout_mins is None:
        return FOR_EVER
    careful = procedure.priority in (Priority.HIGH, Priority.CRITICAL)
    default = TimeoutAction.PAUSE if careful else TimeoutAction.APPROVE
    return Terms(policy.approval_timeout_mins, policy.approval_timeout_action or default)


def start_terms(policy: Policy) -> Terms:
    """A start gate times out only where the config names an action."""
    if policy.approval_timeout_mins is None or policy.approval_timeout_action is None:
        return FOR_EVER
    return Terms(policy.approval_timeout_mins, policy.approval_timeout_action)


def gate_terms(run: Run, number: int | None) -> Terms:
    """The terms of this run's gate before step `number`; None is the start gate."""
    if number is None:
        return start_terms(run.policy)
    if not needs_gate(run.mode, run.procedure.step(number)):
        return FOR_EVER  # asked because something changed: silence is no answer to that
    return step_terms(run.procedure, run.procedure.step(number), run.policy)


def check_approver(run: Run, actor: Actor) -> None:
    """ApproverNotAllowed unless a person asks: agents, triggers and the system never wave anything through."""
    if actor.kind is not ActorKind.HUMAN:
        raise ApproverNotAllowed(
            f"{actor} may not approve in {run.run_id}: approval is a person's decision",
            hint=f"ask a person to look at it: sop approve {run.run_id}",
        )
