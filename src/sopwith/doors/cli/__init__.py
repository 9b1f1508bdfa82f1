"""The command `sop`."""

from __future__ import annotations

import gc

__all__ = ["main"]
_OBJECTS = 50_000
"""More than a short command ever makes: what it imports stays, and to look through it over and over takes a tenth of
its time. What runs for long is looked through all the same, less often.
"""


def main(argv: list[str] | None = None) -> None:
    """Runs the command and exits."""
    gc.set_threshold(_OBJECTS)
    from sopwith.doors.cli.app import main as run

    run(argv)
