"""Power cuts: what SQLite wrote and synced is recorded, and the disk is built anew as a cut at any moment may leave it.

All that was synced is there. Of what was written since, any 512-byte sector may be there or not, whatever was written
later; cuts of a file's length and deletions likewise. SQLite syncs the folder when it first syncs a log or journal
that it has made; deletions stay from then on. The database file itself is there before the log.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from sopwith.errors import SopwithError
from sopwith.ports import Batch
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.samples import first_batch, next_batch

SECTOR_BYTES = 512
_CHECKPOINT_PAGES = 8
"""As few as may be, so that the log is copied into the database and begun anew again and again."""


@dataclass(frozen=True)
class Written:
    """One thing that was asked of the disk. `kind`: write, truncate, sync, delete, or sync folder (for no file)."""

    file: str
    kind: str
    offset: int = 0
    data: bytes = b""


@dataclass
class Recording:
    """In order. `acknowledged`: how many operations had been carried out when a batch was told to be stored."""

    operations: list[Written] = field(default_factory=list)
    acknowledged: list[tuple[int, Batch]] = field(default_factory=list)


@contextmanager
def recording() -> Iterator[Recording]:
    """All databases that are opened within are recorded, by the names of their files."""
    made = Recording()
    files = _files(made.operations)
    hook = _often_checkpointed
    apsw.connection_hooks.append(hook)
    try:
        yield made
    finally:
        apsw.connection_hooks.remove(hook)
        files.unregister()


def _often_checkpointed(connection: apsw.Connection) -> None:
    connection.wal_autocheckpoint(_CHECKPOINT_PAGES)


def _files(operations: list[Written]) -> apsw.VFS:
    def note(path: str, kind: str, offset: int = 0, data: bytes = b"") -> None:
        operations.append(Written(Path(path).name, kind, offset, data))

    class File(apsw.VFSFile):
        def __init__(self, name: Any, flags: Any) -> None:
            self._path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
            self._is_new = not Path(self._path).exists()
            super().__init__("unix", name, flags)

        def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
            super().xWrite(data, offset)
            note(self._path, "write", offset, bytes(data))

        def xTruncate(self, size: int) -> None:  # noqa: N802
            super().xTruncate(size)
            note(self._path, "truncate", size)

        def xSync(self, flags: int) -> None:  # noqa: N802
            super().xSync(flags)
            note(self._path, "sync")
            if self._is_new:
                note("", "sync folder")
            self._is_new = False

    class Files(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("recording", "unix", makedefault=True)

        def xOpen(self, name: Any, flags: Any) -> File:  # noqa: N802
            return File(name, flags)

        def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
            super().xDelete(name, sync)
            note(name, "delete")
            if sync:
                note("", "sync folder")

    return Files()


def story(database: Path, made: Recording, *, runs: int = 6, batches: int = 4, seed: int = 1) -> None:
    """Runs are created and carried on, in a store that is closed and opened again on the way."""
    draw = random.Random(seed)
    latest: list[Batch] = []
    for part in range(2):
        with closing(SqliteStore(database)) as store:
            for number in range(runs):
                content = draw.randbytes(draw.choice((9, 9000)))
                batch = first_batch(f"sop_run_{part:06d}{number:06d}", contents=(content,))
                store.create("deploy", lambda _, batch=batch: batch)  # type: ignore[misc]
                made.acknowledged.append((len(made.operations), batch))
                latest.append(batch)
            for _ in range(batches * runs):
                at = draw.randrange(len(latest))
                before = latest[at]
                latest[at] = next_batch(before, count=draw.randint(1, 3))
                store.append(before.summary.run_id, before.summary.seq, latest[at])
                made.acknowledged.append((len(made.operations), latest[at]))


def disk_after(operations: Sequence[Written], keeps: Callable[[], bool]) -> dict[str, bytes]:
    """The files as a power cut after these operations may leave them; `keeps` decides over all that was not synced."""
    synced = {operation.file: at for at, operation in enumerate(operations) if operation.kind == "sync"}
    folder = max((at for at, operation in enumerate(operations) if operation.kind == "sync folder"), default=-1)
    found: dict[str, bytearray] = {}
    for at, operation in enumerate(operations):
        name = operation.file
        is_synced = at < (folder if operation.kind == "delete" else synced.get(name, -1))
        stays = (lambda: True) if is_synced else keeps
        match operation.kind:
            case "write":
                content = found.setdefault(name, bytearray())
                for start in range(0, len(operation.data), SECTOR_BYTES):
                    if stays():
                        _put(content, operation.offset + start, operation.data[start : start + SECTOR_BYTES])
            case "truncate" if name in found and stays():
                del found[name][operation.offset :]
            case "delete" if stays():
                found.pop(name, None)
            case _:
                pass
    return {name: bytes(content) for name, content in found.items()}


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def losses(folder: Path, disk: dict[str, bytes], acknowledged: list[Batch]) -> Iterator[str]:
    """What a store on this disk lacks of what was acknowledged, or holds against its own rules."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in {"runs.db": b"", **disk}.items():
        (folder / name).write_bytes(content)
    try:
        with closing(SqliteStore(folder / "runs.db")) as store:
            yield from store.check()
            for batch in acknowledged:
                stored = store.events(batch.summary.run_id)[batch.events[0].seq - 1 : batch.events[-1].seq]
                if stored != batch.events:
                    yield f"events {batch.events[0].seq} to {batch.events[-1].seq} of {batch.summary.run_id} are gone"
                for content, digest in _contents(batch):
                    if store.content(digest) != content:
                        yield f"a content of {batch.summary.run_id} is gone"
    except SopwithError as error:
        yield f"the store does not open: {error.message}"


def _contents(batch: Batch) -> Iterator[tuple[bytes, str]]:
    from sopwith.core.procedure import sha256

    for content in batch.contents:
        yield content, sha256(content)


def campaign(folder: Path, *, subsets: int = 2, seed: int = 1, every: int = 1) -> dict[str, Any]:
    """A cut after each operation; at each, nothing unsynced, all of it, and so many random parts of it."""
    with recording() as made:
        story(folder / "live" / "runs.db", made, seed=seed)
    draw = random.Random(seed)
    parts: list[Callable[[], bool]] = [lambda: False, lambda: True, *[lambda: draw.random() < 0.5] * subsets]
    breaches: dict[str, list[str]] = {}
    disks = 0
    for cut in range(0, len(made.operations) + 1, every):
        acknowledged = [batch for at, batch in made.acknowledged if at <= cut]
        for number, keeps in enumerate(parts):
            disks += 1
            disk = disk_after(made.operations[:cut], keeps)
            if found := list(losses(folder / "after", disk, acknowledged)):
                breaches[f"cut {cut}, disk {number}"] = found
    syncs = sum(operation.kind == "sync" for operation in made.operations)
    return {
        "operations": len(made.operations),
        "syncs": syncs,
        "acknowledged": len(made.acknowledged),
        "disks": disks,
        "survived": disks - len(breaches),
        "breaches": breaches,
    }
