"""The bell of a workspace: a datagram socket beside its runs, on which the server hears of other processes' commits.

A word is only a hint, so nothing is awaited, answered or tried again. Where no server is, ringing costs one look for
the socket's name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

BELL = "server.bell"
"""The name of the socket, in the folder of the runs, which is private (0700) as the socket is (0600)."""
_LONGEST_PATH_BYTES = 100
"""`sun_path` has room for 108 bytes on Linux, and for 104 elsewhere."""
_WORD = re.compile(rb"(sop_run_[a-z0-9_-]{1,48})( left)?")
_LONGEST_WORD_BYTES = 64
_WORDS_AT_A_TIME = 64
"""So many words are taken before other work of the event loop has its turn."""


class DatagramBell:
    """Rings the server of the workspace whose runs lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BELL

    def ring(self, run_id: str, *, left: bool = False) -> None:
        try:
            there = stat.S_ISSOCK(os.lstat(self._path).st_mode)
        except OSError:
            return
        if there:
            # nobody listens, its buffer is full, there are no descriptors left: the server will find out by itself
            with suppress(OSError, ImportError):
                self._send(run_id.encode() + (b" left" if left else b""))

    def _send(self, word: bytes) -> None:
        # most commands find no server, and need no such module
        import socket

        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell,
            _address(self._path) as address,
        ):
            bell.setblocking(False)
            bell.sendto(word, address)


class DatagramEar:
    """Hears what is rung in the workspace whose runs lie in `folder`. At most one process may listen at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BELL
        self._socket: socket | None = None

    def listen(self, hear: Callable[[str, bool], None]) -> None:
        import asyncio
        import socket

        # left by a server that was killed
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            os.fchmod(self._socket.fileno(), 0o600)
            with _address(self._path) as address:
                self._socket.bind(address)
            self._path.chmod(0o600)
        except OSError:
            self.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._read, self._socket, hear)

    def close(self) -> None:
        if self._socket is None:
            return
        import asyncio

        with suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        with suppress(OSError):
            self._path.unlink()

    def _read(self, ear: socket, hear: Callable[[str, bool], None]) -> None:
        for _ in range(_WORDS_AT_A_TIME):
            try:
                data = ear.recv(_LONGEST_WORD_BYTES + 1)
            except OSError:
                return
            if word := _WORD.fullmatch(data):
                hear(word[1].decode(), word[2] is not None)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """What to call the socket, however deep its folder lies. Raises OSError where a deep one cannot be reached."""
    if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
