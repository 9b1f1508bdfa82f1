"""A disk that fails when told to: a VFS between SQLite and the real one. Counts what it is asked to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw


class Fault:
    """The `number`-th call of this kind fails, and with `lasting` all after it, until `heal`."""

    def __init__(self, call: str, number: int, make: Callable[[], apsw.Error], *, lasting: bool, short: bool = False):
        self.call = call
        self.number = number
        self.make = make
        self.lasting = lasting
        self.short = short
        self.hit = False

    def strikes(self, call: str, count: int) -> bool:
        if call != self.call:
            return False
        strikes = count >= self.number if self.lasting else count == self.number
        self.hit |= strikes
        return strikes


class Disk(apsw.VFS):
    """The default VFS of this process while it is registered."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.fault: Fault | None = None
        super().__init__("faulty", "unix", makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802
        return File(self, name, flags)

    def heal(self) -> None:
        self.fault = None

    def strikes(self, call: str) -> Fault | None:
        self.counts[call] = self.counts.get(call, 0) + 1
        if self.fault is not None and self.fault.strikes(call, self.counts[call]):
            return self.fault
        return None


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name, flags) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xWrite(self, data, offset):  # noqa: N802
        if fault := self._disk.strikes("write"):
            if fault.short:
                super().xWrite(bytes(data)[: len(data) // 2], offset)
            raise fault.make()
        return super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        if fault := self._disk.strikes("sync"):
            raise fault.make()
        return super().xSync(flags)

    def xTruncate(self, size):  # noqa: N802
        if fault := self._disk.strikes("truncate"):
            raise fault.make()
        return super().xTruncate(size)


def failing(code: int) -> Callable[[], apsw.Error]:
    """Makes SQLite's error of this extended code."""

    def make() -> apsw.Error:
        error = apsw.exception_for(code)
        error.extendedresult = code
        return error

    return make


@contextmanager
def faulty_disk() -> Iterator[Disk]:
    disk = Disk()
    try:
        yield disk
    finally:
        disk.unregister()
