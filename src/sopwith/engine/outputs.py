"""Where the output of an attempt lies: its log, or, while it runs, its spool. Masked, where it was given secrets."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path

import msgspec

from sopwith.core.address import StepId
from sopwith.engine.documents import Document, addressed

_LOG = "output.log"


class Output(msgspec.Struct, frozen=True):
    """What one attempt printed, or what verified it."""

    step: StepId
    verifies: bool
    path: Path | None
    """None: there is none yet."""

    @property
    def addressed(self) -> Document:
        return addressed(self.step)

    @property
    def size_bytes(self) -> int:
        return size_of(self.path)


def size_of(path: Path | None) -> int:
    """The length of an output that was found there, 0 where there is none."""
    for place in _places(path):
        with suppress(FileNotFoundError):
            return place.stat().st_size
    return 0


def _places(path: Path | None) -> tuple[Path, ...]:
    """Where an output lies that was found there: an attempt that has ended since has turned it into its log."""
    if path is None:
        return ()
    return (path,) if path.name == _LOG else (path, path.parent.parent / _LOG)


def output_of(attempt: Path) -> Path | None:
    """The file with the output of the attempt in this folder."""
    log = attempt / _LOG
    if log.exists():
        return log
    # of a step that was given secrets only what has been masked; it may outlive the spool where no log could be made
    launches = {path.parent for name in ("spool", "masked") for path in attempt.glob(f"*/{name}")}
    numbered = (launch for launch in launches if launch.name.isdecimal())
    latest = max(numbered, key=lambda launch: int(launch.name), default=None)
    if latest is None:
        return None
    return latest / ("masked" if (latest / "given").exists() else "spool")


def verifications_of(attempt: Path) -> list[Path]:
    """The folders of what verified the attempt after an interruption, in order."""
    found = (each for each in attempt.glob("verify*") if output_of(each) is not None)
    return sorted(found, key=lambda folder: (len(folder.name), folder.name))


def open_output(path: Path, within: Path) -> FileIO | None:
    """The file for reading, if it is one and lies in the folder: a step may have put a link in its place."""
    opened = (_opened(place, within) for place in _places(path))
    return next((file for file in opened if file is not None), None)


def _opened(path: Path, within: Path) -> FileIO | None:
    try:
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(within)):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return FileIO(descriptor)
