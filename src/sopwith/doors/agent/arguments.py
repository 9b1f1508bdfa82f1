"""Whether the arguments of a call are what its tool declares. All mistakes at once; what is unknown is refused.

An argument that says who calls is refused by name: the door knows that, and an agent can be talked into anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any

from sopwith.core.address import StepId, step_id
from sopwith.doors.agent.tools import BY_NAME, Schema, Tool
from sopwith.doors.opened import Opened
from sopwith.errors import BadArgument, IdentityClaimed, UnknownTool

Arguments = Mapping[str, Any]
_IDENTITY = frozenset(
    {
        *("actor", "actorid", "actorkind", "agent", "agentid", "agentname", "approvedby", "approver", "approverid"),
        *("approvername", "meta", "principalid", "principalname"),
        *("as", "by", "caller", "callerid", "createdby", "decidedby", "executor", "identity", "impersonate"),
        *("initiator", "onbehalfof", "owner", "principal", "requestedby", "role", "roles", "runas", "startedby"),
        *("user", "userid", "username", "via"),
    }
)
_DEEPEST = 16
"""Levels of objects and lists within one argument."""
_SHOWN = 80
"""Characters of a name that nobody knows, in a message; that is escaped where it is told."""
_KINDS: dict[str, tuple[type, str]] = {
    "string": (str, "text"),
    "integer": (int, "a whole number"),
    "object": (dict, "an object"),
    "array": (list, "a list"),
    "boolean": (bool, "true or false"),
}


def find_tool(name: str) -> Tool:
    """Raises UnknownTool."""
    tool = BY_NAME.get(name)
    if tool is None:
        near = get_close_matches(name, BY_NAME, n=1)
        meant = f", did you mean {near[0]}?" if near else ""
        raise UnknownTool(f"no tool is called {name[:_SHOWN]}{meant}", hint=", ".join(BY_NAME))
    return tool


def check_arguments(tool: Tool, given: Arguments) -> None:
    """Raises IdentityClaimed, or BadArgument with every mistake."""
    for name in given:
        if name not in tool.arguments and re.sub("[^a-z]", "", name.lower()) in _IDENTITY:
            raise IdentityClaimed(
                f"{tool.name} does not take {name[:_SHOWN]}: who calls is known by the connection",
                hint="leave the argument out",
            )
    mistakes = [*_missing(tool, given), *_unknown(tool, given)]
    for name, schema in tool.arguments.items():
        if name in given:
            mistakes += _wrong(name, given[name], schema)
            if given[name] == "" and name not in tool.required and "minLength" in schema:
                mistakes[-1] += "; leave it out instead"
    if mistakes:
        hint = f"it takes {', '.join(tool.arguments) or 'none'}"
        raise BadArgument(f"{tool.name}: {'; '.join(mistakes)}", hint=hint)


def with_whole_numbers(tool: Tool, given: Arguments) -> Arguments:
    """The arguments with 2.0 as 2 where a whole number is wanted: some hosts send every number so."""
    return {
        name: int(value) if _is_whole(value) and tool.arguments.get(name, {}).get("type") == "integer" else value
        for name, value in given.items()
    }


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def run_id_in(opened: Opened, given: Arguments) -> str:
    """The run that is meant. Raises BadName, or NotFound where nothing was ever run, and makes no database."""
    run_id: str = given["runId"]
    opened.check_run(run_id)
    return run_id


def step_in(given: Arguments) -> StepId | None:
    """The step or instance that is meant; None where none is named."""
    if "stepNumber" not in given:
        if "instance" in given:
            raise BadArgument("instance stands beside a stepNumber", hint="name the step too")
        return None
    return step_id(given["stepNumber"], given.get("instance", ""))


def _missing(tool: Tool, given: Arguments) -> Iterator[str]:
    yield from (f"{name} is missing" for name in tool.required if name not in given)


def _unknown(tool: Tool, given: Arguments) -> Iterator[str]:
    for name in given:
        if name not in tool.arguments:
            near = get_close_matches(name, tool.arguments, n=1)
            meant = f", did you mean {near[0]}?" if near else ""
            yield f"it does not take {name[:_SHOWN]}{meant}"


def _wrong(name: str, value: Any, schema: Schema) -> Iterator[str]:
    kind, words = _KINDS[schema["type"]]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        yield f"{name}: expected {words}"
    elif isinstance(value, bool):
        return
    elif isinstance(value, str):
        yield from _wrong_text(name, value, schema)
    elif isinstance(value, int):
        yield from _wrong_number(name, value, schema)
    elif isinstance(value, list):
        if len(value) > schema["maxItems"]:
            yield f"{name}: expected at most {schema['maxItems']} entries"
        for each in value:
            yield from _wrong(name, each, schema["items"])
    elif isinstance(value, dict):
        yield from _wrong_object(name, value)


def _wrong_text(name: str, value: str, schema: Schema) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{name}: expected one of {', '.join(schema['enum'])}"
    if len(value) < schema.get("minLength", 0):
        yield f"{name}: expected at least {schema['minLength']} character"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{name}: expected at most {schema['maxLength']} characters, got {len(value)}"
    if any("\ud800" <= character <= "\udfff" or character == "\x00" for character in value):
        yield f"{name}: expected valid Unicode without NUL"


def _wrong_object(name: str, value: dict[str, Any]) -> Iterator[str]:
    """What no JSON of ours can carry. Anything else is for the procedure or the form to judge."""
    left: list[tuple[Any, int]] = [(value, 0)]
    while left:
        each, depth = left.pop()
        if depth > _DEEPEST:
            yield f"{name}: expected at most {_DEEPEST} levels"
            return
        if isinstance(each, float) and not isfinite(each):
            yield f"{name}: expected numbers that JSON has"
            return
        if isinstance(each, dict | list):
            left += ((inner, depth + 1) for inner in (each.values() if isinstance(each, dict) else each))


def _wrong_number(name: str, value: int, schema: Schema) -> Iterator[str]:
    if value < schema["minimum"]:
        yield f"{name}: expected at least {schema['minimum']}"
    if value > schema.get("maximum", value):
        yield f"{name}: expected at most {schema['maximum']}"
    elif value >= 2**53:
        yield f"{name}: expected a smaller number"
