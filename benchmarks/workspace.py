"""Workspaces to measure in: made through the command, as a user would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sopwith.doors.python.workspace import Workspace
from sopwith.plugins import Registry
from sopwith.testing.noop import noop_kind


def sop(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON document that `sop …` prints."""
    command = [str(Path(sys.executable).with_name("sop")), *arguments]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def make_workspace(folder: Path, procedures: Mapping[str, Sequence[str]]) -> None:
    """A workspace with these procedures: name -> the script of each step, in auto mode."""
    sop(folder, "init", "--json")
    index = {}
    for name, scripts in procedures.items():
        home = folder / ".pi" / "sops" / name
        home.mkdir()
        steps = [{"number": n, "title": f"Step {n}", "run": script} for n, script in enumerate(scripts, 1)]
        manifest = {"name": name, "executionMode": "auto", "steps": steps}
        (home / "manifest.json").write_text(json.dumps(manifest))
        index[name] = f"{name}/manifest.json"
    (folder / ".pi" / "sops" / "index.json").write_text(json.dumps(index))


def without_processes(workspace: Workspace) -> None:
    """The scripts of runs that this object carries on are not run, until it is closed. Call it before the first run."""
    kinds = workspace._opened.engine.parts.kinds
    assert isinstance(kinds, Registry)
    kinds.register(noop_kind())
