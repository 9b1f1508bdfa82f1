"""Strict JSON with positions: what `json` lets pass (duplicate keys, NaN, huge numbers) is a problem here.

Containers are walked here and scalars left to the standard library, so every value knows its line and column. Depth
and count are capped: no file can exhaust the stack or the clock.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from functools import cached_property
from typing import Any, NoReturn

from sopwith.core.procedure import MAX_INTEGER
from sopwith.parse.findings import Findings, Place

Path = tuple[str | int, ...]

MAX_DEPTH = 32
MAX_VALUES = 20_000
FLAWED: Any = object()
"""Stands for a value that was already reported and that JSON cannot carry exactly."""
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_SYNTAX = "JSON has double quotes, no comments, and no comma after the last entry"
_PLAIN_KEY = r"[A-Za-z_$][A-Za-z0-9_]*"


class JsonDocument:
    """A JSON value and where each of its parts stands."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.value: Any = None
        self.value_offsets: dict[Path, int] = {}
        self.key_offsets: dict[Path, int] = {}

    def at(self, path: Path) -> Place:
        """The place of the value at `path`; of the nearest value around it if there is none."""
        known = path
        while known and known not in self.value_offsets:
            known = known[:-1]
        return self.place(self.value_offsets.get(known, 0), path)

    def at_key(self, path: Path) -> Place:
        """The place of the key that `path` ends with."""
        return self.place(self.key_offsets[path], path) if path in self.key_offsets else self.at(path)

    def place(self, offset: int, path: Path) -> Place:
        """The place of the character at `offset`, told as `path`."""
        line = bisect_right(self._line_starts, offset)
        column = offset - self._line_starts[line - 1] + 1
        return Place(file=self.file, line=line, column=column, path=path_text(path))

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(end.end() for end in re.finditer("\n", self.text))]


def path_text(path: Path) -> str:
    """`$.steps[1].title`."""
    parts = ["$"]
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif re.fullmatch(_PLAIN_KEY, part):
            parts.append(f".{part}")
        else:
            parts.append(f"[{json.dumps(part[:60])}]")
    return "".join(parts)


def read_json(file: str, text: str, findings: Findings) -> JsonDocument | None:
    """The document, or None after a syntax error; a value that JSON cannot carry exactly is FLAWED, and a problem."""
    document = JsonDocument(file, text)
    scanner = _Scanner(document, findings)
    try:
        scanner.scan()
    except _Stopped as stop:
        findings.error(stop.code, stop.message, at=document.place(stop.offset, stop.path), hint=stop.hint)
        return None
    return document


class _Stopped(Exception):
    """The scan cannot go on from here."""

    def __init__(self, offset: int, path: Path, message: str, *, code: str = "bad_json", hint: str = _SYNTAX) -> None:
        super().__init__(message)
        self.offset, self.path, self.message, self.code, self.hint = offset, path, message, code, hint


class _Scanner:
    def __init__(self, document: JsonDocument, findings: Findings) -> None:
        self._document = document
        self._text = document.text
        self._findings = findings
        self._values = 0
        self._flaw: str | None = None
        self._decoder = json.JSONDecoder(
            parse_constant=self._refuse_constant, parse_int=self._integer, parse_float=self._float
        )

    def scan(self) -> None:
        value, end = self._value(self._skip(0), ())
        end = self._skip(end)
        if end < len(self._text):
            self._stop(end, (), f"expected the end of the file, got {self._char(end)}")
        self._document.value = value

    def _value(self, at: int, path: Path) -> tuple[Any, int]:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _Stopped(
                at,
                path,
                f"expected {MAX_VALUES} values at most",
                code="too_many_values",
                hint="make it smaller: a manifest needs far fewer values",
            )
        if len(path) > MAX_DEPTH:
            raise _Stopped(
                at,
                path[:3],
                f"expected at most {MAX_DEPTH} levels of nesting",
                code="too_deep",
                hint="take out lists and objects that only wrap others",
            )
        self._document.value_offsets[path] = at
        match self._text[at : at + 1]:
            case "{":
                return self._object(at, path)
            case "[":
                return self._array(at, path)
        return self._scalar(at, path)

    def _object(self, at: int, path: Path) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        at = self._skip(at + 1)
        if self._text[at : at + 1] == "}":
            return members, at + 1
        while True:
            if self._text[at : at + 1] != '"':
                self._stop(at, path, f"expected a key in double quotes, got {self._char(at)}")
            key_at = at
            key, at = self._scalar(at, path)
            inner: Path = (*path, "" if key is FLAWED else key)
            at = self._skip(self._expect(self._skip(at), path, ":"))
            value, at = self._value(at, inner)
            if key in members:
                self._duplicate(key_at, inner)
            elif key is not FLAWED:
                members[key] = value
                self._document.key_offsets[inner] = key_at
            at = self._skip(at)
            if self._text[at : at + 1] == "}":
                return members, at + 1
            at = self._skip(self._expect(at, path, ",", or_else="}"))

    def _array(self, at: int, path: Path) -> tuple[list[Any], int]:
        items: list[Any] = []
        at = self._skip(at + 1)
        if self._text[at : at + 1] == "]":
            return items, at + 1
        while True:
            item, at = self._value(at, (*path, len(items)))
            items.append(item)
            at = self._skip(at)
            if self._text[at : at + 1] == "]":
                return items, at + 1
            at = self._skip(self._expect(at, path, ",", or_else="]"))

    def _scalar(self, at: int, path: Path) -> tuple[Any, int]:
        self._flaw = None
        try:
            value, end = self._decoder.raw_decode(self._text, at)
        except json.JSONDecodeError as error:
            what = (
                "expected a value, got " + self._char(at)
                if error.msg == "Expecting value"
                else _lower(error.msg.removesuffix(" at"))
            )
            self._stop(error.pos, path, what)
        if isinstance(value, str):
            self._flaw = _flaw_of_text(value)
        if self._flaw is None:
            return value, end
        self._findings.error(
            "bad_value",
            self._flaw,
            at=self._document.place(at, path),
            hint="write a value that every JSON reader reads alike",
        )
        return FLAWED, end

    def _duplicate(self, at: int, path: Path) -> None:
        self._findings.error(
            "duplicate_key",
            f'expected each key once, got "{str(path[-1])[:60]}" again',
            at=self._document.place(at, path),
            hint="readers disagree about which one counts; keep one",
        )

    def _refuse_constant(self, name: str) -> None:
        self._flaw = f"expected a number that JSON knows, got {name}"

    def _integer(self, digits: str) -> int | None:
        if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
            self._flaw = f"expected a number below 2**53, got {digits[:20]}{'…' if len(digits) > 20 else ''}"
            return None
        return int(digits)

    def _float(self, digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            self._flaw = f"expected a number in range, got {digits[:20]}"
        return value

    def _expect(self, at: int, path: Path, char: str, *, or_else: str = "") -> int:
        if self._text[at : at + 1] != char:
            wanted = f"{char} or {or_else}" if or_else else char
            self._stop(at, path, f"expected {wanted}, got {self._char(at)}")
        return at + 1

    def _skip(self, at: int) -> int:
        match = _WHITESPACE.match(self._text, at)
        assert match
        return match.end()

    def _char(self, at: int) -> str:
        return json.dumps(self._text[at]) if self._text[at:].strip() else "the end of the file"

    def _stop(self, at: int, path: Path, message: str) -> NoReturn:
        raise _Stopped(min(at, len(self._text)), path, message)


def _flaw_of_text(value: str) -> str | None:
    if "\0" in value:
        return "expected text without NUL"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return "expected text that UTF-8 can carry, got half a surrogate pair"
    return None


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
