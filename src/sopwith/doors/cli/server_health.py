"""How the server is: told over HTTP on a Unix socket beside the runs, and asked for by `sop serve --status`.

    curl --unix-socket .pi/sops/runs/server.health http://sop/healthz

Tells numbers only: no run, no procedure, no text of an error. Whoever asks slowly, too much or too often is cut off.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import msgspec

from sopwith.core.instant import Instant, iso
from sopwith.doors.cli.door import Document, Door
from sopwith.doors.cli.server_log import OPEN
from sopwith.engine.ticker import SWEEP_SECS, Pulse
from sopwith.errors import NotFound, SopwithError, StoreError
from sopwith.ports import RunFilter
from sopwith.stores.sockets import Named, private_socket, reachable
from sopwith.version import __version__

HEALTH = "server.health"
"""The name of the socket, in the folder of the runs."""
STUCK_SECS = 6 * SWEEP_SECS
"""A server that has not looked for so long hangs, or its disk does."""
PATIENCE_SECS = 2.0
"""Who asks has so long to ask, and to take the answer."""
MOST_CALLERS = 16
_LONGEST_REQUEST_BYTES = 4096
_LONGEST_ANSWER_BYTES = 65536
_COUNT_SECS = 1.0
"""Runs are counted no more often than that, however often somebody asks."""
_FAR = datetime(9998, 1, 1, tzinfo=UTC)


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer. `status`: ok, degraded (it serves, and something is wrong), failing (it does not serve)."""

    status: str
    pid: int
    version: str
    started_at: str
    uptime_secs: float
    last_look_secs: float | None
    """How long ago it last looked what is due; null: not yet."""
    store_readable: bool
    store_writable: bool
    hears: bool
    """Whether it is told of commits at once, and need not look often."""
    runs_driven: int
    runs_queued: int
    """Runs that it would drive if it had a place for them."""
    runs_open: int
    runs_in_trouble: int
    next_deadline_at: str | None
    clock_jumps: int
    last_signed_at: str | None
    """When it last signed the record; null: not since it started."""
    signing_warnings: int


class Physician:
    """Finds out how the server of this process is."""

    def __init__(self, door: Door, pulse: Pulse) -> None:
        self._door = door
        self._parts = door.engine.parts
        self._pulse = pulse
        self._started: Instant = self._parts.clock.now()
        self._counted: tuple[int, int, str | None] | None = None

    def examine(self) -> Health:
        """How it is now. Asks the store for little, and writes nothing."""
        now, pulse = self._parts.clock.now(), self._pulse
        look_ms = None if pulse.looked_at is None else now.boot_ms - pulse.looked_at.boot_ms
        readable, open_runs, deadline = self._count(now)
        writable = self._is_writable()
        auditing = self._parts.auditing
        since = look_ms if look_ms is not None else now.boot_ms - self._started.boot_ms
        failing = not (readable and pulse.readable) or since > STUCK_SECS * 1000
        well = writable and pulse.hears and not pulse.troubles and not auditing.warnings
        return Health(
            status="failing" if failing else "ok" if well else "degraded",
            pid=os.getpid(),
            version=__version__,
            started_at=iso(self._started.at),
            uptime_secs=(now.boot_ms - self._started.boot_ms) / 1000,
            last_look_secs=None if look_ms is None else look_ms / 1000,
            store_readable=readable and pulse.readable,
            store_writable=writable,
            hears=pulse.hears,
            runs_driven=pulse.driven,
            runs_queued=pulse.queue,
            runs_open=open_runs,
            runs_in_trouble=pulse.troubles,
            next_deadline_at=deadline,
            clock_jumps=pulse.jumps,
            last_signed_at=None if auditing.sealed_at is None else iso(auditing.sealed_at),
            signing_warnings=len(auditing.warnings),
        )

    def _count(self, now: Instant) -> tuple[bool, int, str | None]:
        if self._counted is None or now.boot_ms - self._counted[0] >= _COUNT_SECS * 1000:
            try:
                _listed, total = self._parts.store.summaries(RunFilter(statuses=OPEN, limit=0))
                first = self._parts.store.due(_FAR, 1)
                summary = self._parts.store.summary(first[0]) if first else None
            except StoreError:
                return False, self._counted[1] if self._counted is not None else 0, None
            due_at = summary.due_at if summary is not None else None
            self._counted = (now.boot_ms, total, None if due_at is None else iso(due_at))
        return True, *self._counted[1:]

    def _is_writable(self) -> bool:
        """Whether the file may be written, and its disk has room: as far as can be told without writing."""
        database = self._door.workspace.database
        try:
            disk = os.statvfs(database)
        except OSError:
            return False
        return os.access(database, os.W_OK) and disk.f_bavail > 0 and not disk.f_flag & os.ST_RDONLY


