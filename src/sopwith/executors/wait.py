"""Waits: a step that only lets time pass. The core knows when it ends; no process is started."""

from __future__ import annotations

from sopwith.ports import ExecutorKind

KIND = ExecutorKind(name="wait", needs_script=False, by_hand=True)
