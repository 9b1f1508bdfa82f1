"""Where a workspace lies and what its files are called. Finds and makes folders; reads no procedure."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from sopwith.errors import BadRequest, NoWorkspace, WorkspaceError

FOLDER = Path(".pi") / "sops"
_IGNORED = """\
# Sopwith: the record and its keys stay on this machine
/runs.db*
/runs/
/keys/
"""


class Workspace(msgspec.Struct, frozen=True):
    """`root` is the project folder, the one that holds `.pi`; both paths are absolute."""

    root: Path

    @property
    def sops(self) -> Path:
        return self.root / FOLDER

    @property
    def database(self) -> Path:
        return self.sops / "runs.db"

    @property
    def runs(self) -> Path:
        return self.sops / "runs"

    @property
    def keys(self) -> Path:
        return self.sops / "keys"

    @property
    def index(self) -> Path:
        return self.sops / "index.json"

    @property
    def config(self) -> Path:
        return self.sops / "config.json"

    def run_folder(self, run_id: str) -> Path:
        """Logs, attempts and evidence of one run."""
        return self.runs / run_id


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
        raise cannot("make a workspace in", workspace.sops, error) from error
    return workspace, tuple(made)


def ensure_private_folder(folder: Path) -> None:
    """The folder, 0700, with the workspace's .gitignore beside it if that is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise cannot("make", folder, error) from error


def cannot(what: str, path: Path, error: OSError) -> WorkspaceError:
    """One sentence for a file that cannot be used."""
    return WorkspaceError(
        f"cannot {what} {path}: {error.strerror or os.strerror(error.errno or 0)}",
        hint="check that the folder exists, that it is yours to write, and that the disk has room",
    )
