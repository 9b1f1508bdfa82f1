"""What runs leave beside the database: where it is there and the database is not, the record was lost."""

from __future__ import annotations

from sopwith.errors import StoreError
from sopwith.ports import Workspace

_TRACES = ("sop_run_*.audit.jsonl", "checkpoints.jsonl")


def refuse_lost(workspace: Workspace) -> None:
    """Raises StoreError where runs were recorded and their database is gone: a new one would hide that it is.

    So it is where it is empty, as a copy or a file system that was cut short leaves it.
    """
    there = workspace.database.exists()
    if there and (not workspace.database.is_file() or workspace.database.stat().st_size):
        return
    what = "empty" if there else "gone"
    for pattern in _TRACES:
        for _trace in workspace.runs.glob(pattern):
            raise StoreError(
                f"the database {workspace.database} is {what}, and runs were recorded in it",
                hint="put a backup in its place: sop restore FILE; to begin anew, move the folder runs/ away",
            )
