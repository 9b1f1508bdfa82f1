"""Procedures that run within a procedure: all of them, as they are now, and what is wrong with using them so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sopwith.core.child import MAX_DEPTH, constant
from sopwith.core.confidential import handed_on
from sopwith.core.parameters import typed
from sopwith.core.procedure import ParameterType, Procedure, Step
from sopwith.errors import BadName, InvalidProcedure, NotFound, Problem, Severity

Find = Callable[[str], Procedure]
"""The procedure of a name. Raises BadName, NotFound or InvalidProcedure."""


def used_by(procedure: Procedure, find: Find) -> dict[str, Procedure]:
    """Every procedure that runs within this one, by name. Raises InvalidProcedure with every problem."""
    found, problems = _survey(procedure, find)
    if problems:
        raise InvalidProcedure(
            f"{procedure.name} cannot run: {problems[0].message}",
            problems=tuple(problems),
            hint=f"sop validate {procedure.name} shows all",
        )
    return found


def problems_of_uses(procedure: Procedure, find: Find) -> Iterator[Problem]:
    """What is wrong with what the procedure uses."""
    _found, problems = _survey(procedure, find)
    yield from problems


def _survey(procedure: Procedure, find: Find) -> tuple[dict[str, Procedure], list[Problem]]:
    found: dict[str, Procedure] = {}
    problems: list[Problem] = []
    checked: set[tuple[str, int]] = set()
    above: list[tuple[Procedure, tuple[str, ...]]] = [(procedure, (procedure.name,))]
    while above:
        using, path = above.pop()
        for step in using.steps:
            if step.uses is None:
                continue
            if step.uses in path:
                circle = " → ".join((*path, step.uses))
                problems.append(_problem(using, step, "uses_itself", f"a procedure runs within itself: {circle}"))
                continue
            if len(path) >= MAX_DEPTH:
                message = f"more than {MAX_DEPTH} procedures are within one another: {' → '.join((*path, step.uses))}"
                problems.append(_problem(using, step, "too_deep", message))
                continue
            used = found.get(step.uses) or _found(using, step, find, problems)
            if used is None:
                continue
            if (using.name, step.number) not in checked:
                problems += _handed_over(using, step, used)
                checked.add((using.name, step.number))
            found[step.uses] = used
            # by another way it may be deeper, or a circle
            above.append((used, (*path, step.uses)))
    return found, problems


def _found(using: Procedure, step: Step, find: Find, problems: list[Problem]) -> Procedure | None:
    assert step.uses is not None
    try:
        return find(step.uses)
    except NotFound as error:
        problems.append(_problem(using, step, "uses_unknown", error.message, error.hint))
    except (BadName, InvalidProcedure) as error:
        problems.append(_problem(using, step, "uses_broken", error.message, error.hint))
    return None


def _handed_over(using: Procedure, step: Step, used: Procedure) -> Iterator[Problem]:
    """Parameters that the used procedure does not take, lacks, or takes as another type."""
    declared = {parameter.name: parameter for parameter in used.parameters}
    for name, value in step.with_.items():
        if declared and name not in declared:
            from difflib import get_close_matches

            near = get_close_matches(name, declared, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(declared)}"
            yield _problem(using, step, "unknown_parameter", f"{used.name} takes no parameter {name}", hint)
        elif (secret := handed_on(using, value)) is not None:
            if name not in declared or declared[name].type is not ParameterType.SECRET:
                message = f"{name} of {used.name} is no secret there, and params.{secret} is one here"
                hint = f"declare {name} of {used.name} with the type secret"
                yield _problem(using, step, "secret_handed_on", message, hint)
        elif name in declared and (known := constant(value)) is not None:
            try:
                typed(declared[name], known)
            except ValueError as error:
                # what was written for a secret may be the secret itself
                got = "something else" if declared[name].type is ParameterType.SECRET else known
                message = f"{name} of {used.name}: expected {error}, got {got}"
                yield _problem(using, step, "bad_parameter", message)
        elif name in declared and declared[name].type is ParameterType.SECRET:
            message = f"{name} of {used.name} is a secret, and nobody can know before a run what it would refer to"
            hint = "hand on a secret of this procedure as it is, params.NAME, or a reference in quotes: 'env:NAME'"
            yield _problem(using, step, "secret_computed", message, hint)
    for parameter in used.parameters:
        if parameter.required and parameter.default is None and parameter.name not in step.with_:
            message = f"{used.name} needs the parameter {parameter.name}"
            yield _problem(using, step, "missing_parameter", message, f'"with": {{"{parameter.name}": …}} hands it on')


def _problem(procedure: Procedure, step: Step, code: str, message: str, hint: str = "") -> Problem:
    return Problem(
        severity=Severity.ERROR,
        code=code,
        file=procedure.name,
        path=f"step {step.number}",
        message=message,
        hint=hint or "let the step use another procedure",
    )
