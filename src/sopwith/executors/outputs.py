"""Reads what a step wrote to `$SOP_OUTPUT`: one value a line, or several lines between two marks.

    url=https://example.org          text, or the type the step declares for `url`
    replicas:=3                      JSON
    notes<<END                       several lines, up to a line `END`
    ...
    END

The whole is 64 KiB at most, because later steps get the values as environment variables. Blank lines and lines that
start with `#` are skipped. A line that cannot be read, or a value that is not of its
declared type, fails the step: whoever depends on the value must not go on without it. A key given twice keeps the
last value, with a warning. Problems name the line and never show its text, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from sopwith.core.procedure import MAX_INTEGER

MAX_FILE_BYTES = 64 * 1024
MAX_DEPTH = 32
_ENTRY = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,63})(:=|<<|=)(.*)", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,16}")


class Values(msgspec.Struct, frozen=True):
    """The outputs of a step. `problem` is empty when all of the file could be read."""

    outputs: dict[str, Any]
    warnings: tuple[str, ...] = ()
    problem: str = ""


class _Unreadable(Exception):
    """What is wrong, and at which line if not the one that is being read."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.line = line


class _Entry(msgspec.Struct, frozen=True):
    line: int
    key: str
    is_json: bool
    raw: str


def read_values(data: bytes, types: Mapping[str, str]) -> Values:
    """The values in the file's bytes, as the declared types say (name -> string|integer|number|boolean|json)."""
    outputs: dict[str, Any] = {}
    warnings: list[str] = []
    line = 0
    try:
        for entry in _entries(_text(data)):
            line = entry.line
            if entry.key in outputs:
                warnings.append(
                    f"output {entry.key!r} is given again at line {line} of $SOP_OUTPUT: the last one counts"
                )
            if any(key != entry.key and key.upper() == entry.key.upper() for key in outputs):
                raise _Unreadable(f"expected another name, got {entry.key!r}: later steps could not tell the two apart")
            outputs[entry.key] = _value(entry, types.get(entry.key))
    except _Unreadable as error:
        line = error.line or line
        place = f"line {line} of $SOP_OUTPUT" if line else "$SOP_OUTPUT"
        return Values(outputs, tuple(warnings), f"cannot read {place}: {error}")
    return Values(outputs, tuple(warnings))


def _text(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise _Unreadable(f"expected {MAX_FILE_BYTES} bytes at most, got more")
    if (at := data.find(b"\0")) >= 0:
        raise _Unreadable("expected text, got a NUL byte", _line_of(data, at))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _Unreadable("expected UTF-8, got other bytes", _line_of(data, error.start)) from None


def _line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _entries(text: str) -> Iterator[_Entry]:
    lines = enumerate(text.split("\n"), start=1)
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        match = _ENTRY.fullmatch(line)
        if match is None:
            raise _Unreadable("expected key=value, key:=json or key<<END, with a key of A-Z a-z 0-9 _", number)
        key, operator, raw = match.groups()
        yield _Entry(number, key, operator == ":=", _until(raw, number, lines) if operator == "<<" else raw)


def _until(mark: str, number: int, lines: Iterator[tuple[int, str]]) -> str:
    if not mark:
        raise _Unreadable("expected a word after <<, got none", number)
    taken: list[str] = []
    for _, line in lines:
        if line == mark:
            return "\n".join(taken)
        taken.append(line)
    raise _Unreadable(f"expected a line {mark[:64]} that ends it, got the end of the file", number)


def _value(entry: _Entry, declared: str | None) -> Any:
    if not entry.is_json:
        return _FROM_TEXT[declared or "string"](entry.raw)
    value = _json(entry.raw)
    if declared is not None and not _fits(value, declared):
        raise _Unreadable(f"expected {_article(declared)} for {entry.key!r}, as the step declares, got another type")
    return value


def _fits(value: Any, declared: str) -> bool:
    if declared == "json":
        return True
    if isinstance(value, bool):
        return declared == "boolean"
    kinds: Mapping[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
    return isinstance(value, kinds.get(declared, ()))


def _integer(raw: str) -> int:
    if not _INTEGER.fullmatch(raw.strip()) or abs(int(raw)) > MAX_INTEGER:
        raise _Unreadable("expected an integer below 2**53, got something else")
    return int(raw)


def _number(raw: str) -> Any:
    value = _json(raw)
    if not _fits(value, "number"):
        raise _Unreadable("expected a number, got something else")
    return value


def _boolean(raw: str) -> bool:
    if raw.strip() not in ("true", "false"):
        raise _Unreadable("expected true or false, got something else")
    return raw.strip() == "true"


def _json(raw: str) -> Any:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise _Unreadable("expected JSON, got something else") from None
    _check(value, 1)
    return value


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Unreadable(f"expected JSON of {MAX_DEPTH} levels at most, got more")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise _Unreadable("expected integers below 2**53, got a larger one: pass it as text")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check(inner, depth + 1)


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "json": _json,
}
