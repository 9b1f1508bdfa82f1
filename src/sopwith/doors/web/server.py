"""The socket and what reads it: uvicorn in the loop of `sop serve`, with no signal handlers of its own.

It is told when to stop, ends the open streams, and leaves nothing behind that could hold up the process.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from sopwith.assembly import count_from_now, tokens_of
from sopwith.doors.web import limits
from sopwith.doors.web.app import Application, TakesHooks
from sopwith.doors.web.entrance import Entrance, hosts_of
from sopwith.doors.web.office import Office
from sopwith.doors.web.protocol import Protocol
from sopwith.doors.web.routes import ROUTES
from sopwith.errors import WorkspaceError

if TYPE_CHECKING:
    from sopwith.engine.auditing import Auditing
    from sopwith.engine.engine import Engine

_BACKLOG = 1024
_GRACE_SECS = 3
_KEEP_ALIVE_SECS = 75
_TEND_SECS = 10.0


class Listening:
    """An HTTP server that has its port already, and answers once `serve` runs."""

    def __init__(
        self,
        engine: Engine,
        *,
        host: str,
        port: int,
        allowed: Iterable[str] = (),
        proxies: Iterable[str] = (),
        auditing: Auditing | None = None,
        on_trouble: Callable[[BaseException], None],
    ) -> None:
        """`port` 0 takes any free one. Raises WorkspaceError where it cannot listen."""
        self._socket = listen(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._office = Office(
            engine.parts.workspace,
            auditing=auditing or engine.parts.auditing,
            since=count_from_now(engine),
            on_trouble=on_trouble,
        )
        self._app = Application(
            ROUTES,
            office=self._office,
            tokens=tokens_of(engine),
            clock=engine.parts.clock,
            entrance=Entrance(hosts_of(self.host, allowed)),
            library=engine.parts.library,
            on_trouble=on_trouble,
        )
        self._server = _Server(_config(self._app, tuple(proxies)))
        self._task: asyncio.Task[None] | None = None
        self._tending: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """As a browser or a program writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self, hooks: TakesHooks) -> None:
        """Answers from now on. `hooks` takes what comes to triggers."""
        self._app.hooks = hooks
        self._task = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        self._tending = asyncio.ensure_future(self._tend())

    def stir(self) -> None:
        """Somebody may have committed."""
        self._app.stir()

    async def stop(self) -> None:
        """Takes nothing more, ends the streams, and lets the calls that are under way come to their end."""
        self._app.close()
        self._server.should_exit = True
        if self._tending is not None:
            self._tending.cancel()
        if self._task is not None:
            done, _ = await asyncio.wait((self._task,), timeout=_GRACE_SECS + 1)
            if not done:
                self._task.cancel()
                with suppress(asyncio.CancelledError):
                    await self._task
        self._socket.close()
        # what was begun is done to its end; meanwhile the loop is free
        await asyncio.to_thread(self._office.close)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_SECS)
            self._app.tend()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises WorkspaceError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _name, address = found[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot(host, port, error) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _cannot(host, port, error) from error
    return listening


def _cannot(host: str, port: int, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"cannot listen on {host} port {port}: {error.strerror or error}",
        hint="choose another: sop serve --host ADDRESS --port N",
    )


def _config(app: Any, proxies: tuple[str, ...]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        limit_concurrency=limits.MOST_CONNECTIONS,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECS,
        timeout_graceful_shutdown=_GRACE_SECS,
    )


class _Server(uvicorn.Server):
    """One that leaves the signals to the process it is part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
