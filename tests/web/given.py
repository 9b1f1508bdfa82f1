"""A server as a real process, called over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.doors.workshop import DEADLINE_SECS, Workshop, eventually

# these tests may themselves be a step of a run, which is not what they are about
_TOP = f"from sopwith.doors import ancestry; ancestry.TOP_PID = {os.getpid()}"
UNHURRIED = "from sopwith.doors.web import limits as l; l.PER_SECOND = l.BURST = l.FAILURES_PER_MINUTE = 1e6"
_MAIN = "from sopwith.doors import cli; cli.main()"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        document = self.json
        assert document["status"] == self.status
        assert {"type", "title", "detail", "code"} <= document.keys()
        return str(document["code"])


class Served:
    """`sop serve --port 0` of a workshop."""

    def __init__(
        self, workshop: Workshop, *args: str, before: str = UNHURRIED, env: Mapping[str, str] | None = None
    ) -> None:
        self.workshop = workshop
        self._out = workshop.root.parent / f"server-{time.monotonic_ns()}.txt"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{_TOP}; {before or 'pass'}; {_MAIN}", "serve", "--port", "0", *args],
                cwd=workshop.root,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        eventually(lambda: "listening" in self.text or self.process.poll() is not None)
        found = re.search(r"listening http://(\S+):(\d+)", self.text)
        assert found is not None, self.text
        self.host, self.port = found[1].strip("[]"), int(found[2])

    @property
    def text(self) -> str:
        return self._out.read_text(encoding="utf-8")

    def token(self, name: str, role: str, *more: str) -> str:
        return token(self.workshop, name, role, *more)

    def call(
        self,
        method: str,
        path: str,
        token: str = "",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        host: str | None = None,
    ) -> Reply:
        """One call on a connection of its own. `body`: bytes as they are, anything else as JSON."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE_SECS)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
            if host:
                connection.putheader("Host", host)
            for name, value in sent.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def raw(self, data: bytes, *, wait: float = DEADLINE_SECS) -> bytes:
        """All that comes back for these bytes, until the server closes."""
        with self.connected() as sock:
            sock.settimeout(wait)
            sock.sendall(data)
            return _all_of(sock)

    def connected(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=DEADLINE_SECS)

    def stream(self, path: str, token: str, **headers: str) -> Stream:
        return Stream(self, path, token, headers)

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=DEADLINE_SECS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Event(NamedTuple):
    id: str
    event: str
    data: Any


class Stream:
    """Server-sent events as a client reads them."""

    def __init__(self, served: Served, path: str, token: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection(served.host, served.port, timeout=DEADLINE_SECS)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {token}", **sent})
        self.answer = self._connection.getresponse()

    @property
    def status(self) -> int:
        return self.answer.status

    def __iter__(self) -> Iterator[Event]:
        """Until the server ends it."""
        fields: dict[str, str] = {}
        while line := self.answer.readline():
            text = line.decode().rstrip("\n")
            if text == "" and "event" in fields:
                yield Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
                fields = {}
            elif ": " in text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                fields[name] = value

    def take(self, count: int) -> list[Event]:
        found = []
        for event in self:
            found.append(event)
            if len(found) == count:
                break
        return found

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def token(workshop: Workshop, name: str, role: str, *more: str) -> str:
    """A new token of this principal."""
    return str(workshop.json("token", "create", name, "--role", role, *more)["token"])


def database(workshop: Workshop) -> Path:
    return workshop.sops / "runs.db"


def _all_of(sock: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while data := sock.recv(65536):
            found += data
    return found
