"""Who signs the log, and when: once where a drive rests, once after a decision that nobody drives; never a reader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from sopwith.core.procedure import canonical
from sopwith.core.run import RunStatus, status_of
from sopwith.engine.auditing import Auditing, Deferred
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine
from sopwith.engine.reading import Reader
from sopwith.errors import RecordDropped, StoreError
from sopwith.ports import DroppedRun

from .bench import ANN, Bench

NOW = "2026-03-01T00:00:00.000Z"


class Notary:
    """Counts how often it is asked, and may fail."""

    def __init__(self) -> None:
        self.sealed: list[datetime] = []
        self.error: Exception | None = None

    def __call__(self, now: datetime) -> tuple[str, ...]:
        self.sealed.append(now)
        if self.error is not None:
            raise self.error
        return ("the share is gone",)


@pytest.fixture
def notary() -> Notary:
    return Notary()


@pytest.fixture
def engine(bench: Bench, notary: Notary) -> Engine:
    bench.procedure("two", {}, {"requiresApproval": True})
    parts = bench.engine().parts
    tombstones = parts.store.log.tombstones  # type: ignore[attr-defined]
    return Engine(msgspec.structs.replace(parts, auditing=Auditing(seal=notary, tombstones=tombstones)))


def drive_with(bench: Bench, engine: Engine, run_id: str) -> None:
    bench.loop.run_until_complete(drive(engine.parts, run_id))


def test_a_drive_is_signed_for_once_where_it_rests(bench: Bench, engine: Engine, notary: Notary) -> None:
    run_id = bench.create("two")
    drive_with(bench, engine, run_id)
    assert status_of(bench.now(run_id)) is RunStatus.AWAITING_APPROVAL
    assert notary.sealed == [bench.clock.now().at]


def test_an_approval_is_signed_for_by_the_drive_that_follows(bench: Bench, engine: Engine, notary: Notary) -> None:
    run_id = bench.run("two").run_id
    engine.approve(run_id, actor=ANN)
    assert notary.sealed == []
    drive_with(bench, engine, run_id)
    assert len(notary.sealed) == 1


@pytest.mark.parametrize(
    "decide",
    [
        lambda engine, run_id: engine.reject(run_id, actor=ANN, reason="no"),
        lambda engine, run_id: engine.pause(run_id, actor=ANN),
        lambda engine, run_id: engine.cancel(run_id, actor=ANN),
    ],
)
def test_a_decision_that_nobody_drives_is_signed_for_at_once(
    bench: Bench, engine: Engine, notary: Notary, decide: Callable[[Engine, str], object]
) -> None:
    run_id = bench.run("two").run_id
    decide(engine, run_id)
    assert len(notary.sealed) == 1


def test_an_answer_that_changes_nothing_is_not_signed_for(bench: Bench, engine: Engine, notary: Notary) -> None:
    run_id = bench.run("two").run_id
    engine.reject(run_id, actor=ANN, reason="no", step=2)
    engine.reject(run_id, actor=ANN, reason="no", step=2)
    assert len(notary.sealed) == 1


def test_readers_never_sign(bench: Bench, engine: Engine, notary: Notary) -> None:
    run_id = bench.run("two").run_id
    reader = Reader(engine)
    for read in (reader.status, reader.audit):
        read(run_id)
    reader.inbox()
    reader.history()
    assert notary.sealed == []


@pytest.mark.parametrize("error", [StoreError("cannot sign", hint="look"), OSError("gone"), ImportError("no nacl")])
def test_what_cannot_be_signed_is_a_warning_and_fails_no_run(
    bench: Bench, engine: Engine, notary: Notary, error: Exception
) -> None:
    notary.error = error
    run_id = bench.create("two")
    drive_with(bench, engine, run_id)
    engine.approve(run_id, actor=ANN)
    drive_with(bench, engine, run_id)
    assert status_of(bench.now(run_id)) is RunStatus.COMPLETED
    assert len(notary.sealed) == 2
    (warning,) = engine.parts.auditing.warnings
    assert str(error) in warning


def test_a_missing_place_is_told_once(bench: Bench, engine: Engine, notary: Notary) -> None:
    run_id = bench.run("two").run_id
    engine.pause(run_id, actor=ANN)
    engine.cancel(run_id, actor=ANN)
    assert len(notary.sealed) == 2
    assert engine.parts.auditing.warnings == ("the share is gone",)


# runs whose record retention has dropped


@pytest.fixture
def dropped(bench: Bench, engine: Engine) -> str:
    """A failed run without content, under a tombstone."""
    run_id = bench.run("two").run_id
    engine.cancel(run_id, actor=ANN)
    drop(bench, run_id, canonical({"timestamp": NOW, "days": 30, "runs": [{"runId": run_id}]}))
    return run_id


def drop(bench: Bench, run_id: str, tombstone: bytes) -> None:
    last = bench.store.events(run_id)[-1]
    bench.store.log.drop_payloads([DroppedRun(run_id, last.seq, last.hash)], tombstone)


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine, run_id: Reader(engine).status(run_id),
        lambda engine, run_id: Reader(engine).step(run_id, 1),
        lambda engine, run_id: Reader(engine).log_files(run_id, None),
        lambda engine, run_id: engine.retry(run_id, actor=ANN),
        lambda engine, run_id: engine.resume(run_id, actor=ANN),
        lambda engine, run_id: engine.approve(run_id, actor=ANN),
    ],
)
def test_whoever_needs_a_dropped_record_is_told_when_and_why(
    engine: Engine, dropped: str, ask: Callable[[Engine, str], object]
) -> None:
    with pytest.raises(RecordDropped, match="dropped on 2026-03-01, after 30 days, by auditRetentionDays") as caught:
        ask(engine, dropped)
    assert caught.value.exit_code == 6
    assert caught.value.details["days"] == 30


def test_history_and_audit_still_show_a_dropped_run(bench: Bench, engine: Engine, dropped: str) -> None:
    reader = Reader(engine)
    assert [run["runId"] for run in reader.history()["runs"]] == [dropped]
    document = reader.audit(dropped)
    assert document["dropped"] == {"at": NOW, "days": 30}
    hashes = [event.hash for event in bench.store.events(dropped)]
    assert [event["hash"] for event in document["events"]] == hashes
    assert all(event["contentGone"] for event in document["events"])
    assert reader.inbox()["items"] == []


@pytest.mark.parametrize("line", [b"nonsense", canonical({"timestamp": NOW, "days": 30, "runs": []})])
def test_content_that_is_gone_without_leave_is_told_as_such(bench: Bench, engine: Engine, line: bytes) -> None:
    run_id = bench.run("two").run_id
    engine.cancel(run_id, actor=ANN)
    drop(bench, run_id, line)
    with pytest.raises(StoreError, match="no tombstone says why"):
        Reader(engine).status(run_id)
    assert "dropped" not in Reader(engine).audit(run_id)


def test_a_payload_that_was_changed_is_an_error_of_the_record(bench: Bench, engine: Engine) -> None:
    run_id = bench.run("two").run_id
    kept = bench.store._shelf.runs[run_id]
    kept.events = (msgspec.structs.replace(kept.events[0], payload=b"{"), *kept.events[1:])
    with pytest.raises(StoreError, match="cannot be read"):
        engine.runs.load(run_id)


# for a process that stays


def test_a_place_that_hangs_holds_up_only_the_thread_that_signs() -> None:
    begun, go_on = threading.Event(), threading.Event()
    sealed: list[datetime] = []

    def hang(now: datetime) -> tuple[str, ...]:
        sealed.append(now)
        begun.set()
        go_on.wait(20)
        return ("told",)

    auditing = Auditing(seal=hang)
    deferred = Deferred(auditing)
    times = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
    deferred.seal(times[0])
    assert begun.wait(20)
    deferred.seal(times[1])
    deferred.seal(times[2])
    deferred.finish(0.01)
    assert "not signed yet" in auditing.warnings[0]
    go_on.set()
    deferred.finish(20)
    # once for all that was asked for meanwhile
    assert sealed == [times[0], times[2]]
    assert auditing.warnings[1:] == ("told",)
    deferred.seal(times[1])
    deferred.finish(20)
    assert sealed[2:] == [times[1]]


def test_deferred_signing_answers_what_was_dropped() -> None:
    asked: list[int] = []
    deferred = Deferred(Auditing(tombstones=lambda: asked.append(1) or [], examine=lambda: ("bad",)))
    assert deferred.dropped("sop_run_1") is None
    assert (asked, deferred.examine()) == ([1], ("bad",))
