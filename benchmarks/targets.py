"""What the measurements are held to: bounds on ratios and on times that people wait for, and where each figure lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
"""What was measured last, section by section."""


@dataclass(frozen=True)
class Target:
    """`path`: section and keys of the figure in the results, `*` for each of several; one of the bounds is given."""

    what: str
    path: tuple[str, ...]
    at_most: float | None = None
    at_least: float | None = None
    below: float | None = None

    def bound(self) -> str:
        if self.below is not None:
            return f"< {self.below:,g}"
        return f"≤ {self.at_most:,g}" if self.at_most is not None else f"≥ {self.at_least:,g}"

    def is_met(self, value: float) -> bool:
        if self.below is not None:
            return value < self.below
        if self.at_most is not None:
            return value <= self.at_most
        return self.at_least is not None and value >= self.at_least


@dataclass(frozen=True)
class Verdict:
    """One figure beside its target."""

    target: Target
    named: str
    value: float

    @property
    def what(self) -> str:
        return f"{self.target.what}: {self.named}" if self.named else self.target.what

    @property
    def met(self) -> bool:
        return self.target.is_met(self.value)


_SIZE_MS = (
    *("inbox", "inbox, next page", "history", "history of a procedure", "history of statuses", "history of both"),
    *("history, next page", "status"),
)
_COLD = ("sop --version", "sop list (100 procedures)", "sop status", "sop approve, a vote")
TARGETS: tuple[Target, ...] = (
    Target("runs of four steps of nothing, times the floor", ("engine", "ratio to the floor"), at_most=3),
    Target("the same, runs a second", ("engine", "runs per second"), at_least=300),
    Target(
        "the same by two processes on one store, runs a second",
        ("engine", "runs per second by two processes"),
        at_least=300,
    ),
    Target("the same in dbos on SQLite, times ours", ("rivals", "dbos on SQLite", "times ours"), at_least=10),
    Target("a step of `true` beyond bash's own, ms", ("shellSteps", "overhead ms per step"), at_most=5),
    *(Target(f"`{verb}` from cold, times a bare Python", ("coldStart", verb, "ratio"), at_most=7) for verb in _COLD),
    Target(
        "approval elsewhere to the start of the next step, p95 ms",
        ("serving", "approval to the recorded start of the step, p95 ms"),
        at_most=50,
    ),
    Target("an idle server, % of a core", ("serving", "idlePercentOfACore"), below=0.2),
    *(Target(f"a million past runs, {what}, ms", ("size", f"{what} ms"), at_most=20) for what in _SIZE_MS),
    Target("an append, times that of an empty database", ("size", "append ratio to an empty database"), at_most=1.1),
    Target("a server's memory, KB per waiting run", ("size", "server KB per waiting run"), at_most=5),
    Target("output of a step, times 500 MB/s or the disk", ("output", "ratio to 500 MB/s or the disk"), at_least=1),
    Target(
        "the same of lines of text",
        ("output", "lines of text, ratio to 500 MB/s or the disk"),
        at_least=1,
    ),
    Target("memory that it takes, MiB", ("output", "engine memory growth, MiB"), at_most=32),
)


def verdicts(results: Mapping[str, Any]) -> Iterator[Verdict]:
    """Each target with each figure that was measured for it; what was not measured has none."""
    for target in TARGETS:
        for keys, value in _found(results, target.path):
            named = (key for key, part in zip(keys, target.path, strict=True) if part == "*")
            yield Verdict(target, ", ".join(named), value)


def missing(results: Mapping[str, Any]) -> list[str]:
    """The targets for which nothing was measured."""
    return [target.what for target in TARGETS if not list(_found(results, target.path))]


def _found(part: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if not path:
        if isinstance(part, int | float):
            yield (), float(part)
        return
    if not isinstance(part, Mapping):
        return
    first, rest = path[0], path[1:]
    for key in part if first == "*" else [first]:
        if key in part:
            for keys, value in _found(part[key], rest):
                yield (key, *keys), value
