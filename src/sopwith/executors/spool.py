"""The raw output of a step: read once from the start, in chunks, into what the record keeps; then made into the log.

Memory stays the same whatever the step prints: a chunk, a head, a tail and a hash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

CHUNK = 256 * 1024
HEAD_BYTES = 4 * 1024
TAIL_BYTES = 12 * 1024
LOG_HALF_BYTES = 32 * 1024 * 1024
"""A log holds up to two of these, the beginning and the end of the output."""


class Excerpt:
    """Head, tail, length and SHA-256 of a stream of bytes."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.taken_bytes = 0
        """How much of the raw output it stands for: more than it holds, or less, where secrets are masked."""
        self._head = bytearray()
        self._tail = bytearray()
        self._hash = hashlib.sha256()
        self._whole_sha256 = ""

    def feed(self, chunk: bytes, *, taken: int | None = None) -> None:
        self.size_bytes += len(chunk)
        self.taken_bytes += len(chunk) if taken is None else taken
        self._hash.update(chunk)
        rest = memoryview(chunk)
        if (room := HEAD_BYTES - len(self._head)) > 0:
            self._head += rest[:room]
            rest = rest[room:]
        self._tail += rest[-TAIL_BYTES:]
        del self._tail[:-TAIL_BYTES]

    @property
    def sha256(self) -> str:
        return self._whole_sha256 or self._hash.hexdigest()

    def stand_for(self, size_bytes: int, sha256: str, taken_bytes: int) -> None:
        """What was fed were only the two ends of an output of this length and hash, or what is left of it masked."""
        self.size_bytes, self._whole_sha256, self.taken_bytes = size_bytes, sha256, taken_bytes

    def text(self) -> str:
        """The output, or its two ends with a line between that tells how much is left out.

        Bytes that are no UTF-8, and NUL, which no store takes, become U+FFFD.
        """
        if self.size_bytes <= HEAD_BYTES + TAIL_BYTES:
            return _decode(bytes(self._head + self._tail))
        head, tail = _without_torn_end(bytes(self._head)), _without_torn_start(bytes(self._tail))
        left_out = self.size_bytes - len(head) - len(tail)
        return f"{_decode(head)}\n… {left_out} bytes left out, see the log …\n{_decode(tail)}"


class SpoolReader:
    """Reads a spool that still grows."""

    _piece = CHUNK

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self.excerpt = Excerpt()
        self.trouble = ""
        """Why what it read could not be written down as well, where it does that."""

    def read(self) -> bytes | None:
        """What may be shown of the next piece, perhaps nothing; None when there is no more now."""
        if self._file < 0:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        if not (chunk := os.read(self._file, self._piece)):
            return None
        shown = self._may_be_shown(chunk)
        self.excerpt.feed(shown, taken=len(chunk))
        return shown

    def end(self) -> bytes:
        """What was held back, when nothing more comes."""
        return b""

    def _may_be_shown(self, chunk: bytes) -> bytes:
        return chunk

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()


class Log:
    """`output.log` of an attempt, and beside it, when it is cut, what the whole output was."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "output.log"
        self._whole = folder / "output.whole"

    def keep(self, spool: Path, excerpt: Excerpt) -> None:
        """Turns the spool, or what was masked of it, into the log; can be killed at any point and called again."""
        if not spool.exists():
            return
        if excerpt.taken_bytes != excerpt.size_bytes:
            self._tell_whole(excerpt)
        if not is_whole(excerpt):
            try:
                self._keep_ends(spool, excerpt)
            except OSError:  # most likely a full disk: the log is longer than it should be, and nothing is lost
                spool.replace(self.path)
            return
        spool.replace(self.path)

    def _keep_ends(self, spool: Path, excerpt: Excerpt) -> None:
        self._tell_whole(excerpt)
        draft = self.path.with_name("output.log.draft")
        _copy_ends(spool, draft, excerpt.size_bytes)
        draft.replace(self.path)
        spool.unlink()

    def _tell_whole(self, excerpt: Excerpt) -> None:
        told = f"{excerpt.size_bytes} {excerpt.sha256}"
        if excerpt.taken_bytes != excerpt.size_bytes:
            told += f" {excerpt.taken_bytes}"
        replace(self._whole, f"{told}\n".encode())

    def whole(self) -> tuple[int, str, int] | None:
        """Length and SHA-256 of an output of which the log holds only the ends, and how long it was unmasked."""
        try:
            size, digest, *taken = self._whole.read_text().split()
            return int(size), digest, int(taken[0]) if taken else int(size)
        except (FileNotFoundError, ValueError):
            return None


def is_whole(excerpt: Excerpt) -> bool:
    """Whether all of the output is kept, so that the spool is the log under another name."""
    return excerpt.size_bytes <= 2 * LOG_HALF_BYTES


def _copy_ends(spool: Path, draft: Path, size: int) -> None:
    with spool.open("rb") as source, open(draft, "wb", opener=private) as target:
        for chunk in _chunks(source.fileno(), 0, LOG_HALF_BYTES):
            target.write(chunk)
        target.write(f"\n… {size - 2 * LOG_HALF_BYTES} bytes left out …\n".encode())
        for chunk in _chunks(source.fileno(), size - LOG_HALF_BYTES, LOG_HALF_BYTES):
            target.write(chunk)


def _chunks(file: int, offset: int, length: int) -> Iterator[bytes]:
    end = offset + length
    while offset < end and (chunk := os.pread(file, min(CHUNK, end - offset), offset)):
        yield chunk
        offset += len(chunk)


def replace(path: Path, data: bytes) -> None:
    """Writes the file for its owner alone; whoever looks finds the old one or the new one."""
    draft = path.with_name(path.name + ".draft")
    with open(draft, "wb", opener=private) as file:
        file.write(data)
    draft.replace(path)


def private(name: str, flags: int) -> int:
    """An opener of files that only this user may read."""
    return os.open(name, flags, 0o600)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")


def _without_torn_end(data: bytes) -> bytes:
    """Without the beginning of a character whose rest was cut off."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return data[:-back] if needed > back else data
    return data


def _without_torn_start(data: bytes) -> bytes:
    """Without the rest of a character whose beginning was cut off."""
    skip = 0
    while skip < 3 and skip < len(data) and data[skip] & 0xC0 == 0x80:
        skip += 1
    return data[skip:]
