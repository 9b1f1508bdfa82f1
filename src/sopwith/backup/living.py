"""Steps whose processes live although nobody drives their runs: started by a driver that has left."""

from __future__ import annotations

from pathlib import Path

from sopwith.executors.launch import launches


def living_steps(runs: Path) -> tuple[str, ...]:
    """`process 123, of step-2.1.1 of sop_run_…` for each attempt under `runs/` whose process, or keeper, lives."""
    found = []
    for attempt in sorted(runs.glob("sop_run_*/step-*")):
        for launch in launches(attempt)[-1:]:
            marks = launch.marks()
            alive = [process for process in (marks.child, marks.keeper) if process is not None and process.alive()]
            if alive:
                found.append(f"process {alive[0].pid}, of {attempt.name} of {attempt.parent.name}")
    return tuple(found)
