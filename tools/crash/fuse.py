"""A fuse: kills this process just before the n-th thing it does to the outside. Lit from the command line of a test.

Imports nothing but the standard library, and no more of that than a keeper has: see `failpoints.py`.
"""

import os

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = frozenset(
    {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
    | {"os.posix_spawn", "os.fork", "fcntl.flock", "fcntl.lockf", "socket.sendto"}
)
_KILL = 9


class _Fuse:
    def __init__(self, nth: int, count_to: str) -> None:
        self.left = nth
        self.count_to = count_to
        self.write = os.write
        self.is_noting = False

    def burn(self, what: str) -> None:
        if self.is_noting:
            return
        self.note(what)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), _KILL)

    def note(self, what: str) -> None:
        """Opens the file each time: a keeper closes all descriptors that it does not know."""
        self.is_noting = True
        file = os.open(self.count_to, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.write(file, what.encode() + b"\n")
        os.close(file)
        self.is_noting = False


def light(nth: int, count_to: str, *, database: bool = True) -> None:
    """The process dies at the `nth` call; with 0 it lives. Each call leaves a line in the file `count_to`."""
    fuse = _Fuse(nth, count_to)
    for name in ("write", "fsync", "fdatasync", "waitpid", "ftruncate"):
        setattr(os, name, _burning(fuse, name, getattr(os, name)))
    if database:
        _in_the_database(fuse)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS or (event == "open" and _opens_to_write(arguments)):
            fuse.burn(event)

    import sys

    sys.addaudithook(hook)


def _opens_to_write(arguments: tuple[object, ...]) -> bool:
    return isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)


def _burning(fuse: _Fuse, name: str, call):  # type: ignore[no-untyped-def]
    def burning(*args, **kwargs):  # type: ignore[no-untyped-def]
        fuse.burn(f"os.{name}")
        return call(*args, **kwargs)

    return burning


def _in_the_database(fuse: _Fuse) -> None:
    """SQLite writes past Python: a file system of its own, in front of the true one, counts what it does."""
    import apsw

    class File(apsw.VFSFile):
        def __init__(self, name, flags) -> None:  # type: ignore[no-untyped-def]
            super().__init__("unix", name, flags)

    class Files(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("fuse", "unix", makedefault=True)

        def xOpen(self, name, flags):  # type: ignore[no-untyped-def]  # noqa: N802
            fuse.burn("db.xOpen")
            return File(name, flags)

        def xDelete(self, name, sync):  # type: ignore[no-untyped-def]  # noqa: N802
            fuse.burn("db.xDelete")
            super().xDelete(name, sync)

    for name in ("xWrite", "xSync", "xTruncate", "xLock", "xUnlock"):
        setattr(File, name, _method(fuse, name))
    _kept.append(Files())


def _method(fuse: _Fuse, name: str):  # type: ignore[no-untyped-def]
    def method(self, *args):  # type: ignore[no-untyped-def]
        import apsw

        fuse.burn(f"db.{name}")
        return getattr(apsw.VFSFile, name)(self, *args)

    return method


_kept: list[object] = []
"""A file system lives only as long as somebody holds it."""
