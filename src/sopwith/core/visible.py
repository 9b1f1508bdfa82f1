"""Text as an approver may trust it: what could hide, reorder or imitate is shown as an escape.

Different texts never look the same, and the same text always looks the same (CVE-2021-42574, CVE-2021-42694). Prose
keeps the letters of its language (`visible`); of what runs, everything outside ASCII is escaped (`visible_code`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

TAB = "\u21e5"
_LINE_FEED = r"\u{000a}"
_NOT_PLAIN = re.compile(r"[^ -\[\]-~\n]")
_WORD = r"\w+"
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Mn", "Me"})
_IMITATING = ("CYRILLIC", "GREEK")
"""Scripts whose letters pass for Latin ones."""
_NOT_OBVIOUS = r'["\\\x00-\x1f\x7f]|^ | $|  |^[\[{]|^$'
"""Of a value: what has to stand in quotation marks, so that its ends and its one line can be seen."""
_QUOTED = r'(?<= ) |[^ -~]|["\\]'
_SHORT = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def visible(text: str) -> str:
    r"""Prose with line feeds kept, tabs as `⇥`, and all that can deceive as `\u{…}`.

    That is: control and format characters, bidi marks, odd spaces, stacked marks, compatibility look-alikes, and
    Cyrillic or Greek letters in a word that has Latin ones. A backslash that could be read as part of such an escape
    is doubled, so the picture is unambiguous.
    """
    if text.isascii():
        return _shown(text, _deceives)
    mixed = _mixed_in(text)
    return _shown(text, lambda text, index: index in mixed or _deceives(text, index))


def visible_code(text: str) -> str:
    r"""What runs, or decides what runs: as `visible`, but everything outside ASCII is shown as `\u{…}`."""
    return _shown(text, lambda text, index: True)


def in_one_line(shown: str) -> str:
    r"""What `visible` or `visible_code` gave, its line feeds as `\u{000a}`: it cannot pose as a line of its own."""
    # a backslash that stood alone before the line feed would make the escape look like one that was written so
    return shown.replace("\\\n", "\\\\" + _LINE_FEED).replace("\n", _LINE_FEED)


def visible_value(value: Any, *, only_text: bool = False) -> str:
    r"""A value in one line, so that no two look the same: plain if that says all, else in quotation marks, or as JSON.

    Within the marks `\\`, `\"`, `\n`, `\t` and `\u{…}` are escapes, and so is every blank after another.
    `only_text`: nothing but texts can stand here, so one that reads like a number needs no marks.
    """
    if not isinstance(value, str):
        import json  # of texts, which is nearly all there is, nobody asks

        return visible_code(json.dumps(value, default=str))
    if not re.search(_NOT_OBVIOUS, value) and (only_text or not _is_json(value)):
        return visible_code(value)
    return f'"{re.sub(_QUOTED, _quoted, value)}"'


def _is_json(text: str) -> bool:
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _quoted(match: re.Match[str]) -> str:
    return _SHORT.get(match[0], f"\\u{{{ord(match[0]):04x}}}")


def _shown(text: str, escapes: Callable[[str, int], bool]) -> str:
    """The text, with an escape for whatever `escapes` picks among what is not plain ASCII."""

    def is_escaped(index: int) -> bool:
        character = text[index : index + 1]
        return character not in ("", "\t", "\\") and bool(_NOT_PLAIN.match(character)) and escapes(text, index)

    def show(match: re.Match[str]) -> str:
        index, character = match.start(), match[0]
        if character == "\t":
            return TAB
        if character == "\\":
            follows = text.startswith(("u{", "\\"), index + 1) or is_escaped(index + 1)
            return "\\\\" if follows else "\\"
        return f"\\u{{{ord(character):04x}}}" if is_escaped(index) else character

    return _NOT_PLAIN.sub(show, text)


def _deceives(text: str, index: int) -> bool:
    character = text[index]
    return (
        character == TAB
        or unicodedata.category(character) in _HIDING
        or unicodedata.normalize("NFKC", character) != character
    )


def _mixed_in(text: str) -> frozenset[int]:
    """Where letters stand that pass for Latin ones, in words that have Latin ones."""
    found: set[int] = set()
    for word in re.finditer(_WORD, text):
        if word[0].isascii():
            continue
        names = [unicodedata.name(character, "") for character in word[0]]
        if any(name.startswith("LATIN") for name in names):
            found.update(word.start() + i for i, name in enumerate(names) if name.startswith(_IMITATING))
    return frozenset(found)
