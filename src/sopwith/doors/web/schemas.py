"""JSON Schemas of what routes take and answer. The shapes of runs are those of the Python API's results."""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.doors.agent.tools import Schema
from sopwith.doors.python.results import AuditEvent, Decision, Run, RunSummary

_REF = "#/components/schemas/{name}"
_SHARED = (Run, Decision, RunSummary, AuditEvent)


def text(about: str = "", *, most: int = 200, **more: Any) -> Schema:
    return {"type": "string", "maxLength": most, **({"description": about} if about else {}), **more}


def number(about: str = "", *, least: int = 0, most: int | None = None) -> Schema:
    schema: Schema = {"type": "integer", "minimum": least, "maximum": 2**53 - 1 if most is None else most}
    return schema | ({"description": about} if about else {})


def record(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with at least these members."""
    return {"type": "object", "properties": properties, "required": list(required or properties)}


FRAME = record(
    ("event", "data"),
    id={"type": "string"},
    event={"type": "string"},
    data={"type": "string", "contentMediaType": "application/json"},
)
"""One server-sent event."""


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _shared(kind: type) -> Schema:
    return {"$ref": _REF.format(name=kind.__name__)}


def components() -> dict[str, Schema]:
    """The shapes that are referred to."""
    _refs, found = msgspec.json.schema_components(_SHARED, ref_template=_REF)
    return {**found, "Problem": PROBLEM}


STEP: dict[str, Schema] = {
    "stepNumber": number("Which step, where several wait", least=1),
    "instance": text("Of a forEach step", most=64),
}
_NULL_TEXT: Schema = {"type": ["string", "null"]}
_NULL_NUMBER: Schema = {"type": ["integer", "null"]}
OBJECT: Schema = {"type": "object"}
PROBLEM: Schema = record(
    ("type", "title", "status", "detail", "code"),
    type={"type": "string"},
    title={"type": "string"},
    status={"type": "integer"},
    detail={"type": "string"},
    code={"type": "string"},
    hint={"type": "string"},
)
RUN = _shared(Run)
DECISION = _shared(Decision)
RUN_LIST = record(runs=_list_of(_shared(RunSummary)), total=_NULL_NUMBER, nextCursor=_NULL_TEXT)
RUN_STEP = record(runId={"type": "string"}, step=OBJECT)
GATES = record(runId={"type": "string"}, gates=_list_of(OBJECT))
AUDIT = record(runId={"type": "string"}, events=_list_of(_shared(AuditEvent)), nextCursor=_NULL_TEXT)
LOGS = record(runId={"type": "string"}, logs=_list_of(OBJECT))
INBOX = record(items=_list_of(OBJECT), total=_NULL_NUMBER, nextCursor=_NULL_TEXT)
