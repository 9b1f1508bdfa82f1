"""How `sop serve` begins to listen: the extra that it needs, and the first token of a workspace.

That token is an administrator's. It is shown to the person at the terminal, or, where nobody sits there, left in a file
that only the account may read: never in what the server prints for logs.
"""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from sopwith.doors.cli import terminal
from sopwith.doors.cli.door import Door
from sopwith.errors import BadRequest, MissingExtra, WorkspaceError

if TYPE_CHECKING:
    from sopwith.doors.cli.server_log import ServerLog
    from sopwith.doors.web.server import Listening
    from sopwith.engine.auditing import Auditing

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8321
FIRST_TOKEN = "first-token"  # noqa: S105 the name of a file


class Place(NamedTuple):
    """Where to listen, under which further names, and behind which proxies."""

    host: str
    port: int
    allowed: tuple[str, ...]
    proxies: tuple[str, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """As `sop serve` takes them."""
        names = [word for name in self.allowed for word in ("--allow-host", name)]
        addresses = [word for proxy in self.proxies for word in ("--proxy", proxy)]
        return ("--host", self.host, "--port", str(self.port), *names, *addresses)


def check_proxies(proxies: tuple[str, ...]) -> None:
    """BadRequest for what is no address: a name, or everybody, could be anybody."""
    for proxy in proxies:
        try:
            network = ip_network(proxy)
        except ValueError:
            raise BadRequest(
                f"{proxy[:80]!r} is no address of a proxy", hint="write it as 10.0.0.7, or 10.0.0.0/24"
            ) from None
        if network.prefixlen == 0:
            raise BadRequest(f"--proxy {proxy} would believe everybody", hint="name the proxy's own address")


def open_http(door: Door, place: Place, log: ServerLog, auditing: Auditing) -> Listening:
    """The server, with its port in hand. Raises MissingExtra or WorkspaceError."""
    try:
        from sopwith.doors.web.server import Listening
    except ImportError as error:
        part = (error.name or "").partition(".")[0]
        if part not in ("starlette", "uvicorn", "httptools"):
            raise
        raise MissingExtra(
            f"sop serve --port needs {part}, which is not installed", hint="pip install 'sopwith[server]'"
        ) from error
    listening = Listening(
        door.engine,
        host=place.host,
        port=place.port,
        allowed=place.allowed,
        proxies=place.proxies,
        auditing=auditing,
        on_trouble=lambda error: log.on_trouble(None, error),
    )
    if not ip_address(listening.host.partition("%")[0]).is_loopback:
        door.warn(
            f"{listening.address} is reached from other machines; without TLS whoever is on the way reads the tokens"
        )
    _first_token(door)
    return listening


def _first_token(door: Door) -> None:
    """Where the workspace never had a token, makes one and hands it over."""
    from sopwith.assembly import tokens_of

    if tokens_of(door.engine).store.tokens():
        return
    path = door.workspace.runs / FIRST_TOKEN
    at_terminal = sys.stdout.isatty() and not door.as_json
    descriptor = -1 if at_terminal else _new_file(path)
    token = tokens_of(door.engine).create_first(door.actor.id)
    if token is None:
        return
    if at_terminal:
        terminal.echo(f"{click.style('first token', fg='green')}, an administrator's, shown this once:\n{token}")
        return
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 a descriptor
        file.write(token + "\n")
    door.warn(f"the first token, an administrator's, is in {path}: take it from there and delete the file")


def _new_file(path: Path) -> int:
    """A new file that only this account can read, in the place of one that is there. Raises WorkspaceError."""
    try:
        path.unlink(missing_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkspaceError.from_os("write the first token to", path, error) from error
