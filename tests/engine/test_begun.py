"""A run that is driven on by whoever creates it: creation, claim and first intent are one transaction, and so are the
last result, the end and the claim's return. Nothing else of any of them changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sopwith.core.address import StepId
from sopwith.core.events import Event
from sopwith.core.run import Run, RunStatus, StepStatus, status_of
from sopwith.engine.begun import Begun
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.errors import BadParameter, LimitReached, RunBusy, StoreError
from sopwith.ports import RunFilter, WorkOrder
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.executor import FAILED, Play
from sopwith.testing.memory import MemoryStore
from sopwith.testing.samples import first_batch

from .bench import ANN, Bench


class Told:
    """Watches a run, and keeps the events that it is told of."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event, run: Run) -> None:
        self.events.append(event)

    def on_output(self, step: StepId, chunk: bytes) -> None:
        pass


def begin(bench: Bench, name: str = "deploy", *, engine: Engine | None = None, **more: Any) -> Begun:
    return Begun(engine or bench.engine(), RunRequest(name=name, **more), actor=ANN)


def drive_on(bench: Bench, engine: Engine, begun: Begun, observer: Any = None) -> Run:
    return bench.loop.run_until_complete(drive(engine.parts, begun.run_id, observer, begun=begun))


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store is asked to write, in order."""
    told: list[str] = []

    def note(verb: str) -> None:
        real = getattr(MemoryStore, verb)

        def noted(self: MemoryStore, *given: Any, **named: Any) -> Any:
            told.append(verb + (" and free" if named.get("frees") else ""))
            return real(self, *given, **named)

        monkeypatch.setattr(MemoryStore, verb, noted)

    for verb in ("create", "append", "claim", "release"):
        note(verb)
    return told


def test_a_run_of_scripts_is_one_transaction_for_each_step_and_one_more(bench: Bench, writes: list[str]) -> None:
    bench.procedure("deploy", {}, {}, {})
    engine = bench.engine()
    begun = begin(bench, engine=engine)
    assert bench.names(begun.run_id) == ["run_created", "run_started", "step_started 1"]
    run = drive_on(bench, engine, begun)
    assert run.ended is RunStatus.COMPLETED
    assert writes == ["create", "append", "append", "append and free"]
    assert bench.names(begun.run_id)[-2:] == ["step_completed 3", "run_completed"]
    assert begun.loaded.run == run == bench.now(begun.run_id)


def test_where_a_run_may_meet_a_secret_a_result_is_recorded_by_itself(bench: Bench, writes: list[str]) -> None:
    """What the step printed is masked first; what follows is looked at when that is stored."""
    bench.environ["TOKEN"] = "s3cret-value"
    secret = {"name": "token", "type": "secret", "default": "env:TOKEN"}
    bench.procedure("deploy", {}, {}, params=[secret])
    assert bench.drive(bench.create("deploy")).ended is RunStatus.COMPLETED
    with_secret = writes.count("append")
    bench.procedure("plain", {}, {})
    assert bench.drive(bench.create("plain")).ended is RunStatus.COMPLETED
    assert writes.count("append") - with_secret == with_secret - 1


def test_from_its_creation_on_nobody_else_drives_it(bench: Bench) -> None:
    bench.procedure("deploy", {})
    engine = bench.engine()
    begun = begin(bench, engine=engine)
    assert bench.store.holder(begun.run_id) == engine.parts.owner()
    with pytest.raises(RunBusy):
        bench.drive(begun.run_id)
    assert drive_on(bench, engine, begun).ended is RunStatus.COMPLETED
    assert bench.store.holder(begun.run_id) is None
    assert len(bench.world.starts) == 1


def test_the_first_step_starts_after_its_intent_is_recorded(bench: Bench) -> None:
    bench.procedure("deploy", {})
    seen: list[list[str]] = []

    def look(order: WorkOrder) -> None:
        seen.append(bench.names(order.run_id))

    bench.world.before_start = look
    engine = bench.engine()
    drive_on(bench, engine, begin(bench, engine=engine))
    assert seen == [["run_created", "run_started", "step_started 1"]]


def test_whoever_watches_is_told_of_the_first_start(bench: Bench) -> None:
    bench.procedure("deploy", {})
    engine, told = bench.engine(), Told()
    drive_on(bench, engine, begin(bench, engine=engine), told)
    assert [event.event_type for event in told.events] == ["step_started", "step_completed", "run_completed"]


def test_of_who_dies_right_after_the_creation_another_takes_over_what_was_recorded(bench: Bench) -> None:
    """As of who dies between any other intent and its process."""
    bench.procedure("deploy", {})
    engine = bench.engine()
    begun = begin(bench, engine=engine)
    bench.store.kill(engine.parts.owner().owner_id)
    assert not bench.world.starts
    assert bench.drive(begun.run_id).ended is RunStatus.COMPLETED
    assert len(bench.world.starts) == 1
    assert bench.names(begun.run_id).count("step_started 1") == 1


def test_a_claim_that_nobody_used_is_given_back(bench: Bench) -> None:
    bench.procedure("deploy", {})
    begun = begin(bench)
    begun.let_go()
    assert bench.store.holder(begun.run_id) is None


def test_a_claim_that_was_used_is_not_given_back_once_more(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True})
    engine = bench.engine()
    begun = begin(bench, engine=engine)
    drive_on(bench, engine, begun)
    other = bench.engine()
    claim = other.parts.store.claim(begun.run_id, other.parts.owner(), bench.clock.now().at)
    assert claim is not None
    begun.let_go()
    assert bench.store.holder(begun.run_id) == other.parts.owner()


def test_a_claim_drives_once(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True})
    engine = bench.engine()
    begun = begin(bench, engine=engine)
    drive_on(bench, engine, begun)
    other = bench.engine()
    assert other.parts.store.claim(begun.run_id, other.parts.owner(), bench.clock.now().at) is not None
    with pytest.raises(RunBusy):
        drive_on(bench, engine, begun)


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        ({"requiresApproval": True}, {}),
        ({}, {"executionMode": "supervised"}),
        ({"if": "params.go == 'now'"}, {"params": [{"name": "go", "type": "string", "default": "now"}]}),
        ({"pins": ["there-is-none"]}, {}),
    ],
    ids=["gate", "start approval", "condition", "pinned file"],
)
def test_what_is_no_script_that_may_start_is_not_begun_with_the_run(
    bench: Bench, step: dict[str, Any], keys: dict[str, Any]
) -> None:
    bench.procedure("deploy", step, **keys)
    begun = begin(bench)
    assert begun.intent is None
    assert "step_started 1" not in bench.names(begun.run_id)
    begun.let_go()


def test_a_queued_run_begins_nothing(bench: Bench) -> None:
    bench.procedure("deploy", {"run": "true"}, maxConcurrent=1)
    bench.world.plays[1] = [Play(seconds=None)]
    first = bench.engine()
    going = begin(bench, engine=first)
    task = bench.loop.create_task(drive(first.parts, going.run_id, begun=going))
    bench.pass_time(1)
    engine = bench.engine()
    begun = begin(bench, engine=engine, queue=True)
    assert bench.names(begun.run_id) == ["run_created", "run_queued"]
    assert status_of(drive_on(bench, engine, begun)) is RunStatus.PENDING
    assert bench.store.holder(begun.run_id) is None
    task.cancel()


def test_what_is_refused_leaves_nothing_behind(bench: Bench) -> None:
    bench.procedure("deploy", {}, maxConcurrent=1)
    begun = begin(bench)
    with pytest.raises(LimitReached):
        begin(bench)
    with pytest.raises(BadParameter):
        begin(bench, params={"no such name!": "1"})
    assert [run.run_id for run in bench.store.summaries(RunFilter())[0]] == [begun.run_id]
    begun.let_go()


def test_a_cancel_right_after_the_creation_is_met(bench: Bench) -> None:
    bench.procedure("deploy", {}, {})
    engine = bench.engine()
    begun = begin(bench, engine=engine)
    bench.engine().cancel(begun.run_id, actor=ANN)
    run = drive_on(bench, engine, begun)
    assert run.ended is RunStatus.CANCELLED
    assert run.steps[2].status is StepStatus.CANCELLED
    assert bench.store.holder(begun.run_id) is None


def test_a_run_with_steps_still_under_way_keeps_its_driver(bench: Bench, writes: list[str]) -> None:
    """One branch fails while the other runs: the claim goes with the end, when nothing is left to look after."""
    bench.procedure("deploy", {"run": "false"}, {"dependsOn": []})
    bench.world.plays[1] = [Play(FAILED)]
    bench.world.plays[2] = [Play(seconds=5)]
    engine = bench.engine()
    run = drive_on(bench, engine, begin(bench, engine=engine))
    assert run.ended is RunStatus.FAILED
    assert bench.names(run.run_id)[-1] == "run_failed"
    assert writes[-1] == "append and free"
    assert "release" not in writes


def test_whoever_brings_an_ended_run_back_finds_it_free(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end and this driver's last look somebody retries it and drives."""
    bench.procedure("deploy", {})
    bench.world.plays[1] = [Play(FAILED), Play()]
    engine = bench.engine()
    begun = begin(bench, engine=engine)
    append, later = MemoryStore.append, list[Run]()

    def ended(self: MemoryStore, run_id: str, *given: Any, **named: Any) -> None:
        append(self, run_id, *given, **named)
        if named.get("frees") and not later:
            later.append(bench.engine().retry(run_id, actor=ANN))
            assert bench.store.holder(run_id) is None

    monkeypatch.setattr(MemoryStore, "append", ended)
    told = Told()
    run = drive_on(bench, engine, begun, told)
    assert run.ended is RunStatus.COMPLETED
    assert later
    assert told.events == bench.events(run.run_id)[2:], "each once, from the first start on"
    assert len(bench.world.starts) == len(set(bench.world.starts)) == 2


