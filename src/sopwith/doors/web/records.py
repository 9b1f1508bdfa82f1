"""The record of a run as it is kept, for programs that build the run from it themselves, as `sop --server` does.

What they show they can check: events are chained by their hashes, contents are asked for by their SHA-256.
"""

from __future__ import annotations

import base64

import msgspec

from sopwith.core.people import Right
from sopwith.doors.web.office import Desk
from sopwith.doors.web.runs import RUN
from sopwith.doors.web.schemas import OBJECT, number, record
from sopwith.doors.web.table import Answer, Asked, Route
from sopwith.engine.documents import Document

MOST_EVENTS = 500


def _record(desk: Desk, asked: Asked) -> Answer:
    run_id = asked.path["runId"]
    found = desk.reader(asked).record(run_id, asked.query.get("after", 0), MOST_EVENTS)
    shown: list[Document] = [
        {
            "seq": each.seq,
            "payload": base64.b64encode(each.payload).decode(),
            "prevHash": each.prev_hash,
            "hash": each.hash,
        }
        for each in found.events
    ]
    return Answer(
        {
            "runId": run_id,
            "revision": found.revision,
            "events": shown,
            "more": found.more,
            "driver": None if found.driver is None else msgspec.to_builtins(found.driver),
        }
    )


def _content(desk: Desk, asked: Asked) -> Answer:
    data = desk.reader(asked).content(asked.path["runId"], asked.path["digest"])
    return Answer(data=data, media_type="application/octet-stream")


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path=f"{RUN}/record",
        right=Right.LOOK,
        about="The events as they are kept, with their hashes, to build the run from.",
        handler=_record,
        query={"after": number("Only events after this one")},
        answer=record(
            revision={"type": "integer"}, events={"type": "array", "items": OBJECT}, more={"type": "boolean"}
        ),
    ),
    Route(
        method="GET",
        path=f"{RUN}/contents/{{digest}}",
        right=Right.LOOK,
        about="The bytes that the record names by their SHA-256: its procedures, and what its gates asked.",
        handler=_content,
        media_type="application/octet-stream",
        answer={"type": "string"},
    ),
)
