"""The command `sop`."""

from __future__ import annotations

from sopwith.doors.cli.app import main

__all__ = ["main"]
