"""Orders for real processes, and a careful hand that ends only what these tests started."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sopwith.clock import boot_id
from sopwith.core.procedure import Script, Step
from sopwith.executors.launch import launches
from sopwith.executors.processes import Identity
from sopwith.executors.shell import ShellExecutor
from sopwith.ports import WorkOrder

PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
FOREVER = 'read -r _ < "$GATE"'
"""A line that waits, without a process of its own, until `open_gate`."""


def order(folder: Path, text: str, interpreter: str = "bash", **changes: Any) -> WorkOrder:
    """An order in `folder`; `environment` is added to PATH, GATE (a FIFO) and STARTS (a file to count starts in)."""
    gate = folder / "gate"
    if not gate.exists():
        os.mkfifo(gate)
    (folder / "attempt").mkdir(mode=0o700, exist_ok=True)  # as the engine does before it records the intent
    environment = {"PATH": PATH, "GATE": str(gate), "STARTS": str(folder / "starts"), **changes.pop("environment", {})}
    fields: dict[str, Any] = {
        "run_id": f"sop_run_{abs(hash(str(folder))) % 10**12:012d}",
        "name": "deploy",
        "step": Step(number=1, title="Build", executor="shell", script=Script(interpreter=interpreter, text=text)),
        "visit": 1,
        "attempt": 1,
        "folder": folder / "attempt",
        "working_dir": folder,
        "environment": environment,
        "parameters_json": b'{"name":"value"}',
        "umask": 0o022,
        "output_types": {},
        "intended_boot": boot_id(),
        "this_boot": boot_id(),
    }
    return WorkOrder(**{**fields, **changes})


def executor(grace_secs: float = 0.2) -> ShellExecutor:
    return ShellExecutor(grace_secs=grace_secs, drain_secs=0.1)


async def open_gate(work: WorkOrder) -> None:
    """Lets a step that waits at its gate go on."""
    while True:
        try:
            file = os.open(work.environment["GATE"], os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody waits at the gate yet
                raise
            await asyncio.sleep(0.01)
        else:
            os.write(file, b"\n")
            os.close(file)
            return


def starts(work: WorkOrder) -> int:
    path = Path(work.environment["STARTS"])
    return len(path.read_text().split()) if path.exists() else 0


def until(what: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return answer


def keeper_of(work: WorkOrder) -> Identity:
    """The keeper of the highest launch, once it has said who it is."""
    return until(lambda: (found := launches(work.folder)) and found[-1].marks().keeper)


def kill(identity: Identity | None) -> None:
    """Ends a process that a test started, and no other that has its pid by now."""
    if identity is not None and identity.pid != os.getpid() and identity.alive():
        os.kill(identity.pid, signal.SIGKILL)
        until(lambda: not identity.alive())


def end_all(folder: Path) -> None:
    """Ends the keepers and the steps' own processes of all attempts in this folder."""
    for attempt in folder.glob("attempt*"):
        for launch in launches(attempt):
            kill(launch.marks().keeper)
            kill(launch.marks().child)


async def _engine(work: WorkOrder) -> None:
    def show(chunk: bytes) -> None:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()

    await (await executor().start(work, show)).wait()


if __name__ == "__main__":  # an engine that a test can kill: FOLDER and TEXT of its only step
    asyncio.run(_engine(order(Path(sys.argv[1]), sys.argv[2], run_id=sys.argv[3])))
