"""Tells whoever started the server that it is ready, ends, or still lives: systemd's protocol, a datagram of lines.

See sd_notify(3). Without `NOTIFY_SOCKET` nothing is told to anybody; that it cannot be told harms nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

_MICROSECONDS = 1_000_000


class ServiceManager:
    """The one that `environ` names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._environ = environ
        self._status = ""

    @property
    def patience_secs(self) -> float | None:
        """A server that is silent for so long is ended and started anew; None: nobody watches."""
        watched = self._environ.get("WATCHDOG_USEC", "")
        pid = self._environ.get("WATCHDOG_PID", str(os.getpid()))
        if not self._address or not watched.isdecimal() or int(watched) == 0 or pid != str(os.getpid()):
            return None
        return int(watched) / _MICROSECONDS

    def ready(self, status: str) -> None:
        self._status = status
        self._tell("READY=1", f"STATUS={status}")

    def lives(self, status: str, *, well: bool) -> None:
        """Feeds the watchdog while all is well, and shows what has changed."""
        words = ["WATCHDOG=1"] if well and self.patience_secs is not None else []
        if status != self._status:
            self._status = status
            words.append(f"STATUS={status}")
        if words:
            self._tell(*words)

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=stopping")

    def _tell(self, *lines: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # a name that begins with a zero byte lies in no folder
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.setblocking(False)
            mouth.sendto("\n".join(lines).encode(), address)
