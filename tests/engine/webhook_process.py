"""A server that receives webhooks for its parent, as fast as it can; prints each run id that it has acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sopwith.assembly import open_triggering
from sopwith.engine.hooks import Hook
from sopwith.ports import Workspace

from .triggers import SECRET, Heard


async def _receive(root: Path, *, at_once: int, from_number: int) -> None:
    with open_triggering(Workspace(root), Heard()) as triggering:
        await triggering.begin()
        serving = asyncio.ensure_future(triggering.serve())

        async def send(number: int) -> None:
            while True:
                headers = (("X-Sopwith-Token", SECRET), ("Idempotency-Key", str(number)))
                answer = await triggering.receive(Hook(path="/deploy", headers=headers, body=b"x"))
                print(number, answer.document["runId"], flush=True)  # noqa: T201
                number += at_once

        await asyncio.gather(serving, *(send(from_number + each) for each in range(at_once)))


if __name__ == "__main__":
    asyncio.run(_receive(Path(sys.argv[1]), at_once=8, from_number=int(sys.argv[2])))
