"""A launch: the folder in which one keeper runs one attempt at most once, and what its files say.

An attempt's folder holds launches `0`, `1`, … and only the highest counts. Whoever creates `started` in it owns it: the
keeper, which then runs the step, or recovery, which thereby makes sure that no keeper ever will. Files of a launch:
`order` (for the keeper, which removes it), `script`, `params.json`, `event.json` (what started the run, where
something outside did), `task` (what an agent reads), `values` ($SOP_OUTPUT), `spool`, `started`, `result` (blanks
until the step's end), `void` (what recovery links as `started`), `keeper.err`. With secrets also `given` (a digest of
them), `masked`, `values.kept`, and `params.secret.json` for `params.json`. Nothing is flushed to disk: after a power
cut the boot id tells.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from sopwith.core.address import step_id
from sopwith.core.procedure import MAX_INTEGER
from sopwith.executors.keeper import RESULT_BYTES
from sopwith.executors.processes import PASSING, Identity
from sopwith.ports import WorkOrder, verification_name

_VOID = b"void\n"
_CLOSED = b"closed\n"
_PID = r"[1-9][0-9]{0,8}"
_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
"""As any keeper writes it: what a step has written in its place may be anything."""
_Errno = Annotated[int, msgspec.Meta(ge=0, le=4095)]


class Marks(msgspec.Struct, frozen=True):
    """What `started` says. `keeper` is None when it was torn, `child` when the step's process was not yet noted."""

    void: bool = False
    closed: bool = False
    """A recovery has given the whole attempt up: nothing may start it any more."""
    copied: bool = False
    """They are of another folder, of which this one is a copy. Whoever they name runs for that one."""
    keeper: Identity | None = None
    child: Identity | None = None
    group: str = ""
    """The folder of the step's control group, where it has one."""


class Ending(msgspec.Struct, frozen=True, rename="camel"):
    """The keeper's result. `signal` is a number; `start_errno` tells why the process could not be started."""

    exit: _Number | None = None
    signal: _Number | None = None
    start_errno: _Errno = 0
    stopped: bool = False
    left_over: _Number = 0
    out_of_memory: bool = False
    output_bytes: _Number = 0
    dropped_bytes: _Number = 0
    values_bytes: _Number = 0
    ended_boot_ms: _Number | None = None


_ENDING = msgspec.json.Decoder(Ending)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the keeper is told; the other end is `Order` in keeper.py."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    working_dir: Path
    umask: int
    cookie: str
    grace_secs: float
    drain_secs: float
    stdin: Path | None = None
    """The file that the step reads; None: there is nothing to read."""

    def encode(self) -> bytes:
        """Fields ended by NUL. Raises ValueError for what no process can be given."""
        head = (self.cookie, f"{self.grace_secs * 1000:.0f}", f"{self.drain_secs * 1000:.0f}", str(self.umask))
        variables = [_variable(name, value) for name, value in self.environment.items()]
        fields = [*head, str(self.working_dir), str(self.stdin or os.devnull), str(len(self.argv)), *self.argv]
        return b"".join(os.fsencode(field) + b"\0" for field in (*fields, *variables))


