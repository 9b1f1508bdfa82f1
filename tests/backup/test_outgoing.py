"""What is sent elsewhere is whole, or is not sent."""

from __future__ import annotations

import io
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sopwith.backup import outgoing
from sopwith.backup.archive import unpack
from sopwith.backup.outgoing import backup_for

from .test_backup import ANN, Place


class Stingy(io.FileIO):
    """A disk that is nearly full, or a signal: the kernel may take a part of what it is given, and says how much."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        return super().write(view[: max(1, len(view) * 2 // 3)])


def stingy_file(*, dir: Path, buffering: int = -1) -> Any:
    descriptor, path = tempfile.mkstemp(dir=dir)
    Path(path).unlink()
    raw = Stingy(descriptor, "r+")
    return raw if buffering == 0 else io.BufferedRandom(raw)


def test_what_the_disk_takes_in_parts_is_sent_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    place.procedure("quick", {})
    place.drive(place.create("quick"))
    monkeypatch.setattr(outgoing, "TemporaryFile", stingy_file)
    sent = backup_for(place.engine, ANN)
    with sent.file as file:
        file.seek(0)
        data = file.read()
    assert (sent.size_bytes, sent.sha256) == (len(data), sha256(data).hexdigest())
    place.file.write_bytes(data)
    (tmp_path / "unpacked").mkdir()
    assert "runs.db" in unpack(place.file, tmp_path / "unpacked").files
