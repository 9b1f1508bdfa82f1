"""Where a step leads: its condition, waits, tries and failures, and whether they can be what their author means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType

from sopwith.core.agents import agent_of
from sopwith.core.interruption import rules_of
from sopwith.core.items import twice
from sopwith.core.procedure import (
    ExecutionMode,
    InterruptRules,
    OnFailure,
    OnInterrupt,
    OnReject,
    Procedure,
    RetryRules,
    Step,
)
from sopwith.core.run import ancestors
from sopwith.parse.approvals import read_rejection
from sopwith.parse.findings import Findings, shown
from sopwith.parse.model import RetryFile
from sopwith.parse.pair import Pair

WAIT = "wait"
PROCEDURE = "procedure"
_NO_TARGET = {"on_failure": "there is none: say stop", "on_reject": "there is none: say pause or fail"}


def read_flow(pair: Pair, around: Pair, steps: Sequence[Pair]) -> dict[str, Any]:
    """The fields of a step that say when it runs and what follows; `around` is the procedure's pair."""
    said = pair.pick("on_failure", lambda text: text.replace(" ", "")) or around.pick("on_failure") or "stop"
    on_failure, goto = _led(said, steps)
    on_reject, reject_goto = _led(read_rejection(pair, around), steps)
    return {
        "condition": pair.pick("if_"),
        "for_each": pair.pick("for_each"),
        "max_parallel": pair.pick("max_parallel"),
        "timeout_secs": pair.pick("timeout_secs"),
        "retry": pair.pick("retry", _retry),
        "on_failure": OnFailure(on_failure),
        "goto": goto,
        "uses": pair.pick("uses"),
        "with_": pair.pick("with_", dict) or {},
        "on_reject": OnReject(on_reject),
        "reject_goto": reject_goto,
        "on_interrupt": pair.pick("on_interrupt", _interruption) or UNSET,
        "wait_secs": pair.pick("wait_secs"),
        "wait_until": pair.pick("wait_until"),
    }


def waits(pair: Pair) -> bool:
    """Whether the files make the step one that only waits."""
    return any(value is not None for field in ("wait_secs", "wait_until") for value in pair.both(field))


def check_flow(procedure: Procedure, around: Pair, findings: Findings) -> None:
    """Reports what cannot be meant. The procedure's steps are those of the pair."""
    for index, step in enumerate(procedure.steps):
        pair = around.step(index)
        _check_items(step, pair, findings)
        _check_uses(step, pair, findings)
        _check_wait(step, pair, findings)
        _check_retry(step, pair, findings)
        _check_interruption(step, pair, findings)
        _check_goto(procedure, step, step.goto, pair, "on_failure", findings)
        _check_goto(procedure, step, step.reject_goto, pair, "on_reject", findings)
        _check_rejection(procedure, step, pair, findings)
        _check_run_limit(procedure, step, pair, findings)


def _retry(stated: RetryFile) -> RetryRules | None:
    if stated.max_attempts == 1:
        return None
    return RetryRules(
        max_attempts=stated.max_attempts,
        delay_secs=1 if stated.delay_secs is None else stated.delay_secs,
        backoff=stated.backoff or 1,
        max_delay_secs=stated.max_delay_secs,
        on_exit_codes=stated.on_exit_codes or (),
    )


def _interruption(stated: str) -> InterruptRules | UnsetType:
    """Unset where a person is asked: that is what a step does that says nothing."""
    policy, _, command = stated.partition(":")
    if policy == OnInterrupt.ASK:
        return UNSET
    return InterruptRules(policy=OnInterrupt(policy), command=command.strip())


def _led(said: str, steps: Sequence[Pair]) -> tuple[str, int | None]:
    """`goto` and the number of its step, 0 where there is none such; or what else is said."""
    if not said.startswith("goto"):
        return said, None
    name = said.removeprefix("goto").lstrip(":")
    if name.isdigit():
        return "goto", int(name)
    keys = [step.both("key") for step in steps]
    return "goto", next((at for at, both in enumerate(keys, start=1) if name in both), 0)


def _check_items(step: Step, pair: Pair, findings: Findings) -> None:
    if step.max_parallel is not None and step.for_each is None:
        findings.error(
            "parallel_without_items",
            "expected forEach in a step with maxParallel, got none",
            at=pair.at("max_parallel"),
            hint="say what it is done for; maxParallel of the procedure is for all its steps",
        )
    if step.for_each is not None and step.on_reject is OnReject.GOTO:
        findings.error(
            "goto_of_items",
            "expected onReject pause or fail in a step that is done for several items, got goto",
            at=pair.at("on_reject"),
            hint="the others are still asked about: say pause, or fail",
        )
    if isinstance(step.for_each, tuple) and (double := twice(step.for_each)) is not None:
        findings.error(
            "item_twice",
            f"expected items that differ, got {shown(str(double))} twice",
            at=pair.at("for_each"),
            hint="take one of them out",
        )


