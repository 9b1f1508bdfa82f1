"""What every executor must keep: one test for each promise of `ports.Executor` and `ports.Watch`.

An adapter's test file subclasses `ExecutorContract`, says how to make an executor and its orders, and lets pytest
collect it. A new executor on the same folder is what the next engine would make after a crash.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from sopwith.core.commands import StepResult
from sopwith.errors import Conflict
from sopwith.ports import Executor, Lost, Watch, WorkOrder

PRINTED = b"hello\n"


class ExecutorContract:
    """The suite. Whatever a subclass makes must be ended by `clean_up`."""

    def make_executor(self) -> Executor:
        """A new handle, as another engine would have it."""
        raise NotImplementedError

    def quick_order(self, folder: Path) -> WorkOrder:
        """A step that prints `PRINTED` and succeeds."""
        raise NotImplementedError

    def failing_order(self, folder: Path) -> WorkOrder:
        """A step that ends with exit status 3."""
        raise NotImplementedError

    def long_order(self, folder: Path) -> WorkOrder:
        """A step that prints `PRINTED` and runs until `let_end`."""
        raise NotImplementedError

    async def let_end(self, order: WorkOrder) -> None:
        """Makes the long step succeed."""
        raise NotImplementedError

    def starts(self, order: WorkOrder) -> int:
        """How often the step's own process was started; for a long step at least what happened up to its output."""
        raise NotImplementedError

    async def lose(self, order: WorkOrder) -> None:
        """Kills whoever would know how the step ended."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Ends what is left of the long steps."""

    def setup_method(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="sopwith-contract-")
        self.folder = Path(self._temporary.name)
        self.output = bytearray()

    def teardown_method(self) -> None:
        self.clean_up()
        self._temporary.cleanup()

    def test_wait_tells_that_the_step_succeeded(self) -> None:
        result = run(self._whole(self.quick_order(self.folder)))
        assert (result.exit_code, result.error) == (0, "")

    def test_wait_tells_that_the_step_failed_and_how(self) -> None:
        result = run(self._whole(self.failing_order(self.folder)))
        assert (result.exit_code, result.cause) == (3, "exit")
        assert "3" in result.error

    def test_all_output_is_given_live_and_kept_in_the_result(self) -> None:
        result = run(self._whole(self.quick_order(self.folder)))
        assert bytes(self.output) == PRINTED
        assert (result.output, result.output_bytes) == (PRINTED.decode(), len(PRINTED))

    def test_output_is_given_while_the_step_runs(self) -> None:
        async def story() -> None:
            order = self.long_order(self.folder)
            _, waiting = await self._begin(order)
            assert not waiting.done()
            await self.let_end(order)
            await waiting

        run(story())

    def test_a_second_start_of_the_same_order_is_refused_and_starts_nothing(self) -> None:
        async def story() -> None:
            order = self.long_order(self.folder)
            _, waiting = await self._begin(order)
            with raises(Conflict):
                await self.make_executor().start(order, self.output.extend)
            await self.let_end(order)
            await waiting
            assert self.starts(order) == 1

        run(story())

    def test_a_wait_that_is_cancelled_leaves_the_process_alone_and_can_be_asked_again(self) -> None:
        async def story() -> None:
            order = self.long_order(self.folder)
            watch, waiting = await self._begin(order)
            await cancelled(waiting)
            await self.let_end(order)
            assert ok(await watch.wait()).error == ""
            assert self.starts(order) == 1

        run(story())

    def test_stop_ends_the_step_and_wait_tells_that_it_was_cancelled(self) -> None:
        async def story() -> None:
            watch, waiting = await self._begin(self.long_order(self.folder))
            await watch.stop()
            result = ok(await waiting)
            assert result.cause == "cancelled"
            assert result.error

        run(story())

    def test_stop_after_the_end_changes_nothing(self) -> None:
        async def story() -> None:
            watch = await self.make_executor().start(self.quick_order(self.folder), self.output.extend)
            before = await watch.wait()
            await watch.stop()
            assert await watch.wait() == before
            assert ok(before).error == ""

        run(story())

    def test_recover_starts_what_was_never_started(self) -> None:
        async def story() -> None:
            order = self.quick_order(self.folder)
            watch = watched(await self.make_executor().recover(order, self.output.extend))
            assert ok(await watch.wait()).error == ""
            assert self.starts(order) == 1

        run(story())

    def test_recover_goes_on_watching_what_still_runs(self) -> None:
        async def story() -> None:
            order = self.long_order(self.folder)
            _, waiting = await self._begin(order)
            await cancelled(waiting)
            self.output.clear()
            watch = watched(await self.make_executor().recover(order, self.output.extend))
            await self.let_end(order)
            assert ok(await watch.wait()).output == PRINTED.decode()
            assert bytes(self.output) == PRINTED
            assert self.starts(order) == 1

        run(story())

    def test_recover_can_stop_what_another_engine_started(self) -> None:
        async def story() -> None:
            order = self.long_order(self.folder)
            _, waiting = await self._begin(order)
            await cancelled(waiting)
            watch = watched(await self.make_executor().recover(order, self.output.extend))
            await watch.stop()
            assert ok(await watch.wait()).cause == "cancelled"

        run(story())

    def test_recover_takes_the_same_result_however_often_it_is_asked(self) -> None:
        async def story() -> None:
            order = self.quick_order(self.folder)
            first = await (await self.make_executor().start(order, self.output.extend)).wait()
            for _ in range(2):
                watch = watched(await self.make_executor().recover(order, self.output.extend))
                assert await watch.wait() == first
            assert self.starts(order) == 1

        run(story())

    def test_recover_tells_that_an_attempt_is_lost_however_often_it_is_asked(self) -> None:
        async def story() -> None:
            order = self.long_order(self.folder)
            _, waiting = await self._begin(order)
            await cancelled(waiting)
            await self.lose(order)
            for _ in range(2):
                lost = await self.make_executor().recover(order, self.output.extend)
                assert isinstance(lost, Lost)
                assert lost.reason
                assert lost.output == PRINTED.decode()
            assert self.starts(order) == 1

        run(story())

    def test_wait_tells_that_the_attempt_was_lost_while_it_was_watched(self) -> None:
        async def story() -> None:
            order = self.long_order(self.folder)
            _, waiting = await self._begin(order)
            await self.lose(order)
            assert isinstance(await waiting, Lost)

        run(story())

    async def _whole(self, order: WorkOrder) -> StepResult:
        return ok(await (await self.make_executor().start(order, self.output.extend)).wait())

    async def _begin(self, order: WorkOrder) -> tuple[Watch, asyncio.Task[StepResult | Lost]]:
        """Starts the order and waits until its output has come."""
        printed = asyncio.Event()

        def take(chunk: bytes) -> None:
            self.output.extend(chunk)
            printed.set()

        watch = await self.make_executor().start(order, take)
        waiting = asyncio.ensure_future(_wait(watch))
        await printed.wait()
        return watch, waiting


def ok(result: StepResult | Lost) -> StepResult:
    """The result of a step that was not lost."""
    assert isinstance(result, StepResult), result
    return result


def watched(found: Watch | Lost) -> Watch:
    """The watch of a step that was not lost."""
    assert not isinstance(found, Lost), found
    return found


async def cancelled(task: asyncio.Task[Any]) -> None:
    """As a driver that goes away: the task is cancelled and has ended."""
    task.cancel()
    await asyncio.wait([task])


def raises(error: type[Exception]) -> Any:
    """`pytest.raises`, imported when a test runs, so that the fakes work without pytest."""
    import pytest

    return pytest.raises(error)


def run(story: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that must end within a minute."""
    return asyncio.run(asyncio.wait_for(story, 60))


async def _wait(watch: Watch) -> StepResult | Lost:
    return await watch.wait()
