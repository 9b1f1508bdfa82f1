"""Where gates stand, how long they wait and what silence means (DESIGN section 4, "approval timeout" 1 to 4)."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from sopwith.core.address import StepId
from sopwith.core.approval import NO_RULES, TimeoutAction
from sopwith.core.events import Policy
from sopwith.core.procedure import ExecutionMode, Priority, Procedure, Step
from sopwith.core.rollback import asks_first
from sopwith.core.run import Run


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


def is_gated(run: Run, number: StepId) -> bool:
    """Whether a person must approve this step in this run: the files, the mode, or what was found to have changed."""
    if run.rollback is not None and number in run.rollback.left:
        return asks_first(run, number)
    step = run.steps[number]
    if step.waived and not always_asks(run, number):
        return False
    return step.must_ask or needs_gate(run.mode, run.procedure.step(number))


def always_asks(run: Run, number: StepId) -> bool:
    """Whether no condition of the gate's own can take it away: the mode added it, or something changed."""
    return run.steps[number].must_ask or run.mode is ExecutionMode.STEP_BY_STEP


def needs_start_gate(mode: ExecutionMode) -> bool:
    return mode is ExecutionMode.SUPERVISED


def step_terms(procedure: Procedure, step: Step, policy: Policy) -> Terms:
    """The step's own timeout approves unless its rules say otherwise; the config's does what rules or config say,
    and pauses where the stakes are high.
    """
    if step.never_times_out:
        return FOR_EVER
    stated = (step.approval or procedure.approval or NO_RULES).on_timeout
    if step.approval_timeout_mins is not None:
        return Terms(step.approval_timeout_mins, stated or TimeoutAction.APPROVE)
    if policy.approval_timeout_mins is None:
        return FOR_EVER
    careful = procedure.priority in (Priority.HIGH, Priority.CRITICAL)
    default = TimeoutAction.PAUSE if careful else TimeoutAction.APPROVE
    return Terms(policy.approval_timeout_mins, stated or policy.approval_timeout_action or default)


def start_terms(procedure: Procedure, policy: Policy) -> Terms:
    """A start gate times out only where its rules or the config name an action."""
    stated = (procedure.approval or NO_RULES).on_timeout or policy.approval_timeout_action
    if policy.approval_timeout_mins is None or stated is None:
        return FOR_EVER
    return Terms(policy.approval_timeout_mins, stated)


def gate_terms(run: Run, number: StepId | None) -> Terms:
    """The terms of this run's gate before step `number`; None is the start gate."""
    if number is None:
        return start_terms(run.procedure, run.policy)
    if run.rollback is not None:
        return FOR_EVER  # what undoes a step is not undone by silence
    if run.steps[number].waived or not needs_gate(run.mode, run.procedure.step(number)):
        return FOR_EVER  # asked because something changed: silence is no answer to that
    terms = step_terms(run.procedure, run.procedure.step(number), run.policy)
    silence_approves = terms.action is TimeoutAction.APPROVE
    return FOR_EVER if run.steps[number].must_ask and silence_approves else terms
