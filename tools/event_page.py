"""docs/reference/events.md, from the event bodies."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from sopwith.core import events
from sopwith.core.agents import AgentCommand
from sopwith.core.procedure import EnvironmentRules
from tools.markdown import code, page, prose, table

_WORDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    datetime: "timestamp",
    Any: "any JSON",
    types.NoneType: "null",
}
_BESIDE = ("step_number",)
_RECORD = (
    ("timestamp", "UTC, ISO 8601, with milliseconds and `Z`"),
    ("eventType", "the name of the event; `type` in `sop audit --json`"),
    ("runId", "the run"),
    ("stepNumber", "in events about a step or a gate; null for the approval before the start"),
    ("seq", "1, 2, 3 … without a gap"),
    (
        "actor",
        "`id`, `kind` (human, agent, system or trigger), `via` (the door), and `inside` if a step's process asked",
    ),
    ("details", "what the tables below list; a field that has its default value is left out"),
    ("prevHash", "the hash of the event before it; 64 zeros in the first"),
    ("hash", "SHA-256 of the 32 bytes of `prevHash` and the event's canonical JSON (RFC 8785) without both hashes"),
)


def event_types() -> list[type[msgspec.Struct]]:
    """All event bodies in the order of the code."""
    return list(typing.get_args(events.EventBody))


def event_name(body: type[msgspec.Struct]) -> str:
    return str(body.__struct_config__.tag)


def events_page() -> str:
    bodies = event_types()
    return page(
        "Events",
        "A run is the list of its events. `sop audit RUN` shows them; `.pi/sops/runs/RUN.audit.jsonl` holds one JSON "
        "object a line.",
        "## The record",
        table(["Key", "Meaning"], [(code(key), meaning) for key, meaning in _RECORD]),
        "## All events",
        "\n".join(_links(bodies)),
        *(_section(body) for body in bodies),
        "## Values inside details",
        *(
            _struct_section(struct)
            for struct in (
                *(events.Policy, events.Used, AgentCommand, EnvironmentRules, events.ParentRun, events.Evidence),
                events.Signature,
            )
        ),
    )


def _links(bodies: list[type[msgspec.Struct]]) -> Iterable[str]:
    for group, prefix in (
        ("Runs", "run_"),
        ("Approvals", "approval_"),
        ("Steps", "step_"),
        ("Conditions", "condition_"),
    ):
        names = [event_name(body) for body in bodies if event_name(body).startswith(prefix)]
        yield f"- {group}: " + ", ".join(f"[`{name}`](#{name})" for name in names)


def _section(body: type[msgspec.Struct]) -> str:
    parts = [f"## {event_name(body)}", _prose(body)]
    rows = list(_rows(body, leave_out=_BESIDE))
    parts.append(table(["Detail", "Type", "Default"], rows) if rows else "No details.")
    return "\n\n".join(parts)


def _prose(body: type[msgspec.Struct]) -> str:
    """The docstring, with fields named as they are in JSON."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(body)}
    return re.sub(r"`(\w+)`", lambda found: code(names.get(found[1], found[1])), prose(body))


def _struct_section(struct: type[msgspec.Struct]) -> str:
    return "\n\n".join(
        [f"### {struct.__name__.lower()}", prose(struct), table(["Key", "Type", "Default"], _rows(struct))]
    )


def _rows(struct: type[msgspec.Struct], leave_out: Iterable[str] = ()) -> Iterable[tuple[str, str, str]]:
    for field in msgspec.structs.fields(struct):
        if field.name not in leave_out:
            yield code(field.encode_name), _type(field.type), _default(field)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "always there"
    if field.default is None:
        return "null"
    if isinstance(field.default, str | int | float | bool | tuple):
        return code(msgspec.json.encode(field.default).decode())
    return "empty"


def _type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"object: name to {_type(arguments[1])}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(argument) for argument in arguments)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " / ".join(code(member.value) for member in kind)
    return f"[{kind.__name__.lower()}](#{kind.__name__.lower()})"