class HealthSocket:
    """Answers whoever asks. A task for each caller, and no more callers at a time than MOST_CALLERS."""

    def __init__(self, folder: Path, examine: Callable[[], Health]) -> None:
        self._path = folder / HEALTH
        self._examine = examine
        self._named: Named | None = None
        self._server: asyncio.Server | None = None
        self._callers = 0

    async def open(self) -> None:
        """Raises OSError where there can be no such socket."""
        self._named = named = private_socket(self._path, socket.SOCK_STREAM)
        self._server = await asyncio.start_unix_server(self._call, sock=named.socket, limit=_LONGEST_REQUEST_BYTES)

    def close(self) -> None:
        if self._named is not None and self._server is not None:
            self._named.remove_name()
            self._server.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._callers >= MOST_CALLERS:
            writer.transport.abort()
            return
        self._callers += 1
        try:
            async with asyncio.timeout(PATIENCE_SECS):
                status, document = await self._answer(reader)
                writer.write(_response(status, document))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._callers -= 1

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[HTTPStatus, Document | Health]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, {"error": "the request is too long"}
        except asyncio.IncompleteReadError:
            return HTTPStatus.BAD_REQUEST, {"error": "expected an HTTP request"}
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return HTTPStatus.BAD_REQUEST, {"error": "expected an HTTP request"}
        if words[0] != b"GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "expected GET"}
        if words[1] != b"/healthz":
            return HTTPStatus.NOT_FOUND, {"error": "expected /healthz"}
        health = self._examine()
        return HTTPStatus.SERVICE_UNAVAILABLE if health.status == "failing" else HTTPStatus.OK, health


def ask(folder: Path, *, patience_secs: float = 2 * PATIENCE_SECS) -> Health:
    """How the server of the workspace is, whose runs lie in `folder`. Raises NotFound, or SopwithError if it hangs."""
    path = folder / HEALTH
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.settimeout(patience_secs)
            with reachable(path) as address:
                caller.connect(address)
        except TimeoutError:
            raise _hangs(path) from None
        except OSError:
            raise NotFound("no server serves this workspace", hint="sop serve starts one") from None
        try:
            return _read_answer(caller, patience_secs)
        except (OSError, ValueError, msgspec.MsgspecError):
            raise _hangs(path) from None


def _read_answer(caller: socket.socket, patience_secs: float) -> Health:
    until = time.monotonic() + patience_secs
    caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: sop\r\nConnection: close\r\n\r\n")
    answer = b""
    while len(answer) <= _LONGEST_ANSWER_BYTES:
        left_secs = until - time.monotonic()
        if left_secs <= 0:
            raise TimeoutError
        caller.settimeout(left_secs)
        if not (chunk := caller.recv(_LONGEST_ANSWER_BYTES)):
            break
        answer += chunk
    return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=Health)


def _hangs(path: Path) -> SopwithError:
    return SopwithError(
        f"the server of this workspace does not say how it is, at {path}", hint="its log may say more; start it anew"
    )


def _response(status: HTTPStatus, document: Document | Health) -> bytes:
    body = msgspec.json.encode(document) + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
