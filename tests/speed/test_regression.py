"""What must not grow unnoticed is counted, and a growth is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import engine, regression
from benchmarks.workspace import make_workspace, without_processes

from sopwith.doors.python.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    make_workspace(tmp_path, {"noop": ["true"] * 4})
    with Workspace(tmp_path) as opened:
        without_processes(opened)
        opened.create_run("noop")
        yield opened


def test_the_same_work_is_the_same_count_and_more_work_is_more() -> None:
    def work(times: int) -> int:
        return regression.instructions(lambda: [number + 1 for number in range(times)])

    assert work(10) == work(10)
    assert work(20) > work(10) > 10


def test_one_more_loop_in_the_engine_is_a_growth(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from sopwith.core import evolve

    def run() -> int:
        return regression.instructions(lambda: workspace.create_run("noop"))

    before, plain = run(), evolve.evolve

    def slower(*arguments: object) -> object:
        sum(number for number in range(2_000))
        return plain(*arguments)

    monkeypatch.setattr("sopwith.core.decide.evolve", slower)
    assert list(regression.grown({"run": run()}, {"run": before}))


def test_transactions_and_waits_are_those_of_the_store(workspace: Workspace) -> None:
    store = engine._store(workspace)
    run_id = workspace.create_run("noop").run_id
    with engine.recording(workspace) as written:
        for _ in range(3):
            with store._db.writing():
                store._db.value("ordinal_of_run", run_id=run_id)
    assert engine.transactions(written) == 3
    assert engine.waits(written) == 3


@pytest.mark.parametrize(
    ("found", "before", "told"),
    [
        ({"a": 100}, {"a": 100}, []),
        ({"a": 105}, {"a": 100}, []),
        ({"a": 50}, {"a": 100}, []),
        ({"a": 106}, {"a": 100}, ["a: 106, and 100 in the counts that are kept"]),
        ({"b": 1}, {"a": 100}, ["a is not counted any more"]),
        ({"a": 100, "new": 7}, {"a": 100}, []),
        ({"a": 100}, {}, []),
    ],
)
def test_a_growth_is_told(found: dict[str, float], before: dict[str, float], told: list[str]) -> None:
    assert list(regression.grown(found, before)) == told


def test_on_another_python_waits_and_transactions_are_compared_all_the_same() -> None:
    kept = {"3.11": {"bytecode instructions of a run": 100, "transactions of a run": 6, "waits of a run": 7}}
    assert regression._of_any_version(kept) == {"transactions of a run": 6, "waits of a run": 7}
    assert regression._of_any_version({}) == {}


def test_each_file_that_is_synced_is_a_wait(tmp_path: Path) -> None:
    with regression._syncs() as synced, (tmp_path / "file").open("wb") as file:
        os.fsync(file)
        os.fdatasync(file.fileno())
    assert len(synced) == 2
    with (tmp_path / "file").open("rb") as file:
        os.fsync(file)
    assert len(synced) == 2
