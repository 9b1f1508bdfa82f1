"""What `sop validate` can tell beyond the files: executors that are missing, variables that scripts will not see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sopwith.core.procedure import Procedure, Step
from sopwith.engine.environment import captured_environment
from sopwith.errors import BadRequest, Problem, Severity
from sopwith.ports import ExecutorKinds

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


def check_procedure(procedure: Procedure, kinds: ExecutorKinds, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Findings of this machine: warnings, because another machine may have what is missing here."""
    for step in procedure.steps:
        try:
            kind = kinds.kind(step.executor)
        except BadRequest as error:
            yield _warning(procedure, step, "unknown_executor", error.message, error.hint)
            continue
        if kind.check is not None:
            yield from kind.check(step)
        yield from _unpassed(procedure, step, environ)


def unpassed_variables(procedure: Procedure, step: Step, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that the script names, that are set here, and that the step will not be given."""
    if step.script is None:
        return ()
    given = {
        *captured_environment(environ),
        *procedure.env.pass_,
        *procedure.env.set_,
        *step.env.pass_,
        *step.env.set_,
        "TERM",
        "TMPDIR",
        "PWD",
        "SHLVL",
        "_",
    }
    named = dict.fromkeys(_VARIABLE.findall(step.script.text))
    assigned = set(re.findall(r"(?m)(?:^|[;&|\s])(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=", step.script.text))
    return tuple(n for n in named if n in environ and n not in given and n not in assigned and not n.startswith("SOP"))


def _unpassed(procedure: Procedure, step: Step, environ: Mapping[str, str]) -> Iterator[Problem]:
    for name in unpassed_variables(procedure, step, environ):
        yield _warning(
            procedure,
            step,
            "variable_not_passed",
            f"the script names ${name}, which is set here but not passed to steps",
            f'pass it on purpose: "env": {{"pass": ["{name}"]}}',
        )


def _warning(procedure: Procedure, step: Step, code: str, message: str, hint: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code=code,
        file=procedure.name,
        path=f"step {step.number}",
        message=message,
        hint=hint,
    )
