"""The route of webhooks. Who sent one is proven by its signature, or, where a trigger names no secret, by a token."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response

from sopwith.doors.web.problems import MEDIA_TYPE, Busy
from sopwith.doors.web.schemas import OBJECT, record
from sopwith.doors.web.table import Proof, Route
from sopwith.engine.documents import Document
from sopwith.engine.hooks import Hook, caller_of

if TYPE_CHECKING:
    from sopwith.doors.web.app import Application
    from sopwith.doors.web.table import Asked

HOOKS = "/hooks"


async def _receive(app: Application, asked: Asked) -> Response:
    if app.hooks is None:
        raise Busy("the server has only just begun", hint="come again in a second", headers={"retry-after": "1"})
    actor = app.guest(asked)
    answer = await app.hooks(
        Hook(
            path=f"/{asked.path['path']}",
            headers=tuple(asked.headers.items()),
            query=tuple(parse_qsl(asked.query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=100)),
            body=asked.data,
        ),
        caller=None if actor is None else caller_of(app.library, actor),
    )
    if answer.status == 401:
        raise app.unproven(asked.address)
    document: Mapping[str, Any] = answer.document
    if answer.status >= 400:
        document = _as_problem(answer.status, document)
    return Response(
        msgspec.json.encode(document),
        status_code=answer.status,
        media_type=MEDIA_TYPE if answer.status >= 400 else "application/json",
        headers=dict(answer.headers),
    )


def _as_problem(status: int, document: Mapping[str, Any]) -> Document:
    """As all other errors of this door are told; what became of each delivery stays with it."""
    error = document["error"]
    told = {key: value for key, value in document.items() if key not in ("error", "success")}
    hint = {"hint": error["hint"]} if error.get("hint") else {}
    return {
        "type": f"urn:sopwith:error:{error['code']}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error["message"],
        "code": error["code"],
        **hint,
        **told,
    }


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path=f"{HOOKS}/{{path:path}}",
        right=Proof.SIGNATURE,
        about="A delivery for the webhook triggers at this path. Answered when it is on disk.",
        live=_receive,
        raw=True,
        status=202,
        answer=record(runId={"type": ["string", "null"]}, deliveries={"type": "array", "items": OBJECT}),
    ),
)
