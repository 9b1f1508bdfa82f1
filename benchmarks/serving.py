"""How soon a server hears of what others decide, and what it costs while nothing happens.

`python -m benchmarks.serving [WAITING …]`: for each number of waiting runs, a server is started on that many rows.
`python -m benchmarks.serving --approver FOLDER` is the other process: it approves the runs that it is told of.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.workspace import make_workspace
from sopwith.assembly import open_engine
from sopwith.core.actor import Actor, ActorKind
from sopwith.doors.cli.server_health import ask
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.errors import SopwithError
from sopwith.ports import RunSummary, Workspace
from sopwith.stores.bell import DatagramBell

SOP = Path(sys.executable).with_name("sop")
_ANN = Actor("ann", ActorKind.HUMAN, "cli")
_GATED = "gated"
_QUICK = "quick"
_ASKED = "asked"
_TELLS_WHEN = 'printf "at=%s\\n" "$EPOCHREALTIME" >> "$SOP_OUTPUT"'
_ROUNDS = 200
_IDLE_SECS = 30.0
_SETTLE_SECS = 2.0
"""What a server does after its start, and never again, is not idling."""


def measure(folder: Path, *, waiting: int, rounds: int = _ROUNDS, idle_secs: float = _IDLE_SECS) -> dict[str, Any]:
    """One server with so many runs that wait at a gate with a deadline."""
    engine = _prepared(folder, waiting)
    began = time.perf_counter()
    server = serve(folder)
    try:
        ready_ms = until(folder, began, looked=False)
        looked_ms = until(folder, began, looked=True)
        time.sleep(_SETTLE_SECS)
        idle = idle_percent(server.pid, idle_secs)
        return {
            "waitingRuns": waiting,
            "startMs": round(ready_ms, 1),
            "firstLookMs": round(looked_ms, 1),
            "idlePercentOfACore": idle,
            **_memory(server.pid),
            "takenUpMs": _latencies(folder, engine, rounds),
            **_approvals(folder, engine, rounds),
            "ringMicroseconds": _ring_us(folder),
        }
    finally:
        server.terminate()
        server.wait()


def ring_without_a_server_us(folder: Path) -> float:
    """What a commit pays for the bell where nobody serves."""
    return _ring_us(folder)


def _prepared(folder: Path, waiting: int) -> Engine:
    make_workspace(folder, {_GATED: ["true"], _QUICK: ["true"], _ASKED: [_TELLS_WHEN]})
    for name in (_GATED, _ASKED):
        manifest = folder / ".pi" / "sops" / name / "manifest.json"
        document = json.loads(manifest.read_text())
        document["executionMode"] = "auto"
        document["steps"][0] |= {"requiresApproval": True, "approvalTimeoutMins": 600}
        manifest.write_text(json.dumps(document))
    engine = open_engine(Workspace(folder.resolve()))

    async def wait_at_gates() -> None:
        for _ in range(waiting):
            run = engine.create_run(RunRequest(name=_GATED), actor=_ANN)
            await drive(engine.parts, run.run_id)

    asyncio.run(wait_at_gates())
    return engine


def serve(folder: Path) -> subprocess.Popen[bytes]:
    """A server of the workspace, which has just been started."""
    command = [str(SOP), "serve", "--log-format", "json"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, stdin=nowhere, stdout=nowhere)


def until(folder: Path, began: float, *, looked: bool) -> float:
    """Milliseconds until the server answers, or until it has looked."""
    runs = Workspace(folder.resolve()).runs
    while True:
        with suppress(SopwithError):
            if ask(runs).last_look_secs is not None or not looked:
                return (time.perf_counter() - began) * 1000
        time.sleep(0.005)


def idle_percent(pid: int, seconds: float) -> float:
    """How much of a core the process uses, while nothing is asked of it."""
    before = _cpu_secs(pid)
    time.sleep(seconds)
    return round((_cpu_secs(pid) - before) / seconds * 100, 3)


def _cpu_secs(pid: int) -> float:
    # nanoseconds on the processor: the clock ticks of /proc/PID/stat are too coarse for an idle process
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _memory(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    found = {line.partition(":")[0]: line.partition(":")[2].split() for line in status.splitlines()}
    return {"residentMiB": int(found["VmRSS"][0]) // 1024, "threads": int(found["Threads"][0])}


def _latencies(folder: Path, engine: Engine, rounds: int) -> dict[str, float]:
    """From the commit of a run that is left to the server to the start of its step, as the record has both."""
    taken = []
    for _ in range(rounds):
        run = engine.create_run(RunRequest(name=_QUICK), actor=_ANN)
        began = time.perf_counter()
        engine.leave(run)
        while (summary := engine.parts.store.summary(run.run_id)) is not None and summary.seq == run.seq:
            time.sleep(0.0005)
        taken.append((time.perf_counter() - began) * 1000)
        while (summary := engine.parts.store.summary(run.run_id)) is not None and summary.ended_at is None:
            time.sleep(0.005)
    taken.sort()
    return {
        "p50": round(statistics.median(taken), 2),
        "p99": round(taken[max(0, len(taken) * 99 // 100 - 1)], 2),
        "longest": round(taken[-1], 2),
        "rounds": rounds,
    }


def _approvals(folder: Path, engine: Engine, rounds: int) -> dict[str, float]:
    """From an approval in another process to what it lets begin, as the record tells both.

    Both ends count against us: the time of the approval is taken before it is on disk, and the script tells its own
    only when its interpreter runs.
    """
    recorded, begun = [], []
    with _approver(folder) as approver:
        for _ in range(rounds):
            run = engine.create_run(RunRequest(name=_ASKED), actor=_ANN)
            engine.leave(run)
            _wait_for(engine, run.run_id, lambda summary: summary.asks > 0)
            _tell(approver, run.run_id)
            _wait_for(engine, run.run_id, lambda summary: summary.ended_at is not None)
            ended = engine.runs.load(run.run_id).run
            granted, started = ended.steps[1].gate, ended.steps[1].started
            assert granted is not None
            assert granted.decided_at is not None
            assert started is not None
            recorded.append((started.at - granted.decided_at).total_seconds() * 1000)
            begun.append((float(ended.steps[1].outputs["at"]) - granted.decided_at.timestamp()) * 1000)
    return {
        **_percentiles("approval to the recorded start of the step", recorded),
        **_percentiles("approval to the first line of its script", begun),
        "approvals": rounds,
    }


@contextmanager
def _approver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.serving", "--approver", str(folder.resolve())]
    root, pipe = Path(__file__).parents[1], subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True) as approver:
        assert approver.stdin is not None
        try:
            yield approver
        finally:
            approver.stdin.close()


def _tell(approver: subprocess.Popen[str], run_id: str) -> None:
    assert approver.stdin is not None
    assert approver.stdout is not None
    approver.stdin.write(run_id + "\n")
    approver.stdin.flush()
    if approver.stdout.readline() != "approved\n":
        raise RuntimeError(f"{run_id} could not be approved")


def _approve(folder: Path) -> None:
    """The other process: approves each run whose id is a line of its input, and leaves it to the server."""
    engine = open_engine(Workspace(folder))
    for line in sys.stdin:
        engine.leave(engine.approve(line.strip(), actor=_ANN).run)
        print("approved", flush=True)


def _wait_for(engine: Engine, run_id: str, what: Callable[[RunSummary], bool]) -> None:
    while (summary := engine.parts.store.summary(run_id)) is None or not what(summary):
        time.sleep(0.005)


def _percentiles(what: str, taken: list[float]) -> dict[str, float]:
    taken = sorted(taken)
    of = {"p50": 0.5, "p95": 0.95, "longest": 1.0}
    return {f"{what}, {name} ms": round(taken[max(0, ceil(len(taken) * part) - 1)], 2) for name, part in of.items()}


def _ring_us(folder: Path) -> float:
    bell = DatagramBell(Workspace(folder.resolve()).runs)
    count = 5000
    began = time.perf_counter()
    for _ in range(count):
        bell.ring("sop_run_aaaaaaaaaaaa")
    return round((time.perf_counter() - began) / count * 1_000_000, 2)


def main(numbers: list[str]) -> None:
    if numbers[:1] == ["--approver"]:
        _approve(Path(numbers[1]))
        return
    for waiting in map(int, numbers or ["0", "1000"]):
        with tempfile.TemporaryDirectory() as folder:
            document = measure(Path(folder), waiting=waiting)
            document["ringMicrosecondsWithoutAServer"] = ring_without_a_server_us(Path(folder))
            print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
