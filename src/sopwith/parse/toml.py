"""TOML as a JSON value: what JSON cannot carry exactly (NaN, huge numbers, NUL) is a problem here, times become text.

The standard library's reader tells no positions but of a syntax error, so a problem names the key.
"""

from __future__ import annotations

import math
import re
import tomllib
from datetime import date, datetime, time
from typing import Any

from sopwith.core.procedure import MAX_INTEGER
from sopwith.parse.findings import Findings, Place
from sopwith.parse.strict_json import FLAWED, MAX_DEPTH, Path

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_SYNTAX = "TOML is lines `key = value` below headings such as [expect]; text stands in quotes"


class TomlDocument:
    """A TOML document and the names of its parts."""

    def __init__(self, file: str, value: dict[str, Any]) -> None:
        self.file = file
        self.value = value

    def at(self, path: Path) -> Place:
        """The place of the value at `path`."""
        return Place(file=self.file, path=path_text(path))

    at_key = at


def path_text(path: Path) -> str:
    """`acts no. 2: do`, `steps.build.exit_code`; entries of a list are counted from 1."""
    text = ""
    for before, part in zip((None, *path), path, strict=False):
        if isinstance(part, int):
            text += f" no. {part + 1}"
        else:
            text += ("" if before is None else ": " if isinstance(before, int) else ".") + part[:60]
    return text


def read_toml(file: str, text: str, findings: Findings) -> TomlDocument | None:
    """The document, or None after a syntax error; a value that JSON cannot carry exactly is FLAWED, and a problem."""
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _tell_syntax(file, str(error), findings)
        return None
    except RecursionError:
        findings.error(
            "too_deep",
            f"expected at most {MAX_DEPTH} levels of nesting",
            at=Place(file=file),
            hint="take out lists and tables that only wrap others",
        )
        return None
    document = TomlDocument(file, {})
    document.value = _Plain(document, findings).value(value, ())
    return document


def _tell_syntax(file: str, told: str, findings: Findings) -> None:
    found = _PLACE.search(told)
    line, column = (int(found[1]), int(found[2])) if found and found[1] else (None, None)
    words = _PLACE.sub("", told)
    where = " at the end of the file" if found and not found[1] else ""
    findings.error(
        "bad_toml",
        words[:1].lower() + words[1:] + where,
        at=Place(file=file, line=line, column=column),
        hint=_SYNTAX,
    )


class _Plain:
    """Makes JSON values of TOML values."""

    def __init__(self, document: TomlDocument, findings: Findings) -> None:
        self._document = document
        self._findings = findings

    def value(self, value: Any, path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            return self._flawed(f"expected at most {MAX_DEPTH} levels of nesting", path[:3])
        match value:
            case dict():
                return {key: self.value(inner, (*path, key)) for key, inner in value.items()}
            case list():
                return [self.value(inner, (*path, index)) for index, inner in enumerate(value)]
            case datetime() | date() | time():
                return value.isoformat()
            case int() if abs(value) > MAX_INTEGER:
                return self._flawed("expected a number below 2**53, got a larger one", path)
            case float() if not math.isfinite(value):
                return self._flawed(f"expected a number that JSON knows, got {value}", path)
            case str() if "\0" in value:
                return self._flawed("expected text without NUL", path)
            case _:
                return value

    def _flawed(self, message: str, path: Path) -> Any:
        hint = "write a value that JSON can carry"
        self._findings.error("bad_value", message, at=self._document.at(path), hint=hint)
        return FLAWED
