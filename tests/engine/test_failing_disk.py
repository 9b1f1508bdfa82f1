"""A server whose disk fails for a while: it waits, and goes on by itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import apsw
from tests.contract.faulty_disk import Fault, failing, faulty_disk

from sopwith.assembly import open_engine
from sopwith.engine.engine import RunRequest
from sopwith.engine.ticker import serve
from sopwith.ports import Workspace

from .bench import ANN

EIO_SYNC = failing(apsw.SQLITE_IOERR_FSYNC)


class Witness:
    """Counts the troubles it is told of."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.told = asyncio.Event()
        self.ended = asyncio.Event()

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        self.troubles.append(str(error))
        self.told.set()

    def on_event(self, event: Any, run: Any) -> None:
        if run.ended is not None:
            self.ended.set()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_a_server_goes_on_when_the_disk_keeps_what_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / ".pi" / "sops" / "deploy"
    folder.mkdir(parents=True)
    steps = [{"number": 1, "title": "One", "run": f'echo x >> "{tmp_path}/ran"'}]
    manifest = {"name": "deploy", "description": "d", "version": "1.0.0", "executionMode": "auto", "steps": steps}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with faulty_disk() as disk:
        engine = open_engine(Workspace(tmp_path))
        run_id = engine.create_run(RunRequest(name="deploy"), actor=ANN).run_id
        disk.fault = Fault("sync", disk.counts["sync"] + 1, EIO_SYNC, lasting=True)

        async def serving() -> Witness:
            witness, stop = Witness(), asyncio.Event()
            server = asyncio.ensure_future(serve(engine.parts, witness, stop=stop))
            await asyncio.wait_for(witness.told.wait(), 30)
            assert not (tmp_path / "ran").exists(), "an intent that was not kept starts nothing"
            disk.heal()
            await asyncio.wait_for(witness.ended.wait(), 30)
            stop.set()
            await server
            return witness

        witness = asyncio.run(serving())
        assert engine.runs.load(run_id).run.ended == "completed"
        assert (tmp_path / "ran").read_text() == "x\n"
        assert any("failed" in words for words in witness.troubles)
        engine.parts.store.close()
