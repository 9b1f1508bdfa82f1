"""The routes that look at runs. Each shows the document that the command shows with --json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sopwith.core.address import StepId, read_step_id
from sopwith.core.people import Right
from sopwith.core.refusal import no_such_step
from sopwith.core.run import Run, RunStatus, open_gates
from sopwith.doors.web import schemas, streams
from sopwith.doors.web.cursors import cursor, read_cursor, read_number
from sopwith.doors.web.inbox import INBOX_PAGE, inbox_page
from sopwith.doors.web.office import Desk
from sopwith.doors.web.output import output
from sopwith.doors.web.schemas import number, text
from sopwith.doors.web.table import API, Answer, Asked, Route
from sopwith.engine.documents import Document, gate_document, pinned_document
from sopwith.engine.records import check_run_id
from sopwith.errors import NotFound

RUNS = f"{API}/runs"
RUN = f"{RUNS}/{{runId}}"
STEP = f"{RUN}/steps/{{step}}"
_PAGE = {"limit": number("How many at the most", least=1, most=200), "cursor": text("From the page before", most=200)}


def _list(desk: Desk, asked: Asked) -> Answer:
    query = asked.query
    statuses = tuple(RunStatus(each) for each in query.get("status", ()))
    limit = query.get("limit", 20)
    before = read_cursor(query["cursor"]) if "cursor" in query else None
    if before is not None:
        check_run_id(before)
    # one more tells whether there is a next page
    found = desk.reader(asked).history(name=query.get("sopName"), statuses=statuses, limit=limit + 1, before=before)
    runs = found["runs"][:limit]
    more = len(found["runs"]) > limit
    return Answer(
        {"runs": runs, "total": found["total"], "nextCursor": cursor(runs[-1]["runId"]) if more and runs else None}
    )


def _get(desk: Desk, asked: Asked) -> Answer:
    return shown(desk.reader(asked).status(asked.path["runId"]))


def _get_step(desk: Desk, asked: Asked) -> Answer:
    run_id = asked.path["runId"]
    return Answer({"runId": run_id, "step": desk.reader(asked).step(run_id, step_of(asked))})


def _gates(desk: Desk, asked: Asked) -> Answer:
    reader = desk.reader(asked)
    run = reader.run(asked.path["runId"])
    shown = []
    for step, gate in open_gates(run):
        procedure = {"procedure": pinned_document(run)} if step is None else {}
        may = {"mayApprove": not (why := desk.engine.why_not(run, step, actor=asked.who)), "whyNot": why}
        shown.append({**gate_document(run, step, gate), "envelope": reader.envelope(gate.digest), **procedure, **may})
    return Answer({"runId": run.run_id, "gates": shown}, headers=_tag(run.seq))


def _audit(desk: Desk, asked: Asked) -> Answer:
    query = asked.query
    limit, after = query.get("limit", 100), _after_seq(query)
    whole = desk.reader(asked).audit(asked.path["runId"])
    events = [event for event in whole["events"] if event["seq"] > after]
    page = events[:limit]
    following = cursor(str(page[-1]["seq"])) if len(events) > limit else None
    return Answer({**whole, "events": page, "nextCursor": following})


def _logs(desk: Desk, asked: Asked) -> Answer:
    run_id = asked.path["runId"]
    found = desk.reader(asked).outputs(run_id)
    logs = [{**each.addressed, "verification": each.verifies, "sizeBytes": each.size_bytes} for each in found]
    return Answer({"runId": run_id, "logs": logs})


def _inbox(desk: Desk, asked: Asked) -> Answer:
    return Answer(inbox_page(desk, asked))


def shown(document: Document) -> Answer:
    """A run, with its revision as its tag."""
    return Answer(document, headers=_tag(document["revision"]))


def _tag(revision: int) -> dict[str, str]:
    return {"etag": f'"{revision}"'}


def step_of(asked: Asked) -> StepId:
    """The step in the path: `3`, or `3:eu`. Raises NotFound."""
    step = read_step_id(asked.path["step"])
    if step is None:
        raise NotFound(f"{asked.path['step'][:80]!r} is no step", hint="write 3, or 3:eu for one of its instances")
    return step


def check_step(run: Run, step: StepId) -> None:
    """Raises NotFound."""
    if step not in run.steps:
        found = no_such_step(run, step)
        raise NotFound(found.message, hint=found.hint)


def _after_seq(query: Mapping[str, Any]) -> int:
    return read_number(query["cursor"]) if "cursor" in query else 0


def _get_route(path: str, about: str, handler: Callable[[Desk, Asked], Answer], **more: Any) -> Route:
    return Route(method="GET", path=path, right=Right.LOOK, about=about, handler=handler, **more)


ROUTES: tuple[Route, ...] = (
    _get_route(
        RUNS,
        "Runs, the newest first.",
        _list,
        query={
            "sopName": text(most=64),
            "status": {
                "type": "array",
                "items": {"type": "string", "enum": [status.value for status in RunStatus]},
                "maxItems": len(RunStatus),
            },
            **_PAGE,
        },
        answer=schemas.RUN_LIST,
    ),
    _get_route(RUN, "One run; its ETag is its revision.", _get, answer=schemas.RUN),
    _get_route(STEP, "One step of a run, with its definition.", _get_step, answer=schemas.RUN_STEP),
    Route(
        method="GET",
        path=f"{STEP}/output",
        right=Right.LOOK,
        about="What a step printed, as bytes, while it runs and after; takes Range.",
        live=output,
        query={"verification": number("Instead, what its verification of this number printed", least=1, most=1000)},
        media_type="text/plain",
        answer={"type": "string"},
    ),
    _get_route(f"{RUN}/gates", "The open gates, with all that would be approved.", _gates, answer=schemas.GATES),
    _get_route(f"{RUN}/audit", "The record of a run, in order.", _audit, query=_PAGE, answer=schemas.AUDIT, long=True),
    _get_route(f"{RUN}/logs", "Which steps have output, and how much.", _logs, answer=schemas.LOGS),
    Route(
        method="GET",
        path=f"{RUN}/events",
        right=Right.LOOK,
        about="The record of a run as it grows: server-sent events, resumed by Last-Event-ID.",
        live=streams.run_events,
        query={"after": number("Only events after this one")},
        media_type="text/event-stream",
        answer=schemas.FRAME,
    ),
    _get_route(
        f"{API}/inbox",
        "What waits for a person, the oldest run first.",
        _inbox,
        query=INBOX_PAGE,
        answer=schemas.INBOX,
        long=True,
    ),
    Route(
        method="GET",
        path=f"{API}/inbox/events",
        right=Right.LOOK,
        about="The first page of the inbox whenever it is another, or the number of all: server-sent events.",
        live=streams.inbox_events,
        query={"limit": INBOX_PAGE["limit"]},
        media_type="text/event-stream",
        answer=schemas.FRAME,
    ),
)
