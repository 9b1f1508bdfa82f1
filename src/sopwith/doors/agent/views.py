"""What an agent is shown of runs and procedures: the shapes of every door, without what it need not see yet.

Text that others wrote stands in frames only. A procedure's own words (titles, the text of the step that is to be done)
are what its authors wrote and reviewed; they are escaped, not framed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.run import Run
from sopwith.doors.agent.frames import Frames, disarmed, plain, prose
from sopwith.engine.asked import MOST_ASKED, asked_text
from sopwith.engine.documents import Document, addressed, step_definition
from sopwith.engine.engine import Engine
from sopwith.engine.waiting import gates_for, may_report, open_by_hand, resting_children

_GATE = (
    *("stepNumber", "instance", "status", "revision", "digest", "rollback", "requestedAt", "dueAt", "onTimeout"),
    *("approvers", "waitsFor", "votesNeeded", "commentRequired", "form", "decidedAt"),
)
_STEP = (
    *("stepNumber", "instance", "status", "executor", "requiresApproval", "visit", "attempt", "startedAt", "endedAt"),
    *("durationMs", "wakeAt", "exitCode", "childRunId", "childStatus", "instances"),
)
_RUN = (
    *("executionMode", "priority", "createdAt", "startedAt", "endedAt", "timesOutAt", "parent", "waitsFor"),
    *("failing", "pauseRequested", "cancelRequested", "nothingRan", "withFailures", "rolledBack", "timedOut"),
    *("rollingBack", "rollbackFailed", "notRolledBack", "overdue", "undriven"),
)
_FACTS = frozenset(
    {
        *(
            "action",
            "agent",
            "attempt",
            "cause",
            "childRunId",
            "childStatus",
            "declaredMode",
            "delayMs",
            "digest",
            "dueAt",
        ),
        *("duration", "durationMs", "engineVersion", "executor", "fromStep", "meaning", "mode", "onTimeout", "outcome"),
        *("outputSha256", "procedureDigest", "requestedAt", "revision", "sha256", "signal", "sopName", "standing"),
        *("status", "trigger", "version", "visit", "wakeAt"),
    }
)
"""Keys of event details whose texts are the engine's own or of a fixed form."""
_LEFT_OUT = frozenset(
    {"environment", "passed", "pins", "folders", "secrets", "agents", "uses", "policy", "bootId", "bootMs", "umask"}
)
_WHOLE = frozenset({"params", "outputs", "form", "values", "item", "items"})
_EVENT = ("timestamp", "type", "stepNumber", "instance", "seq", "hash")
_MOST_OUTPUT = 2_000


def run_view(document: Document, frames: Frames, *, steps: frozenset[int] | None = None, most: int) -> Document:
    """`{executionMode, …, gates, stepResults}` of a run; of all its steps, or of these. `most`: of each output."""
    view: Document = {key: document[key] for key in _RUN if document.get(key) not in (None, [], False)}
    view |= {"params": frames.value(document["params"], "run params")} if document["params"] else {}
    if (event := document.get("event")) is not None:
        view["event"] = frames.value(event["content"], "the event that started the run", most=_MOST_OUTPUT)
    view |= {"reason": frames.text(document["reason"], "run reason")} if document["reason"] else {}
    view["gates"] = [gate_view(gate, frames) for gate in document["gates"]]
    view["stepResults"] = [
        step_view(step, frames, most=most)
        for step in document["stepResults"]
        if steps is None or step["stepNumber"] in steps
    ]
    return view


def gate_view(gate: Document, frames: Frames) -> Document:
    """A gate: who is asked, until when, who has answered."""
    view = {key: gate[key] for key in _GATE if key in gate and gate[key] not in (None, [], False)}
    view["title"] = plain(gate["title"])
    view["votes"] = [vote["by"]["id"] for vote in gate["votes"]]
    if gate["decidedBy"] is not None:
        view["decidedBy"] = gate["decidedBy"]["id"]
    for key in ("comment", "values"):
        if gate[key]:
            view[key] = frames.value(gate[key], f"gate {key}")
    if gate["form"]:
        view["form"] = frames.value(gate["form"], "gate form")
    return view


def step_view(step: Document, frames: Frames, *, most: int = _MOST_OUTPUT) -> Document:
    """One entry of `stepResults`; what the step printed, handed on and was said about it in frames."""
    view: Document = {key: step[key] for key in _STEP if step.get(key) not in (None, [], "")}
    view["title"] = plain(step["title"])
    place = f"step {step['stepNumber']}"
    for key in ("output", "error", "comment"):
        if step[key]:
            view[key] = frames.text(step[key], f"{place} {key}", most=most)
    for key in ("outputs", "item"):
        if step.get(key):
            view[key] = frames.value(step[key], f"{place} {key}", most=most)
    if (check := step.get("verification")) is not None:
        view["verification"] = _verification_view(check, frames, place, most=most)
    if step["evidence"]:
        view["evidence"] = [
            {**each, "name": frames.text(each["name"], f"{place} evidence")} for each in step["evidence"]
        ]
    if (gate := step["approval"]) is not None:
        view["approval"] = gate["status"]
    return view


