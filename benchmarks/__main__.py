"""`python -m benchmarks [SECTION …]`: measures, prints what is beside its target, and writes the results as JSON.

`--write` keeps the results in benchmarks/results.json and makes docs/performance.md and its plots from them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apsw

from benchmarks import (
    agents,
    cold_start,
    engine,
    growth,
    output,
    planning,
    plots,
    rivals,
    serving,
    size,
    steps,
    targets,
    verification,
)
from benchmarks.targets import RESULTS
from sopwith import __version__

SECTIONS: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {
    "engine": engine.measure,
    "rivals": rivals.measure,
    "shellSteps": steps.measure,
    "coldStart": cold_start.measure,
    "serving": lambda folder: serving.measure(folder, waiting=0),
    "growth": growth.measure,
    "output": output.measure,
    "verification": verification.measure,
    "planning": lambda _: planning.measure(),
    "agents": agents.measure,
    "size": size.measure,
}


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("sections", nargs="*", metavar="SECTION", help=f"which: {', '.join(SECTIONS)}; else all")
    options.add_argument("--json", action="store_true", help="print the results as JSON, not as a table")
    options.add_argument("--write", action="store_true", help="keep the results, and make the page from them")
    chosen = options.parse_args()
    if unknown := set(chosen.sections) - set(SECTIONS):
        options.error(f"no such section: {', '.join(sorted(unknown))}")
    # a cold start with bytecode to read is what users have; without it every start compiles the package again
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    results: dict[str, Any] = {"machine": machine()}
    for name in chosen.sections or SECTIONS:
        results[name] = _measured(name)
        if chosen.write:
            keep(results)
    if chosen.write:
        plots.draw(RESULTS)
    print(json.dumps(results, indent=2) if chosen.json else table(results))
    return 0


def keep(results: Mapping[str, Any]) -> None:
    """Beside the sections that were measured before."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**kept, **results}, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "sopwith": __version__,
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "cpus": os.cpu_count(),
    }


def table(results: Mapping[str, Any]) -> str:
    """Each figure beside its target, in lines for a terminal."""
    lines = [
        f"{'ok  ' if each.met else 'MISS'} {each.what:<70} {each.value:>12,g}  {each.target.bound()}"
        for each in targets.verdicts(results)
    ]
    return "\n".join(lines)


def _measured(name: str) -> Mapping[str, Any]:
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="sopwith-bench-") as folder:
        found = {"commit": _commit(), "ms per fdatasync": _fdatasync_ms(), **SECTIONS[name](Path(folder).resolve())}
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    return found


def _commit() -> str:
    """What is measured; empty where there is no git."""
    try:
        told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


def _fdatasync_ms(rounds: int = 100) -> float:
    """How long this disk takes to keep a page of a file that has its size: what every durable engine here waits for."""
    with tempfile.TemporaryFile(buffering=0) as file:
        os.pwrite(file.fileno(), b"\0" * 4096, 0)
        os.fsync(file.fileno())
        began = time.perf_counter()
        for number in range(rounds):
            os.pwrite(file.fileno(), bytes([number % 256]) * 4096, 0)
            os.fdatasync(file.fileno())
        return round((time.perf_counter() - began) * 1000 / rounds, 2)


if __name__ == "__main__":
    sys.exit(main())
