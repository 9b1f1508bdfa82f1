"""How soon a server hears of what others decide, and what it costs while nothing happens.

`python -m benchmarks.serving [WAITING …]`: for each number of waiting runs, a server is started on that many rows.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.workspace import make_workspace
from sopwith.assembly import open_engine
from sopwith.core.actor import Actor, ActorKind
from sopwith.doors.cli.server_health import ask
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.errors import SopwithError
from sopwith.ports import Workspace
from sopwith.stores.bell import DatagramBell

_ANN = Actor("ann", ActorKind.HUMAN, "cli")
_GATED = "gated"
_QUICK = "quick"
_ROUNDS = 200
_IDLE_SECS = 30.0


def measure(folder: Path, *, waiting: int, rounds: int = _ROUNDS, idle_secs: float = _IDLE_SECS) -> dict[str, Any]:
    """One server with so many runs that wait at a gate with a deadline."""
    engine = _prepared(folder, waiting)
    began = time.perf_counter()
    server = _serve(folder)
    try:
        ready_ms = _until(folder, began, looked=False)
        looked_ms = _until(folder, began, looked=True)
        idle = _idle(server.pid, idle_secs)
        return {
            "waitingRuns": waiting,
            "startMs": round(ready_ms, 1),
            "firstLookMs": round(looked_ms, 1),
            "idlePercentOfACore": idle,
            **_memory(server.pid),
            "takenUpMs": _latencies(folder, engine, rounds),
            "ringMicroseconds": _ring_us(folder),
        }
    finally:
        server.terminate()
        server.wait()


def ring_without_a_server_us(folder: Path) -> float:
    """What a commit pays for the bell where nobody serves."""
    return _ring_us(folder)


def _prepared(folder: Path, waiting: int) -> Engine:
    make_workspace(folder, {_GATED: ["true"], _QUICK: ["true"]})
    manifest = folder / ".pi" / "sops" / _GATED / "manifest.json"
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


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("sop")), "serve", "--log-format", "json"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, stdin=nowhere, stdout=nowhere)


def _until(folder: Path, began: float, *, looked: bool) -> float:
    """Milliseconds until the server answers, or until it has looked."""
    runs = Workspace(folder.resolve()).runs
    while True:
        with suppress(SopwithError):
            if ask(runs).last_look_secs is not None or not looked:
                return (time.perf_counter() - began) * 1000
        time.sleep(0.005)


def _idle(pid: int, seconds: float) -> float:
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


def _ring_us(folder: Path) -> float:
    bell = DatagramBell(Workspace(folder.resolve()).runs)
    count = 5000
    began = time.perf_counter()
    for _ in range(count):
        bell.ring("sop_run_aaaaaaaaaaaa")
    return round((time.perf_counter() - began) / count * 1_000_000, 2)


def main(numbers: list[str]) -> None:
    for waiting in map(int, numbers or ["0", "1000"]):
        with tempfile.TemporaryDirectory() as folder:
            document = measure(Path(folder), waiting=waiting)
            document["ringMicrosecondsWithoutAServer"] = ring_without_a_server_us(Path(folder))
            print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
