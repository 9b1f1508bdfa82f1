"""The stores that are measured hold true records, of the sorts and numbers that were asked for."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from benchmarks import scale
from tests.docs import pages

from sopwith.audit.keeper import Keeper
from sopwith.core.config import Config
from sopwith.ports import RunFilter, Workspace
from sopwith.stores.sqlite import SqliteStore


def test_what_was_written_again_is_a_sound_and_signed_record(tmp_path: Path) -> None:
    models = scale._make(tmp_path)
    counts = scale.mix(40)
    for name, count in {**counts, "past": 7}.items():
        scale.write_again(tmp_path, models[name], name, count)
    scale.seal(tmp_path)
    workspace = Workspace(tmp_path)
    with closing(SqliteStore(workspace.database)) as store:
        assert store.check() == []
        report = Keeper(store, workspace, Config).verify().report
        assert (report.fine, report.unsigned) == (True, 0)
        summaries, _total = store.summaries(RunFilter())
    written = Counter(summary.run_id.removeprefix("sop_run_").rstrip("0123456789") for summary in summaries)
    assert {name: written[name] for name in (*counts, "past")} == {**counts, "past": 7}
    statuses = {summary.run_id: str(summary.status) for summary in summaries}
    of_each = {name: statuses[f"sop_run_{name}00000000"] for name in (*counts, "past")}
    assert of_each == {
        "gated": "awaiting_approval",
        "timed": "awaiting_approval",
        "queued": "pending",
        "undriven": "running",
        "past": "completed",
    }


def test_every_command_is_measured_in_every_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # this test may itself be a step of a run, which is not what is measured
    monkeypatch.setattr(scale, "SOP", pages.command())
    found = scale.measure(tmp_path, open_runs=20, past_runs=10, rounds=1, served_secs=0.1)
    assert list(found) == ["no other runs", "20 open runs", "10 past runs"]
    assert [part["runs"] for part in found.values()] == [0, 20, 10]
    for part in found.values():
        taken = {name: value for name, value in part.items() if name.endswith(", ms")}
        assert len(taken) == 7
        assert len([name for name in part if name.endswith(", cpu ms")]) == 6
        assert all(value > 0 for value in taken.values())
