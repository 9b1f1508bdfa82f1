"""SIGKILL of a real server that receives webhooks: what it acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sopwith.assembly import open_triggering
from sopwith.ports import RunFilter, Workspace
from sopwith.stores.sqlite import SqliteStore

from .triggers import SECRET, Heard

KILLS = 3
EACH = 40


def test_a_killed_server_loses_no_acknowledged_webhook_and_starts_none_twice(tmp_path: Path) -> None:
    folder = tmp_path / ".pi" / "sops" / "deploy"
    folder.mkdir(parents=True)
    hook = {"type": "webhook", "path": "/deploy", "secretEnv": "HOOK", "scheme": "token", "maxQueued": 10_000}
    manifest = {"name": "deploy", "triggers": [hook], "maxConcurrent": 1, "steps": [{"number": 1, "run": "true"}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    acknowledged: dict[str, str] = {}
    for kill in range(KILLS):
        # the next sender begins where the last one is not sure: it sends some again
        acknowledged |= receive_and_kill(tmp_path, from_number=max(0, kill * EACH - 20))
    assert len(acknowledged) >= EACH

    async def carry_out() -> None:
        with open_triggering(Workspace(tmp_path), Heard()) as triggering:
            await triggering.once()

    asyncio.run(carry_out())
    store = SqliteStore(Workspace(tmp_path).database)
    runs, total = store.summaries(RunFilter())
    kept = store.deliveries.newest(2**62, 10_000)
    assert {each.outcome for each in kept} <= {"started", "queued"}
    assert sorted(run.run_id for run in runs) == sorted(each.run_id for each in kept)
    assert total == len({each.delivery for each in kept})
    assert set(acknowledged.values()) <= {run.run_id for run in runs}
    assert {each.delivery: each.run_id for each in kept}.items() >= acknowledged.items()
    store.close()


def receive_and_kill(root: Path, *, from_number: int) -> dict[str, str]:
    """What the server acknowledged before it was killed, by the sender's name for it."""
    environ = {**os.environ, "HOOK": SECRET}
    command = [sys.executable, "-m", "tests.engine.webhook_process", str(root), str(from_number)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, text=True)
    assert server.stdout is not None
    lines = [server.stdout.readline() for _ in range(EACH)]
    server.send_signal(signal.SIGKILL)
    rest, _ = server.communicate()
    # the last line may be torn
    lines += rest.splitlines(keepends=True)
    return dict(line.split() for line in lines if line.endswith("\n"))