def _check_uses(step: Step, pair: Pair, findings: Findings) -> None:
    if step.executor == PROCEDURE and step.uses is None:
        findings.error(
            "uses_nothing",
            "expected uses in a step that runs a procedure, got none",
            at=pair.at("executor"),
            hint="name the procedure, or take the executor out",
        )
    if step.uses is not None and step.script is not None:
        findings.error(
            "uses_with_script",
            "expected no script in a step that runs a procedure, got one",
            at=pair.at("uses"),
            hint="let the step before or after it run the script",
        )
    if step.with_ and step.uses is None:
        findings.error(
            "with_nothing",
            "expected uses in a step that hands parameters on, got none",
            at=pair.at("with_"),
            hint="name the procedure that takes them",
        )


def _check_wait(step: Step, pair: Pair, findings: Findings) -> None:
    if step.executor != WAIT:
        return
    field = "wait_secs" if step.wait_secs is not None else "wait_until"
    if step.wait_secs is not None and step.wait_until is not None:
        findings.error(
            "two_waits",
            "expected either a time to wait or a time to wait until, got both",
            at=pair.at("wait_until"),
            hint="keep the one that is meant",
        )
    if step.script is not None:
        findings.error(
            "wait_with_script",
            "expected no script in a step that only waits, got one",
            at=pair.at(field),
            hint="let the step after it run the script",
        )
    if step.wait_secs is None and step.wait_until is None:
        findings.error(
            "wait_for_nothing",
            "expected waitSecs or waitUntil in a step that waits, got neither",
            at=pair.at("executor"),
            hint="say how long, or take the executor out",
        )
    if step.wait_until is not None and not _is_time(step.wait_until):
        findings.unexpected(
            "bad_value",
            expected="a time with its zone, such as 2026-12-01T08:00:00Z",
            got=shown(step.wait_until),
            at=pair.at("wait_until"),
            hint="check the day and the hour",
        )


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_retry(step: Step, pair: Pair, findings: Findings) -> None:
    if step.retry is not None and step.script is None and step.uses is None and agent_of(step) is None:
        findings.error(
            "retry_by_hand",
            "expected retries of a step that runs a script, a procedure or an agent, got them where none runs",
            at=pair.at("retry"),
            hint="take them out: whoever carries the step out tries again",
        )


def _check_interruption(step: Step, pair: Pair, findings: Findings) -> None:
    if step.script is None and agent_of(step) is None and pair.both("on_interrupt") != (None, None):
        findings.error(
            "interrupted_by_hand",
            "expected onInterrupt in a step that runs a script or an agent, got it where none runs",
            at=pair.at("on_interrupt"),
            hint="take it out: no process of this step can be lost",
        )
    elif step.outputs and rules_of(step).policy is OnInterrupt.VERIFY:
        findings.warning(
            "verified_without_outputs",
            f"step {step.number} hands on nothing where a verification finds it done",
            at=pair.at("on_interrupt"),
            hint="let no later step need its outputs, or let a person decide: ask",
        )


def _check_rejection(procedure: Procedure, step: Step, pair: Pair, findings: Findings) -> None:
    """`onReject` gates nothing: told where the files say that nobody is asked."""
    asks = step.requires_approval or procedure.execution_mode not in (ExecutionMode.AUTO, ExecutionMode.SUPERVISED)
    if not asks and pair.both("on_reject") != (None, None):
        findings.warning(
            "never_rejected",
            f"onReject of step {step.number} never happens: nobody is asked to approve it",
            at=pair.at("on_reject"),
            hint="add requiresApproval, or take onReject out",
        )


def _check_run_limit(procedure: Procedure, step: Step, pair: Pair, findings: Findings) -> None:
    limit = procedure.timeout_secs
    if limit is not None and step.wait_secs is not None and step.wait_secs >= limit:
        findings.warning(
            "wait_beyond_limit",
            f"step {step.number} waits {step.wait_secs} s, and the whole run may take {limit} s",
            at=pair.at("wait_secs"),
            hint="make the procedure's timeout longer, or the wait shorter",
        )


def _check_goto(
    procedure: Procedure, step: Step, target: int | None, pair: Pair, field: str, findings: Findings
) -> None:
    if target is None:
        return
    known = procedure.find_step(target) is not None
    if not known or step.number not in ancestors(procedure, target):
        later = [other.number for other in procedure.steps if step.number in ancestors(procedure, other.number)]
        findings.unexpected(
            "bad_goto",
            expected="a later step that depends on this one",
            got=shown(str(target) if known else "a step that is not there"),
            at=pair.at(field),
            hint=f"it may be {', '.join(str(number) for number in later[:10])}" if later else _NO_TARGET[field],
        )
