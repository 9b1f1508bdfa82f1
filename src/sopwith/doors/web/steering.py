"""The routes that change runs: make, steer, decide. Each is one engine method, and shows the run afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sopwith.core.people import Right
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import Run
from sopwith.doors.agent.arguments import step_in
from sopwith.doors.agent.tools import Schema
from sopwith.doors.web import schemas
from sopwith.doors.web.evidence import MOST_NAME, sent_in
from sopwith.doors.web.office import Desk
from sopwith.doors.web.problems import Unaimed
from sopwith.doors.web.runs import RUN, RUNS, shown
from sopwith.doors.web.schemas import number, text
from sopwith.doors.web.table import Answer, Asked, Route
from sopwith.engine.documents import answer_document
from sopwith.engine.engine import Answered, Engine, RunRequest
from sopwith.engine.evidence import MOST_SENT

_REASON = {"reason": text(most=4000)}
_STEP = schemas.STEP
_DIGEST = {"digest": text("Of the gate that was looked at: its first 12 characters or more", most=64)}
_OUTPUT = {"output": text("What came out of it, in words", most=65536)}
_EVIDENCE: dict[str, Schema] = {
    "evidence": {
        "type": "array",
        "maxItems": MOST_SENT,
        "description": "Files that were sent before, each as name and sha256",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": MOST_NAME},
                "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            },
            "required": ["name", "sha256"],
            "additionalProperties": False,
        },
    }
}
_PARAMS: dict[str, Schema] = {"params": {"type": "object", "description": "Values by name"}}


def _create(desk: Desk, asked: Asked) -> Answer:
    body = asked.body
    mode = ExecutionMode(body["executionMode"]) if "executionMode" in body else None
    request = RunRequest(name=body["sopName"], params=body.get("params", {}), mode=mode, queue=body.get("queue", False))
    engine = desk.engine.for_call(asked.call)
    run = engine.create_run(request, actor=asked.who)
    answer = _after(desk, asked, engine, run)
    location = {"location": f"{RUNS}/{run.run_id}", **answer.headers}
    return Answer(answer.document, status=201, headers=location)


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
    return engine.complete(run_id, comment=asked.body.get("comment", ""), **_reported(asked))


def _fail(engine: Engine, run_id: str, asked: Asked) -> Run:
    return engine.fail(run_id, reason=asked.body["reason"], **_reported(asked))


def _block(engine: Engine, run_id: str, asked: Asked) -> Run:
    return engine.block(run_id, reason=asked.body["reason"], **_reported(asked))


def _reported(asked: Asked) -> dict[str, Any]:
    """What every report of a step has: by whom, of which, what came out of it, and what shows it."""
    body = asked.body
    return {
        "actor": asked.who,
        "step": step_in(body),
        "output": body.get("output", ""),
        "evidence": sent_in(body),
    }


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
    answer = shown(desk.reader(asked).status(run.run_id))
    told = {**answer.document, "decidedRevision": engine.decided_at(run)}
    return Answer(told | ({"replayed": True} if engine.replayed else {}), headers=answer.headers)


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
        body={**_STEP, "comment": text(most=4000), **_OUTPUT, **_EVIDENCE},
    ),
    _post(
        "fail",
        Right.STEER,
        "Reports that a manual step did not work out.",
        _fail,
        body={**_STEP, **_REASON, **_OUTPUT, **_EVIDENCE},
        required=("reason",),
    ),
    _post(
        "block",
        Right.STEER,
        "Reports that a manual step cannot be done as things are.",
        _block,
        body={**_STEP, **_REASON, **_OUTPUT, **_EVIDENCE},
        required=("reason",),
    ),
)
