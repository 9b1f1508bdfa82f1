"""Steps whose processes live although nobody drives their runs: started by a driver that has left."""

from __future__ import annotations

from pathlib import Path

from sopwith.executors.launch import launches
from sopwith.ports import VERIFICATIONS


def living_steps(runs: Path) -> tuple[str, ...]:
    """`process 123, of step-2.1.1 of sop_run_…` for each attempt under `runs/` whose process, or keeper, lives; the
    verifications of attempts too.

    Call it where nobody drives a run. A launch that its keeper has not taken yet is made void: it would begin later.
    """
    attempts = [(attempt, f"{attempt.name} of {attempt.parent.name}") for attempt in runs.glob("sop_run_*/step-*")]
    attempts += [
        (folder, f"the verification of {name}") for attempt, name in attempts for folder in attempt.glob(VERIFICATIONS)
    ]
    found = []
    for folder, name in sorted(attempts):
        for launch in launches(folder)[-1:]:
            launch.void()
            marks = launch.marks()
            alive = [process for process in (marks.child, marks.keeper) if process is not None and process.alive()]
            if alive:
                found.append(f"process {alive[0].pid}, of {name}")
            elif launch.is_kept():
                found.append(f"a process that cannot be seen from here, of {name}")
    return tuple(found)
