"""The routes of runs: make, look at, steer, decide. Each is one engine method, and shows the command's document."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from sopwith.core.address import StepId, read_step_id
from sopwith.core.people import Right
from sopwith.core.procedure import ExecutionMode
from sopwith.core.refusal import no_such_step
from sopwith.core.run import Run, RunStatus, open_gates
from sopwith.doors.agent.arguments import step_in
from sopwith.doors.agent.tools import Schema
from sopwith.doors.web import schemas, streams
from sopwith.doors.web.office import Desk
from sopwith.doors.web.output import output
from sopwith.doors.web.problems import Unaimed
from sopwith.doors.web.schemas import number, text
from sopwith.doors.web.table import API, Answer, Asked, Route
from sopwith.engine.documents import Document, answer_document, gate_document, pinned_document
from sopwith.engine.engine import Answered, Engine, RunRequest
from sopwith.engine.runs import check_run_id
from sopwith.errors import BadRequest, NotFound

RUNS = f"{API}/runs"
RUN = f"{RUNS}/{{runId}}"
STEP = f"{RUN}/steps/{{step}}"
_REASON = {"reason": text(most=4000)}
_STEP = schemas.STEP
_DIGEST = {"digest": text("Of the gate that was looked at: its first 12 characters or more", most=64)}
_OUTPUT = {"output": text("What came out of it, in words", most=65536)}
_PARAMS: dict[str, Schema] = {"params": {"type": "object", "description": "Values by name"}}
_PAGE = {"limit": number("How many at the most", least=1, most=200), "cursor": text("From the page before", most=200)}


def _create(desk: Desk, asked: Asked) -> Answer:
    body = asked.body
    mode = ExecutionMode(body["executionMode"]) if "executionMode" in body else None
    request = RunRequest(name=body["sopName"], params=body.get("params", {}), mode=mode, queue=body.get("queue", False))
    engine = desk.engine.for_call(asked.call)
    run = engine.create_run(request, actor=asked.who)
    answer = _after(desk, asked, engine, run)
    location = {"location": f"{RUNS}/{run.run_id}", **answer.headers}
    return Answer(answer.document, status=201, headers=location)


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
    return _shown(desk.reader(asked).status(asked.path["runId"]))


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


def _verification(desk: Desk, asked: Asked) -> Answer:
    run_id = asked.path["runId"]
    desk.reader(asked).run(run_id)
    from sopwith.assembly import open_keeper

    with open_keeper(desk.workspace) as keeper:
        verified = keeper.verify(run_id)
    return Answer({"runId": run_id, **verified.document()})


def _logs(desk: Desk, asked: Asked) -> Answer:
    run_id = asked.path["runId"]
    found = desk.reader(asked).outputs(run_id)
    logs = [{**each.addressed, "verification": each.verifies, "sizeBytes": each.size_bytes} for each in found]
    return Answer({"runId": run_id, "logs": logs})


def _inbox(desk: Desk, asked: Asked) -> Answer:
    document = desk.reader(asked).inbox(asked.who)
    if asked.query.get("mine", False):
        items = [item for item in document["items"] if item.get("mayApprove", True)]
        document = {"items": items, "total": len(items)}
    return Answer(document)


def _approve(desk: Desk, asked: Asked) -> Answer:
    body, engine = asked.body, _aimed(desk, asked)
    answered = engine.approve(
        asked.path["runId"],
        actor=asked.who,
        step=step_in(body),
        digest=body.get("digest"),
        comment=body.get("comment", ""),
        form=body.get("form", {}),
    )
    return _decided(desk, asked, engine, answered)


def _reject(desk: Desk, asked: Asked) -> Answer:
    body, engine = asked.body, _aimed(desk, asked)
    answered = engine.reject(
        asked.path["runId"], actor=asked.who, step=step_in(body), digest=body.get("digest"), reason=body["reason"]
    )
    return _decided(desk, asked, engine, answered)


Steer = Callable[[Engine, str, Asked], Run]


def _steering(steer: Steer) -> Callable[[Desk, Asked], Answer]:
    """The handler of a route that steers a run, and shows it afterwards."""

    def handle(desk: Desk, asked: Asked) -> Answer:
        engine = desk.engine.for_call(asked.call)
        return _after(desk, asked, engine, steer(engine, asked.path["runId"], asked))

    return handle


def _pause(engine: Engine, run_id: str, asked: Asked) -> Run:
    body = asked.body
    return engine.pause(run_id, actor=asked.who, reason=body.get("reason", ""), stop=body.get("now", False))


def _resume(engine: Engine, run_id: str, asked: Asked) -> Run:
    return engine.resume(run_id, actor=asked.who)


def _cancel(engine: Engine, run_id: str, asked: Asked) -> Run:
    return engine.cancel(run_id, actor=asked.who, reason=asked.body.get("reason", ""))


def _retry(engine: Engine, run_id: str, asked: Asked) -> Run:
    body = asked.body
    return engine.retry(
        run_id,
        actor=asked.who,
        from_step=body.get("fromStep"),
        reason=body.get("reason", ""),
        params=body.get("params") or None,
    )


def _rollback(engine: Engine, run_id: str, asked: Asked) -> Run:
    return engine.rollback(run_id, actor=asked.who, reason=asked.body.get("reason", ""))


def _skip(engine: Engine, run_id: str, asked: Asked) -> Run:
    return engine.skip(run_id, actor=asked.who, step=step_in(asked.body), reason=asked.body["reason"])


def _complete(engine: Engine, run_id: str, asked: Asked) -> Run:
    body = asked.body
    return engine.complete(
        run_id,
        actor=asked.who,
        step=step_in(body),
        comment=body.get("comment", ""),
        output=body.get("output", ""),
    )


def _fail(engine: Engine, run_id: str, asked: Asked) -> Run:
    body = asked.body
    return engine.fail(
        run_id, actor=asked.who, step=step_in(body), reason=body["reason"], output=body.get("output", "")
    )


def _block(engine: Engine, run_id: str, asked: Asked) -> Run:
    body = asked.body
    return engine.block(
        run_id, actor=asked.who, step=step_in(body), reason=body["reason"], output=body.get("output", "")
    )


def _aimed(desk: Desk, asked: Asked) -> Engine:
    """The engine for a decision that says what it is about. Raises Unaimed."""
    if asked.call.expected_seq is None and not {"digest", "stepNumber"} & asked.body.keys():
        raise Unaimed(
            "a decision must say what it is about",
            hint='send If-Match with the ETag of the run, or "stepNumber", or the "digest" of the gate',
        )
    return desk.engine.for_call(asked.call)


def _decided(desk: Desk, asked: Asked, engine: Engine, answered: Answered) -> Answer:
    after = _after(desk, asked, engine, answered.run)
    told = answer_document(answered)
    replayed = {"replayed": True} if engine.replayed else {}
    return Answer({**told, "run": after.document, **replayed}, headers=after.headers)


def _after(desk: Desk, asked: Asked, engine: Engine, run: Run) -> Answer:
    """The run after a change, which the server drives on."""
    engine.leave(run)
    answer = _shown(desk.reader(asked).status(run.run_id))
    if not engine.replayed:
        return answer
    return Answer({**answer.document, "replayed": True}, headers=answer.headers)


def _shown(document: Document) -> Answer:
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


def cursor(place: str) -> str:
    """A word for a place in a list, to come back to."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_cursor(word: str) -> str:
    """Raises BadRequest."""
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise BadRequest("the cursor cannot be read", hint="take nextCursor of the page before") from None


