"""Both executors keep every promise of ports.Executor."""

from __future__ import annotations

from pathlib import Path

from sopwith.core.commands import StepResult
from sopwith.ports import Executor, WorkOrder
from sopwith.testing.clock import FakeClock
from sopwith.testing.contract_executor import PRINTED, ExecutorContract
from sopwith.testing.executor import FakeExecutor, FakeWorld, Play, key_of

from . import bench

COUNT = 'echo once >> "$STARTS"; '


class TestShellExecutor(ExecutorContract):
    def make_executor(self) -> Executor:
        return bench.executor()

    def quick_order(self, folder: Path) -> WorkOrder:
        return bench.order(folder, COUNT + "echo hello")

    def failing_order(self, folder: Path) -> WorkOrder:
        return bench.order(folder, COUNT + "exit 3")

    def long_order(self, folder: Path) -> WorkOrder:
        return bench.order(folder, COUNT + "echo hello; " + bench.FOREVER)

    async def let_end(self, order: WorkOrder) -> None:
        await bench.open_gate(order)

    def starts(self, order: WorkOrder) -> int:
        return bench.starts(order)

    async def lose(self, order: WorkOrder) -> None:
        bench.kill(bench.keeper_of(order))

    def clean_up(self) -> None:
        bench.end_all(self.folder)


class TestFakeExecutor(ExecutorContract):
    def setup_method(self) -> None:
        super().setup_method()
        self.world = FakeWorld()
        self.clock = FakeClock()

    def make_executor(self) -> Executor:
        return FakeExecutor(self.world, self.clock)

    def quick_order(self, folder: Path) -> WorkOrder:
        return self._order(folder, Play(output=PRINTED))

    def failing_order(self, folder: Path) -> WorkOrder:
        return self._order(folder, Play(result=StepResult(exit_code=3, error="exit status 3")))

    def long_order(self, folder: Path) -> WorkOrder:
        return self._order(folder, Play(seconds=None, output=PRINTED))

    async def let_end(self, order: WorkOrder) -> None:
        self.world.finish(key_of(order))

    def starts(self, order: WorkOrder) -> int:
        return self.world.starts.count(key_of(order))

    async def lose(self, order: WorkOrder) -> None:
        self.world.lose(key_of(order))

    def _order(self, folder: Path, play: Play) -> WorkOrder:
        self.world.plays = {1: [play]}
        return bench.order(folder, "")
