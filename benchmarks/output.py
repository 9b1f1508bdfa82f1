"""A step that prints a great deal: how fast that is taken, and by how much the memory of whoever drives it grows."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.workspace import make_workspace

_MB = 1_000_000
_MIB = 1024 * 1024
_LINE = "2026-01-01T00:00:00Z INFO worker 17: the 42nd of 100 parts was copied, and its checksum is as it should be"
_ROUNDS = 3
_DRIVE = """
import json, resource, sys, time
from sopwith.doors.python.workspace import Workspace
workspace = Workspace(sys.argv[1])
workspace.create_run("warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
run = workspace.create_run(sys.argv[2])
assert run.status == "completed", run
secs = time.perf_counter() - begun
print(json.dumps([secs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def measure(
    folder: Path, *, size_bytes: int = 10_000_000_000, text_bytes: int = 1_000_000_000, rounds: int = _ROUNDS
) -> dict[str, Any]:
    """MB a second through one step, beside `cat` into a file of the same disk; and the engine's growth in MiB.

    Bytes without a line end in one go, and lines of text, a few times in turns with `cat`.
    """
    zeros, text = f"head -c {size_bytes} /dev/zero", f"head -c {text_bytes} <(yes {shlex.quote(_LINE)})"
    make_workspace(folder, {"warm": ["echo hello"], "zeros": [zeros], "text": [text]})
    bare, ours, grown = _turn(folder, "zeros", zeros)
    of_text = [_turn(folder, "text", text) for _ in range(rounds)]
    bare_text, our_text = (median(turn[which] for turn in of_text) for which in (0, 1))
    speed, disk = size_bytes / _MB / ours, size_bytes / _MB / bare
    text_speed, text_disk = text_bytes / _MB / our_text, text_bytes / _MB / bare_text
    return {
        "MB": size_bytes / _MB,
        "MB per second": round(speed, 1),
        "cat to a file, MB per second": round(disk, 1),
        "ratio to 500 MB/s or the disk": round(speed / min(500, disk), 2),
        "ratio to cat": round(ours / bare, 2),
        "lines of text, MB": text_bytes / _MB,
        "lines of text, MB per second": round(text_speed, 1),
        "lines of text, cat to a file, MB per second": round(text_disk, 1),
        "lines of text, ratio to 500 MB/s or the disk": round(text_speed / min(500, text_disk), 2),
        "engine memory growth, MiB": round(max([grown, *(turn[2] for turn in of_text)]) * _UNIT / _MIB, 1),
    }


def _turn(folder: Path, name: str, printing: str) -> tuple[float, float, float]:
    """Seconds of `cat`, seconds of the run, and by how much its engine grew, in units of `ru_maxrss`."""
    file = folder / "bare"
    bare = _seconds(["bash", "-c", f"{printing} | cat > {file}"])
    file.unlink()
    command = [sys.executable, "-c", _DRIVE, str(folder), name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds, grown = (float(each) for each in done.stdout.strip("[]\n").split(","))
    return bare, seconds, grown


_UNIT = 1 if sys.platform == "darwin" else 1024
"""In which `ru_maxrss` counts, in bytes."""


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, env=dict(os.environ))
    return time.perf_counter() - begun
