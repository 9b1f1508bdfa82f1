"""Text as an approver may trust it: what could hide, reorder or imitate is shown as an escape.

Different texts never look the same, and the same text always looks the same (CVE-2021-42574, CVE-2021-42694).
"""

from __future__ import annotations

import re
import unicodedata

TAB = "\u21e5"
_NOT_PLAIN = re.compile(r"[^ -\[\]-~\n]")
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Mn", "Me"})


def visible(text: str) -> str:
    r"""The text with line feeds kept, tabs as `⇥`, and all that can deceive as `\u{…}`.

    That is: control and format characters, bidi marks, odd spaces, stacked marks and compatibility look-alikes. A
    backslash that could be read as the start of such an escape is doubled, so the picture is unambiguous.
    """
    return _NOT_PLAIN.sub(lambda match: _shown(text, match.start(), match[0]), text)


def _shown(text: str, index: int, character: str) -> str:
    if character == "\t":
        return TAB
    if character == "\\":
        return "\\\\" if text.startswith(("u{", "\\"), index + 1) else "\\"
    if character == "\n" or (character.isascii() and character.isprintable()):
        return character
    if character == TAB or unicodedata.category(character) in _HIDING or _imitates(character):
        return f"\\u{{{ord(character):04x}}}"
    return character


def _imitates(character: str) -> bool:
    return unicodedata.normalize("NFKC", character) != character
