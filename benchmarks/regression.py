"""`python -m benchmarks.regression`: counts what must not grow unnoticed, and compares it with what was kept.

Only counts, which a busy or slow machine does not change: bytecode instructions and transactions of a run, waits for
the disk, modules that a short command loads. `--write` keeps today's counts; do that at a release, or where something
is worth its price, and say in the changelog what it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import engine
from benchmarks.workspace import make_workspace, without_processes
from sopwith.doors.python.workspace import Workspace
from sopwith.engine.reading import Reader

BASELINE = Path(__file__).with_name("baseline.json")
ALLOWED = 1.05
"""So many times the baseline is no regression: order and hashing vary a little."""
_COUNT_MODULES = """
import sys
from sopwith.doors.cli.app import run_command
run_command(sys.argv[1:])
print(len(sys.modules), file=sys.stderr)
"""
_EVENTS = 400
_KEPT = {"PATH", "HOME"}


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.regression", description=__doc__)
    options.add_argument("--write", action="store_true", help="keep today's counts as what is compared with")
    chosen = options.parse_args()
    for name in set(os.environ) - _KEPT:
        # each variable is looked at for each step: what a machine sets besides must not count
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="sopwith-counts-") as folder:
        found = counts(Path(folder).resolve())
    kept = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if chosen.write:
        BASELINE.write_text(json.dumps({**kept, _python(): found}, indent=2) + "\n")
    worse = list(grown(found, kept.get(_python()) or _of_any_version(kept)))
    for name, count in found.items():
        print(f"{name:<60} {count:>12,.1f}")
    if _python() not in kept and not chosen.write:
        print(f"no counts of Python {_python()} were kept: only transactions and waits are compared")
    for line in worse:
        print(line, file=sys.stderr)
    return 1 if worse and not chosen.write else 0


def counts(folder: Path) -> dict[str, float]:
    """Each count by its name and unit."""
    make_workspace(folder, {"noop": ["true"] * engine.STEPS, "long": ["true"] * (_EVENTS // 4)})
    with Workspace(folder) as workspace:
        without_processes(workspace)
        for _ in range(3):
            run_id = workspace.create_run("noop").run_id
        with engine.recording(workspace) as written, _syncs() as synced:
            workspace.create_run("noop")
        of_a_run = instructions(lambda: workspace.create_run("noop"))
        long_id = workspace.create_run("long").run_id
        reader = Reader(workspace._opened.engine)
        reader.status(long_id)
        of_a_status = instructions(lambda: reader.status(run_id))
        of_a_long_status = instructions(lambda: reader.status(long_id))
    return {
        "bytecode instructions of a run of four steps": of_a_run,
        "bytecode instructions of a status": of_a_status,
        f"bytecode instructions of a status after {_EVENTS // 4} steps": of_a_long_status,
        "transactions of a run of four steps": engine.transactions(written),
        "waits for the disk of a run of four steps": engine.transactions(written) + len(synced),
        **{f"modules that sop {verb} loads": count for verb, count in _modules(folder, run_id)},
    }


def instructions(action: Callable[[], object]) -> int:
    """How many bytecode instructions this thread carries out in `action`; the least of three times."""
    return min(_instructions(action) for _ in range(3))


def grown(found: Mapping[str, float], before: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each count that is beyond what is allowed, and for each that is not taken any more."""
    for name, count in before.items():
        if name not in found:
            yield f"{name} is not counted any more"
        elif found[name] > count * ALLOWED:
            yield f"{name}: {found[name]:,.0f}, and {count:,.0f} in the counts that are kept"


def _of_any_version(kept: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """What no version of Python changes."""
    counted = next(iter(kept.values()), {})
    return {name: count for name, count in counted.items() if name.startswith(("transactions", "waits"))}


@contextmanager
def _syncs() -> Iterator[list[int]]:
    """A line for each file that Python syncs meanwhile; SQLite syncs by itself, at each commit."""
    synced: list[int] = []
    fsync, fdatasync = os.fsync, os.fdatasync

    def noting(sync: Callable[[Any], None]) -> Callable[[Any], None]:
        return lambda file: (synced.append(1), sync(file))[1]

    os.fsync, os.fdatasync = noting(fsync), noting(fdatasync)
    try:
        yield synced
    finally:
        os.fsync, os.fdatasync = fsync, fdatasync


def _instructions(action: Callable[[], object]) -> int:
    count = 0

    def traced(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        else:
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def _modules(folder: Path, run_id: str) -> Iterator[tuple[str, int]]:
    for arguments in (["--version"], ["list"], ["status", run_id], ["inbox"]):
        command = [sys.executable, "-c", _COUNT_MODULES, *arguments]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        yield arguments[0], int(done.stderr.split()[-1])


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


if __name__ == "__main__":
    sys.exit(main())