def test_a_creation_whose_commit_fails_claims_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(bench.workspace.database)
    owner = bench.engine().parts.owner()
    writing = store._db.writing

    @contextmanager
    def fails() -> Iterator[Any]:
        with writing() as connection:
            yield connection
            raise StoreError("the disk is gone")

    monkeypatch.setattr(store._db, "writing", fails)
    with pytest.raises(StoreError):
        store.create("deploy", lambda _: first_batch("sop_run_1"), driver=owner)
    monkeypatch.undo()
    assert store.summary("sop_run_1") is None
    # the next run has the same ordinal, and so the same lock
    claim = store.create("deploy", lambda _: first_batch("sop_run_2"), driver=owner).claim
    assert claim is not None
    store.release(claim)
    assert store.holder("sop_run_2") is None
    store.close()


def test_a_run_whose_lock_somebody_has_is_created_without_a_claim(bench: Bench) -> None:
    """Its ordinal may be locked by a process that still drives in a history that was replaced."""
    store, other = SqliteStore(bench.workspace.database), SqliteStore(bench.workspace.database)
    owner = bench.engine().parts.owner()
    assert other._claims._locks.acquire(1)
    created = store.create("deploy", lambda _: first_batch("sop_run_1"), driver=owner)
    assert created.claim is None
    assert store.lease("sop_run_1") is None
    other.close()
    assert store.claim("sop_run_1", owner, bench.clock.now().at) is not None
    store.close()
