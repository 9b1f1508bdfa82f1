"""Each section measures something, in small: what nobody runs between releases still works at the next one."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmarks import agents, cold_start, engine, growth, output, planning, rivals, serving, steps
from benchmarks.targets import TARGETS
from tests.docs import pages

SMALL: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    "engine": lambda folder: engine.measure(folder, runs=2, rounds=1),
    "shellSteps": lambda folder: steps.measure(folder, rounds=1),
    "coldStart": lambda folder: cold_start.measure(folder, rounds=2),
    "serving": lambda folder: serving.measure(folder, waiting=0, rounds=2, idle_secs=0.1),
    "growth": lambda folder: growth.measure(folder, rounds=1, most_events=10),
    "output": lambda folder: output.measure(folder, size_bytes=1_000_000, text_bytes=1_000_000, rounds=1),
    "planning": lambda _: planning.measure(rounds=1),
    "agents": lambda folder: agents.measure(folder, rounds=1),
}


@pytest.mark.parametrize("section", SMALL)
def test_a_section_measures_what_its_targets_are_about(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SOP", pages.command())
    monkeypatch.setattr(cold_start, "SOP", pages.command())
    monkeypatch.setattr(serving, "_SETTLE_SECS", 0.0)
    monkeypatch.setattr(cold_start, "_instructions", lambda *_: {})
    monkeypatch.setattr(planning, "_SIZES", (10, 20))
    monkeypatch.setattr(growth, "_STEPS", (10, 20))
    monkeypatch.setattr(growth, "_MARKDOWN_KB", (16,))
    found = SMALL[section](tmp_path)
    assert all(isinstance(value, int | float) for value in _leaves(found))
    for target in TARGETS:
        if target.path[0] == section:
            assert isinstance(_at(found, target.path[1:]), int | float), target


def _leaves(part: Any) -> Iterator[float]:
    if isinstance(part, Mapping):
        for each in part.values():
            yield from _leaves(each)
    else:
        yield part


def _at(part: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        part = part[key]
    return part


def test_where_no_other_engine_can_be_had_ours_is_measured_and_the_page_can_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> Path:
        raise subprocess.CalledProcessError(1, ["pip"], stderr="no such registry")

    monkeypatch.setattr(rivals, "environment", unreachable)
    found = rivals.measure(tmp_path, rounds=1, seconds=0.2)
    assert found["sopwith"]["times ours"] == 1
    assert found["left out"]["other engines"].endswith("no such registry")
    assert set(found) == {"sopwith", "left out"}


def test_a_server_that_does_not_start_is_left_out_and_no_folder_above_ours_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user has to reach its folder; the one above ours may be everybody's."""
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o700)
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(rivals, "_postgres_programs", lambda: tmp_path / "nowhere")
    monkeypatch.setattr("pwd.getpwnam", lambda _name: pwd.getpwuid(os.getuid()))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    left_out: dict[str, str] = {}
    with rivals._postgres(ours / "postgres", left_out) as url:
        assert url == ""
    assert "does not start here" in left_out["dbos on PostgreSQL"]
    assert stat.S_IMODE(ours.stat().st_mode) == 0o711
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
