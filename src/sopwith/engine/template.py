"""`sop init` and `sop create`: a workspace, and a procedure that runs as it stands, to be changed into one's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sopwith.core.procedure import check_name
from sopwith.engine.files import read_bounded, replace_file, turn_in
from sopwith.engine.library import MANIFEST, SCENARIOS, SHEET
from sopwith.errors import BadRequest, InvalidProcedure, Refused, WorkspaceError
from sopwith.parse.index import parse_index
from sopwith.parse.source import SourceFile
from sopwith.ports import Workspace

_IGNORED = b"""\
# Sopwith: the record and its keys stay on this machine
/runs.db*
/runs/
/keys/
"""

_SHEET = """\
# {title}

**Version**: 1.0.0
**Priority**: normal
**Execution Mode**: supervised

## Overview

Say here what this procedure is for, and when to use it.

## Steps

### Step 1: Check

Look before you leap: this step fails when something is not as it should be.

```bash
echo "checking {name}"
```

---

### Step 2: Act

What this step does cannot be undone, so a person looks at it first.

```bash
echo "doing it"
```

**Approval Required**: Yes

---

### Step 3: Confirm by hand

A step without a script is carried out by a person, who reports it with `sop complete`.
"""

SCENARIO = "everybody-agrees.toml"
_SCENARIO = """\
# Played by `sop test {name}`: nothing is started, nothing is written.
description = "everybody agrees"

[[acts]]
do = "approve"
by = "alice"
step = "start"

[[acts]]
do = "approve"
by = "alice"
step = 2

[[acts]]
do = "complete"
by = "bob"
step = 3

[expect]
status = "completed"
never = ["step_failed"]

# Stands for config.json: anybody may do anything. Without this line the roles that config.json gives hold here too.
[config]
"""


def make_workspace(root: Path) -> tuple[Workspace, tuple[Path, ...]]:
    """Makes `.pi/sops` with index.json and .gitignore; files that exist are left alone. Tells what was made."""
    if root.exists() and not root.is_dir():
        raise BadRequest(f"{root} is not a folder", hint="name a folder, or leave the name out for this one")
    workspace = Workspace(root.resolve())
    made = []
    try:
        workspace.sops.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError.from_os("make a workspace in", workspace.sops, error) from error
    if not workspace.index.exists():
        replace_file(workspace.index, b"{}\n")
        made.append(workspace.index)
    return workspace, (*made, *leave_gitignore(workspace))


def leave_gitignore(workspace: Workspace) -> tuple[Path, ...]:
    """Keeps the record and its keys out of git, where nobody has said otherwise. Tells the file if it was made."""
    path = workspace.sops / ".gitignore"
    if path.exists():
        return ()
    replace_file(path, _IGNORED)
    return (path,)


def create_procedure(workspace: Workspace, name: str) -> tuple[Path, ...]:
    """Writes SOP.md, manifest.json and a scenario, and registers them. Tells the files. Refuses to overwrite."""
    check_name(name)
    folder = workspace.sops / name
    with turn_in(workspace.sops):
        index = _index(workspace)
        if name in index or os.path.lexists(folder):
            raise Refused(
                f"{name} exists already; nothing was changed", hint=f"sop show {name}, or choose another name"
            )
        _write_template(folder, name)
        _write_index(workspace, {**index, name: f"{name}/{MANIFEST}"})
    leave_gitignore(workspace)
    return folder / SHEET, folder / MANIFEST, folder / SCENARIOS / SCENARIO, workspace.index


def register(workspace: Workspace, added: dict[str, str]) -> None:
    """Adds to index.json what it lacks. Raises InvalidProcedure if it has errors, or WorkspaceError."""
    with turn_in(workspace.sops):
        _write_index(workspace, {**added, **_index(workspace)})


def _write_template(folder: Path, name: str) -> None:
    title = name.replace("-", " ").replace("_", " ").replace(".", " ").capitalize()
    try:
        folder.mkdir()
        (folder / SCENARIOS).mkdir()
    except OSError as error:
        raise WorkspaceError.from_os("make", folder, error) from error
    replace_file(folder / SHEET, _SHEET.format(title=title, name=name).encode())
    replace_file(folder / MANIFEST, _manifest(name, title))
    replace_file(folder / SCENARIOS / SCENARIO, _SCENARIO.format(name=name).encode())


def _write_index(workspace: Workspace, index: dict[str, str]) -> None:
    ordered = dict(sorted(index.items()))
    replace_file(workspace.index, (json.dumps(ordered, indent=2, ensure_ascii=False) + "\n").encode())


def _index(workspace: Workspace) -> dict[str, str]:
    data = read_bounded(workspace.index)
    if data is None:
        return {}
    index, problems = parse_index(SourceFile("index.json", data))
    if index is None:
        raise InvalidProcedure("index.json has errors, so nothing can be registered", problems=problems)
    return index


def _manifest(name: str, title: str) -> bytes:
    document = {
        "name": name,
        "description": f"{title}: what it is for, in a sentence",
        "version": "1.0.0",
        "priority": "normal",
        "executionMode": "supervised",
        "maxConcurrent": 1,
        "triggers": [{"type": "manual"}],
        "steps": [
            {"number": 1, "title": "Check"},
            {"number": 2, "title": "Act", "requiresApproval": True},
            {"number": 3, "title": "Confirm by hand"},
        ],
    }
    return (json.dumps(document, indent=2) + "\n").encode()
