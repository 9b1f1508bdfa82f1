"""A run whose record somebody changed by hand: it can be looked at and ended, and nothing is built on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw
import pytest

from sopwith.assembly import open_engine
from sopwith.core.actor import Actor, ActorKind
from sopwith.doors.cli.text import run_text
from sopwith.engine.driver import drive
from sopwith.engine.engine import RunRequest
from sopwith.engine.reading import Reader
from sopwith.errors import Refused
from sopwith.ports import Workspace

ANN = Actor("ann", ActorKind.HUMAN, "cli")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    folder = workspace.sops / "deploy"
    folder.mkdir(parents=True)
    steps = [
        {"number": 1, "title": "Build", "run": "echo built"},
        {"number": 2, "title": "Ship", "run": f"touch {tmp_path}/shipped", "requiresApproval": True},
    ]
    manifest = {"name": "deploy", "description": "d", "version": "1.0.0", "executionMode": "auto", "steps": steps}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return workspace


@pytest.fixture
def changed(workspace: Workspace) -> str:
    """A run that waits at a gate, behind a step whose exit code was changed in the database."""
    engine = open_engine(workspace)
    run_id = engine.create_run(RunRequest(name="deploy"), actor=ANN).run_id
    asyncio.run(drive(engine.parts, run_id))
    engine.parts.store.close()
    connection = apsw.Connection(str(workspace.database))
    edit = "cast(replace(cast(payload as text), '\"exitCode\":0', '\"exitCode\":3') as blob)"
    connection.execute(f"update events set payload = {edit} where event_type = 'step_completed'")
    assert connection.changes() == 1
    connection.close()
    return run_id


@pytest.mark.parametrize("verb", ["approve", "skip"])
def test_nothing_is_built_on_a_record_that_was_changed(workspace: Workspace, changed: str, verb: str) -> None:
    engine = open_engine(workspace)
    before = engine.runs.load(changed)
    assert before.changed_at == 4
    answer: Callable[..., object] = engine.approve if verb == "approve" else partial(engine.skip, reason="why not")
    with pytest.raises(Refused, match="was changed by hand: event 4 does not fit the one before"):
        answer(changed, actor=ANN)
    assert engine.runs.load(changed) == before
    assert not (workspace.root / "shipped").exists()


@pytest.mark.parametrize("verb", ["reject", "cancel"])
def test_it_can_still_be_ended(workspace: Workspace, changed: str, verb: str) -> None:
    engine = open_engine(workspace)
    if verb == "cancel":
        engine.cancel(changed, actor=ANN, reason="tampered with")
        assert engine.runs.load(changed).run.ended == "cancelled"
    else:
        engine.reject(changed, actor=ANN, reason="tampered with")
        assert not (workspace.root / "shipped").exists()


def test_whoever_looks_is_told(workspace: Workspace, changed: str) -> None:
    reader = Reader(open_engine(workspace))
    document = reader.status(changed)
    assert document["recordChangedAt"] == 4
    assert "its record was changed by hand: event 4 does not fit" in run_text(document)
    sound = open_engine(workspace).create_run(RunRequest(name="deploy"), actor=ANN).run_id
    assert "recordChangedAt" not in reader.status(sound)
    assert "changed by hand" not in run_text(reader.status(sound))


def test_other_runs_go_on(workspace: Workspace, changed: str) -> None:
    engine = open_engine(workspace)
    run_id = engine.create_run(RunRequest(name="deploy"), actor=ANN).run_id
    assert run_id != changed
    asyncio.run(drive(engine.parts, run_id))
    engine.approve(run_id, actor=ANN)
    assert asyncio.run(drive(engine.parts, run_id)).ended == "completed"


def edit(workspace: Workspace, run_id: str) -> None:
    """Changes the name of who made the run, in the first event."""
    connection = apsw.Connection(str(workspace.database))
    edit = 'cast(replace(cast(payload as text), \'"id":"ann"\', \'"id":"eve"\') as blob)'
    rowid = "(select rowid from runs where run_id = ?)"
    connection.execute(f"update events set payload = {edit} where seq = 1 and run = {rowid}", (run_id,))
    assert connection.changes() == 1
    connection.close()


def test_one_with_a_running_step_can_be_cancelled(workspace: Workspace) -> None:
    manifest = json.loads((workspace.sops / "deploy" / "manifest.json").read_text())
    manifest["steps"][0]["run"] = f"touch {workspace.root}/began; sleep 60"
    (workspace.sops / "deploy" / "manifest.json").write_text(json.dumps(manifest))
    engine = open_engine(workspace)
    run_id = engine.create_run(RunRequest(name="deploy"), actor=ANN).run_id

    async def begin() -> None:
        driving = asyncio.ensure_future(drive(engine.parts, run_id))
        while not (workspace.root / "began").exists():
            await asyncio.sleep(0.01)
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)

    asyncio.run(begin())
    edit(workspace, run_id)
    engine.cancel(run_id, actor=ANN, reason="tampered with")
    assert asyncio.run(drive(engine.parts, run_id)).ended == "cancelled"
    assert engine.parts.store.holder(run_id) is None


def test_what_runs_within_it_can_be_ended_and_it_too(workspace: Workspace) -> None:
    folder = workspace.sops / "around"
    folder.mkdir()
    steps = [{"number": 1, "title": "Deploy", "uses": "deploy"}]
    manifest = {"name": "around", "description": "d", "version": "1.0.0", "executionMode": "auto", "steps": steps}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    engine = open_engine(workspace)
    run_id = engine.create_run(RunRequest(name="around"), actor=ANN).run_id
    child = asyncio.run(drive(engine.parts, run_id)).steps[1].child
    edit(workspace, run_id)
    engine.reject(child, actor=ANN, reason="no")
    assert engine.runs.load(child).run.paused
    engine.cancel(run_id, actor=ANN, reason="tampered with")
    asyncio.run(drive(engine.parts, run_id))
    assert [engine.runs.load(each).run.ended for each in (child, run_id)] == ["cancelled", "cancelled"]
