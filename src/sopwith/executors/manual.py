"""Manual steps: a person or an agent carries them out and reports; no process is started, so there is no Executor."""

from __future__ import annotations

from sopwith.ports import ExecutorKind

KIND = ExecutorKind(name="manual", needs_script=False, by_hand=True)
