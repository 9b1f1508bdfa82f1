"""What undoes a step: the script of either file, whether somebody must approve it, and failures that lead there."""

from __future__ import annotations

from sopwith.core.procedure import OnFailure, Procedure, RollbackScript, Script
from sopwith.core.run import descendants
from sopwith.parse.findings import Findings
from sopwith.parse.model import RollbackFile
from sopwith.parse.pair import Pair


def read_rollback(pair: Pair) -> RollbackScript | None:
    """The rollback of a step; the files must agree about its script."""
    ours = pair.sop_md.rollback if pair.sop_md else None
    theirs = pair.manifest.rollback if pair.manifest else None
    stated = None if pair.manifest is None else pair.both("rollback")[1]
    asks = isinstance(stated, RollbackFile) and bool(stated.requires_approval)
    return _whole(pair, pair.script(ours, theirs, "rollback"), is_stated=stated is not None, asks=asks)


def _whole(pair: Pair, script: Script | None, *, is_stated: bool, asks: bool) -> RollbackScript | None:
    if script is not None:
        return RollbackScript(script=script, requires_approval=asks)
    if is_stated:
        pair.findings.error(
            "rollback_without_script",
            "expected a rollback script, got none",
            at=pair.at("rollback"),
            hint='add "run": "…", or write `#### Rollback` and a fence into the step in SOP.md',
        )
    return None


def check_rollback(procedure: Procedure, around: Pair, findings: Findings) -> None:
    """Warns of a failure that leads to a rollback of nothing: no step that may be done by then has a script."""
    by_default = around.pick("on_failure") == "rollback"
    undoable = {step.number for step in procedure.steps if step.rollback is not None}
    if by_default and not undoable:
        _nothing(around, "no step has a rollback script", findings)
    for index, step in enumerate(procedure.steps):
        pair = around.step(index)
        if step.on_failure is not OnFailure.ROLLBACK or pair.both("on_failure") == (None, None):
            continue
        later = descendants(procedure, step.number) - {step.number}
        if not undoable - later:
            _nothing(pair, f"no step at or before step {step.number} has a rollback script", findings)


def _nothing(pair: Pair, why: str, findings: Findings) -> None:
    findings.warning(
        "nothing_to_roll_back",
        f"onFailure rollback does what stop does: {why}",
        at=pair.at("on_failure"),
        hint='write `#### Rollback` and a fence into the steps that can be undone, or "rollback" into the manifest',
    )
