"""docs/reference/http-api.md, from the table of routes."""

from __future__ import annotations

from sopwith.core.people import RIGHTS, Right
from sopwith.doors.web import limits, protocol
from sopwith.doors.web.problems import OWN
from sopwith.doors.web.routes import ROUTES
from sopwith.doors.web.table import API, Route
from sopwith.engine.tokens import MOST_TOKENS
from tools.markdown import code, page, prose, table

_GROUPS = (
    ("Runs", f"{API}/runs"),
    ("Inbox", f"{API}/inbox"),
    ("Procedures", f"{API}/procedures"),
    ("The server", ""),
)


def http_page() -> str:
    return page(
        "The HTTP API",
        "`sop serve --port 8321` serves it. [How to use it](../how-to/http-api.md). The same as OpenAPI 3.1, with all "
        f"shapes: {code(f'GET {API}/openapi.json')}. Every route but `/healthz` takes a token: "
        "`Authorization: Bearer TOKEN`.",
        "A right is what the role of the token must give; `config.json` must give it to the principal as well.",
        table(["Right", "Roles"], [(code(right.value), _roles(right)) for right in Right]),
        *(part for title, prefix in _GROUPS for part in _group(title, prefix)),
        "## Problems",
        "Errors are `application/problem+json` (RFC 9457) with `type, title, status, detail, code` and often `hint`. "
        "The codes are those of [all errors](errors.md), and these:",
        table(["Code", "Status", "Meaning"], [(code(kind.code), str(kind.http_status), prose(kind)) for kind in OWN]),
        "## Limits",
        table(["What", "How much"], _limits()),
    )


def _group(title: str, prefix: str) -> tuple[str, ...]:
    taken = tuple(start for _title, start in _GROUPS if start)
    routes = [
        route for route in ROUTES if (route.path.startswith(prefix) if prefix else not route.path.startswith(taken))
    ]
    rows = [(code(route.name), code(route.right.value), _told(route)) for route in routes]
    return (f"## {title}", table(["Route", "Right", "What it does"], rows))


def _told(route: Route) -> str:
    given = [f"{code(name)}{'' if name in route.required else '?'}" for name in (route.body or {})]
    asked = [f"{code(name)}?" for name in route.query]
    told = route.about
    told += f" Body: {', '.join(given)}." if given else ""
    told += f" Query: {', '.join(asked)}." if asked else ""
    headers = [
        name for name, takes in (("Idempotency-Key", route.repeatable), ("If-Match", route.conditional)) if takes
    ]
    return told + (f" Takes {' and '.join(map(code, headers))}." if headers else "")


def _roles(right: Right) -> str:
    return ", ".join(code(role.value) for role in RIGHTS if right in RIGHTS[role])


def _limits() -> list[tuple[str, str]]:
    return [
        ("a body", f"{limits.MOST_BODY_BYTES // 1024} KiB, within {limits.BODY_SECS:g} seconds"),
        (
            "a head",
            f"{protocol.MOST_HEAD_BYTES // 1024} KiB, {protocol.MOST_FIELDS} fields, {protocol.HEAD_SECS:g} seconds",
        ),
        ("calls of a token", f"{limits.PER_SECOND:g} a second, {limits.BURST:g} at once"),
        ("failed sign-ins of an address", f"{limits.FAILURES_PER_MINUTE} a minute; then 429 for what has no token"),
        ("open streams", f"{limits.STREAMS_EACH} of a token, {limits.MOST_STREAMS} in all"),
        ("connections", str(limits.MOST_CONNECTIONS)),
        ("tokens of a workspace, past ones too", f"{MOST_TOKENS:,}"),
    ]
