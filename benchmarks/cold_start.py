"""Short commands from a cold start, against a bare interpreter: in time, and in instructions where valgrind is.

`approve` is measured as a script calls it: on a run prepared for this one round, its gate named by step and digest, no
terminal. `a vote`: recorded, and another is needed, so nothing is to be driven. `a step by hand`: the driver opens the
step, and a person has to do it. Both write durably and sign, so the disk has a part in their time: the fsyncs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.timing import medians, process
from benchmarks.workspace import make_workspace, sop

_QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
SOP = Path(sys.executable).with_name("sop")
_BARE = "python -c pass"
_GATED = {"number": 1, "title": "Act", "requiresApproval": True}
_DECIDED = {
    "vote": _GATED | {"run": "true", "approval": {"quorum": 2, "allowSelfApproval": True, "onTimeout": "pause"}},
    "hand": _GATED,
}


def measure(folder: Path, *, procedures: int = 100, rounds: int = 15) -> dict[str, Any]:
    """Median milliseconds of each command, its ratio to `python -c pass`, and the ratio of instructions."""
    make_workspace(folder, {f"procedure-{number}": ["true"] for number in range(procedures)})
    run_id = sop(folder, "run", "procedure-0", "--json")["runId"]
    sop(folder, "list", "--json")
    command = str(SOP)
    looking = {
        _BARE: [sys.executable, "-c", "pass"],
        "sop --version": [command, "--version"],
        f"sop list ({procedures} procedures)": [command, "list"],
        "sop status": [command, "status", run_id],
        "sop inbox": [command, "inbox"],
        "sop history": [command, "history"],
        "sop validate": [command, "validate", "procedure-0"],
    }
    counted = _instructions(looking, folder)
    gates = _open_gates(folder, rounds)
    deciding = {
        "sop approve, a vote": iter([[command, *each] for each in gates["vote"]]),
        "sop approve, a step by hand": iter([[command, *each] for each in gates["hand"]]),
    }
    for argv in looking.values():
        subprocess.run(argv, cwd=folder, check=True, **_QUIET)  # one that fails would be quick
    actions = {name: process(argv, cwd=folder) for name, argv in looking.items()}
    for name, each in deciding.items():
        actions[name] = lambda each=each: _decide(next(each), folder)
    taken = medians(actions, rounds=rounds)
    floor = taken[_BARE]
    return {
        name: {"ms": round(ms, 1), "ratio": round(ms / floor, 2)}
        | ({"instructions ratio": round(counted[name] / counted[_BARE], 2)} if name in counted else {})
        for name, ms in taken.items()
    }


def _decide(argv: list[str], folder: Path) -> None:
    code = subprocess.run(argv, cwd=folder, check=False, **_QUIET).returncode
    assert code in (0, 3), f"{argv} ended with {code}"  # 3: another vote, or a person's work, is waited for


def _open_gates(folder: Path, rounds: int) -> dict[str, list[list[str]]]:
    """The arguments of one `approve` for each round: each answers a gate of its own, and `inbox` shows those left."""
    sops = folder / ".pi" / "sops"
    index = json.loads((sops / "index.json").read_text())
    for name, step in _DECIDED.items():
        (sops / name).mkdir()
        manifest = {"name": name, "executionMode": "auto", "steps": [step]}
        (sops / name / "manifest.json").write_text(json.dumps(manifest))
        index[name] = f"{name}/manifest.json"
    (sops / "index.json").write_text(json.dumps(index))
    for name in _DECIDED:
        for _ in range(rounds):
            sop(folder, "run", name, "--json")
    found: dict[str, list[list[str]]] = {name: [] for name in _DECIDED}
    for item in sop(folder, "inbox", "--limit", str(2 * rounds), "--json")["items"]:
        found[item["sopName"]].append(["approve", item["runId"], "--step", "1", "--digest", item["digest"]])
    return found


def _instructions(commands: dict[str, Sequence[str]], folder: Path) -> dict[str, int]:
    """How many instructions each takes: the same on a busy machine. Nothing without valgrind."""
    if shutil.which("valgrind") is None:
        return {}
    return {name: _counted([*_run_by_python(argv)], folder) for name, argv in commands.items()}


def _run_by_python(argv: Sequence[str]) -> Sequence[str]:
    """The interpreter itself first: valgrind looks at no script."""
    return argv if argv[0] == sys.executable else [sys.executable, *argv]


def _counted(argv: Sequence[str], folder: Path) -> int:
    with tempfile.TemporaryDirectory() as place:
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={place}/out", f"--log-file={place}/log"]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run([*valgrind, *argv], cwd=folder, env=environ, check=False, **_QUIET)
        found = re.search(r"Collected : (\d+)", Path(place, "log").read_text())
    assert found is not None, argv
    return int(found[1])
