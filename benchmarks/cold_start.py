"""`sop --version`, `list`, `status` from a cold start, against a bare interpreter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.timing import medians, process
from benchmarks.workspace import make_workspace, sop


def measure(folder: Path, *, procedures: int = 100, rounds: int = 15) -> dict[str, Any]:
    """Median milliseconds of each command and its ratio to `python -c pass`."""
    make_workspace(folder, {f"procedure-{number}": ["true"] for number in range(procedures)})
    run_id = sop(folder, "run", "procedure-0", "--json")["runId"]
    sop(folder, "list", "--json")
    command = str(Path(sys.executable).with_name("sop"))
    taken = medians(
        {
            "python -c pass": process([sys.executable, "-c", "pass"], cwd=folder),
            "sop --version": process([command, "--version"], cwd=folder),
            f"sop list ({procedures} procedures)": process([command, "list"], cwd=folder),
            "sop status": process([command, "status", run_id], cwd=folder),
            "sop inbox": process([command, "inbox"], cwd=folder),
        },
        rounds=rounds,
    )
    floor = taken["python -c pass"]
    return {name: {"ms": round(ms, 1), "ratio": round(ms / floor, 2)} for name, ms in taken.items()}
