"""The bell of a workspace: a datagram socket beside its runs, on which the server hears of other processes' commits.

A word is only a hint, so nothing is awaited, answered or tried again. Where no server is, ringing costs one look for
the socket's name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

    from sopwith.stores.sockets import Named

BELL = "server.bell"
"""The name of the socket, in the folder of the runs, which is private (0700) as the socket is (0600)."""
_WORD = rb"(sop_run_[a-z0-9_-]{1,48})( left)?"
_LONGEST_WORD_BYTES = 64
_WORDS_AT_A_TIME = 64
"""So many words are taken before other work of the event loop has its turn."""


class DatagramBell:
    """Rings the server of the workspace whose runs lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BELL
        self._place = str(self._path)

    def ring(self, run_id: str, *, left: bool = False) -> None:
        try:
            # at each commit: mostly there is none, and a question costs less than an error
            there = os.access(self._place, os.F_OK) and stat.S_ISSOCK(os.lstat(self._place).st_mode)
        except OSError:
            return
        if there:
            # nobody listens, its buffer is full, there are no descriptors left: the server will find out by itself
            with suppress(OSError, ImportError):
                self._send(run_id.encode() + (b" left" if left else b""))

    def _send(self, word: bytes) -> None:
        # most commands find no server, and need no such module
        import socket

        from sopwith.stores.sockets import reachable

        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell,
            reachable(self._path) as address,
        ):
            bell.setblocking(False)
            bell.sendto(word, address)


class DatagramEar:
    """Hears what is rung in the workspace whose runs lie in `folder`. At most one process may listen at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BELL
        self._named: Named | None = None

    def listen(self, hear: Callable[[str, bool], None]) -> None:
        import asyncio
        import socket

        from sopwith.stores.sockets import private_socket

        self._named = private_socket(self._path, socket.SOCK_DGRAM)
        ear = self._named.socket
        asyncio.get_running_loop().add_reader(ear, self._read, ear, hear)

    def close(self) -> None:
        if self._named is None:
            return
        import asyncio

        with suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._named.socket)
        self._named.remove_name()
        self._named.socket.close()
        self._named = None

    def _read(self, ear: socket, hear: Callable[[str, bool], None]) -> None:
        for _ in range(_WORDS_AT_A_TIME):
            try:
                data = ear.recv(_LONGEST_WORD_BYTES + 1)
            except OSError:
                return
            if word := re.fullmatch(_WORD, data):
                hear(word[1].decode(), word[2] is not None)
