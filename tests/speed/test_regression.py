"""What must not grow unnoticed is counted, and a growth is told."""

from __future__ import annotations

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
        ({"a": 106}, {"a": 100}, ["a: 106, and 100 in the last release"]),
        ({"b": 1}, {"a": 100}, ["a is not counted any more"]),
        ({"a": 100, "new": 7}, {"a": 100}, []),
        ({"a": 100}, {}, []),
    ],
)
def test_a_growth_is_told(found: dict[str, float], before: dict[str, float], told: list[str]) -> None:
    assert list(regression.grown(found, before)) == told
