"""What `sop validate` can tell of triggers beyond one procedure's files: ends that nobody brings, and rings of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sopwith.core.procedure import Procedure, TriggerType
from sopwith.core.triggers import MAX_DEPTH
from sopwith.errors import Problem, Severity, SopwithError

Find = Callable[[str], Procedure]
"""The procedure of a name. Raises BadName, NotFound or InvalidProcedure."""


def check_ends(procedure: Procedure, find: Find) -> Iterator[Problem]:
    """Warnings about triggers of type procedure."""
    for index, trigger in enumerate(procedure.triggers):
        if trigger.type != TriggerType.PROCEDURE or not isinstance(trigger.procedure, str):
            continue
        path = f"$.triggers[{index}].procedure"
        try:
            find(trigger.procedure)
        except SopwithError as error:
            yield _warning(procedure, path, "trigger_unknown", f"its trigger never comes: {error.message}", error.hint)
            continue
        if (ring := _ring(procedure.name, trigger.procedure, find)) is not None:
            yield _warning(
                procedure,
                path,
                "trigger_ring",
                f"the ends of these procedures start one another: {' → '.join(ring)}; it is cut after {MAX_DEPTH} runs",
                "give one of the triggers a condition that ends it, or take it out",
            )


def _ring(name: str, above: str, find: Find) -> tuple[str, ...] | None:
    """The way from `name` to itself by ends of runs, against the triggers; None if there is none."""
    todo: list[tuple[str, ...]] = [(above, name)]
    seen: set[str] = set()
    while todo:
        path = todo.pop()
        if path[0] in seen:
            continue
        seen.add(path[0])
        for source in _sources(path[0], find):
            if source == name:
                return (name, *path)
            todo.append((source, *path))
    return None


def _sources(name: str, find: Find) -> Iterator[str]:
    """The procedures whose ends start this one."""
    try:
        procedure = find(name)
    except SopwithError:
        return
    for trigger in procedure.triggers:
        if trigger.type == TriggerType.PROCEDURE and isinstance(trigger.procedure, str):
            yield trigger.procedure


def _warning(procedure: Procedure, path: str, code: str, message: str, hint: str) -> Problem:
    return Problem(severity=Severity.WARNING, code=code, file=procedure.name, path=path, message=message, hint=hint)
