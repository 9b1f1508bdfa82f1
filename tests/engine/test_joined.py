"""A step's result and the intent to start the next step are one transaction, and nothing else of either changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.run import Run
from sopwith.engine import intents
from sopwith.ports import WorkOrder
from sopwith.testing.executor import SUCCEEDED, Play

from .bench import ANN, Bench


@pytest.fixture
def batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What each transaction of a drive recorded, by the events' types and steps."""
    store = bench.engine().parts.store
    append, told = type(store).append, []

    def noted(self: Any, run_id: str, after_seq: int, batch: Any, **more: Any) -> None:
        append(self, run_id, after_seq, batch, **more)
        told.append(bench.names(run_id)[after_seq:])

    monkeypatch.setattr(type(store), "append", noted)
    return told


def test_a_result_and_the_next_intent_are_one_transaction(bench: Bench, batches: list[list[str]]) -> None:
    bench.procedure("deploy", {}, {})
    bench.run("deploy")
    assert batches == [
        ["step_started 1"],
        ["step_completed 1", "step_started 2"],
        ["step_completed 2", "run_completed"],
    ]


def test_the_intent_is_recorded_before_the_step_starts(bench: Bench) -> None:
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")
    seen: list[str] = []

    def look(_order: WorkOrder) -> None:
        seen.append(bench.names(run_id)[-1])

    bench.world.before_start = look
    bench.drive(run_id)
    assert seen == ["step_started 1", "step_started 2"]


def test_a_gate_in_between_is_asked(bench: Bench, batches: list[list[str]]) -> None:
    bench.procedure("deploy", {}, {"requiresApproval": True})
    bench.run("deploy")
    assert ["step_completed 1"] in batches
    assert len(bench.world.starts) == 1


def test_a_result_does_not_wait_for_the_reading_of_pins(bench: Bench, batches: list[list[str]]) -> None:
    (bench.workspace.root / "data").write_text("pinned")
    bench.procedure("deploy", {}, {"pins": ["data"]})
    assert bench.run("deploy").ended == "completed"
    assert ["step_completed 1"] in batches


def test_a_result_does_not_wait_for_what_the_next_step_lacks(bench: Bench, batches: list[list[str]]) -> None:
    bench.procedure("deploy", {}, {"env": {"pass": ["NOT_SET_ANYWHERE"]}})
    assert bench.run("deploy").paused
    assert ["step_completed 1"] in batches
    assert len(bench.world.starts) == 1


def test_where_somebody_was_faster_the_result_is_recorded_and_nothing_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bench.engine().parts.store
    append, paused = type(store).append, []
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")

    def late(self: Any, run_id: str, after_seq: int, batch: Any, **more: Any) -> None:
        if len(batch.events) == 2 and not paused:
            paused.append(True)
            bench.engine().pause(run_id, actor=ANN)
        append(self, run_id, after_seq, batch, **more)

    monkeypatch.setattr(type(store), "append", late)
    assert bench.drive(run_id).paused
    assert paused
    assert len(bench.world.starts) == 1
    assert bench.names(run_id).count("step_completed 1") == 1
    assert "step_started 2" not in bench.names(run_id)


def test_a_start_that_is_refused_takes_nothing_from_the_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.procedure("deploy", {}, {})

    def again(self: Any, run: Run) -> Any:
        start = cmd.Start(actor=SYSTEM, now=self._parts.clock.now(), step=1, digest="0" * 64)
        return intents.Intent(1, start, None)

    monkeypatch.setattr(intents.Intents, "first_in", again)
    assert bench.run("deploy").ended == "completed"
    assert len(bench.world.starts) == 2


def test_a_result_is_recorded_whatever_is_wrong_with_the_next_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the executor of the next step is a plugin's, and breaks as soon as it is asked anything."""
    looked_at = intents.step_envelope_bytes

    def broken(parts: Any, run: Run, step: Any) -> bytes:
        if step == 2:
            raise RuntimeError("the plugin broke")
        return looked_at(parts, run, step)

    monkeypatch.setattr(intents, "step_envelope_bytes", broken)
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")
    with pytest.raises(RuntimeError, match="the plugin broke"):
        bench.drive(run_id)
    assert bench.names(run_id)[-1] == "step_completed 1"


def test_nothing_is_built_on_a_changed_record(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    runs = bench.engine().runs
    changed = msgspec.structs.replace(runs.load(run_id), changed_at=1)
    finish = cmd.Finish(actor=SYSTEM, now=bench.clock.now(), step=1, attempt=1, result=SUCCEEDED)

    def start(_run: Run) -> cmd.Command:
        return cmd.Start(actor=SYSTEM, now=bench.clock.now(), step=2, digest="0" * 64)

    _after, events = runs.commit(changed, finish, followed_by=start)
    assert [event.event_type for event in events] == ["step_completed"]
    driving.cancel()


def test_a_run_within_another_looks_around_before_it_starts_the_next(bench: Bench, batches: list[list[str]]) -> None:
    bench.procedure("inner", {}, {})
    bench.procedure("outer", {"uses": "inner", "run": None})
    assert bench.run("outer").ended == "completed"
    assert ["step_completed 1"] in batches
