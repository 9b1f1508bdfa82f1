"""Where the engine's work is done: threads with a database connection each; the loop only reads and writes sockets.

One thread for what changes something, one for what only looks, and one for what may take minutes: a backup holds up no
look, and a look no decision. Never more of a kind: the JSON library crashes where several threads meet a type for the
first time, and a call takes milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import TypeVar

from msgspec.structs import replace

from sopwith.assembly import make_metrics, open_engine, tokens_of
from sopwith.doors.web.problems import Busy
from sopwith.doors.web.table import Asked
from sopwith.engine.auditing import Auditing
from sopwith.engine.engine import Engine
from sopwith.engine.reading import Reader
from sopwith.engine.tokens import Tokens
from sopwith.ports import Workspace
from sopwith.telemetry.metrics import Beginning, Metrics

_T = TypeVar("_T")
_MEETING_TYPES = (
    *("sopwith.parse.config", "sopwith.parse.index", "sopwith.parse.procedure", "sopwith.audit.keeper"),
    *("sopwith.backup.outgoing", "sopwith.rehearsal.documents"),
    *("sopwith.audit.sealing", "sopwith.executors.launch", "sopwith.executors.masked"),
)
"""What other threads would import only when they need it, and what makes JSON types known: before there are threads."""


MOST_APART = 4
"""So many long pieces of work may wait, with the one that is done."""


class Desk:
    """One thread's way into the workspace."""

    def __init__(self, workspace: Workspace, auditing: Auditing, since: Beginning) -> None:
        self.workspace = workspace
        self._since = since
        self.engine = Engine(replace(open_engine(workspace).parts, auditing=auditing))

    @cached_property
    def tokens(self) -> Tokens:
        return tokens_of(self.engine)

    @cached_property
    def metrics(self) -> Metrics:
        """What is counted since the server began, read when anybody asks. Raises MissingExtra."""
        return make_metrics(self.engine, self._since)

    def reader(self, asked: Asked) -> Reader:
        """Shows what the caller may know of."""
        return Reader(self.engine, asked.actor)

    def close(self) -> None:
        self.engine.parts.store.close()


class Office:
    """The desks and their threads."""

    def __init__(
        self, workspace: Workspace, *, auditing: Auditing, since: Beginning, on_trouble: Callable[[BaseException], None]
    ) -> None:
        """`auditing`: the server's own, which signs in a thread that no call waits for. `since`: of the metrics.

        `on_trouble` is told, on the loop, of what failed that nobody waited for.
        """
        for module in _MEETING_TYPES:
            import_module(module)
        self._workspace = workspace
        self._auditing = auditing
        self._since = since
        self._on_trouble = on_trouble
        self._desks: list[Desk] = []
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-writes")
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-reads")
        self._long = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-long")
        self._apart = 0

    @cached_property
    def _writer(self) -> Desk:
        return self._opened()

    @cached_property
    def _reader(self) -> Desk:
        return self._opened()

    @cached_property
    def _longer(self) -> Desk:
        return self._opened()

    async def write(self, work: Callable[[Desk], _T]) -> _T:
        """Done to its end, also if nobody waits for it any more."""
        return await self._in(self._writing, lambda: work(self._writer))

    async def read(self, work: Callable[[Desk], _T]) -> _T:
        return await self._in(self._reading, lambda: work(self._reader))

    async def apart(self, work: Callable[[Desk], _T]) -> _T:
        """What may take minutes: one after the other, in the way of nothing else. Raises Busy."""
        if self._apart >= MOST_APART:
            raise Busy(
                "as much is to be done already as can be", hint="come again later", headers={"retry-after": "60"}
            )
        self._apart += 1
        try:
            return await self._in(self._long, lambda: work(self._longer))
        finally:
            self._apart -= 1

    def later(self, work: Callable[[Desk], object]) -> None:
        """A write that nobody waits for."""
        loop = asyncio.get_running_loop()

        def tell(done: Future[object]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None:
                # a server that has ended listens no more
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._on_trouble, error)

        self._writing.submit(lambda: work(self._writer)).add_done_callback(tell)

    def close(self) -> None:
        """Lets what is being done come to its end; what waits for its turn is not begun."""
        for pool in (self._reading, self._long, self._writing):
            pool.shutdown(wait=True, cancel_futures=pool is not self._writing)
        for desk in self._desks:
            desk.close()

    def _opened(self) -> Desk:
        self._desks.append(Desk(self._workspace, self._auditing, self._since))
        return self._desks[-1]

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
