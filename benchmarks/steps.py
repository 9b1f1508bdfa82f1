"""What Sopwith adds to a shell step: the slope between procedures of 10 and 30 steps, against bash's own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from benchmarks.timing import medians
from benchmarks.workspace import make_workspace, sop

_SHORT, _LONG = 10, 30


def measure(folder: Path, *, rounds: int = 7) -> dict[str, Any]:
    """Milliseconds per step of `true`, through a run and through bare bash."""
    make_workspace(folder, {"short": ["true"] * _SHORT, "long": ["true"] * _LONG})
    script = folder / "true.sh"
    script.write_text("true\n")

    def bash(times: int) -> None:
        for _ in range(times):
            subprocess.run(["bash", "-eo", "pipefail", str(script)], check=True)

    taken = medians(
        {
            "short": lambda: sop(folder, "run", "short", "--json"),
            "long": lambda: sop(folder, "run", "long", "--json"),
            "bash short": lambda: bash(_SHORT),
            "bash long": lambda: bash(_LONG),
        },
        rounds=rounds,
    )
    ours = (taken["long"] - taken["short"]) / (_LONG - _SHORT)
    floor = (taken["bash long"] - taken["bash short"]) / (_LONG - _SHORT)
    return {
        "ms per step": round(ours, 2),
        "bash ms per step": round(floor, 2),
        "overhead ms per step": round(ours - floor, 2),
        "ratio": round(ours / floor, 2),
        "ms per run besides its steps": round(taken["short"] - _SHORT * ours, 1),
    }
