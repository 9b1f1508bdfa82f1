"""A command that reads the message as JSON. It is given 20 seconds; then it ends, with all that it started.

It decides nothing: whatever it asks of Sopwith counts as an agent's.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from sopwith.core.messages import Message, harmless
from sopwith.core.notifications import ChannelConfig
from sopwith.errors import NotSent
from sopwith.ports import ChannelKind, Premises

LIMIT_SECS = 20.0
_MARK = "SOPWITH_NOTICE"
_MOST_SAID = 200
_ROUNDS = 50
"""So often what is found is ended: whoever starts processes faster than that is left to the kernel."""

_RUNNING: dict[subprocess.Popen[bytes], str] = {}
"""The commands under way, with their marks."""


class Command:
    """Runs one command for each message, in the project folder."""

    def __init__(self, command: tuple[str, ...], environ: Mapping[str, str], root: Path) -> None:
        self._command = command
        self._environ = environ
        self._root = root

    def send(self, message: Message) -> str:
        mark = f"{message.id}.{os.urandom(8).hex()}"
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as document:
            document.write(msgspec.json.encode(message) + b"\n")
            document.seek(0)
            try:
                process = subprocess.Popen(
                    self._command,
                    cwd=self._root,
                    env={**self._environ, "SOPWITH_ACTOR_KIND": "agent", _MARK: mark},
                    stdin=document,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                told = error.strerror if isinstance(error, OSError) else str(error)
                raise NotSent(f"{harmless(self._command[0], 80)} cannot be started: {told}") from error
            _RUNNING[process] = mark
            try:
                code = _waited(process, mark)
            finally:
                _RUNNING.pop(process, None)
            return _judged(code, _last_line(said.fileno()))


@atexit.register
def _end_all() -> None:
    """When the server ends: nobody would watch over their time any more, and the messages are sent again."""
    for process, mark in list(_RUNNING.items()):
        _end_tree(process, _cookie(mark))


def _cookie(mark: str) -> bytes:
    return f"{_MARK}={mark}".encode()


def _waited(process: subprocess.Popen[bytes], mark: str) -> int | None:
    """The exit code; None where it had to be ended."""
    try:
        return process.wait(LIMIT_SECS)
    except subprocess.TimeoutExpired:
        _end_tree(process, _cookie(mark))
        return None


def _judged(code: int | None, said: str) -> str:
    beside = f": {said}" if said else ""
    if code is None:
        raise NotSent(f"it did not end within {LIMIT_SECS:.0f} s, and was ended{beside}")
    if code < 0:
        raise NotSent(f"it was ended by signal {-code}{beside}")
    if code > 0:
        raise NotSent(f"exit code {code}{beside}")
    return f"exit code 0{beside}"


def _last_line(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 4096, max(0, size - 4096)).decode("utf-8", "replace")
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return harmless(lines[-1], _MOST_SAID) if lines else ""


def _end_tree(process: subprocess.Popen[bytes], cookie: bytes) -> None:
    """Its group, and whatever carries its mark, also in sessions of their own."""
    for _ in range(_ROUNDS):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        found = list(_marked(cookie))
        for descriptor in found:
            with suppress(OSError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        if not found:
            break
        time.sleep(0.02)
    process.wait()


def _marked(cookie: bytes) -> Iterator[int]:
    """Living processes that have it in their environment, as descriptors: a pid may come to name another one."""
    for name in os.listdir("/proc") if Path("/proc/self").exists() else ():  # noqa: PTH208 names only, quickly
        if not name.isdigit():
            continue
        try:
            descriptor = os.pidfd_open(int(name))
        except OSError:
            continue
        try:
            carries = cookie in Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            carries = False
        if carries:
            yield descriptor
        else:
            os.close(descriptor)


def _make(channel: ChannelConfig, premises: Premises) -> Command:
    return Command(channel.command, premises.environ, premises.root)


KIND = ChannelKind(name="command", make=_make)
