"""How one process hears at once what another has committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Bell(Protocol):
    """Tells whoever serves the workspace that a run has changed. Only a hint: the store is asked what is true."""

    def ring(self, run_id: str, *, left: bool = False) -> None:
        """Never fails, never blocks; a word may be lost, come late or come twice.

        `left`: whoever rings does not drive the run on; whoever hears it need not leave it time to.
        """
        ...


class Ear(Protocol):
    """The other end of the bell, in the process that serves the workspace."""

    def listen(self, hear: Callable[[str, bool], None]) -> None:
        """From now on calls `hear(run_id, left)` for each word, between two steps of the running event loop.

        Nobody vouches for what was said: there may be no such run. Raises OSError where nothing can be heard here.
        """
        ...

    def close(self) -> None:
        """Hears no more."""
        ...
