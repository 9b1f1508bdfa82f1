"""`python -m benchmarks.scale`: how long commands take where many runs are open, and where many have ended.

The stores hold true records: a few runs are made by the command, and their events written again under other ids, with
hashes of their own and a signature over all. Envelopes are not copied: what is measured does not read them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec

from benchmarks.workspace import sop
from sopwith.audit.sealing import Sealer
from sopwith.core.codec import NO_HASH, decode_event, link
from sopwith.core.config import Config
from sopwith.core.evolve import replay
from sopwith.core.procedure import decode_procedure
from sopwith.engine.runs import summarise
from sopwith.ports import RunSummary, Workspace
from sopwith.stores.queries import queries
from sopwith.stores.rows import run_values
from sopwith.stores.sqlite import SqliteStore

SOP = Path(sys.executable).with_name("sop")
_BATCH = 10_000
_DEADLINE_SECS = 600.0


class Model(msgspec.Struct, frozen=True):
    """A run to be written again: its row, and the type, instant and payload of each event."""

    summary: RunSummary
    events: tuple[tuple[str, int, bytes], ...]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    options.add_argument("--open", type=int, default=10_000, help="how many runs are open")
    options.add_argument("--past", type=int, default=1_000_000, help="how many have ended")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--folder", type=Path, help="where to work; else a temporary folder")
    chosen = options.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as made:
        folder = chosen.folder or Path(made)
        document = measure(folder, open_runs=chosen.open, past_runs=chosen.past, rounds=chosen.rounds)
    print(json.dumps(document, indent=2))


def measure(
    folder: Path, *, open_runs: int, past_runs: int, rounds: int = 5, served_secs: float = 5.0
) -> dict[str, Any]:
    """Milliseconds of each command in three workspaces: with nothing else, with open runs, with past runs."""
    workspaces = {
        "no other runs": ("none", {}),
        f"{open_runs} open runs": ("open", mix(open_runs)),
        f"{past_runs} past runs": ("past", {"past": past_runs}),
    }
    return {told: _measured(folder / name, counts, rounds, served_secs) for told, (name, counts) in workspaces.items()}


def mix(count: int) -> dict[str, int]:
    """Half wait at a gate, a fifth each at a deadline and in a queue, a tenth have lost their driver."""
    others = {"timed": count // 5, "queued": count // 5, "undriven": count // 10}
    return {"gated": count - sum(others.values()), **others}


def _measured(folder: Path, counts: dict[str, int], rounds: int, served_secs: float) -> dict[str, Any]:
    folder.mkdir(parents=True)
    models = _make(folder)
    begun = time.perf_counter()
    for name, count in counts.items():
        write_again(folder, models[name], name, count)
    seal(folder)
    written_secs = time.perf_counter() - begun
    database = folder / ".pi" / "sops" / "runs.db"
    took = {name: _taken(action, rounds) for name, action in _commands(folder).items()}
    found = {
        "runs": sum(counts.values()),
        "seconds to write them": round(written_secs, 1),
        "MB": round(database.stat().st_size / 1e6, 1),
        **{f"{name}, {unit}": value for name, each in took.items() for unit, value in each.items()},
        **_served(folder, served_secs),
    }
    print(json.dumps(found), file=sys.stderr)
    return found


def _make(folder: Path) -> dict[str, Model]:
    """A workspace with one run of each sort, as the command makes them; tells what their records were."""
    sop(folder, "init", "--json")
    true = {"run": "true\n"}
    procedure(folder, "past", [true])
    procedure(folder, "gated", [true, {**true, "requiresApproval": True}])
    procedure(folder, "timed", [{**true, "requiresApproval": True, "approvalTimeoutMins": 500_000}])
    procedure(folder, "queued", [{**true, "requiresApproval": True}], maxConcurrent=1)
    procedure(folder, "slow", [{"run": "touch begun; until [ -e go ]; do sleep 0.005; done\n"}])
    runs = {name: sop(folder, "run", name, "--json")["runId"] for name in ("past", "gated", "timed", "queued")}
    runs["queued"] = sop(folder, "run", "queued", "--queue", "--json")["runId"]
    models = {name: model_of(folder, run_id) for name, run_id in runs.items()}
    # what a driver leaves that is killed while a step runs: all up to its start
    return {**models, "undriven": model_of(folder, runs["past"], until="step_started")}


def procedure(folder: Path, name: str, steps: Sequence[dict[str, Any]], **keys: Any) -> None:
    """A procedure with these steps in the workspace."""
    home = folder / ".pi" / "sops" / name
    home.mkdir()
    numbered = [{"number": n, "title": f"Step {n}", **step} for n, step in enumerate(steps, 1)]
    manifest = {"name": name, "executionMode": "auto", "steps": numbered, **keys}
    (home / "manifest.json").write_text(json.dumps(manifest))
    index = folder / ".pi" / "sops" / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), name: f"{name}/manifest.json"}))


def model_of(folder: Path, run_id: str, until: str = "") -> Model:
    """The record of a run, or its beginning up to this event, to be written again."""
    with closing(SqliteStore(Workspace(folder).database)) as store:
        sealed = store.events(run_id)
        events = [decode_event(each.payload) for each in sealed]
        types = [json.loads(each.payload)["eventType"] for each in sealed]
        last = types.index(until) + 1 if until else len(events)
        data = store.content(events[0].body.procedure_digest)  # type: ignore[union-attr]
    assert data is not None
    summary = summarise(replay(decode_procedure(data), events[:last]))
    rows = zip(types, events, sealed, strict=True)
    kept = tuple((kind, round(event.at.timestamp() * 1000), each.payload) for kind, event, each in rows)
    return Model(summary, kept[:last])


def write_again(folder: Path, model: Model, prefix: str, count: int) -> None:
    """So many runs with the model's record, each under an id of its own, in large transactions."""
    sql = queries()
    path = Workspace(folder).database
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
        db.set_busy_timeout(60_000)
        db.pragma("synchronous", "off")
        db.pragma("cache_size", -256_000)
        for first in range(0, count, _BATCH):
            with db:
                for number in range(first, min(first + _BATCH, count)):
                    run_id = f"sop_run_{prefix}{number:08d}"
                    sealed = list(_sealed(model, run_id))
                    summary = msgspec.structs.replace(model.summary, run_id=run_id)
                    db.execute(sql["insert_run"], run_values(summary, sealed[-1]["hash"].hex()))
                    ordinal = db.last_insert_rowid()
                    db.executemany(sql["insert_event"], [{"run": ordinal, **event} for event in sealed])
        db.pragma("wal_checkpoint", "truncate")


