"""Unix sockets in a folder of the workspace: private ones, however deep the folder lies.

The name of a socket may have 108 bytes on Linux, and 104 elsewhere. A deep folder is reached through a descriptor of
it, under `/proc/self/fd`: no folder elsewhere that somebody would have to clean up, and no other name to agree upon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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


def private_socket(path: Path, kind: int) -> socket:
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
    except OSError:
        made.close()
        raise
    return made
