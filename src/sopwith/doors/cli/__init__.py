"""The command `sop`."""

from __future__ import annotations

import gc

# before the imports: what they make stays, and to look through it over and over takes a tenth of a short command
gc.disable()

from sopwith.doors.cli.app import main  # noqa: E402

__all__ = ["main"]
