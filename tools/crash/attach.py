"""Puts strace before keepers at the first moment of their lives. Runs within a nursery, by way of its command line.

A traced nursery would be killed where its keeper is meant, since strace counts for each task alike. So the nursery
itself is left alone: its fork waits until strace has it, and begins then. Imports nothing of Sopwith but what a nursery
has.
"""

import _signal  # type: ignore[import-not-found, unused-ignore]
import os
import sys
import time

import keeper  # type: ignore[import-not-found, unused-ignore]
import nursery  # type: ignore[import-not-found, unused-ignore]

PR_SET_PTRACER = 0x59616D61
ANYBODY = -1
PATIENCE_SECS = 8.0
"""Less than an engine waits for its nursery."""


def follow(plan: str) -> None:
    """From now on keepers are traced as the file `plan` says: an attempt (empty: all), where to, and strace's call."""
    with open(plan) as file:  # noqa: PTH123
        only, trace, *command = file.read().split("\0")
    fork = nursery.fork_beside

    def fork_and_attach() -> int:
        launch = os.fsdecode(sys._getframe(1).f_locals["request"])
        attempt = launch.split("/")[-2]
        if only not in ("", attempt):
            return int(fork())
        ready, gate = os.pipe(), os.pipe()
        pid = int(fork())
        if pid == 0:
            await_tracer(ready, gate)
            return 0
        os.close(ready[1])
        os.close(gate[0])
        if pid > 0 and os.read(ready[0], 1) == b"":
            attach(pid, [*command, "-o", trace if only else f"{trace}.{attempt}"])
        os.close(ready[0])
        os.close(gate[1])
        return pid

    nursery.fork_beside = fork_and_attach


def await_tracer(ready: tuple[int, int], gate: tuple[int, int]) -> None:
    """In the keeper: makes no call that is counted. The signal does nothing, but its delivery waits for the tracer."""
    keeper.prctl(PR_SET_PTRACER, ANYBODY)  # where only parents may trace
    os.close(ready[0])
    os.close(gate[1])
    os.close(ready[1])
    os.read(gate[0], 1)
    os.close(gate[0])
    _signal.raise_signal(_signal.SIGURG)


def attach(pid: int, command: list[str]) -> None:
    """Starts strace, and waits until it has the keeper."""
    os.posix_spawn(
        command[0],
        [*command, "-p", str(pid)],
        {},
        file_actions=[(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in range(3)],
        setsid=True,
    )
    until = time.monotonic() + PATIENCE_SECS
    while b"TracerPid:\t0\n" in keeper.said(f"/proc/{pid}/status") and time.monotonic() < until:
        time.sleep(0.001)
