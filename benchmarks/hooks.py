"""Webhooks under load: how many a second are acknowledged on disk, and what is left of them after SIGKILL.

`python -m benchmarks.hooks [SECONDS] [CONNECTIONS] [STREAMS]`: a real server, real sockets, signed deliveries from
CONNECTIONS at once while STREAMS clients follow the inbox; then the server is killed, started again, and every
acknowledged delivery is looked for. The server shares the machine with its clients.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import apsw

SECRET = "whsec_" + base64.b64encode(b"benchmark" * 4).decode()
STEPS = [{"number": 1, "title": "Wait", "executor": "manual"}]
TRIGGER = {"type": "webhook", "path": "/load", "secretEnv": "HOOK_SECRET", "admission": "queue", "maxQueued": 10_000}


def main() -> None:
    seconds, connections, streams = (int(each) for each in (*sys.argv[1:], *("10", "32", "200")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _workspace(root)
        server, port, token = _serve(root)
        try:
            told = asyncio.run(_load(port, token, seconds=seconds, connections=connections, streams=streams))
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()
        print(json.dumps({**told, **_after(root)}, indent=2))


def _workspace(root: Path) -> None:
    folder = root / ".pi" / "sops" / "load"
    folder.mkdir(parents=True)
    (root / ".pi" / "sops" / "index.json").write_text('{"load": "load/manifest.json"}')
    manifest = {
        "name": "load",
        "description": "d",
        "version": "1.0.0",
        "executionMode": "auto",
        "maxConcurrent": 1,
        "triggers": [TRIGGER],
        "steps": STEPS,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _serve(root: Path) -> tuple[subprocess.Popen[bytes], int, str]:
    unhurried = "from sopwith.doors.web import limits as l; l.PER_SECOND = l.BURST = 1e6; l.MOST_STREAMS = 1000; "
    unhurried += "l.STREAMS_EACH = 1000"
    out = (root / "server.txt").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-c", f"{unhurried}; from sopwith.doors import cli; cli.main()", "serve", "--port", "0"],
        cwd=root,
        env={**os.environ, "HOOK_SECRET": SECRET},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
    )
    while (found := re.search(r"listening http://127.0.0.1:(\d+)", (root / "server.txt").read_text())) is None:
        if server.poll() is not None:
            raise SystemExit((root / "server.txt").read_text())
        time.sleep(0.05)
    first = root / ".pi" / "sops" / "runs" / "first-token"
    return server, int(found[1]), first.read_text().strip() if first.exists() else ""


async def _load(port: int, token: str, *, seconds: int, connections: int, streams: int) -> dict[str, Any]:
    acknowledged: list[float] = []
    refused: list[int] = []
    follows = [asyncio.ensure_future(_follow(port, token)) for _ in range(streams)]
    await asyncio.sleep(1)
    began = time.perf_counter()
    until = began + seconds
    senders = [_send(port, number, until, acknowledged, refused) for number in range(connections)]
    await asyncio.gather(*senders)
    took = time.perf_counter() - began
    open_streams = sum(not follow.done() for follow in follows)
    for follow in follows:
        follow.cancel()
    await asyncio.gather(*follows, return_exceptions=True)
    acknowledged.sort()
    return {
        "acknowledged": len(acknowledged),
        "refused": len(refused),
        "perSecond": round(len(acknowledged) / took),
        "medianMs": round(median(acknowledged) * 1000, 1),
        "p99Ms": round(acknowledged[int(len(acknowledged) * 0.99)] * 1000, 1),
        "streamsOpen": open_streams,
        "ids": len(_IDS),
    }


_IDS: list[str] = []


async def _send(port: int, sender: int, until: float, acknowledged: list[float], refused: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while time.perf_counter() < until:
        number += 1
        name = f"msg_{sender}_{number}"
        began = time.perf_counter()
        writer.write(_request(name))
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
        await reader.readexactly(length)
        if status == 202:
            acknowledged.append(time.perf_counter() - began)
            _IDS.append(name)
        else:
            refused.append(status)
    writer.close()


def _request(name: str) -> bytes:
    body = json.dumps({"name": name, "text": "x" * 200}).encode()
    stamp = str(int(time.time()))  # noqa: TID251 what a sender does
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = base64.b64encode(hmac.digest(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256)).decode()
    return (
        f"POST /hooks/load HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nwebhook-id: {name}\r\n"
        f"webhook-timestamp: {stamp}\r\nwebhook-signature: v1,{signed}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _follow(port: int, token: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /api/v1/inbox/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    while await reader.read(65536):
        pass


def _after(root: Path) -> dict[str, Any]:
    """What the database of a killed server holds, and what another server makes of it."""
    server, _port, _token = _serve(root)
    time.sleep(3)
    server.send_signal(signal.SIGTERM)
    server.wait()
    with apsw.Connection(str(root / ".pi" / "sops" / "runs.db")) as db:
        kept = {row[0] for row in db.execute("select delivery from deliveries")}
        runs = [row[0] for row in db.execute("select run_id from runs")]
    return {
        "lost": sum(name not in kept for name in _IDS),
        "deliveries": len(kept),
        "runsMade": len(runs),
        "runsTwice": len(runs) - len(set(runs)),
    }


if __name__ == "__main__":
    main()
