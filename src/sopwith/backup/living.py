"""Steps whose processes live although nobody drives their runs: started by a driver that has left."""

from __future__ import annotations

from pathlib import Path

from sopwith.executors.launch import launches
from sopwith.ports import VERIFICATIONS


def living_steps(runs: Path, *, for_good: bool = False) -> tuple[str, ...]:
    """`process 123, of step-2.1.1 of sop_run_…` for each attempt under `runs/` whose process, or keeper, lives; the
    verifications of attempts too.

    `for_good`: a launch that its keeper has not taken yet is made void, for it would begin later. Only where nobody can
    drive a run: else it takes the start from whoever does.
    """
    attempts = [(attempt, f"{attempt.name} of {attempt.parent.name}") for attempt in runs.glob("sop_run_*/step-*")]
    attempts += [
        (folder, f"the verification of {name}") for attempt, name in attempts for folder in attempt.glob(VERIFICATIONS)
    ]
    found = []
    for folder, name in sorted(attempts):
        for launch in launches(folder)[-1:]:
            if for_good:
                launch.void()
            marks = launch.marks()
            alive = [process for process in (marks.child, marks.keeper) if process is not None and process.alive()]
            if alive:
                found.append(f"process {alive[0].pid}, of {name}")
            elif launch.is_kept():
                found.append(f"a process that cannot be seen from here, of {name}")
    return tuple(found)
