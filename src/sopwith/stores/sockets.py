"""Unix sockets in a folder of the workspace: private ones, however deep the folder lies.

The name of a socket may have 108 bytes on Linux, and 104 elsewhere. A deep folder is reached through a descriptor of
it, under `/proc/self/fd`: no folder elsewhere that somebody would have to clean up, and no other name to agree upon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from socket import socket

_LONGEST_PATH_BYTES = 100


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """What to call the socket while inside. Raises OSError where a deep one cannot be reached."""
    if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Named(NamedTuple):
    """A socket that is bound to a name, and which file has that name."""

    socket: socket
    path: Path
    file: tuple[int, int]

    def remove_name(self) -> None:
        """Call it while the socket is open: no other file can be taken for its own until then.

        Where the folder was moved or made anew, another process may have bound the name since, and keeps it.
        """
        with suppress(OSError):
            if _file(self.path) == self.file:
                self.path.unlink()


def private_socket(path: Path, kind: int) -> Named:
    """A bound socket, 0600, that blocks nobody. What a killed process left there goes. Raises OSError.

    The caller holds a lock that says that nobody else uses this name.
    """
    import socket

    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, kind)
    try:
        made.setblocking(False)
        # on Linux the name has this mode from its first moment on
        os.fchmod(made.fileno(), 0o600)
        with reachable(path) as address:
            made.bind(address)
        path.chmod(0o600)
        return Named(made, path, _file(path))
    except OSError:
        made.close()
        raise


def _file(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
