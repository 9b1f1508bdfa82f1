"""What the engine costs where steps do nothing: runs of a procedure of no-op steps, against the floor.

The floor is what must be done whatever the engine is: the very transactions of those runs, with the same statements and
bytes, on a bare connection of the same settings, and the same lines appended to the event files and the checkpoints.
Every fsync of both is a durable one (`synchronous=FULL`).

`python -m benchmarks.engine FOLDER RUNS` is one of several processes that share a workspace: it says when it is ready,
waits for a line, and makes its runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import apsw

from benchmarks.workspace import make_workspace, without_processes
from sopwith.audit import checkpoints, places
from sopwith.core.codec import view_line
from sopwith.doors.python.workspace import Workspace
from sopwith.ports import Batch
from sopwith.stores.sqlite import SqliteStore
from sopwith.stores.views import FileViews

STEPS = 4
_WARM_UP = 20
_PROCESSES = 2
_WRITES = ("insert", "update", "delete")
Write = Callable[[apsw.Connection, Path], None]


def measure(folder: Path, *, runs: int = 200, rounds: int = 5) -> dict[str, Any]:
    """Runs a second and milliseconds per run, of ours and of the floor, which take turns; and what a run writes."""
    make_workspace(folder, {"noop": ["true"] * STEPS})
    with Workspace(folder) as workspace:
        without_processes(workspace)
        for _ in range(_WARM_UP):
            workspace.create_run("noop")
        before = folder / "before.db"
        _store(workspace).copy_to(before)
        with recording(workspace) as recorded:
            for _ in range(runs):
                workspace.create_run("noop")
        ours, floor = [], []
        for number in range(rounds):
            ours.append(_seconds(lambda: _run(workspace, runs)) / runs)
            floor.append(_floor(folder / f"floor-{number}", before, recorded) / runs)
    return {
        "steps": STEPS,
        "runs per second": round(1 / median(ours), 1),
        "ms per run": round(median(ours) * 1000, 3),
        "runs per second by two processes": round(median(_together(folder, runs) for _ in range(rounds)), 1),
        "floor ms per run": round(median(floor) * 1000, 3),
        "ratio to the floor": round(median(one / other for one, other in zip(ours, floor, strict=True)), 2),
        "transactions per run": round(transactions(recorded) / runs, 2),
        "fsyncs per run": round(waits(recorded) / runs, 2),
    }


def _run(workspace: Workspace, runs: int) -> None:
    for _ in range(runs):
        run = workspace.create_run("noop")
        assert run.status == "completed", run


def _together(folder: Path, runs: int) -> float:
    """Runs a second, of all processes that share this workspace at once."""
    command = [sys.executable, "-m", "benchmarks.engine", str(folder), str(runs)]
    with ExitStack() as stack:
        made = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(_PROCESSES)]
        processes = [stack.enter_context(each) for each in made]
        for each in processes:
            assert each.stdout is not None
            assert each.stdout.readline() == b"ready\n"
        begun = time.perf_counter()
        for each in processes:
            assert each.stdin is not None
            each.stdin.close()  # the end of its input is a line, too
        for each in processes:
            assert each.stdout is not None
            assert each.stdout.readline() == b"done\n"
        return _PROCESSES * runs / (time.perf_counter() - begun)


def _one_of_them(folder: Path, runs: int) -> None:
    with Workspace(folder) as workspace:
        without_processes(workspace)
        _run(workspace, _WARM_UP)
        print("ready", flush=True)
        sys.stdin.readline()
        _run(workspace, runs)
        print("done", flush=True)


class _Append:
    """Bytes at the end of a file, whose name may be new."""

    def __init__(self, name: str, data: bytes, *, durable: bool) -> None:
        self.name, self.data, self.durable = name, data, durable

    def __call__(self, _db: apsw.Connection, folder: Path) -> None:
        file = os.open(folder / self.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, self.data)
            if self.durable:
                os.fsync(file)
        finally:
            os.close(file)


class _Statement:
    """A statement as the store made it."""

    def __init__(self, sql: str, values: Any) -> None:
        self.sql, self.values = sql, values

    def __call__(self, db: apsw.Connection, _folder: Path) -> None:
        db.execute(self.sql, self.values).fetchall()


_BEGIN = _Statement("begin immediate", None)
_COMMIT = _Statement("commit", None)


@contextmanager
def recording(workspace: Workspace) -> Iterator[list[Write]]:
    """All that is written meanwhile, in order: statements that change something, and lines of files."""
    recorded: list[Write] = []
    connection = _store(workspace)._db._connection
    extend_log, append_line = FileViews._extend_log, places.append_line

    def traced(_cursor: Any, sql: str, values: Any) -> bool:
        verb = sql.split(maxsplit=1)[0].lower()
        if verb in ("begin", "commit"):
            recorded.append(_BEGIN if verb == "begin" else _COMMIT)
        elif verb in _WRITES:
            recorded.append(_Statement(sql, dict(values or {})))
        return True

    def extended(self: FileViews, batch: Batch) -> bool:
        lines = b"".join(map(view_line, batch.events))
        recorded.append(_Append(f"{batch.summary.run_id}.audit.jsonl", lines, durable=False))
        return extend_log(self, batch)

    def line_appended(path: Path, line: bytes, *more: Any) -> None:
        recorded.append(_Append(path.name, line + b"\n", durable=True))
        append_line(path, line, *more)

    connection.exec_trace = traced
    FileViews._extend_log, checkpoints.append_line = extended, line_appended  # type: ignore[method-assign,attr-defined]
    try:
        yield recorded
    finally:
        connection.exec_trace = None
        FileViews._extend_log, checkpoints.append_line = extend_log, append_line  # type: ignore[method-assign,attr-defined]


def transactions(written: list[Write]) -> int:
    """How many there are in what `recording` has seen."""
    return sum(1 for each in written if each is _COMMIT)


def waits(written: list[Write]) -> int:
    """How often it waits for the disk: at each commit, and at each line that is synced."""
    return transactions(written) + sum(1 for each in written if isinstance(each, _Append) and each.durable)


def _floor(folder: Path, before: Path, recorded: list[Write]) -> float:
    """How long it takes to write all that again, beginning from the same database."""
    folder.mkdir()
    path = folder / "runs.db"
    path.write_bytes(before.read_bytes())
    with closing(apsw.Connection(str(path))) as db:
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        db.pragma("foreign_keys", True)
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        return _seconds(lambda: [write(db, folder) for write in recorded])


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def _store(workspace: Workspace) -> SqliteStore:
    store = workspace._opened.engine.parts.store
    assert isinstance(store, SqliteStore)
    return store


if __name__ == "__main__":
    _one_of_them(Path(sys.argv[1]), int(sys.argv[2]))
