"""A step that prints a great deal: how fast that is taken, and by how much the memory of whoever drives it grows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.workspace import make_workspace

_MB = 1_000_000
_MIB = 1024 * 1024
_DRIVE = """
import json, resource, sys, time
from sopwith.doors.python.workspace import Workspace
workspace = Workspace(sys.argv[1])
workspace.create_run("warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
run = workspace.create_run("large")
assert run.status == "completed", run
secs = time.perf_counter() - begun
print(json.dumps([secs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def measure(folder: Path, *, size_bytes: int = 10_000_000_000) -> dict[str, Any]:
    """MB a second through one step, beside `cat` into a file of the same disk; and the engine's growth in MiB."""
    printing = f"head -c {size_bytes} /dev/zero"
    make_workspace(folder, {"warm": ["echo hello"], "large": [printing]})
    file = folder / "bare"
    bare = _seconds(["bash", "-c", f"{printing} | cat > {file}"])
    file.unlink()
    command = [sys.executable, "-c", _DRIVE, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds, grown = (float(each) for each in done.stdout.strip("[]\n").split(","))
    ours, disk = size_bytes / _MB / seconds, size_bytes / _MB / bare
    return {
        "MB": size_bytes / _MB,
        "MB per second": round(ours, 1),
        "cat to a file, MB per second": round(disk, 1),
        "ratio to 500 MB/s or the disk": round(ours / min(500, disk), 2),
        "ratio to cat": round(seconds / bare, 2),
        "engine memory growth, MiB": round(grown * _UNIT / _MIB, 1),
    }


_UNIT = 1 if sys.platform == "darwin" else 1024
"""In which `ru_maxrss` counts, in bytes."""


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, env=dict(os.environ))
    return time.perf_counter() - begun
