"""Whether anything costs more the more of it there is: steps, events of one run, Markdown, events of a log.

Processor time, so that disks and neighbours count little; each figure is per one, and should stay the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import planning
from benchmarks.workspace import make_workspace, without_processes
from sopwith.assembly import open_keeper
from sopwith.core.codec import decode_event
from sopwith.core.evolve import replay
from sopwith.core.items import MAX_ITEMS
from sopwith.core.procedure import decode_procedure
from sopwith.doors.python.workspace import Workspace
from sopwith.parse.parsed import SourceFile
from sopwith.parse.procedure import parse_procedure
from sopwith.ports import Workspace as Folders
from sopwith.stores.sqlite import SqliteStore

_STEPS = (10, 100, 1000)
_EVENTS = (10, 100, 1000, 10_000)
_MARKDOWN_KB = (16, 128, 1024)
_STEP = "### Step {number}: Work\n\n{prose}\n\n```bash\necho {number}\n```\n\n"
_PROSE = "What is to be done, and why.\n"
_STEP_BYTES = 2200
"""Each step says so much: a file of 1 MiB, the largest that is read, has nearly as many steps as a file may."""


def measure(folder: Path, *, rounds: int = 3, most_events: int = _EVENTS[-1]) -> dict[str, Any]:
    """Milliseconds or microseconds per step, per event and per KB at each size."""
    events = [size for size in _EVENTS if size <= most_events]
    make_workspace(folder, {f"steps-{size}": ["true"] * size for size in _STEPS})
    for size in events:
        _make_of_items(folder, f"events-{size}", size // 2)
    with Workspace(folder) as workspace:
        without_processes(workspace)
        workspace.create_run(f"steps-{_STEPS[0]}")
        taken = {}
        for size in _STEPS:
            begun = time.process_time()
            workspace.create_run(f"steps-{size}")
            taken[size] = (time.process_time() - begun) * 1000 / size
        run_ids = {size: workspace.create_run(f"events-{size}").run_id for size in events}
    return {
        "planning, ms per step": planning.measure(rounds=rounds)["line"],
        "a whole run, ms per step": {f"{size} steps": round(taken[size], 3) for size in _STEPS},
        "replay, µs per event": {f"{size} events": _replayed(folder, run_ids[size], rounds) for size in events},
        "parsing, ms per KB": {f"{size} KB": _parsed(size, rounds) for size in _MARKDOWN_KB},
        "verification, µs per event": _verified(folder, rounds),
    }


def _make_of_items(folder: Path, name: str, items: int) -> None:
    """A procedure whose run has two events for each item, in as few steps as there may be."""
    home = folder / ".pi" / "sops" / name
    home.mkdir()
    counts = [min(MAX_ITEMS, items - before) for before in range(0, items, MAX_ITEMS)]
    steps = [
        {"number": number, "title": "Work", "run": "true", "forEach": list(range(count))}
        for number, count in enumerate(counts, 1)
    ]
    (home / "manifest.json").write_text(json.dumps({"name": name, "executionMode": "auto", "steps": steps}))


def _replayed(folder: Path, run_id: str, rounds: int) -> float:
    with closing(SqliteStore(Folders(folder).database)) as store:
        sealed = store.events(run_id)
        first = decode_event(sealed[0].payload)
        data = store.content(first.body.procedure_digest)  # type: ignore[union-attr]
    assert data is not None
    procedure = decode_procedure(data)
    best = _best(lambda: replay(procedure, [decode_event(each.payload) for each in sealed]), rounds)
    return round(best / len(sealed) * 1e6, 1)


def _parsed(size_kb: int, rounds: int) -> float:
    steps = size_kb * 1024 // _STEP_BYTES
    prose = _PROSE * ((_STEP_BYTES - len(_STEP)) // len(_PROSE))
    body = "".join(_STEP.format(number=number, prose=prose) for number in range(1, steps + 1))
    text = f"# Long\n\n**Execution Mode**: auto\n\n## Steps\n\n{body}"
    source = SourceFile("SOP.md", text.encode())
    assert parse_procedure("long", sop_md=source, manifest=None).procedure is not None
    best = _best(lambda: parse_procedure("long", sop_md=source, manifest=None), rounds)
    return round(best / (len(text) / 1024) * 1000, 3)


def _verified(folder: Path, rounds: int) -> float:
    with open_keeper(Folders(folder)) as keeper:
        report = keeper.verify().report
        assert report.first_bad is None, report
        with closing(SqliteStore(Folders(folder).database)) as store:
            count = store.log.end().high_water
        return round(_best(keeper.verify, rounds) / count * 1e6, 1)


def _best(action: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        action()
        taken.append(time.process_time() - begun)
    return min(taken)
