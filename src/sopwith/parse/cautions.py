"""What is allowed and still worth a second look, told of a procedure that is otherwise sound."""

from __future__ import annotations

from collections.abc import Sequence

from sopwith.core.approval import NO_RULES, TimeoutAction
from sopwith.core.procedure import ExecutionMode, Priority, Procedure, Step
from sopwith.parse.findings import Findings, Place
from sopwith.parse.merge import resolved_mode
from sopwith.parse.sheet import Sheet


def check_cautions(procedure: Procedure, sheets: Sequence[Sheet], findings: Findings) -> None:
    """Warnings about a high or critical procedure that nobody has to approve. `sheets` give the places."""
    if procedure.priority not in (Priority.HIGH, Priority.CRITICAL):
        return
    mode = resolved_mode(procedure.execution_mode or ExecutionMode.SUPERVISED, procedure.priority)
    if mode is ExecutionMode.AUTO and not any(step.requires_approval for step in procedure.steps):
        findings.warning(
            "no_gate",
            f"a procedure of {procedure.priority.value} priority runs without anybody's approval",
            at=sheets[-1].at("executionMode"),
            hint="gate its risky steps, or choose step_by_step",
        )
    for index, step in enumerate(procedure.steps):
        gated = step.requires_approval or mode is ExecutionMode.STEP_BY_STEP
        if step.approval_timeout_mins is not None and gated and _silence_approves(procedure, step):
            findings.warning(
                "auto_approval",
                f"step {step.number} of a procedure of {procedure.priority.value} priority approves itself after "
                f"{step.approval_timeout_mins} minutes",
                at=_place_of_timeout(sheets, index),
                hint="say with onTimeout what else silence means; or take the timeout out, or write `none` in SOP.md",
            )


def _silence_approves(procedure: Procedure, step: Step) -> bool:
    rules = step.approval or procedure.approval or NO_RULES
    return rules.on_timeout in (None, TimeoutAction.APPROVE)


def _place_of_timeout(sheets: Sequence[Sheet], index: int) -> Place:
    stating = [sheet for sheet in sheets if sheet.steps and sheet.steps[index].approval_timeout_mins is not None]
    return stating[-1].at_step(index, "approvalTimeoutMins")
