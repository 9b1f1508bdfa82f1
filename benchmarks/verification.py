"""How fast a log is verified, and what signing adds to a command: true events, checkpoints as a workspace has them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from sopwith.audit.keeper import Keeper
from sopwith.audit.sealing import Sealer
from sopwith.core import events as ev
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.codec import NO_HASH, seal
from sopwith.core.config import Config
from sopwith.core.procedure import ExecutionMode, Procedure, canonical, encode_procedure, sha256
from sopwith.ports import Batch, Workspace
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.samples import SUMMARY

_ANN = Actor("ann", ActorKind.HUMAN, "cli")
_START = datetime(2026, 1, 1, tzinfo=UTC)
_PROCEDURE = encode_procedure(Procedure(name="deploy", title="Deploy"))
_RUNS = 3000


def measure(folder: Path) -> dict[str, Any]:
    """Events a second through `verify_all`, with few checkpoints and with one for each run; milliseconds a seal."""
    (folder / "few").mkdir()
    (folder / "many").mkdir()
    few, _ = _verified(folder / "few", checkpoint_every=_RUNS // 20)
    many, seals = _verified(folder / "many", checkpoint_every=1)
    return {
        "events": _RUNS * 8,
        "events/s verified, 20 checkpoints": few,
        "events/s verified, a checkpoint a run": many,
        "ms a seal": round(statistics.median(seals), 2),
    }


def _verified(root: Path, *, checkpoint_every: int) -> tuple[int, list[float]]:
    workspace = Workspace(root)
    workspace.runs.mkdir(parents=True)
    seals = []
    with closing(SqliteStore(workspace.database)) as store:
        sealer = Sealer(store.log, workspace, Config)
        for count, batch in enumerate(_runs(), start=1):
            store.create("deploy", lambda _, batch=batch: batch)  # type: ignore[misc]
            if count % checkpoint_every == 0:
                begun = time.perf_counter()
                sealer.seal(_START)
                seals.append((time.perf_counter() - begun) * 1000)
        taken = []
        for _ in range(3):
            begun = time.perf_counter()
            report = Keeper(store, workspace, Config).verify().report
            taken.append(time.perf_counter() - begun)
            assert report.fine
            assert report.unsigned == 0
    return round(_RUNS * 8 / statistics.median(taken)), seals


def _runs() -> Iterator[Batch]:
    for number in range(_RUNS):
        run_id = f"sop_run_{number:012d}"
        envelope = canonical({"runId": run_id, "step": 1, "script": "make deploy\n"})
        gate = {"step_number": 1, "title": "Deploy", "revision": 1, "digest": sha256(envelope)}
        bodies = [
            ev.RunCreated(
                sop_name="deploy",
                version="1.0.0",
                procedure_digest=sha256(_PROCEDURE),
                mode=ExecutionMode.SUPERVISED,
                declared_mode=ExecutionMode.SUPERVISED,
                total_steps=1,
                params={"environment": "production"},
            ),
            ev.RunStarted(),
            ev.ApprovalRequested(**gate),
            ev.ApprovalGranted(**gate, comment="looks right"),
            ev.StepStarted(
                step_number=1,
                title="Deploy",
                executor="shell",
                visit=1,
                attempt=1,
                digest=gate["digest"],
                boot_id="b",
                boot_ms=1,
            ),
            ev.StepCompleted(
                step_number=1, title="Deploy", duration="1s", duration_ms=1000, exit_code=0, output="ok\n"
            ),
            ev.RunPaused(cause="asked"),
            ev.RunCompleted(duration="3s", duration_ms=3000),
        ]
        events = [
            ev.Event(run_id=run_id, seq=seq, at=_START + timedelta(seconds=seq), actor=_ANN, body=body)
            for seq, body in enumerate(bodies, start=1)
        ]
        summary = msgspec.structs.replace(
            SUMMARY, run_id=run_id, name="deploy", seq=len(events), procedure_digest=sha256(_PROCEDURE)
        )
        yield Batch(events=seal(events, NO_HASH), summary=summary, contents=(_PROCEDURE, envelope))
