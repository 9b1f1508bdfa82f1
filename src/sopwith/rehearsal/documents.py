"""What came of scenarios as a JSON document, the same for every door."""

from __future__ import annotations

from collections.abc import Iterable

from sopwith.engine.documents import Document, problem_document
from sopwith.rehearsal.rehearse import Rehearsed


def rehearsal_document(played: Iterable[Rehearsed]) -> Document:
    """`{passed, total, failed, scenarios}`."""
    return summed_up(_scenario(each) for each in played)


def summed_up(scenarios: Iterable[Document]) -> Document:
    """The document of scenarios that have one each."""
    shown = list(scenarios)
    failed = sum(not each["passed"] for each in shown)
    return {"passed": failed == 0, "total": len(shown), "failed": failed, "scenarios": shown}


def _scenario(played: Rehearsed) -> Document:
    return {
        "sopName": played.procedure,
        "scenario": played.scenario,
        "file": played.file,
        "description": played.description,
        "passed": played.passed,
        "status": played.status or None,
        "steps": {str(number): status.value for number, status in played.steps.items()},
        "differences": [{"what": each.what, "expected": each.expected, "got": each.got} for each in played.differences],
        "waitsFor": played.waits_for,
        "problems": [problem_document(problem) for problem in played.problems],
        "events": [{"after": each.after, "event": each.event, "by": each.by} for each in played.events],
    }
