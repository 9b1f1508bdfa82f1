"""A workspace of very many procedures, some of them broken in every way, read over and over while somebody changes it.

Meanwhile folders are taken out and swapped, files are written in two halves, and the registry is torn and mended. No
look may fail; each procedure that nobody touches must be found and ready to run in every one; and what is broken must
be told with its reason.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sopwith.engine.library import Library
from sopwith.ports import Workspace

BROKEN_EVERY = 97
"""One procedure in so many is broken, in one way after the other."""
RESTLESS = 20
"""So many are changed all the time."""
_GOOD = {"description": "d", "version": "1.0.0", "steps": [{"number": 1, "title": "A", "run": "true"}]}


def _no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{no json")


def _half(folder: Path) -> None:
    data = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(data[: len(data) // 2])


def _empty(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"")


def _no_text(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")


def _unknown_key(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({**_GOOD, "name": folder.name, "stepz": []}))


def _leads_outside(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to("/etc/hostname")


def _is_a_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def _is_a_pipe(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def _is_gone(folder: Path) -> None:
    (folder / "manifest.json").unlink()


WAYS: tuple[Callable[[Path], None], ...] = (
    *(_no_json, _half, _empty, _no_text, _unknown_key, _leads_outside, _is_a_folder, _is_a_pipe, _is_gone),
)


def campaign(folder: Path, *, procedures: int, looks: int, seed: int) -> dict[str, Any]:
    """The whole of it; `breaches` says what did not hold."""
    workspace = Workspace(folder.resolve())
    names = [f"p{number:05}" for number in range(procedures)]
    restless = set(names[1 :: max(1, procedures // RESTLESS)][:RESTLESS])
    broken = {name for name in names[BROKEN_EVERY - 1 :: BROKEN_EVERY] if name not in restless}
    index = _make(workspace, names, broken)
    library, breaches = Library(workspace), list[str]()
    cpu_secs = list[float]()
    with _changing(workspace, sorted(restless), index, random.Random(seed)) as changes:
        for _ in range(looks):
            began = time.thread_time()
            breaches += _look(library, set(names) - restless - broken, broken)
            cpu_secs.append(time.thread_time() - began)
    return {
        "procedures": procedures,
        "broken": len(broken),
        "looks": looks,
        "changesMeanwhile": len(changes),
        "cpuSecsOfALook": round(sorted(cpu_secs)[looks // 2], 2),
        "breaches": sorted(set(breaches))[:100],
    }


def _make(workspace: Workspace, names: list[str], broken: set[str]) -> bytes:
    """What the registry says, in which every second one stands, and all that are broken."""
    ways = 0
    for name in names:
        folder = workspace.sops / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({**_GOOD, "name": name}))
        if name in broken:
            WAYS[ways % len(WAYS)](folder)
            ways += 1
    registered = [name for number, name in enumerate(names) if number % 2 == 0 or name in broken]
    index = json.dumps({name: f"{name}/manifest.json" for name in registered}).encode()
    workspace.index.write_bytes(index)
    return index


def _look(library: Library, good: set[str], broken: set[str]) -> Iterator[str]:
    """Reads everything, as `sop validate` does; what does not hold."""
    try:
        entries, _problems = library.entries()
        known = {entry.name: library.looked_at(entry) for entry in entries}
    except Exception as error:
        yield f"a look failed: {type(error).__name__}: {error}"
        return
    yield from (f"{name} was not found" for name in good - known.keys())
    yield from (f"{name} was not ready" for name in good & known.keys() if known[name].procedure is None)
    for name in broken:
        if name in known and known[name].procedure is not None:
            yield f"{name} is broken, and was taken for whole"
        elif name in known and not known[name].problems:
            yield f"{name} is broken, and nothing says why"


@contextmanager
def _changing(workspace: Workspace, restless: list[str], index: bytes, chance: random.Random) -> Iterator[list[str]]:
    """Somebody changes what is restless, and the registry, until the end; yields what was done so far."""
    over, done = threading.Event(), list[str]()
    changing = threading.Thread(target=lambda: _change(workspace, restless, index, chance, over, done))
    changing.start()
    try:
        yield done
    finally:
        over.set()
        changing.join()


def _change(
    workspace: Workspace,
    restless: list[str],
    index: bytes,
    chance: random.Random,
    over: threading.Event,
    done: list[str],
) -> None:
    away = workspace.sops / ".away"
    while not over.is_set():
        name = chance.choice(restless)
        folder, other = workspace.sops / name, workspace.sops / chance.choice(restless)
        what = chance.choice(["rename", "swap", "halves", "registry"])
        if what == "rename" or other == folder:
            folder.rename(away)
            away.rename(folder)
        elif what == "swap":
            folder.rename(away)
            other.rename(folder)
            away.rename(other)
        elif what == "halves":
            _in_halves(folder / "manifest.json", json.dumps({**_GOOD, "name": name}).encode())
        else:
            _in_halves(workspace.index, index)
        done.append(what)


def _in_halves(path: Path, data: bytes) -> None:
    """As an editor writes that takes its time."""
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(0.002)
        file.write(data[len(data) // 2 :])
