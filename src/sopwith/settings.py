"""Where a workspace lies. Finds it; makes and reads nothing."""

from __future__ import annotations

from pathlib import Path

from sopwith.errors import NoWorkspace
from sopwith.ports import FOLDER, Workspace


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
