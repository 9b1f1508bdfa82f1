"""Logs for these tests: true events of several runs, interleaved, in a SQLite store with checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import msgspec

from sopwith.audit.checkpoints import Checkpointer
from sopwith.audit.report import Report
from sopwith.audit.retention import Retention
from sopwith.audit.signing import SigningKey, known_keys
from sopwith.audit.trust import read_copy
from sopwith.audit.verify import verify_all, verify_run
from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.codec import NO_HASH, SealedEvent, seal
from sopwith.core.procedure import ExecutionMode, Priority, Procedure, canonical, encode_procedure, sha256
from sopwith.core.run import RunStatus
from sopwith.ports import Batch
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START
from sopwith.testing.samples import SUMMARY

ANN = Actor("ann", ActorKind.HUMAN, "cli")
PROCEDURE = encode_procedure(Procedure(name="deploy", title="Deploy the bakery", priority=Priority.HIGH))
EVENTS_A_RUN = 10


def run_id(number: int) -> str:
    return f"sop_run_{number:012d}"


def envelope(owner: str, script: str = "echo 'bake'\n") -> bytes:
    return canonical({"runId": owner, "step": 1, "script": script, "parameters": {"env": "prod"}})


def bodies(owner: str, end: Any, script: str, comment: str) -> list[Any]:
    """Ten events of a run with one approved step."""
    digest = sha256(envelope(owner, script))
    gate = {"step_number": 1, "title": "Bake", "revision": 1, "digest": digest}
    return [
        ev.RunCreated(
            sop_name="deploy",
            version="1.0.0",
            procedure_digest=sha256(PROCEDURE),
            mode=ExecutionMode.SUPERVISED,
            declared_mode=ExecutionMode.SUPERVISED,
            total_steps=1,
            params={"env": "prod", "ratio": 0.1},
        ),
        ev.RunStarted(),
        ev.ApprovalRequested(**gate),
        ev.ApprovalGranted(**gate, comment=comment),
        ev.StepStarted(
            step_number=1, title="Bake", executor="shell", visit=1, attempt=1, digest=digest, boot_id="b", boot_ms=1
        ),
        ev.StepCompleted(step_number=1, title="Bake", duration="1s", duration_ms=1000, exit_code=0, output="hot\n"),
        ev.RunPauseRequested(),
        ev.RunPaused(cause="asked"),
        ev.RunResumed(),
        end,
    ]


def run_events(
    number: int,
    *,
    at: datetime = START,
    end: Any = None,
    script: str = "echo 'bake'\n",
    comment: str = "Looks right",
    within: int | None = None,
) -> tuple[SealedEvent, ...]:
    owner = run_id(number)
    end = end or ev.RunCompleted(duration="3s", duration_ms=3000)
    told = bodies(owner, end, script, comment)
    if within is not None:
        told[0] = msgspec.structs.replace(told[0], parent=ev.ParentRun(run_id=run_id(within), step=1))
    events = [
        ev.Event(
            run_id=owner, seq=seq, at=at + timedelta(seconds=seq), actor=ANN if seq in (1, 4, 9) else SYSTEM, body=body
        )
        for seq, body in enumerate(told, start=1)
    ]
    return seal(events, NO_HASH)


def batches(number: int, pieces: int = 2, **options: Any) -> list[Batch]:
    """The run as so many batches; its last one carries the ended summary."""
    events = run_events(number, **options)
    cut = [len(events) * piece // pieces for piece in range(pieces + 1)]
    begun = msgspec.structs.replace(SUMMARY, run_id=run_id(number), procedure_digest=sha256(PROCEDURE))
    contents = (PROCEDURE, envelope(run_id(number), options.get("script", "echo 'bake'\n")))
    return [
        Batch(
            events=events[start:end],
            summary=msgspec.structs.replace(
                begun,
                seq=events[end - 1].seq,
                status=RunStatus.COMPLETED if end == len(events) else RunStatus.RUNNING,
                updated_at=START + timedelta(seconds=end),
            ),
            contents=contents,
        )
        for start, end in pairwise(cut)
    ]


def put(store: Any, batch: Batch) -> None:
    if batch.events[0].seq == 1:
        store.create(batch.summary.name, lambda _: batch)
    else:
        store.append(batch.summary.run_id, batch.events[0].seq - 1, batch)


def interleaved(runs: Sequence[list[Batch]], *, at_once: int = 4) -> Iterator[Batch]:
    """So many runs go on in turns."""
    for start in range(0, len(runs), at_once):
        group = runs[start : start + at_once]
        for turn in zip(*group, strict=True):
            yield from turn


class Ledger:
    """A workspace's record in `folder`."""

    def __init__(self, folder: Path, store: Any = None) -> None:
        self.folder = folder
        self.database = folder / "runs.db"
        self.store = SqliteStore(self.database) if store is None else store
        self.key = SigningKey(folder / "keys")
        self.local = folder / "runs" / "checkpoints.jsonl"
        self.local.parent.mkdir(exist_ok=True)
        self.copy = folder / "elsewhere.jsonl"
        self.checkpointer = Checkpointer(self.store.log, self.store.log, self.key, (self.local, self.copy))

    @property
    def log(self) -> Any:
        return self.store.log

    def fill(self, runs: int, *, checkpoint_every: int = 0, first: int = 0, **options: Any) -> None:
        made = [batches(number, **options) for number in range(first, first + runs)]
        for count, batch in enumerate(interleaved(made), start=1):
            put(self.store, batch)
            if checkpoint_every and count % checkpoint_every == 0:
                self.checkpointer.take(START)

    def verify(self, *, trusted: bool = False, copies: Sequence[Path] = ()) -> Report:
        paths = (self.copy, *copies) if trusted else copies
        outside = [read_copy(path, trusted=True) for path in paths]
        return verify_all(self.log, self.log, self.store.content, keys=self.keys, copies=outside)

    def keys(self) -> frozenset[str]:
        return known_keys(self.folder / "keys")

    def verify_run(self, number: int, *, trusted: bool = False) -> Report:
        copies = [read_copy(self.copy, trusted=True)] if trusted else []
        return verify_run(run_id(number), self.log, self.log, self.store.content, keys=self.keys, copies=copies)

    def retention(self) -> Retention:
        tombstones = self.folder / "runs" / "tombstones.jsonl"
        return Retention(self.log, self.log, self.key, checkpointer=self.checkpointer, places=(tombstones,))

    def by_hand(self, *statements: str, **values: Any) -> None:
        """Changes the file as somebody with its path could."""
        db = apsw.Connection(str(self.database))
        for statement in statements:
            db.execute(statement, values)
        db.close()
