"""Evidence files: sent first, each in a call of its own, and named by their SHA-256 in the report."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from sopwith.core.people import Right
from sopwith.doors.web.runs import RUN
from sopwith.doors.web.schemas import record
from sopwith.doors.web.streams import counted
from sopwith.doors.web.table import Route
from sopwith.engine.evidence import MOST_SENT_BYTES, Receiving, Sent
from sopwith.errors import BadArgument

if TYPE_CHECKING:
    from sopwith.doors.web.app import Application
    from sopwith.doors.web.table import Asked

MOST_NAME = 255
_PIECE = 256 * 1024
_DIGEST = re.compile("[0-9a-f]{64}")


async def _receive(app: Application, asked: Asked) -> Response:
    """One file. What is in memory of it is a piece; the disk is written in a thread."""
    run_id = asked.path["runId"]
    with counted(app, asked):
        receiving = await app.office.write(lambda desk: desk.engine.receive(run_id, actor=asked.who))
        try:
            await _take(asked, receiving)
            digest = await asyncio.to_thread(receiving.keep)
        finally:
            await asyncio.to_thread(receiving.close)
    document = {"sha256": digest, "sizeBytes": receiving.size_bytes}
    return Response(msgspec.json.encode(document), status_code=201, media_type="application/json")


async def _take(asked: Asked, receiving: Receiving) -> None:
    assert asked.incoming is not None
    pending = bytearray()
    async for chunk in asked.incoming:
        pending += chunk
        if len(pending) >= _PIECE:
            await asyncio.to_thread(partial(receiving.write, bytes(pending)))
            pending.clear()
    await asyncio.to_thread(partial(receiving.write, bytes(pending)))


def sent_in(body: Mapping[str, Any]) -> tuple[Sent, ...]:
    """The files that a report names. Raises BadArgument."""
    return tuple(_sent(each) for each in body.get("evidence", ()))


def _sent(given: Mapping[str, Any]) -> Sent:
    name, digest = given.get("name"), given.get("sha256")
    if isinstance(name, str) and isinstance(digest, str) and len(given) == len(("name", "sha256")):
        if not 0 < len(name) <= MOST_NAME or not name.isprintable():
            raise BadArgument(
                f"the name of evidence has {MOST_NAME} characters at most, and only characters that can be shown",
                hint="give the file another name; nothing was reported",
            )
        if _DIGEST.fullmatch(digest):
            return Sent(name, digest)
    raise BadArgument(
        "evidence: expected the name and the sha256 of a file that was sent",
        hint='as: [{"name": "photo.png", "sha256": "…"}]',
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path=f"{RUN}/evidence",
        right=Right.STEER,
        about="Sends a file, as it is, that a report is to name as evidence. Kept for a day until then.",
        live=_receive,
        piecemeal=True,
        takes="application/octet-stream",
        most_bytes=MOST_SENT_BYTES,
        status=201,
        answer=record(sha256={"type": "string"}, sizeBytes={"type": "integer"}),
    ),
)
