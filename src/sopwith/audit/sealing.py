"""Signs one workspace's log: with its key, and into the places that it and its config.json name.

Apart from `keeper.py`, so that a command which only signs at its end does not carry verification and export.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sopwith.audit.checkpoints import Checkpointer
from sopwith.audit.places import lies_inside, same_file
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
        """See `checkpoint_places`."""
        return checkpoint_places(self._workspace, self._config)

    def is_outside(self, path: Path, places: tuple[Path, ...]) -> bool:
        """Whether a file is none of the workspace's, nor, as a hard link, one of those `places` that are."""
        return not self._is_exposed(path) and not any(
            self._is_exposed(place) and same_file(path, place) for place in places
        )

    def _is_exposed(self, path: Path) -> bool:
        return _is_exposed(path, self._workspace)


def checkpoint_places(workspace: Workspace, config: Callable[[], Config]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The workspace's own file first, then those of config.json, each once however it is spelt. And what is wrong.

    Further ones are absolute or relative to the project folder.
    """
    own = workspace.runs / CHECKPOINTS
    try:
        further = config().checkpoint_copies
    except SopwithError as error:
        return (own,), (f"no checkpoint was copied or compared: {error.message}",)
    found, problems = [own], []
    for name in dict.fromkeys(further):
        place = workspace.root / name
        if _is_exposed(place, workspace):
            problems.append(
                f"checkpointCopies names {name}, which lies inside the workspace: "
                "whoever can change the log can change it too"
            )
        if not any(same_file(place, known) for known in found):
            found.append(place)
    return tuple(found), tuple(problems)


def _is_exposed(path: Path, workspace: Workspace) -> bool:
    return lies_inside(path, workspace.sops) or same_file(path, workspace.runs / CHECKPOINTS)
