"""Files that show what the store holds: `<run id>.audit.jsonl` and `<run id>.json`. The store is the truth.

Nothing here is synced to disk, and nothing here can fail a run: a view that lags behind, or was torn by a crash, is
written anew from the store as soon as it is noticed, at the latest by `sop doctor`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sopwith.core.codec import view_line
from sopwith.errors import StoreError, UnreadableRecord, WorkspaceError

if TYPE_CHECKING:
    from sopwith.ports import Batch, Store

_FIRST_REACH_BYTES = 4096


class FileViews:
    """Views in `folder`, which is made at first need. All writers of one folder take turns by a lock on it."""

    def __init__(self, folder: Path, store: Store, *, patience_secs: float = 2.0) -> None:
        self._folder = folder
        self._store = store
        self._patience_secs = patience_secs

    def written(self, batch: Batch, run_json: Callable[[], bytes] | None) -> None:
        """As the port says; without `run_json` only the event log is brought up to date."""
        # what fails here is for the next writer or `sop doctor` to make good
        with suppress(OSError, StoreError), self._turn():
            overtaken = self._extend_log(batch)
            # whoever wrote later events also writes, or will write, a later state
            if run_json is not None and not overtaken:
                _replace(self._state_path(batch.summary.run_id), run_json())

    def rebuild(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        """Writes both files of a run anew where they differ; True if one did. Raises WorkspaceError.

        Nobody else writes while `run_json` is asked. Where it gives None, the state file is left alone. A run whose
        record retention has dropped has no files: what is left of them goes.
        """
        try:
            with self._turn():
                if self._is_dropped(run_id):
                    return _remove(self._log_path(run_id), self._state_path(run_id))
                differing = self._differing(run_id, run_json)
                for path, content in differing.items():
                    _replace(path, content)
        except OSError as error:
            raise WorkspaceError(
                f"cannot write the files of {run_id} in {self._folder}: {error.strerror}",
                hint="look at the folder, its permissions and the disk, then run sop doctor again",
            ) from error
        return bool(differing)

    def outdated(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        """As the port says. Raises WorkspaceError."""
        try:
            with self._turn():
                if self._is_dropped(run_id):
                    return any(Path(path).exists() for path in (self._log_path(run_id), self._state_path(run_id)))
                return bool(self._differing(run_id, run_json))
        except OSError as error:
            raise WorkspaceError.from_os("read the files of the runs in", self._folder, error) from error

    def _differing(self, run_id: str, run_json: Callable[[], bytes | None]) -> dict[str, bytes]:
        """What the run's files should hold, of those that hold something else."""
        # the state first: a log that is ahead of it keeps older states away
        state = run_json()
        true = {self._log_path(run_id): self._log(run_id)}
        if state is not None:
            true[self._state_path(run_id)] = state
        return {path: content for path, content in true.items() if _content(path) != content}

    def _extend_log(self, batch: Batch) -> bool:
        """Brings the log up to this batch; True if it already was past it."""
        run_id = batch.summary.run_id
        path = self._log_path(run_id)
        first, last = batch.events[0].seq, batch.events[-1].seq
        fd = _opened_to_extend(path, anew=first == 1)
        if fd is not None:
            try:
                shown = _last_seq(fd)
                if shown is not None and shown >= last:
                    return shown > last
                if shown == first - 1:
                    # whole lines in one write, so that a reader sees none of them torn
                    _write(fd, b"".join(map(view_line, batch.events)))
                    return False
            finally:
                os.close(fd)
        _replace(path, self._log(run_id))
        return False

    def _log(self, run_id: str) -> bytes:
        events = self._store.events(run_id)
        if not all(event.payload for event in events):
            raise UnreadableRecord(f"cannot show the record of {run_id}: its content is gone", hint="see: sop doctor")
        return b"".join(map(view_line, events))

    def _is_dropped(self, run_id: str) -> bool:
        events = self._store.events(run_id)
        return bool(events) and not any(event.payload for event in events)

    def _log_path(self, run_id: str) -> str:
        return f"{self._folder}/{run_id}.audit.jsonl"

    def _state_path(self, run_id: str) -> str:
        return f"{self._folder}/{run_id}.json"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Closing the folder frees the lock, and so does the kernel when this process dies.

        A writer that keeps it (stopped by SIGSTOP, say) holds up the others for their patience, and not for ever.
        """
        from sopwith.turns import Patience, take_turn  # whoever only looks takes none

        fd = self._opened()
        try:
            take_turn(fd, Patience(self._patience_secs))
            yield
        finally:
            os.close(fd)

    def _opened(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            return os.open(self._folder, flags)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._folder, flags)


def _opened_to_extend(path: str, *, anew: bool) -> int | None:
    """The log, to read it and to add to it; None where there is none, and none is to be begun."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_CREAT if anew else flags, 0o600)
    except FileNotFoundError:
        return None


def _last_seq(fd: int) -> int | None:
    """The seq of the last line: 0 without any, None if the line is torn or no event."""
    line = _last_line(fd)
    if not line:
        return 0
    if not line.endswith(b"\n"):
        return None
    try:
        return _NUMBERED.decode(line).seq
    except msgspec.MsgspecError:
        return None


class _Numbered(msgspec.Struct):
    seq: int


_NUMBERED = msgspec.json.Decoder(_Numbered)


def _last_line(fd: int) -> bytes:
    """With its newline, if it has one; empty if the file is empty."""
    size = os.fstat(fd).st_size
    reach = _FIRST_REACH_BYTES
    while size:
        start = max(0, size - reach)
        tail = os.pread(fd, size - start, start)
        before = tail.rfind(b"\n", 0, -1)
        if before >= 0 or start == 0:
            return tail[before + 1 :]
        reach *= 8
    return b""


def _replace(path: str, content: bytes) -> None:
    """A reader sees the old file or the new one, never a part. A left-over of a crash is written over."""
    folder, _, name = path.rpartition("/")
    draft = f"{folder}/.{name}.draft"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _write(fd, content)
    finally:
        os.close(fd)
    os.replace(draft, path)  # noqa: PTH105 - each commit comes by here: no Path for each name


def _remove(*paths: str) -> bool:
    """Whether one of them was there."""
    there = [path for path in map(Path, paths) if path.exists()]
    for path in there:
        path.unlink()
    return bool(there)


def _write(fd: int, content: bytes) -> None:
    """A write cut short (a full disk) is an error, which the next one repeats with its reason."""
    written = os.write(fd, content)
    while written < len(content):
        written += os.write(fd, content[written:])


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
