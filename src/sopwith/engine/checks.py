"""What `sop validate` can tell beyond a procedure's files: gates that nobody here could pass, executors that are
missing, variables that scripts will not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sopwith.core.agents import agent_of, unknown_agents
from sopwith.core.approval import NO_RULES, ApprovalRules
from sopwith.core.config import Config
from sopwith.core.interruption import as_verification
from sopwith.core.modes import declared_mode, effective_mode
from sopwith.core.people import GROUP, USER, Directory
from sopwith.core.procedure import Procedure, Step
from sopwith.core.rollback import as_rollback
from sopwith.core.satisfiable import unsatisfiable
from sopwith.engine.agents import sought, unknown_agent_told
from sopwith.engine.environment import captured_environment
from sopwith.errors import BadRequest, Problem, Severity
from sopwith.ports import ExecutorKind, ExecutorKinds

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


def check_procedure(
    procedure: Procedure,
    kinds: ExecutorKinds,
    environ: Mapping[str, str],
    config: Config,
    root: Path = Path(),
) -> Iterator[Problem]:
    """Findings of this workspace, whose project folder is `root`, and of this machine.

    What config.json makes impossible is an error; what the machine lacks is a warning, as another may have it.
    """
    yield from _people(procedure, config)
    for step, name in unknown_agents(procedure, config.agents):
        sentence, hint = unknown_agent_told(name)
        yield _problem(procedure, _path(step.number), "unknown_agent", f"it {sentence}", hint)
    for step in procedure.steps:
        try:
            kind = kinds.kind(step.executor)
        except BadRequest as error:
            yield _warning(procedure, step, "unknown_executor", error.message, error.hint)
            continue
        if kind.check is not None:
            yield from kind.check(step)
        yield from _program_of_agent(procedure, step, kind, captured_environment(environ), config, root)
        yield from _unpassed(procedure, step, environ)
        if step.verify:
            yield from _of_script(procedure, as_verification(step), kinds, environ)
        if step.rollback is not None:
            yield from _of_script(procedure, as_rollback(step), kinds, environ)


def _program_of_agent(
    procedure: Procedure,
    step: Step,
    kind: ExecutorKind,
    environment: dict[str, str],
    config: Config,
    root: Path,
) -> Iterator[Problem]:
    name = agent_of(step)
    agent = None if name is None else config.agents.get(name)
    if agent is None or kind.locate_command is None:
        return
    if kind.locate_command(sought(agent, environment, root)) is None:
        message = f"the program of the agent {name}, {agent.command[0]}, is not there or cannot be executed"
        hint = 'install it, or mend its command under "agents" of config.json'
        yield _warning(procedure, step, "no_program", message, hint)


def _of_script(
    procedure: Procedure, script: Step, kinds: ExecutorKinds, environ: Mapping[str, str]
) -> Iterator[Problem]:
    """What can be told of another script of a step, as a step of its own."""
    kind = kinds.kind(script.executor)
    if kind.check is not None:
        yield from kind.check(script)
    yield from _unpassed(procedure, script, environ)


def _people(procedure: Procedure, config: Config) -> Iterator[Problem]:
    """Who is named and unknown, gates that nobody could pass, timeouts that never come."""
    yield from _unknown_principals(procedure, config)
    mode = effective_mode(declared_mode(procedure, config), procedure.priority, config)
    for number, sentence, hint in unsatisfiable(procedure, Directory(config), starter=None, mode=mode):
        yield _problem(procedure, _path(number), "nobody_can_pass", sentence, hint)
    yield from _quorums(procedure)
    yield from _timeouts_that_never_come(procedure, config)


def _quorums(procedure: Procedure) -> Iterator[Problem]:
    """Without a server all who use a workspace share one account, and count as one person."""
    rules = [("", procedure.approval), *((_path(step.number), step.approval) for step in procedure.steps)]
    for path, stated in rules:
        if stated is not None and stated.votes_needed > 1:
            yield Problem(
                severity=Severity.WARNING,
                code="one_account",
                file=procedure.name,
                path=path,
                message=f"{stated.votes_needed} votes take as many accounts, and a workspace without a server has one",
                hint="until several people have accounts here, such a gate waits for its timeout",
            )


def _unknown_principals(procedure: Procedure, config: Config) -> Iterator[Problem]:
    for path, key, principals in _named(procedure):
        for principal in principals:
            name = principal.partition(":")[2]
            if principal.startswith(GROUP) and name not in config.groups:
                what, where = "group", "groups"
            elif principal.startswith(USER) and config.users and name not in config.users:
                what, where = "user", "users"
            else:
                continue
            message = f"{key} names the {what} {name}, which config.json does not have"
            hint = f'add "{name}" to "{where}" of config.json, or take it out'
            yield _problem(procedure, path, f"unknown_{what}", message, hint)


def _named(procedure: Procedure) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Everybody whom a procedure names: the part of it, the key, and the principals."""
    yield "", "runners", procedure.runners
    stated: list[tuple[int | None, ApprovalRules | None]] = [(None, procedure.approval)]
    stated += [(step.number, step.approval) for step in procedure.steps]
    for number, rules in stated:
        if rules is not None:
            yield _path(number), "approvers", rules.approvers
            yield _path(number), "escalateTo", rules.escalate_to


def _timeouts_that_never_come(procedure: Procedure, config: Config) -> Iterator[Problem]:
    """`onTimeout` alone, where no file says after how long. With approvers or a quorum it has to be said anyway."""
    if config.approval_timeout_mins is not None:
        return
    for step in procedure.steps:
        rules = step.approval or NO_RULES
        asked_for = bool(rules.approvers) or rules.quorum is not None
        timed = step.approval_timeout_mins is not None or step.never_times_out
        if rules.on_timeout is not None and not asked_for and not timed:
            message = f"onTimeout {rules.on_timeout} never happens: no approval timeout is set"
            hint = "set approvalTimeoutMins in the step or in config.json"
            yield _warning(procedure, step, "no_timeout", message, hint)


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
    return _problem(procedure, _path(step.number), code, message, hint, severity=Severity.WARNING)


def _problem(
    procedure: Procedure, path: str, code: str, message: str, hint: str, *, severity: Severity = Severity.ERROR
) -> Problem:
    return Problem(severity=severity, code=code, file=procedure.name, path=path, message=message, hint=hint)


def _path(number: int | None) -> str:
    return "" if number is None else f"step {number}"
