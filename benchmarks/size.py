"""`python -m benchmarks.size`: what questions, appends and a server cost in a workspace of a million past runs.

Questions and appends are timed in this process, on an open store that has been used before; a cold start is
`cold_start.py`'s. Beside it stands a workspace with nothing but the few runs that are appended to; both take turns.
The records are true ones (`scale.py`), and the files beside the database are not made for them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import scale
from benchmarks.serving import idle_percent, serve, until
from benchmarks.timing import medians, milliseconds
from benchmarks.workspace import sop
from sopwith.assembly import open_engine
from sopwith.core import commands as cmd
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.run import RunStatus
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.reading import Reader
from sopwith.ports import Workspace

_ANN = Actor("ann", ActorKind.HUMAN, "cli")
_PAGE = 20
_SETTLE_SECS = 3.0
_IDLE_SECS = 20.0


def measure(
    folder: Path, *, waiting: int = 10_000, past: int = 1_000_000, rounds: int = 200, idle_secs: float = _IDLE_SECS
) -> dict[str, Any]:
    """Milliseconds of each question in the engine, what an append costs beside one to an empty database, and a server.

    The waiting runs: half at a gate, a fifth each at a gate with a deadline and in a queue, a tenth by hand.
    """
    large, small = folder / "large", folder / "small"
    counts = mix(waiting)
    _make(large, {**counts, "past": past, "appended": 2 * rounds})
    _make(small, {"appended": 2 * rounds})
    return {
        "past runs": past,
        "waiting runs": waiting,
        "database MB": round((large / ".pi" / "sops" / "runs.db").stat().st_size / 1e6, 1),
        **_asked(large, rounds),
        **_appended(large, small, rounds),
        **_served(folder, large, counts, idle_secs),
    }


def mix(waiting: int) -> dict[str, int]:
    """So many runs of each sort."""
    others = {"timed": waiting // 5, "queued": waiting // 5, "manual": waiting // 10}
    return {"gated": waiting - sum(others.values()), **others}


def _make(folder: Path, counts: dict[str, int]) -> None:
    """A workspace with these runs; `appended` are gated ones to append to, spread over the others in time."""
    folder.mkdir(parents=True)
    sop(folder, "init", "--json")
    true = {"run": "true\n"}
    scale.procedure(folder, "past", [true])
    scale.procedure(folder, "gated", [true, {**true, "requiresApproval": True}])
    scale.procedure(folder, "timed", [{**true, "requiresApproval": True, "approvalTimeoutMins": 500_000}])
    scale.procedure(folder, "queued", [{**true, "requiresApproval": True}], maxConcurrent=1)
    scale.procedure(folder, "manual", [{}])
    runs = {
        name: sop(folder, "run", name, "--json")["runId"] for name in ("past", "gated", "timed", "queued", "manual")
    }
    holder = runs["queued"]
    runs["queued"] = sop(folder, "run", "queued", "--queue", "--json")["runId"]
    models = {name: scale.model_of(folder, run_id) for name, run_id in runs.items()}
    for run_id in (*runs.values(), *(() if counts.get("queued") else (holder,))):
        sop(folder, "cancel", run_id, "--json")
    models["appended"] = models["gated"]
    half = counts["appended"] // 2
    scale.write_again(folder, models["appended"], "early", half)
    for name, count in counts.items():
        if name != "appended":
            scale.write_again(folder, models[name], name, count)
    scale.write_again(folder, models["appended"], "late", half)
    scale.seal(folder)


def _asked(folder: Path, rounds: int) -> dict[str, float]:
    engine = open_engine(Workspace(folder.resolve()))
    with closing(engine.parts.store):
        reader = Reader(engine)
        taken = medians(_used(_questions(reader)), rounds=rounds)
    return {f"{name} ms": round(ms, 2) for name, ms in taken.items()}


def _questions(reader: Reader) -> dict[str, Callable[[], object]]:
    """The slowest place of each list too, not only its first page."""
    middle = reader.history(name="past", limit=_PAGE)["runs"][-1]["runId"]
    waiting = reader.inbox(limit=_PAGE)["nextAfter"]
    ended = (RunStatus.COMPLETED, RunStatus.FAILED)
    return {
        "inbox": lambda: reader.inbox(_ANN, limit=_PAGE),
        "inbox, next page": lambda: reader.inbox(_ANN, limit=_PAGE, after=waiting),
        "history": lambda: reader.history(limit=_PAGE),
        "history of a procedure": lambda: reader.history(name="past", limit=_PAGE),
        "history of statuses": lambda: reader.history(statuses=ended, limit=_PAGE),
        "history of both": lambda: reader.history(name="past", statuses=ended, limit=_PAGE),
        "history, next page": lambda: reader.history(limit=_PAGE, before=middle),
        "status": lambda: reader.status(waiting),
    }


def _used(actions: dict[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """The same, each done once before."""
    for action in actions.values():
        action()
    return actions


def _appended(large: Path, small: Path, rounds: int) -> dict[str, float]:
    """Appends to runs of all ages, and new runs: to the large database and to the small one by turns."""
    taken: dict[str, list[float]] = {}
    engines = {name: open_engine(Workspace(folder.resolve())) for name, folder in (("large", large), ("small", small))}
    made: dict[str, list[str]] = {name: [] for name in engines}
    pausing = {name: _pausing(engine, rounds) for name, engine in engines.items()}
    for _ in range(rounds):
        for name, engine in engines.items():
            taken.setdefault(f"append, {name}", []).append(milliseconds(next(pausing[name])))
            taken.setdefault(f"create, {name}", []).append(milliseconds(_creating(engine, made[name])))
    for name, engine in engines.items():
        for run_id in made[name]:
            engine.cancel(run_id, actor=_ANN)
        engine.parts.store.close()
    ms = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "append ms": round(ms["append, large"], 3),
        "append ratio to an empty database": round(ms["append, large"] / ms["append, small"], 3),
        "create ms": round(ms["create, large"], 3),
        "create ratio to an empty database": round(ms["create, large"] / ms["create, small"], 3),
    }


def _pausing(engine: Engine, rounds: int) -> Iterator[Callable[[], object]]:
    """Appends of one event each, to a run that was read just before, so that reading is not measured."""
    for number in range(rounds):
        age = "early" if number % 2 else "late"
        loaded = engine.runs.load(f"sop_run_{age}{number:08d}")
        pause = cmd.Pause(actor=_ANN, now=engine.parts.clock.now(), reason="measured")
        yield lambda loaded=loaded, pause=pause: engine.runs.commit(loaded, pause)  # type: ignore[misc]


def _creating(engine: Engine, made: list[str]) -> Callable[[], object]:
    return lambda: made.append(engine.create_run(RunRequest(name="gated"), actor=_ANN).run_id)


def _served(folder: Path, large: Path, counts: dict[str, int], idle_secs: float) -> dict[str, float]:
    """What a server holds for each waiting run, of all sorts and of each, and what it uses while nothing happens."""
    count = sum(counts.values())
    _make(folder / "none", {"appended": 0})
    empty_kb, empty_idle = _server(folder / "none", idle_secs)
    found = {"server KB per waiting run": (_server(large, 0)[0] - empty_kb) / count}
    idle = {"nothing": empty_idle}
    for name in counts:
        _make(folder / name, {name: count, "appended": 0})
        # a queue is asked now and then whether its first run may begin: that server is not idle
        held_kb, idle[name] = _server(folder / name, 0 if name == "queued" else idle_secs)
        found[f"server KB per waiting run, all {name}"] = (held_kb - empty_kb) / count
    return {
        **{name: round(kb, 2) for name, kb in found.items()},
        **{f"idle server percent of a core, {name} waiting": part for name, part in idle.items() if part},
        "empty server KB": empty_kb,
    }


def _server(folder: Path, idle_secs: float) -> tuple[int, float]:
    """What a server holds once it has looked at everything, in KB, and what it uses of a core after that."""
    server = serve(folder)
    try:
        until(folder, time.perf_counter(), looked=True)
        time.sleep(_SETTLE_SECS)
        idle = idle_percent(server.pid, idle_secs) if idle_secs else 0.0
        return _resident_kb(server), idle
    finally:
        server.terminate()
        server.wait()


def _resident_kb(server: subprocess.Popen[bytes]) -> int:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.size", description=__doc__)
    options.add_argument("--waiting", type=int, default=10_000, help="how many runs wait")
    options.add_argument("--past", type=int, default=1_000_000, help="how many have ended")
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--folder", type=Path, help="where to work; else a temporary folder")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = chosen.folder or Path(made)
        document = measure(folder, waiting=chosen.waiting, past=chosen.past, rounds=chosen.rounds)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
