"""A procedure from a few words, a scenario from its TOML, and what came of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from textwrap import dedent
from typing import Any

from sopwith.core.config import Config
from sopwith.core.procedure import Procedure
from sopwith.errors import Problem
from sopwith.parse.parsed import SourceFile
from sopwith.parse.procedure import parse_procedure
from sopwith.parse.scenario import Scenario
from sopwith.parse.scenario_file import read_scenario
from sopwith.rehearsal.play import Played, play
from sopwith.rehearsal.verdict import Difference, differences, event_words, waits_for

AGREES = """
[[acts]]
do = "approve"
by = "alice"
"""


def procedure(*steps: Mapping[str, Any], **keys: Any) -> Procedure:
    """Each step has a script, and whatever else it says; `run: None` makes it one by hand."""
    numbered = [
        {"number": number, "title": f"Step {number}", "run": "true", **step} for number, step in enumerate(steps, 1)
    ]
    for step in numbered:
        if step["run"] is None:
            del step["run"]
    document = {"name": "deploy", "description": "d", "version": "1.0.0", "executionMode": "auto", **keys}
    source = SourceFile("manifest.json", json.dumps({**document, "steps": numbered}).encode())
    parsed = parse_procedure("deploy", sop_md=None, manifest=source)
    assert parsed.procedure is not None, parsed.problems
    return parsed.procedure


def problems(text: str, of: Procedure) -> tuple[Problem, ...]:
    scenario, found = read_scenario(SourceFile("s.toml", dedent(text).encode()), of)
    assert (scenario is None) == bool(found)
    return found


def scenario(text: str, of: Procedure) -> Scenario:
    read, found = read_scenario(SourceFile("s.toml", dedent(text).encode()), of)
    assert read is not None, found
    return read


class Rehearsal:
    """What came of playing it."""

    def __init__(self, of: Procedure, text: str) -> None:
        if "[expect" not in text:
            text = dedent(text) + '\n[expect]\nnever = ["run_queued"]\n'
        self.scenario = scenario(text, of)
        self.played: Played = play(of, self.scenario.config or Config(), self.scenario)

    @property
    def differences(self) -> list[str]:
        return [_line(each) for each in differences(self.scenario, self.played)]

    @property
    def status(self) -> str:
        from sopwith.core.run import status_of

        assert self.played.run is not None
        return status_of(self.played.run).value

    @property
    def steps(self) -> list[str]:
        assert self.played.run is not None
        return [step.status.value for step in self.played.run.steps.values()]

    @property
    def events(self) -> list[str]:
        return [event_words(event) for event in self.played.events]

    @property
    def waits_for(self) -> str:
        return waits_for(self.played)

    def at(self, event: str) -> float:
        """Seconds from the start to the first such event."""
        first = self.played.events[0].at
        return next((e.at - first).total_seconds() for e in self.played.events if event_words(e) == event)


def _line(difference: Difference) -> str:
    return f"{difference.what}: expected {difference.expected}, got {difference.got}"
