"""Text into HTML: nothing that a person, a script or a file brought in can act, hide, or pose as something else."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import msgspec

from sopwith.core.visible import visible, visible_code

Document = dict[str, Any]


class Prose(msgspec.Struct, frozen=True):
    """Words of a person: letters of any language stay."""

    words: str

    @property
    def html(self) -> str:
        return html.escape(visible(self.words))


class Code(msgspec.Struct, frozen=True):
    """What runs or steers what runs: everything outside ASCII is shown as an escape."""

    words: str

    @property
    def html(self) -> str:
        return html.escape(visible_code(self.words))


def text(value: Any) -> str:
    """A value as prose."""
    return Prose(str(value)).html


def object_in(document: Document, key: str) -> Document:
    """The object under this key; an empty one where there is none."""
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def plain(value: Any) -> str:
    """A value as one text: a list of words or an object line by line, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    if isinstance(value, dict) and value:
        return "\n".join(f"{_line(name)} = {_line(plain(each))}" for name, each in value.items())
    return msgspec.json.encode(value).decode()


def _line(words: str) -> str:
    """One line: a text with line breaks cannot pose as a further name and value."""
    return words if len(words.splitlines()) < 2 else msgspec.json.encode(words).decode()


def facts(told: Mapping[str, Any]) -> str:
    """A list of names and values, without those that are empty."""
    shown = []
    for key, value in told.items():
        given = value if isinstance(value, Prose | Code) else Prose(str(value))
        if given.words not in ("", "null", "{}", "[]"):
            kind = ' class="code"' if isinstance(given, Code) else ""
            shown.append(f"<dt>{text(key)}</dt><dd{kind}>{given.html}</dd>")
    return f"<dl>{''.join(shown)}</dl>"
