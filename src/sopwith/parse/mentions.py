"""Places where a text names a gate or the execution mode without being a key line: what an author may take for one."""

from __future__ import annotations

import re

from msgspec import Struct

_GAP = r"(?:[\s*_`~\[\]()\u200b\u00ad-]|<[^<>]{0,60}>|&nbsp;){0,12}"
_GATE = re.compile(
    rf"(?<![^\W_])(?:requires{_GAP}approval|approval{_GAP}(?:required|(timeout)(?:mins)?))(?![^\W_])", re.IGNORECASE
)
_RULE = re.compile(
    rf"(?<![^\W_])(?:(approvers)|(quorum)|(on{_GAP}timeout)|(escalate{_GAP}to)|(comment{_GAP}required)|(on{_GAP}reject))(?![^\W_])",
    re.IGNORECASE,
)
_RULES = ("Approvers", "Quorum", "On Timeout", "Escalate To", "Comment Required", "On Reject")
"""The names of `_RULE`'s groups. Common words in prose: only a line that starts with one and sets it is told."""
_RULE_VALUE = re.compile(r"\b(?:approve|reject|escalate|skip|pause|fail|goto)\b|\b(?:user|group|agent):", re.IGNORECASE)
_ALSO_PROSE = frozenset({"On Timeout", "Escalate To", "On Reject"})
_SETS = re.compile(r"[\s*_`~]*[:\uff1a=|]")
_MODE = re.compile(rf"(?<![^\W_])execution{_GAP}mode(?![^\W_])", re.IGNORECASE)
_MODE_VALUE = re.compile(r"\b(?:auto|supervised|step[\s_-]by[\s_-]step|priority[\s_-]based)\b", re.IGNORECASE)
# What may stand before the first word of a line: tags, a task's box, a number, an entity.
_NOISE = re.compile(r"<[^<>]{0,60}>|\[[ xX]\]|\b\d{1,9}[.)]|&nbsp;")
_MARKED = re.compile(r"(?:[*`]|(?<![^\W_])_{1,3}|<[a-zA-Z][^<>]{0,60}>)\Z")
_SEPARATED = re.compile(
    r"(?:[\s*_`~\"'\u2019\u201d)\]\\]|</[a-zA-Z]{1,20}>|&nbsp;)*(?:[:\uff1a=|\u2013\u2014\u2192]|-[->\s]|\s-)"
)
_OPENED = re.compile(r"[(\[{,:\u2013\u2014|-][^\w]*\Z")
_RULE_WORDS = ("approvers", "quorum", "timeout", "escalate", "comment", "reject")
_REACH = 120
"""How much of the line on either side is looked at: the work stays in proportion to the file."""


class Mention(Struct, frozen=True):
    """`name` is the key that is named; `key_like` if it stands as a key would, not within a sentence."""

    name: str
    key_like: bool


def gate_in(line: str, *, whole: bool = True, heading: bool = False) -> Mention | None:
    """A gate that the line names. `whole`: the line starts here; `heading`: it heads a step."""
    folded = line.lower()
    rule = _rule_in(line) if whole and any(word in folded for word in _RULE_WORDS) else None
    if rule is not None or "approv" not in folded:
        return rule
    first: Mention | None = None
    for found in _GATE.finditer(line):
        name = "Approval Timeout" if found[1] else "Approval Required"
        starts = whole and _starts(line, found)
        if starts or _is_marked(line, found) or (heading and _is_last(line, found)):
            return Mention(name, True)
        first = first or Mention(name, False)
    return first


def _rule_in(line: str) -> Mention | None:
    """A rule of a gate that the line sets as a key would."""
    found = _RULE.search(line)
    if found is None or not _starts(line, found) or not _SETS.match(_after(line, found)):
        return None
    name = _RULES[(found.lastindex or 1) - 1]
    return Mention(name, name not in _ALSO_PROSE or _RULE_VALUE.search(_after(line, found)) is not None)


def mode_in(line: str) -> Mention | None:
    """The execution mode, if the line sets it as a key would."""
    if "execution" not in line.lower():
        return None
    for found in _MODE.finditer(line):
        starts = _starts(line, found)
        alone = starts and not _has_words(_after(line, found))
        sets = (starts or _is_marked(line, found)) and _MODE_VALUE.search(_after(line, found))
        if alone or sets or _is_separated(line, found):
            return Mention("Execution Mode", True)
    return None


def without_comments(text: str) -> str:
    """The text with every closed HTML comment taken out; lines keep their numbers."""
    kept: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0:
        end = text.find("-->", start + 4)
        if end < 0:
            break
        kept += (text[at:start], "\n" * text.count("\n", start, end))
        at = end + 3
    return "".join((*kept, text[at:])) if kept else text


def _starts(line: str, found: re.Match[str]) -> bool:
    """Whether the words are the first ones of the line, or of a table's cell."""
    before = _before(line, found)
    if found.start() > _REACH and "|" not in before:
        return False
    return not _has_words(_NOISE.sub("", before.rpartition("|")[2]))


def _is_marked(line: str, found: re.Match[str]) -> bool:
    return _MARKED.search(_before(line, found)) is not None or _is_separated(line, found)


def _is_separated(line: str, found: re.Match[str]) -> bool:
    return _SEPARATED.match(_after(line, found)) is not None


def _is_last(line: str, found: re.Match[str]) -> bool:
    """Whether the words end the line, in brackets or after a dash."""
    return _OPENED.search(_before(line, found)) is not None and not _has_words(_after(line, found))


def _before(line: str, found: re.Match[str]) -> str:
    return line[max(0, found.start() - _REACH) : found.start()]


def _after(line: str, found: re.Match[str]) -> str:
    return line[found.end() : found.end() + _REACH]


def _has_words(text: str) -> bool:
    return any(char.isalnum() for char in _NOISE.sub("", text))
