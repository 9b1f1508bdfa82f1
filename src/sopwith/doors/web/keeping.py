"""The routes about the server itself: its health, its tokens, its log, its description of itself."""

from __future__ import annotations

from sopwith.assembly import troubles_around
from sopwith.core.grants import PATTERN, Role
from sopwith.core.people import Directory, Right, check_right
from sopwith.doors.web.cursors import cursor, read_number
from sopwith.doors.web.office import Desk
from sopwith.doors.web.schemas import OBJECT, number, record, text
from sopwith.doors.web.table import API, Answer, Asked, Proof, Route
from sopwith.engine.access import access_document
from sopwith.engine.doctor import examine
from sopwith.engine.findings import findings_document
from sopwith.engine.tokens import MOST_PATTERNS, Kind
from sopwith.engine.tokens import Asked as AskedToken
from sopwith.telemetry.metrics import CONTENT_TYPE

TOKENS = f"{API}/tokens"
_TOKEN = record(
    ("id", "name", "kind", "role", "procedures", "status"),
    id={"type": "string"},
    name={"type": "string"},
    kind={"type": "string"},
    role={"type": "string"},
    procedures={"type": "array", "items": {"type": "string"}},
    status={"type": "string", "enum": ["active", "expired", "revoked"]},
)
_NEW_TOKEN = {**_TOKEN, "properties": {**_TOKEN["properties"], "token": {"type": "string"}}}


def _health(_desk: Desk, _asked: Asked) -> Answer:
    return Answer({"status": "ok"})


def _whoami(desk: Desk, asked: Asked) -> Answer:
    assert asked.principal is not None
    return Answer(desk.tokens.document(asked.principal.token))


def _metrics(desk: Desk, asked: Asked) -> Answer:
    # they name procedures, and count all of them
    check_right(asked.who, Right.LOOK, Directory(desk.engine.parts.library.config()), "read the metrics")
    return Answer(data=desk.metrics.text(), media_type=CONTENT_TYPE)


def _create(desk: Desk, asked: Asked) -> Answer:
    body = asked.body
    wanted = AskedToken(
        name=body["name"],
        role=Role(body["role"]),
        kind=Kind(body.get("kind", Kind.USER)),
        procedures=tuple(body.get("procedures", ())),
        expires=body.get("expires", ""),
    )
    token, document = desk.tokens.create(wanted, actor=asked.who)
    return Answer({"token": token, **document})


def _list(desk: Desk, asked: Asked) -> Answer:
    found = desk.tokens.documents(actor=asked.who)
    return Answer({"tokens": found, "total": len(found)})


def _revoke(desk: Desk, asked: Asked) -> Answer:
    ended = desk.tokens.revoke(asked.path["tokenId"], actor=asked.who)
    return Answer({"tokens": ended, "total": len(ended)})


def _log(desk: Desk, asked: Asked) -> Answer:
    desk.tokens.check_reader(asked.who)
    limit, before = asked.query.get("limit", 50), _before(asked)
    found = desk.tokens.store.entries(limit=limit + 1, before=before)
    page = found[:limit]
    following = cursor(str(page[-1].position)) if len(found) > limit else None
    return Answer({"entries": [access_document(entry) for entry in page], "nextCursor": following})


def _before(asked: Asked) -> int | None:
    return read_number(asked.query["cursor"]) if "cursor" in asked.query else None


def _doctor(desk: Desk, asked: Asked) -> Answer:
    check_right(asked.who, Right.MANAGE, Directory(desk.engine.parts.library.config()), "have the workspace examined")
    return Answer(findings_document(examine(desk.engine, mend=False, around=troubles_around(desk.engine))))


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/healthz",
        right=Proof.NOTHING,
        about="Whether anybody is there. Tells nothing else.",
        handler=_health,
        answer=record(status={"type": "string"}),
    ),
    Route(
        method="GET",
        path="/metrics",
        right=Right.LOOK,
        about="Metrics as Prometheus reads them: a token for everything, at least a viewer's.",
        handler=_metrics,
        answer={"type": "string"},
        media_type="text/plain",
        long=True,
    ),
    Route(
        method="GET",
        path=f"{API}/whoami",
        right=Right.LOOK,
        about="Whose token this is, and what it gives.",
        handler=_whoami,
        answer=_TOKEN,
    ),
    Route(
        method="POST",
        path=TOKENS,
        right=Right.MANAGE,
        about="Makes a token, which is told this once.",
        handler=_create,
        body={
            "name": text(most=64, minLength=1),
            "role": {"type": "string", "enum": [role.value for role in Role]},
            "kind": {"type": "string", "enum": [kind.value for kind in Kind]},
            "procedures": {
                "type": "array",
                "items": {"type": "string", "maxLength": 64, "pattern": f"^{PATTERN}$"},
                "maxItems": MOST_PATTERNS,
            },
            "expires": text("90d, 12h or 30m; never, if not said", most=20),
        },
        required=("name", "role"),
        answer=_NEW_TOKEN,
        status=201,
    ),
    Route(
        method="GET",
        path=TOKENS,
        right=Right.MANAGE,
        about="All tokens; never the token itself.",
        handler=_list,
        answer=record(tokens={"type": "array", "items": _TOKEN}, total={"type": "integer"}),
    ),
    Route(
        method="POST",
        path=f"{TOKENS}/{{tokenId}}/revoke",
        right=Right.MANAGE,
        about="Ends a token at once, by its id, or all of a name.",
        handler=_revoke,
        body={},
        answer=record(tokens={"type": "array", "items": _TOKEN}, total={"type": "integer"}),
    ),
    Route(
        method="GET",
        path=f"{API}/access",
        right=Right.MANAGE,
        about="The server's own log, the newest first: sign-ins, refusals, tokens made and revoked.",
        handler=_log,
        query={"limit": number("How many at the most", least=1, most=200), "cursor": text(most=200)},
        answer=record(entries={"type": "array", "items": OBJECT}, nextCursor={"type": ["string", "null"]}),
    ),
    Route(
        method="GET",
        path=f"{API}/doctor",
        right=Right.MANAGE,
        about="What is wrong with the workspace. Mends nothing.",
        handler=_doctor,
        answer=record(findings={"type": "array", "items": OBJECT}, healthy={"type": "boolean"}),
        long=True,
    ),
)
