"""A procedure of four steps that do nothing: `python -m benchmarks.alternatives.sopwith_steps SECONDS FOLDER`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.workspace import make_workspace, without_processes
from sopwith import Workspace


def main(seconds: float, folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(parents=True)
        make_workspace(folder, {"four": ["true"] * 4})
    with Workspace(folder) as workspace:
        without_processes(workspace)
        for _ in range(5):
            workspace.create_run("four")
        runs, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            assert workspace.create_run("four").status == "completed"
            runs += 1
        print(json.dumps({"runs": runs, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
