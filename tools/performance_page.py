"""The measured part of docs/performance.md, from benchmarks/results.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.targets import RESULTS, missing, verdicts

_PER_SIZE = ("planning, ms per step", "a whole run, ms per step", "replay, µs per event", "parsing, ms per KB")
_ITEMS = ("items", "items, ten at once")


def performance_part() -> str:
    """Each target with what was measured, the other engines, and what grows with what."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return "\n".join([*_machine(results), "", *_targets(results), "", *_rivals(results), "", *_growth(results)])


def _machine(results: Mapping[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    syncs = [each["ms per fdatasync"] for each in results.values() if "ms per fdatasync" in each]
    yield f"Measured on {machine['cpus']} shared virtual cores; Python {machine['python']}, SQLite {machine['sqlite']}."
    yield f"One `fdatasync` of a page took from {min(syncs):g} to {max(syncs):g} ms, before each of the sections."
    commits = sorted({each["commit"] for each in results.values() if each.get("commit")})
    yield f"What was measured: {'commit' if len(commits) == 1 else 'commits'} {', '.join(commits)}."


def _targets(results: Mapping[str, Any]) -> Iterator[str]:
    yield "| What | Measured | Target | |"
    yield "|---|---:|---:|---|"
    for each in verdicts(results):
        yield f"| {each.what} | {each.value:,g} | {each.target.bound()} | {'met' if each.met else '**missed**'} |"
    if (floor := results["engine"].get("floor ms per run")) is not None:
        yield f"| the floor of four steps of nothing, ms | {floor:g} | | |"
    for what in missing(results):
        yield f"| {what} | not measured | | |"


def _rivals(results: Mapping[str, Any]) -> Iterator[str]:
    rows = {name: each for name, each in results["rivals"].items() if isinstance(each, dict) and "ms a run" in each}
    yield "## Beside other engines"
    yield ""
    yield "| Four steps of nothing in | ms a run | runs/s | syncs a run |"
    yield "|---|---:|---:|---:|"
    for name, each in sorted(rows.items(), key=lambda row: row[1]["ms a run"]):
        yield f"| {name} | {each['ms a run']:g} | {each['runs/s']:g} | {each.get('syncs a run', 'its server’s')} |"
    for name, why in results["rivals"]["left out"].items():
        yield f"| {name} | left out: {why} | | |"


def _growth(results: Mapping[str, Any]) -> Iterator[str]:
    yield "## What grows"
    yield ""
    yield "| Processor time | of | |"
    yield "|---|---:|---:|"
    for what in _PER_SIZE:
        for size, value in results["growth"][what].items():
            yield f"| {what} | {size} | {value:g} |"
    for shape in _ITEMS:
        for size, value in results["planning"][shape].items():
            yield f"| planning, ms per item ({shape.removeprefix('items, ')}) | {size} | {value:g} |"
    often = 1e6 / results["verification"]["events/s verified, a checkpoint a run"]
    yield f"| verification, µs per event, a checkpoint after each run of 8 | all | {often:.1f} |"
    yield f"| verification, µs per event | all | {results['growth']['verification, µs per event']:g} |"
