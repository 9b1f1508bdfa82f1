"""What a request brings, read strictly: the body as JSON without duplicate keys, NaN, or bottomless nesting; the query;
the headers that mean something. What is not declared is refused, so that nothing is quietly ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from sopwith.core.request import MAX_KEY
from sopwith.doors.agent.arguments import check_arguments
from sopwith.doors.agent.tools import Schema, Tool
from sopwith.doors.web import limits
from sopwith.doors.web.problems import NotJson
from sopwith.doors.web.table import Route
from sopwith.engine.records import RUN_ID
from sopwith.engine.tokens import Said
from sopwith.errors import BadArgument, BadRequest
from sopwith.parse.findings import Findings
from sopwith.parse.strict_json import read_json

INSIDE, ACTOR_KIND = "sopwith-inside", "sopwith-actor-kind"
_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY}}}")
_MATCH = re.compile(r'"([0-9]{1,15})"')
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_FLAGS = {"true": True, "false": False}


def read_body(route: Route, data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The members of the body. Raises NotJson, BadArgument or IdentityClaimed."""
    if route.body is None:
        if data:
            raise BadRequest(f"{route.name} takes no body", hint="leave it out")
        return {}
    if headers.get("content-encoding", "identity") != "identity":
        raise NotJson("the body must not be compressed", hint="send it as it is")
    given: Any = {}
    if data or route.required:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise NotJson("expected a JSON body", hint="send it with content-type: application/json")
        given = _read_json(data)
    if not isinstance(given, dict):
        raise BadArgument("expected a JSON object", hint='as: {"name": "value"}')
    check(route, route.body, given, required=route.required)
    return given


def read_query(route: Route, query: bytes) -> dict[str, Any]:
    """The parameters of the query, as their schemas type them. Raises BadArgument."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=limits.MOST_QUERY,
        )
    except ValueError as error:
        raise BadArgument("the query cannot be read", hint="as: ?limit=20&status=failed") from error
    given: dict[str, Any] = {}
    for name, text in pairs:
        schema = route.query.get(name, {})
        if schema.get("type") == "array":
            given.setdefault(name, []).append(text)
        elif name in given:
            raise BadArgument(f"{name[:80]} is given twice", hint="give it once")
        else:
            given[name] = _typed(schema, text)
    check(route, route.query, given)
    return given


def read_key(headers: Mapping[str, str]) -> str | None:
    """The Idempotency-Key. Raises BadRequest."""
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest(
            "the Idempotency-Key cannot be used", hint=f"1 to {MAX_KEY} printable ASCII characters without blanks"
        )
    return key


def read_match(headers: Mapping[str, str]) -> int | None:
    """The revision in If-Match. Raises BadRequest."""
    given = headers.get("if-match")
    if given is None:
        return None
    found = _MATCH.fullmatch(given.strip())
    if found is None:
        raise BadRequest("If-Match cannot be read", hint='write the revision of the run, as its ETag: If-Match: "12"')
    return int(found[1])


def read_said(headers: Mapping[str, str]) -> Said:
    """What the caller says of itself, against itself. Raises BadRequest."""
    inside = headers.get(INSIDE)
    if inside is not None and not re.fullmatch(RUN_ID, inside):
        raise BadRequest(f"{INSIDE} names no run", hint="it has the id of the run whose step calls: $SOP_RUN_ID")
    return Said(is_agent=headers.get(ACTOR_KIND, "human") not in ("", "human"), inside=inside)


def check(route: Route, schemas: Mapping[str, Schema], given: Mapping[str, Any], *, required: Any = ()) -> None:
    """Raises IdentityClaimed, or BadArgument with every mistake."""
    check_arguments(Tool(name=route.name, about="", arguments=dict(schemas), required=required), given)


def _read_json(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadArgument("the body is not UTF-8", hint="JSON is sent in UTF-8") from None
    findings = Findings()
    document = read_json("body", text, findings)
    problems = findings.sorted()
    if document is None or problems:
        first = problems[0]
        place = f"line {first.line}, column {first.column}: " if first.line else ""
        raise BadArgument(f"the body cannot be used: {place}{first.message}", hint=first.hint)
    return document.value


def _typed(schema: Schema, text: str) -> Any:
    if schema.get("type") == "integer" and _WHOLE.fullmatch(text):
        return int(text)
    return _FLAGS.get(text, text) if schema.get("type") == "boolean" else text
