"""The concurrency group of a run: a name under which only one run of the workspace may hold a slot.

A procedure gives it as a CEL expression over its parameters; it is evaluated once, before the run is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sopwith.core.actor import Actor
from sopwith.core.procedure import ExecutionMode, Procedure
from sopwith.core.scope import scope_at_start, values_at_start
from sopwith.errors import BadParameter

MAX_GROUP_LENGTH = 200
"""In characters: a name, not a document."""


def group_mistake(procedure: Procedure) -> str | None:
    """What is wrong with the expression, in one sentence; None if it is sound, or there is none."""
    if procedure.concurrency_group is None:
        return None
    # CEL is imported only where a procedure has an expression
    from sopwith.core.conditions import Wanted, check

    return check(procedure.concurrency_group, scope_at_start(procedure), Wanted.TEXT)


def group_of(procedure: Procedure, params: Mapping[str, Any], *, mode: ExecutionMode, starter: Actor) -> str:
    """The group of a run that is about to be made; empty for none. Raises BadParameter where nobody can tell it."""
    if procedure.concurrency_group is None:
        return ""
    from sopwith.core.conditions import Wanted, find

    values = values_at_start(procedure, params, mode=mode, starter=starter)
    found = find(procedure.concurrency_group, scope_at_start(procedure), values, Wanted.TEXT)
    if found.reason:
        raise BadParameter(
            f"cannot run {procedure.name}: its concurrency group is not known: {found.reason}",
            hint=f"give the parameters that it names; sop show {procedure.name} shows it",
        )
    group = str(found.value)
    if len(group) > MAX_GROUP_LENGTH:
        raise BadParameter(
            f"cannot run {procedure.name}: its concurrency group has {len(group)} characters, "
            f"and {MAX_GROUP_LENGTH} are allowed",
            hint=f"give shorter values for the parameters that it names; sop show {procedure.name} shows it",
        )
    return group