def _verification_view(check: Document, frames: Frames, place: str, *, most: int) -> Document:
    """What was found out about a report, or about an attempt that was interrupted."""
    view: Document = {key: check[key] for key in ("outcome", "exitCode", "startedAt", "ofReport")}
    for key in ("because", "output"):
        if check[key]:
            view[key] = frames.text(check[key], f"{place} verification {key}", most=most)
    return view


def task_view(engine: Engine, run: Run, actor: Actor, frames: Frames) -> Document | None:
    """The step that the caller is to carry out now, with its text; None if there is none. Later ones are not told."""
    for each in (run, *resting_children(engine, run)):
        for step in open_by_hand(each):
            if not each.paused and may_report(engine, each, step, actor):
                return _task(each, step, frames)
    return None


def _task(run: Run, step: Any, frames: Frames) -> Document:
    definition = step_definition(run.procedure.step(step))
    task: Document = {
        "runId": run.run_id,
        **addressed(step),
        "title": plain(definition["title"]),
        "instructions": prose(definition["description"]),
        "suggestedTools": [plain(tool, most=100) for tool in definition["suggestedTools"]],
    }
    if definition["verify"]:
        task["verify"] = prose(definition["verify"])
    state = run.steps[step]
    return task | ({"item": frames.value(state.item, f"step {step} item")} if state.place else {})


def asked_view(
    engine: Engine, run: Run, actor: Actor, frames: Frames, *, first: StepId | None = None
) -> list[Document]:
    """What the caller would approve at the gates that are its to answer, each shown whole, as far as there is room.

    `first`: the step about which the caller asks.
    """
    gates = [(each, *gate) for each in (run, *resting_children(engine, run)) for gate in gates_for(engine, each, actor)]
    shown: list[Document] = []
    room = MOST_ASKED
    for each, step, gate in sorted(gates, key=lambda found: (found[0].run_id, found[1]) != (run.run_id, first)):
        text = asked_text(engine.parts, each, step, gate)
        if text is not None and (size := len(disarmed(text))) <= room:
            room -= size
            told = frames.whole(text, "what is asked")
            shown.append({"runId": each.run_id, **addressed(step), "digest": gate.digest, "envelope": told})
    return shown


def audit_view(events: Iterable[Document], frames: Frames) -> list[Document]:
    """Events as the specification has them: `{timestamp, type, stepNumber?, actor, details, seq}`."""
    return [_event(event, frames) for event in events]


def _event(event: Document, frames: Frames) -> Document:
    if event.get("contentGone"):
        return {"seq": event["seq"], "contentGone": True, "hash": event["hash"]}
    actor = {key: event["actor"][key] for key in ("id", "kind", "via")}
    kept = {key: event[key] for key in _EVENT if key in event}
    return {**kept, "actor": actor, "details": _details(event["details"], frames, event["type"])}


def _details(details: Document, frames: Frames, source: str) -> Document:
    return {
        key: _detail(key, value, frames, f"{source} {key}") for key, value in details.items() if key not in _LEFT_OUT
    }


def _detail(key: str, value: Any, frames: Frames, source: str) -> Any:
    if key in _WHOLE or (key == "command" and isinstance(value, list)):
        return frames.value(value, source)
    if key == "signature":
        return {"meaning": value["meaning"]} if value else None
    if isinstance(value, str):
        if key in _FACTS:
            return plain(value)
        return plain(value) if key == "title" else frames.text(value, source)
    if isinstance(value, dict):
        return _details(value, frames, source)
    if isinstance(value, list):
        return [_detail(key, each, frames, source) for each in value]
    return value


def outline_view(document: Document, *, with_texts: bool = False) -> Document:
    """A procedure without the texts and scripts of its steps, or with them."""
    kept = ("name", "version", "priority", "executionMode", "effectiveMode", "runners", "cooldownSecs", "timeoutSecs")
    return {
        **{key: _authored(document[key]) for key in kept if document[key] not in (None, [], "")},
        "title": plain(document["title"]),
        "description": prose(document["description"])[:1000],
        "overview": prose(document["overview"])[:4000],
        "params": _authored(document["params"]),
        "approval": _authored(document["approval"]),
        "steps": [_outlined(step, with_texts=with_texts) for step in document["steps"]],
    }


def _outlined(step: Document, *, with_texts: bool) -> Document:
    kept = ("number", "executor", "requiresApproval", "approvalTimeoutMins", "suggestedTools", "dependsOn", "uses")
    view = {key: _authored(step[key]) for key in kept if step[key] not in (None, [], "")}
    view["title"] = plain(step["title"])
    if step["approval"] and step["approval"].get("approvers"):
        view["approvers"] = _authored(step["approval"]["approvers"])
    if step["verify"]:
        view["verified"] = True
    if with_texts:
        view["instructions"] = prose(step["description"])
        view["script"] = _authored(step["script"])
        if step["verify"]:
            view["verify"] = _authored(step["verify"])
    return view


def _authored(value: Any) -> Any:
    """A value from a procedure's files with its texts escaped: descriptions, defaults, patterns, names."""
    if isinstance(value, str):
        return prose(value)
    if isinstance(value, dict):
        return {prose(key): _authored(each) for key, each in value.items()}
    return [_authored(each) for each in value] if isinstance(value, list | tuple) else value
