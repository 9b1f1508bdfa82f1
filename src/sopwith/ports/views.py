"""The files that people and other programs read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sopwith.ports.records import Batch


class Views(Protocol):
    """Files that show what the store holds; the store is the truth."""

    def written(self, batch: Batch, run_json: Callable[[], bytes] | None) -> None:
        """Called after each commit; brings the event file up to date, and the state file where `run_json` is given.

        Failing to is never an error of the run.
        """
        ...

    def rebuild(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        """Makes the run's files anew from the store where they differ from it; tells whether they did.

        `run_json` is asked while nobody else writes; None leaves the state file alone.
        """
        ...

    def outdated(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        """Whether `rebuild` would change anything now; changes nothing."""
        ...
