"""Where a workspace lies and what its files are called. Finds and makes folders; reads no procedure."""

from __future__ import annotations

from pathlib import Path

from sopwith.errors import BadRequest, NoWorkspace, WorkspaceError
from sopwith.ports import FOLDER, Workspace

_IGNORED = """\
# Sopwith: the record and its keys stay on this machine
/runs.db*
/runs/
/keys/
"""


def find_workspace(start: Path, *, override: str | None = None) -> Workspace:
    """The nearest folder at or above `start` that holds `.pi/sops`, or `override`. Raises NoWorkspace."""
    if override is not None:
        root = (start / override).resolve()
        if not (root / FOLDER).is_dir():
            raise NoWorkspace(f"{root} holds no .pi/sops", hint=f"make a workspace there: sop init {override}")
        return Workspace(root)
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FOLDER).is_dir():
            return Workspace(folder)
    raise NoWorkspace(
        f"no .pi/sops at or above {start}",
        hint="make a workspace here with `sop init`, or name one with --workspace DIR or SOPWITH_WORKSPACE",
    )


def init_workspace(root: Path) -> tuple[Workspace, tuple[Path, ...]]:
    """Makes `.pi/sops` with index.json and .gitignore; files that exist are left alone. Tells what was made."""
    if root.exists() and not root.is_dir():
        raise BadRequest(f"{root} is not a folder", hint="name a folder, or leave the name out for this one")
    workspace = Workspace(root.resolve())
    made = []
    try:
        workspace.sops.mkdir(parents=True, exist_ok=True)
        for path, text in ((workspace.index, "{}\n"), (workspace.sops / ".gitignore", _IGNORED)):
            if not path.exists():
                path.write_text(text, encoding="utf-8")
                made.append(path)
    except OSError as error:
        raise WorkspaceError.from_os("make a workspace in", workspace.sops, error) from error
    return workspace, tuple(made)
