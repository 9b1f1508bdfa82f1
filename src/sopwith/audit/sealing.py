"""Signs one workspace's log: with its key, and into the places that it and its config.json name.

Apart from `keeper.py`, so that a command which only signs at its end does not carry verification and export.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sopwith.audit.checkpoints import Checkpointer
from sopwith.audit.signing import SigningKey
from sopwith.core.config import Config
from sopwith.errors import SopwithError
from sopwith.ports import Log, Seals, Workspace

CHECKPOINTS = "checkpoints.jsonl"


class LogAndSeals(Log, Seals, Protocol):
    """What a store keeps for us."""


class Sealer:
    """`config` is asked when something is to be signed or compared."""

    def __init__(self, log: LogAndSeals, workspace: Workspace, config: Callable[[], Config]) -> None:
        self._log = log
        self._workspace = workspace
        self._config = config
        self.key = SigningKey(workspace.keys)

    def seal(self, now: datetime) -> tuple[str, ...]:
        """Takes a checkpoint if there is anything new. Tells what is wrong with its places, a sentence each.

        Raises StoreError, signing nothing, for a log that is not what was signed before, and WorkspaceError.
        """
        checkpointer, problems = self.checkpointer()
        checkpointer.take(now)
        return problems + checkpointer.failures

    def checkpointer(self) -> tuple[Checkpointer, tuple[str, ...]]:
        """A Checkpointer for all places that are known, and why some are not."""
        places, problems = self.places()
        return Checkpointer(self._log, self._log, self.key, places), problems

    @property
    def own(self) -> Path:
        """The file with the checkpoints inside the workspace."""
        return self._workspace.runs / CHECKPOINTS

    def places(self) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        """`own` first; further ones are absolute or relative to the project folder. And why some are not known."""
        try:
            further = self._config().checkpoint_copies
        except SopwithError as error:
            return (self.own,), (f"no checkpoint was copied or compared: {error.message}",)
        return tuple(dict.fromkeys((self.own, *(self._workspace.root / name for name in further)))), ()