def _sealed(model: Model, run_id: str) -> Iterator[dict[str, Any]]:
    before = NO_HASH
    was, now = model.summary.run_id.encode(), run_id.encode()
    for seq, (kind, at, payload) in enumerate(model.events, 1):
        payload = payload.replace(was, now)
        digest = link(before, payload)
        yield {
            "seq": seq,
            "event_type": kind,
            "at": at,
            "prev_hash": bytes.fromhex(before),
            "hash": bytes.fromhex(digest),
            "payload": payload,
        }
        before = digest


def seal(folder: Path) -> None:
    """One signature over all that was written: no command has to catch up."""
    workspace = Workspace(folder)
    with closing(SqliteStore(workspace.database)) as store:
        Sealer(store.log, workspace, Config).seal(datetime.now(UTC))  # noqa: TID251


def _commands(folder: Path) -> dict[str, _Measured]:
    run_id = sop(folder, "run", "gated", "--json")["runId"]
    return {
        "sop status of one run": _Measured(folder, "status", run_id),
        "sop inbox": _Measured(folder, "inbox"),
        "sop history": _Measured(folder, "history"),
        "sop run of one step": _Measured(folder, "run", "past"),
        "sop approve": _Approving(folder),
        "sop resume of a crashed run": _Resuming(folder),
    }


def _taken(command: _Measured, rounds: int) -> dict[str, float]:
    """Medians of what the clock says, and of what the processor did, which a busy machine changes less."""
    for _ in range(rounds):
        command.prepare()
        command.run()
    ms, cpu_ms = zip(*command.taken, strict=True)
    return {"ms": round(statistics.median(ms), 1), "cpu ms": round(statistics.median(cpu_ms), 1)}


class _Measured:
    """A command that is run again and again."""

    def __init__(self, folder: Path, *args: str) -> None:
        self._folder = folder
        self._args = args
        self.taken: list[tuple[float, float]] = []

    def prepare(self) -> None:
        """What is not measured."""

    def run(self) -> None:
        command = [str(SOP), *self._args]
        before = _processor_ms()
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=self._folder, check=False, capture_output=True, stdin=subprocess.DEVNULL)
        self.taken.append(((time.perf_counter() - begun) * 1000, _processor_ms() - before))
        assert done.returncode in (0, 3), (self._args, done)


def _processor_ms() -> float:
    """Of all processes that we have waited for, and of those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


class _Approving(_Measured):
    def prepare(self) -> None:
        self._args = ("approve", sop(self._folder, "run", "gated", "--json")["runId"])


class _Resuming(_Measured):
    """A driver is killed while its step runs; the step then ends, and another driver finds that out."""

    def prepare(self) -> None:
        crashed(self._folder)
        run_id = sop(self._folder, "history", "slow", "--limit", "1", "--json")["runs"][0]["runId"]
        (self._folder / "go").touch()
        self._args = ("resume", run_id)


def crashed(folder: Path) -> None:
    """A run whose driver was killed, and whose step goes on until the file `go` is there."""
    for name in ("begun", "go"):
        (folder / name).unlink(missing_ok=True)
    command = [str(SOP), "run", "slow"]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    ) as driver:
        _wait_for((folder / "begun").exists)
        driver.send_signal(signal.SIGKILL)


def _served(folder: Path, seconds: float) -> dict[str, Any]:
    """A server beside a crashed run: until it first writes to any run, and how many runs it takes up a second."""
    crashed(folder)
    (folder / "go").touch()
    database = apsw.Connection(str(Workspace(folder).database), flags=apsw.SQLITE_OPEN_READWRITE)
    command = [str(SOP), "serve", "--json"]
    with closing(database):
        before = _written(database)
        begun = time.perf_counter()
        with subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        ) as server:
            try:
                _wait_for(lambda: _written(database) > before)
                first_ms = (time.perf_counter() - begun) * 1000
                time.sleep(seconds)
                events = _written(database) - before
            finally:
                server.send_signal(signal.SIGTERM)
    return {
        "sop serve until it takes up a run, ms": round(first_ms, 1),
        "events it then wrote in a second": round(events / seconds, 1),
    }


def _written(database: apsw.Connection) -> int:
    return int(database.execute("select seq from sqlite_sequence where name = 'events'").fetchall()[0][0])


def _wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + _DEADLINE_SECS
    while not what():
        if time.monotonic() > until:
            raise TimeoutError("it did not come about")
        time.sleep(0.001)


if __name__ == "__main__":
    main()
