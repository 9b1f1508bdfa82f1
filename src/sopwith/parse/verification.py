"""What confirms a report that a step by hand is done: the script of either file, and where it can mean anything."""

from __future__ import annotations

from sopwith.core.procedure import Procedure, Script
from sopwith.parse.findings import Findings
from sopwith.parse.pair import Pair

_RUNS = {"shell": "runs a script", "wait": "only waits", "procedure": "runs a procedure"}


def read_verification(pair: Pair) -> Script | None:
    """The script that verifies reports of a step; the files must agree about it."""
    ours = pair.sop_md.verification if pair.sop_md else None
    theirs = pair.manifest.verification if pair.manifest else None
    return pair.script(ours, theirs, "verify")


def check_verification(procedure: Procedure, around: Pair, findings: Findings) -> None:
    """Reports scripts that nothing would ask, and those that would confirm anything."""
    for index, step in enumerate(procedure.steps):
        if not step.verify:
            continue
        at = around.step(index).at("verify")
        if step.executor != "manual":
            findings.error(
                "verify_without_report",
                f"expected verify in a step that is done by hand, got it in one that {_RUNS[step.executor]}",
                at=at,
                hint="nobody reports this step: let a step after it check, or see onInterrupt verify:COMMAND",
            )
        if not any(_is_command(line) for line in step.verify.text.split("\n")):
            findings.error(
                "verify_checks_nothing",
                "expected a command that verifies, got none: it would confirm every report",
                at=at,
                hint="write a command that fails where the step is not done",
            )


def _is_command(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")
