"""The record of a run as it is kept, for programs that build the run from it themselves, as `sop --server` does.

What they show they can check: events are chained by their hashes, contents are asked for by their SHA-256.
"""

from __future__ import annotations

import base64

import msgspec

from sopwith.core.due import at_rest, waits_by_itself
from sopwith.core.people import Right
from sopwith.core.run import Run
from sopwith.doors.web.office import Desk
from sopwith.doors.web.runs import RUN
from sopwith.doors.web.schemas import OBJECT, number, record
from sopwith.doors.web.table import Answer, Asked, Route
from sopwith.engine.documents import Document
from sopwith.errors import NotFound

MOST_EVENTS = 500


def _record(desk: Desk, asked: Asked) -> Answer:
    run_id, after = asked.path["runId"], asked.query.get("after", 0)
    run = desk.reader(asked).run(run_id)
    parts = desk.engine.parts
    events = parts.store.events(run_id, after)
    page = events[:MOST_EVENTS]
    driver = parts.store.holder(run_id) if run.ended is None else None
    if driver is None and not run.queued and (waits_by_itself(run) or not at_rest(run)):
        driver = parts.owner()  # it is about to
    shown: list[Document] = [
        {
            "seq": each.seq,
            "payload": base64.b64encode(each.payload).decode(),
            "prevHash": each.prev_hash,
            "hash": each.hash,
        }
        for each in page
    ]
    return Answer(
        {
            "runId": run_id,
            "revision": run.seq,
            "events": shown,
            "more": len(events) > len(page),
            "driver": None if driver is None else msgspec.to_builtins(driver),
        }
    )


def _content(desk: Desk, asked: Asked) -> Answer:
    digest = asked.path["digest"]
    run = desk.reader(asked).run(asked.path["runId"])
    data = desk.engine.parts.store.content(digest) if digest in _named_by(run) else None
    if data is None:
        raise NotFound(f"{run.run_id} names no content {digest[:64]!r}", hint="its record names what there is")
    return Answer(data=data, media_type="application/octet-stream")


def _named_by(run: Run) -> frozenset[str]:
    """The procedures that the run was pinned to, and what is or was asked at its gates as they are now."""
    gates = [run.start_gate, *(step.gate for step in run.steps.values())]
    asked = {gate.digest for gate in gates if gate is not None}
    return frozenset({run.procedure_digest, *(used.digest for used in run.uses.values()), *asked})


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
