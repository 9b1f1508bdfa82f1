"""Reads the logs of a run's steps piece by piece, while they are written and after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sopwith.core.address import StepId
from sopwith.engine.documents import addressed
from sopwith.engine.outputs import output_of, size_of, verifications_of
from sopwith.engine.reading import Reader

_CHUNK = 256 * 1024


class Piece(NamedTuple):
    """What a step printed, or, with `verifies`, what verified whether it had done its work."""

    step: StepId
    verifies: bool
    data: bytes


class LogReader:
    """Remembers how far each step's log was read. A running attempt has a spool, an ended one a log."""

    def __init__(self, reader: Reader, run_id: str, step: StepId | None) -> None:
        self._reader = reader
        self._run_id = run_id
        self._step = step
        self._read: dict[Path, int] = {}
        reader.log_files(run_id, step)  # raises NotFound before anything is printed

    def more(self) -> Iterator[tuple[StepId, bytes]]:
        """Step number and what was added since the last call, in the order of the steps, in bounded pieces."""
        for number, folder in self._reader.log_files(self._run_id, self._step):
            for chunk in self._rest(folder):
                yield number, chunk

    def pieces(self) -> Iterator[Piece]:
        """The same, and after each step's own what its verifications printed."""
        for number, folder in self._reader.log_files(self._run_id, self._step):
            for each in (folder, *verifications_of(folder)):
                for chunk in self._rest(each):
                    yield Piece(number, each is not folder, chunk)

    def skip_ended(self) -> None:
        """Counts the logs of attempts that have ended as read."""
        for _number, folder in self._reader.log_files(self._run_id, self._step):
            log = folder / "output.log"
            if log.exists():
                self._read[folder] = log.stat().st_size

    def lengths(self) -> dict[StepId, int]:
        """How much of the latest attempt of each step was read, in bytes."""
        files = self._reader.log_files(self._run_id, self._step)
        return {number: self._read[folder] for number, folder in files if folder in self._read}

    def documents(self) -> list[dict[str, Any]]:
        """Where each log lies and how long it is."""
        found = []
        for number, folder in self._reader.log_files(self._run_id, self._step):
            found.append({**addressed(number), **_place(folder)})
            found += [{**addressed(number), **_place(each), "verification": True} for each in verifications_of(folder)]
        return found

    def _rest(self, folder: Path) -> Iterator[bytes]:
        path = output_of(folder)
        if path is None:
            return
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return  # the attempt ended between two looks; its log is there at the next one
        with file:
            file.seek(self._read.get(folder, 0))
            while chunk := file.read(_CHUNK):
                self._read[folder] = file.tell()
                yield chunk


def _place(folder: Path) -> dict[str, Any]:
    path = output_of(folder)
    return {"path": str(path) if path else None, "sizeBytes": size_of(path)}
