"""Text as an approver may trust it: what could hide, reorder or imitate is shown as an escape.

Different texts never look the same, and the same text always looks the same (CVE-2021-42574, CVE-2021-42694). Prose
keeps the letters of its language (`visible`); of what runs, everything outside ASCII is escaped (`visible_code`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

TAB = "\u21e5"
_NOT_PLAIN = re.compile(r"[^ -\[\]-~\n]")
_WORD = re.compile(r"\w+")
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Mn", "Me"})
_IMITATING = ("CYRILLIC", "GREEK")
"""Scripts whose letters pass for Latin ones."""


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
    for word in _WORD.finditer(text):
        if word[0].isascii():
            continue
        names = [unicodedata.name(character, "") for character in word[0]]
        if any(name.startswith("LATIN") for name in names):
            found.update(word.start() + i for i, name in enumerate(names) if name.startswith(_IMITATING))
    return frozenset(found)
