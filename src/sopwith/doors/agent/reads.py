"""The tools that look and change nothing, and what every answer about a run begins with. Plain and synchronous."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.procedure import check_name
from sopwith.core.run import Run, RunStatus
from sopwith.doors.agent import views
from sopwith.doors.agent.arguments import Arguments, run_id_in, step_in
from sopwith.doors.agent.failures import failure_document
from sopwith.doors.agent.frames import Frames, plain
from sopwith.doors.agent.moves import moves
from sopwith.doors.opened import Opened
from sopwith.engine.documents import Document, procedure_document
from sopwith.engine.engine import Engine
from sopwith.engine.listing import list_procedures
from sopwith.engine.reading import Reader
from sopwith.engine.waiting import WaitingOn, waiting_on
from sopwith.errors import NotAllowed, SopwithError

_LISTED = (
    *("name", "valid", "errors", "title", "description", "version", "priority", "executionMode", "totalSteps"),
    "gates",
)
_MOST_OUTPUT, _MOST_OUTPUT_OF_ONE = 2_000, 20_000


class Reads:
    """What one agent is shown of one workspace."""

    def __init__(self, opened: Opened, actor: Actor) -> None:
        self._opened = opened
        self._actor = actor
        self.by_tool: dict[str, Callable[[Arguments, Frames], Document]] = {
            "sop_status": self._status,
            "sop_list_runs": self._list_runs,
            "sop_get_audit": self._get_audit,
            "sop_list": self._list,
            "sop_describe": self._describe,
        }

    def standing(self, run_id: str) -> tuple[Run, WaitingOn]:
        """The run as it is now, and whom it waits for."""
        run = self._engine.runs.load(run_id).run
        return run, waiting_on(self._engine, run, self._actor)

    def run_document(self, run_id: str, frames: Frames, *, step: StepId | None = None) -> Document:
        """What every answer about a run begins with, and the step or gates that are the caller's now, `step` first."""
        engine, actor = self._engine, self._actor
        run = engine.runs.load(run_id).run
        status = self._reader.status(run_id)
        waiting = waiting_on(engine, run, actor)
        asked = views.asked_view(engine, run, actor, frames, first=step)
        document: Document = {
            "success": True,
            "runId": run_id,
            "sopName": run.name,
            "sopVersion": plain(run.procedure.version, most=80),
            "status": status["status"],
            "runStatus": status["status"],
            "currentStep": status["currentStep"],
            "totalSteps": status["totalSteps"],
            "revision": run.seq,
            "waitingOn": waiting,
            "next": moves(engine, run, actor, waiting, asked=asked),
        }
        if (task := views.task_view(engine, run, actor, frames)) is not None:
            document["task"] = task
        if asked:
            document["asked"] = asked
        return document

    def failure(self, error: SopwithError, arguments: Arguments, frames: Frames) -> Document:
        """The error, and what can be done now where it is about a run that is there."""
        document = failure_document(error, frames)
        run_id = arguments.get("runId")
        if not isinstance(run_id, str):
            return document
        with suppress(SopwithError):
            self._opened.check_run(run_id)
            run, waiting = self.standing(run_id)
            document |= {"runId": run_id, "revision": run.seq, "waitingOn": waiting}
            document["next"] = moves(self._engine, run, self._actor, waiting)
        return document

    def _status(self, given: Arguments, frames: Frames) -> Document:
        run_id, since = run_id_in(self._opened, given), given.get("sinceSeq")
        wanted = None
        if (step := step_in(given)) is not None:
            self._reader.step(run_id, step)  # raises NotFound
            wanted = frozenset({given["stepNumber"]})
        elif since is not None:
            wanted = self._changed_steps(run_id, since)
        document = self.run_document(run_id, frames, step=step)
        most = _MOST_OUTPUT_OF_ONE if "stepNumber" in given else _MOST_OUTPUT
        view = views.run_view(self._reader.status(run_id), frames, steps=wanted, most=most)
        if "instance" in given:
            view["stepResults"] = [each for each in view["stepResults"] if each.get("instance") == given["instance"]]
        return {**document, **view} | ({} if since is None else {"sinceSeq": since})

    def _changed_steps(self, run_id: str, since: int) -> frozenset[int]:
        sealed = self._engine.parts.store.events(run_id, since)
        events = [msgspec.json.decode(each.payload) for each in sealed if each.payload]
        return frozenset(number for event in events if (number := event.get("stepNumber")) is not None)

    def _list_runs(self, given: Arguments, frames: Frames) -> Document:
        name = given.get("sopName")
        statuses = (RunStatus(given["status"]),) if "status" in given else ()
        listed: Document = {"runs": [], "total": 0}
        if name is not None:
            check_name(name)
        if self._opened.has_runs:
            listed = self._reader.history(name=name, statuses=statuses, limit=given.get("limit", 20))
        for run in listed["runs"]:
            run.pop("concurrencyGroup")  # made from parameters
        return _about_no_run(listed)

    def _get_audit(self, given: Arguments, frames: Frames) -> Document:
        run_id, since, limit = run_id_in(self._opened, given), given.get("sinceSeq", 0), given.get("limit", 100)
        whole = self._reader.audit(run_id)["events"]
        events = [event for event in whole if event["seq"] > since]
        shown = views.audit_view(events[:limit], frames)
        more = {"more": True} if len(events) > limit else {}
        run = None
        with suppress(SopwithError):
            run = self._engine.runs.load(run_id).run
        waiting = WaitingOn.NOTHING if run is None else waiting_on(self._engine, run, self._actor)
        return {
            "success": True,
            "runId": run_id,
            "revision": whole[-1]["seq"],
            "waitingOn": waiting,
            "events": shown,
            **more,
            "next": [] if run is None else moves(self._engine, run, self._actor, waiting),
        }

    def _list(self, given: Arguments, frames: Frames) -> Document:
        query = given.get("query", "").lower()
        found = []
        for each in list_procedures(self._opened.library)[0]:
            sop = {key: each[key] for key in _LISTED if key in each}
            for key in ("title", "description", "version"):
                if key in sop:
                    sop[key] = plain(sop[key], most=300)
            if query in sop["name"].lower() or query in sop.get("title", "").lower():
                found.append(sop)
        return _about_no_run({"procedures": found, "total": len(found)})

    def _describe(self, given: Arguments, frames: Frames) -> Document:
        library = self._opened.library
        check_name(given["sopName"])
        procedure = library.procedure(given["sopName"])
        config, is_full = library.config(), given.get("detail") == "full"
        if is_full and not config.agents_see_all_steps:
            raise NotAllowed(f"the text of all steps of {procedure.name} is not told: config.json does not allow it")
        outline = views.outline_view(procedure_document(procedure, config), with_texts=is_full)
        call = {"call": "sop_execute", "arguments": {"sopName": procedure.name}, "when": "it is to be run"}
        return _about_no_run({"sopName": procedure.name, **outline}) | {"next": [call]}

    @property
    def _engine(self) -> Engine:
        return self._opened.engine

    @property
    def _reader(self) -> Reader:
        return self._opened.reader


def _about_no_run(told: Document) -> Document:
    return {"success": True, **told, "revision": None, "waitingOn": WaitingOn.NOTHING, "next": []}
