"""What runs leave beside the database: where it is there and the database is not, the record was lost."""

from __future__ import annotations

from sopwith.errors import StoreError
from sopwith.ports import Workspace

_TRACES = ("sop_run_*.audit.jsonl", "checkpoints.jsonl")


def refuse_lost(workspace: Workspace) -> None:
    """Raises StoreError where runs were recorded and their database is gone: a new one would hide that it is."""
    if workspace.database.exists():
        return
    for pattern in _TRACES:
        for _trace in workspace.runs.glob(pattern):
            raise StoreError(
                f"the database {workspace.database} is gone, and runs were recorded in it",
                hint="put a backup in its place: sop restore FILE; to begin anew, move the folder runs/ away",
            )
