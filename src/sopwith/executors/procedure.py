"""Procedures within procedures: a step that a run of its own carries out. The engine makes and drives that run."""

from __future__ import annotations

from sopwith.ports import ExecutorKind

KIND = ExecutorKind(name="procedure", needs_script=False, by_hand=True)
