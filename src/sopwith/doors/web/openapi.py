"""OpenAPI 3.1, made from the table of routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sopwith.core.people import RIGHTS, Right
from sopwith.core.request import MAX_KEY
from sopwith.doors.agent.tools import Schema
from sopwith.doors.web import schemas
from sopwith.doors.web.problems import MEDIA_TYPE
from sopwith.doors.web.table import Proof, Route
from sopwith.engine.documents import Document
from sopwith.engine.records import RUN_ID
from sopwith.version import __version__

_PARAMETERS: dict[str, Schema] = {
    "runId": {"type": "string", "pattern": "^sop_run_[a-z0-9_-]{1,48}$"},
    "step": {"type": "string", "pattern": "^[1-9][0-9]{0,3}(:.{1,64})?$"},
    "name": {"type": "string", "maxLength": 64},
    "tokenId": {"type": "string", "maxLength": 64},
    "number": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "path": {"type": "string", "maxLength": 200, "description": "The path of the triggers, without its first slash"},
}
_IN_PATH = re.compile(r"\{(\w+)(?::\w+)?\}")


def description(routes: Iterable[Route]) -> Document:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _IN_PATH.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sopwith",
            "version": __version__,
            "description": "Carries out Standard Operating Procedures: step by step, approved, proven.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def operation(route: Route) -> Document:
    """One route."""
    told: Document = {
        "operationId": operation_id(route),
        "summary": route.about,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route),
    }
    if isinstance(route.right, Right):
        roles = " or ".join(role.value for role in RIGHTS if route.right in RIGHTS[role])
        told["description"] = f"Takes the right to {route.right.value}: role {roles}."
    else:
        told["security"] = []
    if route.body is not None:
        told["requestBody"] = {
            "required": bool(route.required),
            "content": {"application/json": {"schema": _body(route)}},
        }
    if route.piecemeal:
        told["requestBody"] = {"required": True, "content": {route.takes: {}}}
    return told


def operation_id(route: Route) -> str:
    """As generated clients name the call: `post_runs_runId_approve`."""
    words = re.findall(r"\w+", route.path.removeprefix("/api/v1"))
    return "_".join([route.method.lower(), *(word for word in words if word != "path")])


def _body(route: Route) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": dict(route.body or {}),
        "additionalProperties": False,
    }
    return schema | ({"required": list(route.required)} if route.required else {})


def _path_parameters(route: Route) -> list[Document]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PARAMETERS.get(name, {"type": "string"})}
        for name in _IN_PATH.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[Document]:
    return [{"name": name, "in": "query", "required": False, "schema": each} for name, each in route.query.items()]


def _header_parameters(route: Route) -> list[Document]:
    found = []
    if route.repeatable:
        pattern = rf"^[\x21-\x7e]{{1,{MAX_KEY}}}$"
        found.append(_header("Idempotency-Key", "Your name for this call", {"type": "string", "pattern": pattern}))
    if route.conditional:
        about = "The revision that was looked at"
        found.append(_header("If-Match", about, {"type": "string", "pattern": '^"[0-9]{1,15}"$'}))
    if route.media_type == "text/event-stream":
        found.append(_header("Last-Event-ID", "Of the last event that came", {"type": "string", "maxLength": 64}))
    if route.path.endswith("/output"):
        found.append(_header("Range", "As bytes=0-1023 or bytes=1024-", {"type": "string"}))
    if isinstance(route.right, Right):
        pattern = f"^{RUN_ID}$"
        found.append(_header("Sopwith-Inside", "The run whose step calls", {"type": "string", "pattern": pattern}))
        found.append(_header("Sopwith-Actor-Kind", "agent: no person calls", {"type": "string"}))
    return found


def _header(name: str, about: str, schema: Schema) -> Document:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": schema}


def _responses(route: Route) -> Document:
    found: Document = {
        str(route.status): {"description": "As asked", "content": {route.media_type: {"schema": route.answer}}},
        "default": {
            "description": "A problem: code and hint tell which",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    }
    if route.media_type == "text/event-stream":
        found["204"] = {"description": "The run has ended, and all was told"}
    if route.path.endswith("/output"):
        found["206"] = {"description": "The part", "content": {route.media_type: {"schema": route.answer}}}
    if route.right is Proof.NOTHING:
        del found["default"]
    return found
