"""What must hold of a scene whose run has ended, whatever was killed on the way. Each breach is one sentence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import apsw

from sopwith.core.codec import view_line
from sopwith.stores.sqlite import SqliteStore
from tools.crash.reference import RETRIED, Scene


def breaches(scene: Scene, *, may_end_as: tuple[str, ...] = ("completed",)) -> list[str]:
    """Empty when nothing was lost, nothing ran twice, and the record proves itself."""
    scene.wait_until_quiet()
    run_id = scene.run_id()
    if run_id is None:
        return ["there is no run"]
    found = list(_of_the_file(scene))
    found += _of_the_commands(scene)
    record = _record(scene, run_id)
    found += _of_the_views(scene, run_id, record)
    found += _of_what_was_acknowledged(scene, record)
    found += _of_the_starts(scene, [json.loads(line) for line in record], may_end_as)
    return found


def _record(scene: Scene, run_id: str) -> list[bytes]:
    with closing(SqliteStore(scene.database)) as store:
        return [view_line(event) for event in store.events(run_id)]


def _of_the_file(scene: Scene) -> Iterator[str]:
    with closing(apsw.Connection(str(scene.database), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
        for (line,) in db.execute("pragma integrity_check"):
            if line != "ok":
                yield f"the database is damaged: {line}"


def _of_the_commands(scene: Scene) -> Iterator[str]:
    for args in (("audit", "--verify-all"), ("doctor",)):
        told = scene.sop(*args)
        if told.code != 0:
            yield str(told)


def _of_the_views(scene: Scene, run_id: str, record: list[bytes]) -> Iterator[str]:
    """After `sop doctor` the files show what the database holds."""
    runs = scene.sops / "runs"
    if (runs / f"{run_id}.audit.jsonl").read_bytes() != b"".join(record):
        yield "the view of the record differs from the record"
    state = json.loads((runs / f"{run_id}.json").read_bytes())
    if state.get("revision") != len(record):
        yield f"the view of the run is of event {state.get('revision')}, not {len(record)}"


def _of_what_was_acknowledged(scene: Scene, record: list[bytes]) -> Iterator[str]:
    told = scene.acknowledged
    if told.shrunk or record[: len(told.lines)] != told.lines:
        yield "an acknowledged event is gone or was changed"
    events = [json.loads(line) for line in record]
    for number in told.decisions:
        if not any(e["eventType"] == "approval_granted" and e["stepNumber"] == number for e in events):
            yield f"the acknowledged approval of step {number} is gone"
    for number, step in told.steps.items():
        if not any(_is_end_of(event, number, step) for event in events):
            yield f"step {number} was told to be completed, and the record does not say so"


def _is_end_of(event: dict[str, Any], number: int, step: dict[str, Any]) -> bool:
    at_that_time = event["timestamp"] == step["endedAt"]
    return event["eventType"] == "step_completed" and event.get("stepNumber") == number and at_that_time


def _of_the_starts(scene: Scene, events: list[dict[str, Any]], may_end_as: tuple[str, ...]) -> Iterator[str]:
    ledger = Counter(scene.entries())
    recorded = Counter(_attempt(event) for event in events if event["eventType"] == "step_started")
    for (step, visit, attempt), times in ledger.items():
        if times > 1:
            yield f"attempt {attempt} of visit {visit} of step {step} ran {times} times"
    for start, times in recorded.items():
        if times > 1:
            yield f"the start of {start} was recorded {times} times"
    for start in ledger.keys() - recorded.keys():
        yield f"{start} ran without a record of its start"
    yield from _of_the_ends(events, ledger)
    yield from _of_the_answers(events)
    ends = [event["eventType"].removeprefix("run_") for event in events]
    if ends[-1] not in may_end_as:
        yield f"the run ended as {ends[-1]}"
    if ends[-1] == "completed" and set(scene.steps) - {step for step, _visit, _attempt in ledger}:
        yield "a step is completed and never ran"


def _of_the_ends(events: list[dict[str, Any]], ledger: Counter[tuple[int, int, int]]) -> Iterator[str]:
    """What is said of an attempt's end is true: completed ones ran, those that could not start never did."""
    latest: dict[int, tuple[int, int, int]] = {}
    for event in events:
        number = event.get("stepNumber")
        match event["eventType"]:
            case "step_started":
                latest[number] = _attempt(event)
            case "step_completed" if latest[number] not in ledger:
                yield f"{latest[number]} is told to be completed and never ran"
            case "step_failed" if event["details"].get("cause") == "start":
                if latest[number] in ledger:
                    yield f"{latest[number]} is told never to have started, and it ran"
            case "step_failed" if number not in RETRIED or latest[number][2] > 1:
                yield f"{latest[number]} is told to have failed: {event['details']}"


def _of_the_answers(events: list[dict[str, Any]]) -> Iterator[str]:
    granted = Counter(event["stepNumber"] for event in events if event["eventType"] == "approval_granted")
    asked = Counter(event["stepNumber"] for event in events if event["eventType"] == "approval_requested")
    for number, times in granted.items():
        if times > asked[number]:
            yield f"{asked[number]} questions about step {number} were answered {times} times"


def _attempt(event: dict[str, Any]) -> tuple[int, int, int]:
    details = event["details"]
    return event["stepNumber"], details["visit"], details["attempt"]
