"""`python -m benchmarks`: all measurements as one JSON document on standard output."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from pathlib import Path

import apsw

from benchmarks import agents, cold_start, planning, steps, verification
from sopwith import __version__


def main() -> None:
    # a cold start with bytecode to read is what users have; without it every start compiles the package again
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        tempfile.TemporaryDirectory() as three,
        tempfile.TemporaryDirectory() as four,
    ):
        document = {
            "sopwith": __version__,
            "python": platform.python_version(),
            "sqlite": apsw.sqlite_lib_version(),
            "cpus": os.cpu_count(),
            "coldStart": cold_start.measure(Path(one)),
            "shellSteps": steps.measure(Path(two)),
            "planning": planning.measure(),
            "verification": verification.measure(Path(three)),
            "agents": agents.measure(Path(four)),
        }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
