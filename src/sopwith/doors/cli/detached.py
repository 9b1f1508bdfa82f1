"""A driver in its own session, started by `--detach` where no server runs.

It is `python -P -m sopwith.doors.cli.detached ROOT RUN`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sopwith.engine.driver import drive
from sopwith.engine.files import ensure_private_folder
from sopwith.errors import RunBusy, WorkspaceError
from sopwith.ports import Workspace
from sopwith.stores.bell import DatagramBell
from sopwith.stores.serving_lock import ServingLock

if TYPE_CHECKING:
    from sopwith.engine.engine import Engine

_QUEUE_SECS = 1.0
"""How often a queued run asks for its slot."""


def start_detached(workspace: Workspace, run_id: str) -> None:
    """Sees to it that a process which outlives this one drives the run: a server that is there, else one of its own.

    A server may have been told of the run; here it is told that the run is left to it.

    What goes wrong in its own stands in `driver.log` of the run.
    """
    with closing(ServingLock(workspace.runs)) as lock:
        if lock.has_server:
            DatagramBell(workspace.runs).ring(run_id, left=True)
            return
    folder = workspace.run_folder(run_id)
    ensure_private_folder(folder)
    try:
        log = os.open(folder / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkspaceError.from_os("write", folder / "driver.log", error) from error
    with os.fdopen(log, "wb") as output:
        subprocess.Popen(
            # -P and /: no module of the project may pose as one of ours
            [sys.executable, "-P", "-m", "sopwith.doors.cli.detached", str(workspace.root), run_id],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )


def main(root: str, run_id: str) -> None:
    """Drives the run until it waits for a person or ends; waits for its slot first."""
    from sopwith.assembly import open_engine

    engine = open_engine(Workspace(Path(root)))
    try:
        asyncio.run(_drive_when_admitted(engine, run_id))
    finally:
        for warning in engine.parts.auditing.warnings:
            sys.stderr.write(f"warning: {warning}\n")


async def _drive_when_admitted(engine: Engine, run_id: str) -> None:
    while True:
        try:
            run = await drive(engine.parts, run_id)
        except RunBusy:
            # perhaps only somebody who asked for its slot as well
            run = engine.runs.load(run_id).run
        if not run.queued:
            return
        await asyncio.sleep(_QUEUE_SECS)


if __name__ == "__main__":
    main(*sys.argv[1:])