class Launch:
    """One launch folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "script"
        self.params = folder / "params.json"
        self.event = folder / "event.json"
        """What started the run, where something outside did. It came from there: data."""
        self.secret_params = folder / "params.secret.json"
        """In place of it where it holds secrets: gone when the step has ended."""
        self.masked = folder / "masked"
        """What may be shown of the spool, where that may hold secrets. Who reads the output reads this instead."""
        self.kept_values = folder / "values.kept"
        """What could be kept of $SOP_OUTPUT, where that may have held secrets."""
        self._given = folder / "given"
        self.task = folder / "task"
        self.values = folder / "values"
        self.spool = folder / "spool"
        self.order = folder / "order"
        self.errors = folder / "keeper.err"
        self._started = folder / "started"
        self._result = folder / "result"
        self._void = folder / "void"

    @property
    def number(self) -> int:
        return int(self.folder.name)

    def cookie(self, order: WorkOrder) -> str:
        """What marks the processes of this launch alone, and not those of the same run in a copy of the workspace.

        The attempt's folder tells the two apart: its inode is the same by whatever path it is reached.
        """
        return f"{cookie_of(order)}{self.number}.{self.place}"

    @property
    def place(self) -> str:
        """Which folder of an attempt this is. Raises FileNotFoundError."""
        return f"{self.folder.parent.stat().st_ino:x}"

    def holds_masked(self) -> bool:
        """Whether anything was written to `masked`."""
        try:
            return self.masked.stat().st_size > 0
        except FileNotFoundError:
            return False

    def prepare(
        self,
        *,
        script: bytes,
        parameters: bytes,
        order: bytes,
        secrets_digest: str = "",
        task: bytes | None = None,
        event: bytes | None = None,
    ) -> None:
        """Makes the folder and all that a keeper needs. FileExistsError if it is there already.

        Room for the result too: a disk that has none shows that before anything starts.
        """
        self.folder.mkdir(mode=0o700)
        hidden = ((self._given, secrets_digest.encode()), (self.masked, b"")) if secrets_digest else ()
        for path, data in (
            *hidden,
            (self._void, _VOID),
            (self._result, b" " * RESULT_BYTES),
            (self.script, script),
            (self.secret_params if secrets_digest else self.params, parameters),
            (self.values, b""),
            *(() if task is None else ((self.task, task),)),
            *(() if event is None else ((self.event, event),)),
            (self.order, order),
        ):
            write_private(path, data)

    def close(self) -> bool:
        """Takes the launch so that neither it nor a later one is ever started; False if somebody took it before."""
        try:
            self.folder.mkdir(mode=0o700)
        except FileExistsError:
            return False
        return _link_new(self._started, _CLOSED)

    def void(self) -> bool:
        """Sees to it that no keeper will ever run this launch; False if one may have begun."""
        if not (self._link_void() or self.marks().void):
            return False
        for path in (self.order, self.secret_params):
            path.unlink(missing_ok=True)
        return True

    def _link_void(self) -> bool:
        """By way of the file that is there for it, which takes no room on a disk that is full by now."""
        try:
            self._started.hardlink_to(self._void)
        except FileExistsError:
            return False
        except OSError:
            return _link_new(self._started, _VOID)
        return True

    def given(self) -> str:
        """The digest of the secrets that the step was started with; empty where there were none."""
        return read_if_there(self._given).decode(errors="replace")

    def marks(self) -> Marks:
        """What `started` tells; empty marks when it is torn."""
        data = read_if_there(self._started)
        if data in (_VOID, _CLOSED):
            return Marks(void=data == _VOID, closed=data == _CLOSED)
        lines = data.decode(errors="replace").splitlines(keepends=True)
        keeper = _identity(lines[0].split()) if lines and lines[0].endswith("\n") else None
        if keeper is None:
            return Marks()
        noted = dict(line.rstrip("\n").partition(" ")[::2] for line in lines[1:] if line.endswith("\n"))
        # the lock is on the file itself: where a folder's inode says nothing, it tells the original
        if noted.get("place", "") not in ("", self.place) and not self.is_kept():
            return Marks(copied=True)
        child = _identity([*noted.get("child", "").split(), keeper.boot])
        return Marks(keeper=keeper, child=child, group=noted.get("group", ""))

    def is_kept(self) -> bool:
        """Whether its keeper lives, wherever that is: in a container, its pid is another one, or none, from here.

        Keepers of older versions hold no lock, nor do those on a file system without locks. Raises OSError where nobody
        can tell now.
        """
        try:
            file = os.open(self._result, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in PASSING:
                raise
            return False
        try:
            os.lockf(file, os.F_TEST, 0)
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EAGAIN)
        finally:
            os.close(file)
        return False

    def ending(self) -> Ending | None:
        """How the step ended; None when there is no result or a torn one."""
        data = read_if_there(self._result)
        if not data.endswith(b"\n"):
            return None
        try:
            return _ENDING.decode(data)
        except msgspec.DecodeError:
            return None


def cookie_of(order: WorkOrder) -> str:
    """What the cookies of an attempt, or of its verification, begin with; see `Launch.cookie`."""
    step = step_id(order.step.number, order.instance)
    verifies = f"{verification_name(order.verifies)}." if order.verifies else ""
    return f"{order.run_id}.{step}.{order.visit}.{order.attempt}.{verifies}"


def launches(folder: Path) -> list[Launch]:
    """The launches of an attempt's folder, the lowest first; none when there is no folder."""
    try:
        names = sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())
    except FileNotFoundError:
        return []
    return [Launch(folder / str(name)) for name in names]


def write_private(path: Path, data: bytes) -> None:
    """A new file that only this user may read."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)


def _link_new(path: Path, data: bytes) -> bool:
    """Makes the file unless it exists; nobody ever sees it half written, unless the file system lacks hard links."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    write_private(draft, data)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError:
        return _write_new(path, data)
    finally:
        draft.unlink()
    return True


def _write_new(path: Path, data: bytes) -> bool:
    try:
        write_private(path, data)
    except FileExistsError:
        return False
    return True


def read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _identity(words: Sequence[str]) -> Identity | None:
    # whatever stands there: a step can write to it
    if len(words) != 3 or not re.fullmatch(_PID, words[0]):
        return None
    return Identity(int(words[0]), words[1], words[2])


def _variable(name: str, value: str) -> str:
    if not name or "=" in name or "\0" in name + value:
        raise ValueError(f"environment variable {name!r} holds a character that no process can be given")
    return f"{name}={value}"
