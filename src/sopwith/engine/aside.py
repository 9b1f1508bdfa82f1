"""Work that blocks, beside the event loop: in threads that nobody waits for when the process ends."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

_T = TypeVar("_T")
_Work = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Aside(Protocol):
    """Where work is done that would hold up the loop."""

    async def do(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, or raises."""
        ...


class Inline:
    """Does it at once, in the loop: for tests with a clock of their own."""

    async def do(self, work: Callable[[], _T]) -> _T:
        return work()


class Worker:
    """The thread is made at first need, and ends with the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def do(self, work: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put((work, loop, done))
        return cast(_T, await done)

    def _run(self) -> None:
        while True:
            _carry_out(*self._queue.get())


async def in_thread(work: Callable[[], _T]) -> _T:
    """Does it in a thread of its own, beside others that may hang."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    threading.Thread(target=_carry_out, args=(work, loop, done), name="beside", daemon=True).start()
    return cast(_T, await done)


def _carry_out(work: Callable[[], Any], loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]) -> None:
    result, failed = None, None
    try:
        result = work()
    except Exception as error:
        failed = error
    # a loop that has ended listens no more
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_tell, done, result, failed)


def _tell(done: asyncio.Future[Any], result: Any, failed: Exception | None) -> None:
    if done.done():
        return  # cancelled
    if failed is not None:
        done.set_exception(failed)
    else:
        done.set_result(result)
