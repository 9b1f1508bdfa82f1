"""The text twin of an answer: a few lines for hosts that show their model no structured content.

Holds the procedure's own words, the engine's facts and what stands in frames already; nothing that others wrote else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from sopwith.engine.documents import Document

_MOST_LINES = 15
_MOST_ROWS = 12
_MOST_MOVES = 5
_MOST_ERROR = 600
"""Characters of an error that is told beside; a longer one stands in `stepResults`, and no frame is cut."""
_STUCK = ("failed", "interrupted")


def twin(document: Document) -> str:
    """At most 15 lines, and the text of the step that is to be done."""
    moves = [_move_line(move) for move in document.get("next", [])][:_MOST_MOVES]
    lines: list[str] = []
    room = _MOST_LINES - len(moves)
    for each in _lines(document):
        size = len(each.splitlines())
        if size <= room or not lines:  # a frame is told whole or not at all
            lines.append(each)
            room -= size
    lines += moves
    if task := document.get("task"):
        lines += [f"Step {_address(task)} is yours: {task['title']}", task["instructions"]]
    return "\n".join(lines)


def _lines(document: Document) -> Iterator[str]:
    if "error" in document:
        error = document["error"]
        yield f"Refused ({error['code']}): {error['message']}"
        yield error["remedy"]
    elif "runId" in document:
        yield _run_line(document)
    if document.get("replayed"):
        yield "This call had been carried out before; nothing was done twice."
    if "action" in document or document.get("decision"):
        yield f"Decision: {document['decision']}"
    if "totalSteps" in document and "stepResults" in document:
        yield from _rows(f"  {_address(step)} {step['title']}: {step['status']}" for step in document["stepResults"])
        yield from _what_went_wrong(document["stepResults"])
    if "params" in document and "steps" in document:
        yield from _rows(map(_param_row, document["params"]))
    for key, row in (("runs", _run_row), ("procedures", _procedure_row), ("events", _event_row), ("steps", _step_row)):
        if key in document and isinstance(document[key], list):
            yield from _rows(map(row, document[key])) if document[key] else (f"no {key}",)


def _run_line(document: Document) -> str:
    words = [f"{document.get('sopName', 'run')} {document['runId']}"]
    if "runStatus" in document:
        words.append(f"{document['runStatus']}, step {document['currentStep']} of {document['totalSteps']}")
    if "revision" in document:
        words.append(f"revision {document['revision']}")
    if "waitingOn" in document:
        words.append(f"waiting on: {document['waitingOn']}")
    return "; ".join(words)


def _address(step: Document) -> str:
    return f"{step['stepNumber']}:{step['instance']}" if step.get("instance") else str(step["stepNumber"])


def _what_went_wrong(steps: Iterable[Document]) -> Iterator[str]:
    """The error of the first step that has one, in its frame: whoever sees the text alone must know why it stands."""
    errors = [step for step in steps if step["status"] in _STUCK and step.get("error")]
    for step in errors[:1]:
        if len(step["error"]) <= _MOST_ERROR:
            yield f"Step {_address(step)}: {step['error']}"


def _param_row(param: Document) -> str:
    needed = "required" if param.get("required") else "may be left out"
    return f"  param {param['name']}: {param.get('type', 'string')}, {needed}"


def _rows(rows: Iterable[str]) -> Iterator[str]:
    found = list(rows)
    yield from found[:_MOST_ROWS]
    if len(found) > _MOST_ROWS:
        yield f"  … and {len(found) - _MOST_ROWS} more"


def _run_row(run: Document) -> str:
    return f"  {run['runId']} {run['sopName']}: {run['status']}, step {run['currentStep']} of {run['totalSteps']}"


def _procedure_row(sop: Document) -> str:
    if not sop["valid"]:
        return f"  {sop['name']}: has errors and cannot run"
    size = f"{_count(sop['totalSteps'], 'step')}, {_count(sop['gates'], 'gate')}"
    return f"  {sop['name']} {sop['version']}: {sop['title']} ({size})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _event_row(event: Document) -> str:
    step = f" step {event['stepNumber']}" if event.get("stepNumber") else ""
    return f"  {event['seq']} {event.get('timestamp', '')} {event.get('type', 'content gone')}{step}"


def _step_row(step: Document) -> str:
    return f"  {step['number']} {step['title']}" + (" (needs approval)" if step["requiresApproval"] else "")


def _move_line(move: Document) -> str:
    if "tellHuman" in move:
        return f"Tell the person: {move['tellHuman']}"
    if move["call"] == "sop_approve":
        # this text does not hold what is asked
        look = {key: value for key, value in move["arguments"].items() if key != "digest"}
        return f"You may decide: first call sop_status {json.dumps(look)} and read `asked`"
    more = f", add {' and '.join(move['add'])}" if "add" in move else ""
    return f"You may call {move['call']} {json.dumps(move['arguments'])}{more} ({move['when']})"
