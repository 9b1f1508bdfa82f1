"""SOP.md and manifest.json -> one procedure (DESIGN section 3).

A gate holds if either file says so, the stricter mode and the longer wait win; scripts and steps must agree, and so
must who decides (`approvals.py`). For the rest the manifest wins and the difference is told. A key that one of them
lacks is no difference.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from sopwith.core.concurrency import group_mistake
from sopwith.core.procedure import (
    EnvironmentRules,
    ExecutionMode,
    OnFailure,
    Parameter,
    ParameterType,
    Priority,
    Procedure,
    Script,
    Step,
    Trigger,
)
from sopwith.parse.agents import check_agent, implied_executor, read_agent
from sopwith.parse.approvals import check_approvals, read_approval
from sopwith.parse.dependencies import resolve
from sopwith.parse.findings import Findings, shown
from sopwith.parse.flow import PROCEDURE, WAIT, check_flow, read_flow, waits
from sopwith.parse.model import EnvironmentFile, ParameterFile
from sopwith.parse.pair import Pair, Side
from sopwith.parse.rollback import check_rollback, read_rollback
from sopwith.parse.sheet import Sheet
from sopwith.parse.triggers import check_expressions, read_triggers
from sopwith.parse.verification import check_verification, read_verification

_STRICTNESS = (ExecutionMode.AUTO, ExecutionMode.SUPERVISED, ExecutionMode.STEP_BY_STEP)


def merge(name: str, sop_md: Sheet | None, manifest: Sheet | None, findings: Findings) -> Procedure:
    """The procedure that the sheets describe together; at least one of them is there. Errors go to `findings`."""
    pair = Pair(Side(sop_md) if sop_md else None, Side(manifest) if manifest else None, findings)
    priority = pair.pick("priority") or Priority.NORMAL
    procedure = Procedure(
        name=name,
        title=pair.pick("title") or name,
        description=pair.pick("description") or "",
        overview=sop_md.overview if sop_md else "",
        version=pair.pick("version") or "1.0.0",
        priority=priority,
        execution_mode=_mode(pair, priority),
        cooldown_secs=pair.pick("cooldown_secs") or 0,
        max_concurrent=pair.pick("max_concurrent"),
        concurrency_group=pair.pick("concurrency_group"),
        triggers=pair.pick("triggers", read_triggers) or (Trigger(type="manual"),),
        runners=pair.pick("runners") or (),
        approval=read_approval(pair),
        parameters=pair.pick("params", _parameters) or (),
        env=pair.pick("env", _environment) or EnvironmentRules(),
        working_dir=pair.pick("working_dir"),
        max_parallel=pair.pick("max_parallel"),
        timeout_secs=pair.pick("timeout_secs"),
        on_failure=OnFailure(pair.pick("on_failure") or "stop"),
        steps=_steps(pair),
    )
    check_approvals(procedure, pair, findings)
    _check_group(procedure, pair, findings)
    check_expressions(procedure, pair, findings)
    if not findings.has_errors:
        check_flow(procedure, pair, findings)
        check_rollback(procedure, pair, findings)
        check_verification(procedure, pair, findings)
    return procedure


def _check_group(procedure: Procedure, pair: Pair, findings: Findings) -> None:
    if (wrong := group_mistake(procedure)) is not None:
        findings.unexpected(
            "bad_concurrency_group",
            expected="a CEL expression that gives text",
            got=f"{shown(procedure.concurrency_group)}: {wrong}",
            at=pair.at("concurrency_group"),
            hint="it may name params, run.name, run.priority, run.mode, run.startedBy: 'deploy-' + params.environment",
        )


def resolved_mode(mode: ExecutionMode, priority: Priority) -> ExecutionMode:
    """What `priority_based` comes to without a config: critical and high run, the rest asks before the start."""
    if mode is not ExecutionMode.PRIORITY_BASED:
        return mode
    return ExecutionMode.AUTO if priority in (Priority.CRITICAL, Priority.HIGH) else ExecutionMode.SUPERVISED


def _mode(pair: Pair, priority: Priority) -> ExecutionMode | None:
    ours, theirs = pair.both("execution_mode")
    if ours is None or theirs is None or ours == theirs:
        mode: ExecutionMode | None = ours or theirs
        return mode
    stricter = max((theirs, ours), key=lambda mode: _STRICTNESS.index(resolved_mode(mode, priority)))
    pair.drift("execution_mode", ours, theirs, wins=f"the stricter one wins, {stricter.value}")
    return ExecutionMode(stricter)


def _steps(pair: Pair) -> tuple[Step, ...]:
    stated = [
        len(side.sheet.steps) for side in (pair.sop_md, pair.manifest) if side and side.sheet.said.steps is not None
    ]
    if pair.sop_md is None and not any(stated):
        pair.findings.error(
            "no_steps",
            "expected at least one step, got none",
            at=pair.at("steps"),
            hint='add {"number": 1, "title": "…", "run": "…"} to "steps", or write SOP.md',
        )
        return ()
    if len(set(stated)) > 1:
        _report_missing_steps(pair)
        return ()
    steps = tuple(pair.step(index) for index in range(stated[0]))
    depends_on = resolve(steps, pair.findings)
    return tuple(_step(step, depends_on[index], read_flow(step, pair, steps)) for index, step in enumerate(steps))


def _report_missing_steps(pair: Pair) -> None:
    assert pair.sop_md is not None
    assert pair.manifest is not None
    ours, theirs = pair.sop_md.sheet, pair.manifest.sheet
    longer, shorter = (ours, theirs) if len(ours.steps) > len(theirs.steps) else (theirs, ours)
    missing = [str(step.number) for step in longer.steps[len(shorter.steps) :]]
    pair.findings.error(
        "step_count_differs",
        f"expected the same steps in both files, got {len(ours.steps)} in {ours.at()} and {len(theirs.steps)} here",
        at=theirs.at("steps"),
        expected=str(len(ours.steps)),
        got=str(len(theirs.steps)),
        hint=f"{shorter.at().file} lacks {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}",
    )


def _step(pair: Pair, depends_on: tuple[int, ...], flow: dict[str, Any]) -> Step:
    side = pair.manifest or pair.sop_md
    assert side is not None
    script = _script(pair)
    number = pair.pick("number")
    timeout, never_times_out = _timeout(pair)
    executor, body = _executor(pair, script), _body(pair)
    check_agent(pair, executor, script=script, body=body)
    return Step(
        number=number,
        title=pair.pick("title") or f"Step {number}",
        body=body,
        key=pair.pick("key"),
        executor=executor,
        agent=read_agent(pair),
        script=script,
        requires_approval=_requires_approval(pair),
        approval_timeout_mins=timeout,
        never_times_out=never_times_out,
        approval=read_approval(pair),
        pins=pair.pick("pins") or (),
        depends_on=depends_on,
        **flow,
        verify=read_verification(pair) or UNSET,
        rollback=read_rollback(pair),
        suggested_tools=pair.pick("suggested_tools") or (),
        env=pair.pick("env", _environment) or EnvironmentRules(),
        working_dir=pair.pick("working_dir"),
        outputs=pair.pick("outputs", _outputs) or {},
    )


def _script(pair: Pair) -> Script | None:
    ours = pair.sop_md.script if pair.sop_md else None
    theirs = pair.manifest.script if pair.manifest else None
    return pair.script(ours, theirs, "run")


def _executor(pair: Pair, script: Script | None) -> str:
    stated = pair.pick("executor") or implied_executor(pair)
    if stated == "manual" and script is not None:
        pair.findings.error(
            "manual_with_script",
            "expected no script in a step that a person does, got one",
            at=pair.at("executor"),
            hint="take out Executor, or fence the script as `console`",
        )
    if stated == "shell" and script is None:
        pair.findings.error(
            "shell_without_script",
            "expected a script for a shell step, got none",
            at=pair.at("executor"),
            hint="add a `bash` fence, or take out Executor",
        )
    if stated is not None and stated != WAIT and waits(pair):
        pair.findings.error(
            "wait_with_executor",
            f"expected no executor but wait in a step that waits, got {stated}",
            at=pair.at("executor"),
            hint="take the executor out, or the wait",
        )
    if stated is not None and stated != PROCEDURE and any(used is not None for used in pair.both("uses")):
        pair.findings.error(
            "uses_with_executor",
            f"expected no executor but procedure in a step that runs one, got {stated}",
            at=pair.at("executor"),
            hint="take the executor out, or uses",
        )
    if stated is None and any(used is not None for used in pair.both("uses")):
        return PROCEDURE
    without = WAIT if waits(pair) else "manual"
    return str(stated or (without if script is None or waits(pair) else "shell"))


def _requires_approval(pair: Pair) -> bool:
    ours, theirs = (_gates(side, pair) for side in (pair.sop_md, pair.manifest))
    if ours is not None and theirs is not None and ours != theirs:
        pair.drift("requires_approval", ours, theirs, wins="the step is gated")
    return bool(ours or theirs)


def _gates(side: Side | None, pair: Pair) -> bool | None:
    """Whether this file gates the step, None if it says nothing. An `approval` gates; with a `false` beside it, who
    would ever be asked?
    """
    if side is None:
        return None
    stated: bool | None = getattr(side.statement, "requires_approval", None)
    if side.within("approval") is None:
        return stated
    if stated is False:
        pair.findings.error(
            "approval_without_gate",
            "expected no approval rules in a step that requires none, got some",
            at=side.at("requiresApproval"),
            hint="take requiresApproval out, or the rules",
        )
    return True


def _timeout(pair: Pair) -> tuple[int | float | None, bool]:
    """The minutes, and whether the gate waits for ever, which SOP.md alone can say. The longer wait wins."""
    ours, theirs = pair.both("approval_timeout_mins")
    if pair.sop_md is not None and pair.sop_md.never_times_out:
        if theirs is not None:
            wins = "the longer wait wins, the gate never approves itself"
            pair.drift("approval_timeout_mins", "no timeout", theirs, wins=wins)
        return None, True
    if ours is None or theirs is None or ours == theirs:
        return ours if theirs is None else theirs, False
    longer: int | float = max(ours, theirs)
    pair.drift("approval_timeout_mins", ours, theirs, wins=f"the longer wait wins, {longer}")
    return longer, False


def _body(pair: Pair) -> str:
    """SOP.md's prose: it is what people edit and read. A manifest's description stands in where there is none."""
    ours, theirs = pair.both("description")
    return ours or theirs or ""


def _parameters(stated: tuple[ParameterFile, ...]) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(
            name=parameter.name,
            type=parameter.type or ParameterType.STRING,
            required=bool(parameter.required),
            default=parameter.default,
            values=parameter.values or (),
            pattern=parameter.pattern,
            description=parameter.description or "",
        )
        for parameter in stated
    )


def _environment(stated: EnvironmentFile) -> EnvironmentRules:
    return EnvironmentRules(pass_=stated.pass_ or (), set_=stated.set_ or {})


def _outputs(stated: tuple[str, ...] | dict[str, str]) -> dict[str, str]:
    return stated if isinstance(stated, dict) else dict.fromkeys(stated, "string")
