"""An executor of steps that do nothing and succeed at once: for measuring all that is not a step's own work.

Its steps start no process, so nothing can be known less after a crash: what was recorded and not finished is finished.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from sopwith.core.commands import StepResult
from sopwith.ports import Executor, ExecutorKind, Lost, Watch, WorkOrder

_DONE = StepResult(exit_code=0, output_sha256=sha256(b"").hexdigest())


class NoopExecutor:
    """Carries out steps by doing nothing."""

    async def start(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch:
        return _Done()

    async def recover(self, order: WorkOrder, on_output: Callable[[bytes], None]) -> Watch | Lost:
        return Lost(order.withheld) if order.withheld else _Done()


class _Done:
    async def wait(self) -> StepResult | Lost:
        return _DONE

    async def stop(self) -> None:
        return


def _make() -> Executor:
    return NoopExecutor()


def noop_kind(name: str = "shell") -> ExecutorKind:
    """Registers it under a name, so that an engine under test uses it for that kind of step."""
    return ExecutorKind(name=name, needs_script=True, make=_make, keeps_files=False)
