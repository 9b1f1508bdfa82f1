"""The bytes of one file as text, or the reason why they are none: too big, not UTF-8, a NUL byte.

Everything after this file sees LF line ends and no byte order mark.
"""

from __future__ import annotations

from sopwith.parse.findings import Findings, Place
from sopwith.parse.parsed import SourceFile

__all__ = ["MAX_BYTES", "SourceFile", "read_text"]

MAX_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


def read_text(source: SourceFile, findings: Findings) -> str | None:
    """The text with LF line ends, always ending in one; None, and an error in `findings`, if it cannot be read."""
    if len(source.data) > MAX_BYTES:
        findings.error(
            "file_too_big",
            f"expected {MAX_BYTES} bytes at most, got {len(source.data)}",
            at=Place(file=source.path),
            hint="move long prose or scripts into files of their own",
        )
        return None
    data = source.data.removeprefix(_BOM)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = _place_of_byte(source.path, data, error.start)
        findings.error(
            "not_utf8", f"expected UTF-8 text, got the byte 0x{data[error.start]:02x}", at=at, hint="save it as UTF-8"
        )
        return None
    if "\0" in text:
        findings.error(
            "nul_byte",
            "expected text, got a NUL byte",
            at=_place_of_byte(source.path, data, data.index(0)),
            hint="save it as plain UTF-8 text, not UTF-16",
        )
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def _place_of_byte(file: str, data: bytes, offset: int) -> Place:
    before = data[:offset].decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return Place(file=file, line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))
