"""Text broken into lines of a given width, however the width of a word is measured."""

from __future__ import annotations

from collections.abc import Callable

Measure = Callable[[str], float]


def wrapped(text: str, limit: float, *, measure: Measure, lines: int, crop: Callable[[str, float], str]) -> list[str]:
    """At most so many lines, broken at spaces; the last one is cropped where more would follow, and so is a word that
    is wider than a line.
    """
    made: list[str] = []
    rest = text.split(" ")
    while rest and len(made) < lines - 1:
        count = _fitting(rest, limit, measure)
        made.append(crop(" ".join(rest[:count]), limit))
        rest = rest[count:]
    return [*made, crop(" ".join(rest), limit)] if rest else made


def _fitting(words: list[str], limit: float, measure: Measure) -> int:
    """How many words fit on a line: one at least."""
    count = 1
    while count < len(words) and measure(" ".join(words[: count + 1])) <= limit:
        count += 1
    return count
