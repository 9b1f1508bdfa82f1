"""The sources of time and of chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sopwith.core.instant import Instant


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> Instant:
        """The present, wall and boot clock read together."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after this long, or sooner if cancelled."""
        ...


class Ids(Protocol):
    """The only source of chance."""

    def run_id(self) -> str:
        """`sop_run_` and 12 characters of base32, never the same twice."""
        ...

    def nonce(self) -> str:
        """32 hexadecimal digits that nobody could have foreseen."""
        ...
