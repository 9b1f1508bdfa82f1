"""Each target is held to the figure it is about, and the page says what is missed or was not measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmarks import targets
from benchmarks.targets import RESULTS, Target, missing, verdicts
from tools import performance_page

_MOST = Target("times the floor", ("engine", "ratio"), at_most=3)
_LEAST = Target("of each", ("size", "*", "per second"), at_least=10)


@pytest.fixture(autouse=True)
def two_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TARGETS", (_MOST, _LEAST))


@pytest.mark.parametrize(("value", "met"), [(2.9, True), (3, True), (3.01, False)])
def test_a_figure_may_be_at_most(value: float, met: bool) -> None:
    (verdict,) = verdicts({"engine": {"ratio": value}})
    assert verdict.met is met


@pytest.mark.parametrize(("value", "met"), [(9.9, False), (10, True), (11, True)])
def test_a_figure_is_to_be_at_least(value: float, met: bool) -> None:
    (verdict,) = verdicts({"size": {"small": {"per second": value}}})
    assert verdict.met is met
    assert verdict.what == "of each: small"


@pytest.mark.parametrize("results", [{}, {"engine": {}}, {"engine": {"ratio": "none"}}, {"engine": 3}])
def test_what_was_not_measured_is_not_met_but_told(results: Mapping[str, Any]) -> None:
    assert list(verdicts(results)) == []
    assert missing(results) == ["times the floor", "of each"]


def test_the_page_tells_what_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8")) | {"engine": {"ratio": 3.5}, "size": {}}
    kept = tmp_path / "results.json"
    kept.write_text(json.dumps(results))
    monkeypatch.setattr(performance_page, "RESULTS", kept)
    lines = performance_page.performance_part().splitlines()
    assert "| times the floor | 3.5 | ≤ 3 | **missed** |" in lines
    assert "| of each | not measured | | |" in lines


def test_every_target_has_its_figure_in_the_kept_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert missing(json.loads(RESULTS.read_text(encoding="utf-8"))) == []
