"""What is looked at once, or not at all: what cannot have changed is not read twice, and what can is read anew."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sopwith.core.codec import NO_HASH
from sopwith.core.run import RunStatus
from sopwith.engine import envelopes, environment
from sopwith.engine.begun import Begun
from sopwith.engine.driver import drive
from sopwith.engine.engine import RunRequest
from sopwith.engine.library import Library
from sopwith.errors import InvalidProcedure
from sopwith.ports import WorkOrder
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.noop import noop_kind
from sopwith.testing.samples import first_batch

from .bench import ANN, Bench


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], Counter[str]]:
    """Counts the calls of a function or method from here on."""
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str) -> Counter[str]:
        real = getattr(owner, name)

        def noted(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, name, noted)
        return calls

    return count


def test_a_driver_does_not_read_what_it_has_just_written(
    bench: Bench, counted: Callable[[Any, str], Counter[str]]
) -> None:
    bench.procedure("deploy", {}, {}, {}, {})
    run_id = bench.create("deploy")
    calls = counted(type(bench.store), "events")
    bench.drive(run_id)
    # it is loaded, and looked at anew under the claim and when that was given back
    assert calls["events"] == 3


def test_whoever_created_a_run_does_not_read_it_before_its_first_step_has_ended(
    bench: Bench, counted: Callable[[Any, str], Counter[str]]
) -> None:
    bench.kinds.known["shell"] = noop_kind()
    bench.procedure("deploy", {}, {})
    parts = bench.engine().parts
    calls = counted(type(bench.store), "events")
    begun = Begun(bench.engine(), RunRequest(name="deploy"), actor=ANN)
    run = bench.loop.run_until_complete(drive(parts, begun.run_id, begun=begun))
    assert run.ended is RunStatus.COMPLETED
    # when its claim was given back
    assert calls["events"] == 1


def test_a_driver_that_reads_less_still_meets_a_cancel_between_two_steps(bench: Bench) -> None:
    bench.procedure("deploy", {}, {}, {})
    run_id = bench.create("deploy")

    def cancel(order: WorkOrder) -> None:
        if order.step.number == 2:
            bench.engine().cancel(run_id, actor=ANN)

    bench.world.before_start = cancel
    run = bench.drive(run_id)
    assert run.ended is RunStatus.CANCELLED
    assert len(bench.world.starts) == 2


def test_what_is_compared_before_a_start_is_what_runs(
    bench: Bench, counted: Callable[[Any, str], Counter[str]]
) -> None:
    """One look for the intent and one for the order that is carried out, with the folder and variables of each."""
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    calls = counted(environment, "step_variables")
    counted(envelopes, "step_variables")
    counted(environment, "working_dir")
    counted(envelopes, "working_dir")
    bench.drive(run_id)
    assert calls == {"step_variables": 2, "working_dir": 2}


def test_a_registered_procedure_is_found_without_a_look_at_the_others(
    bench: Bench, counted: Callable[[Any, str], Counter[str]]
) -> None:
    for name in ("build", "deploy", "release"):
        bench.procedure(name, {})
    library = Library(bench.workspace)
    calls = counted(Library, "_survey")
    assert library.procedure("deploy").name == "deploy"
    assert not calls


def test_a_definition_that_changed_on_disk_is_seen_at_the_next_call(bench: Bench) -> None:
    bench.procedure("deploy", {})
    library = Library(bench.workspace, cache=bench.store)
    assert len(library.procedure("deploy").steps) == 1
    bench.procedure("deploy", {}, {})
    assert len(library.procedure("deploy").steps) == 2
    shutil.rmtree(bench.workspace.sops / "deploy")
    (bench.workspace.sops / "deploy").symlink_to("/")
    with pytest.raises(InvalidProcedure, match="leads out"):
        library.procedure("deploy")


def test_a_run_without_a_group_looks_for_none(tmp_path: Path, counted: Callable[[Any, str], Counter[str]]) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    asked: list[str] = []
    real = store._run_ids

    def noted(query: str, **values: Any) -> tuple[str, ...]:
        asked.append(query)
        return real(query, **values)

    store._run_ids = noted  # type: ignore[method-assign]
    batch = first_batch("sop_run_1")
    assert batch.events[0].prev_hash == NO_HASH
    store.create("deploy", lambda _: batch)
    assert asked == ["queued_before"]
    store.close()