def _after_seq(query: Mapping[str, Any]) -> int:
    if "cursor" not in query:
        return 0
    place = read_cursor(query["cursor"])
    if not place.isdecimal() or len(place) > 15:
        raise BadRequest("the cursor cannot be read", hint="take nextCursor of the page before")
    return int(place)


def _get_route(path: str, about: str, handler: Callable[[Desk, Asked], Answer], **more: Any) -> Route:
    return Route(method="GET", path=path, right=Right.LOOK, about=about, handler=handler, **more)


def _post(verb: str, right: Right, about: str, steer: Steer, **more: Any) -> Route:
    return Route(
        method="POST",
        path=f"{RUN}/{verb}",
        right=right,
        about=about,
        handler=_steering(steer),
        answer=schemas.RUN,
        repeatable=True,
        conditional=True,
        **more,
    )


def _decision(verb: str, right: Right, about: str, handler: Callable[[Desk, Asked], Answer], **more: Any) -> Route:
    return Route(
        method="POST",
        path=f"{RUN}/{verb}",
        right=right,
        about=about,
        handler=handler,
        answer=schemas.DECISION,
        repeatable=True,
        conditional=True,
        **more,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path=RUNS,
        right=Right.START,
        about="Starts a procedure. The server carries the run on.",
        handler=_create,
        body={
            "sopName": text(most=64),
            **_PARAMS,
            "executionMode": {"type": "string", "enum": [mode.value for mode in ExecutionMode]},
            "queue": {"type": "boolean", "description": "Wait for a slot instead of being refused"},
        },
        required=("sopName",),
        answer=schemas.RUN,
        status=201,
        repeatable=True,
    ),
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
        media_type="text/plain",
        answer={"type": "string"},
    ),
    _get_route(f"{RUN}/gates", "The open gates, with all that would be approved.", _gates, answer=schemas.GATES),
    _get_route(f"{RUN}/audit", "The record of a run, in order.", _audit, query=_PAGE, answer=schemas.AUDIT, long=True),
    _get_route(
        f"{RUN}/verification", "Whether the record is what it was.", _verification, long=True, answer=schemas.OBJECT
    ),
    _get_route(f"{RUN}/logs", "Which steps have output, and how much.", _logs, answer=schemas.LOGS),
    Route(
        method="GET",
        path=f"{RUN}/events",
        right=Right.LOOK,
        about="The record of a run as it grows: server-sent events, resumed by Last-Event-ID.",
        live=streams.run_events,
        query={"after": number("Only events after this one")},
        media_type="text/event-stream",
        answer={"type": "string"},
    ),
    _decision(
        "approve",
        Right.APPROVE,
        "Approves at a gate.",
        _approve,
        body={**_STEP, **_DIGEST, "comment": text(most=4000), "form": {"type": "object"}},
    ),
    _decision(
        "reject",
        Right.STOP,
        "Says no at a gate, with a reason.",
        _reject,
        body={**_STEP, **_DIGEST, **_REASON},
        required=("reason",),
    ),
    _post(
        "pause",
        Right.STOP,
        "Starts nothing more.",
        _pause,
        body={**_REASON, "now": {"type": "boolean", "description": "End running steps first"}},
    ),
    _post("cancel", Right.STOP, "Ends a run for good.", _cancel, body=_REASON),
    _post("resume", Right.STEER, "Goes on after a pause.", _resume, body={}),
    _post(
        "retry",
        Right.STEER,
        "Failed, rejected or interrupted steps again, or from an earlier one.",
        _retry,
        body={"fromStep": number("Go back to this step", least=1), **_REASON, **_PARAMS},
    ),
    _post("rollback", Right.STEER, "Undoes completed steps.", _rollback, body=_REASON),
    _post(
        "skip",
        Right.STEER,
        "Passes over a step, with a reason.",
        _skip,
        body={**_STEP, **_REASON},
        required=("reason",),
    ),
    _post(
        "complete",
        Right.STEER,
        "Reports a manual step done.",
        _complete,
        body={**_STEP, "comment": text(most=4000), **_OUTPUT},
    ),
    _post(
        "fail",
        Right.STEER,
        "Reports that a manual step did not work out.",
        _fail,
        body={**_STEP, **_REASON, **_OUTPUT},
        required=("reason",),
    ),
    _post(
        "block",
        Right.STEER,
        "Reports that a manual step cannot be done as things are.",
        _block,
        body={**_STEP, **_REASON, **_OUTPUT},
        required=("reason",),
    ),
    _get_route(
        f"{API}/inbox",
        "What waits for a person, the longest waiting first.",
        _inbox,
        query={"mine": {"type": "boolean", "description": "Only what the caller may do"}},
        answer=schemas.INBOX,
        long=True,
    ),
    Route(
        method="GET",
        path=f"{API}/inbox/events",
        right=Right.LOOK,
        about="The inbox whenever it is another: server-sent events.",
        live=streams.inbox_events,
        media_type="text/event-stream",
        answer={"type": "string"},
    ),
)
