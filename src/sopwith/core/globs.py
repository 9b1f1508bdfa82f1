"""Patterns of paths below the project folder: `incoming/**/*.csv`. A segment never matches what begins with a dot,
unless it begins with one itself; `**` stands for any folders, also none.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache

_EXPECTED = "a pattern below the project folder"
MAX_SEGMENTS = 32


def pattern_mistake(pattern: str) -> None:
    """Raises ValueError, with what was expected, unless the pattern can match files that may be watched."""
    segments = pattern.split("/")
    if pattern.startswith("/") or any(segment in ("", ".", "..") for segment in segments):
        raise ValueError(f"{_EXPECTED}, without . or .. and without an empty part")
    if len(segments) > MAX_SEGMENTS or any(ord(char) < 32 or char in "\\\x7f" for char in pattern):
        raise ValueError(f"{_EXPECTED}, of {MAX_SEGMENTS} parts at most and without control characters")
    if segments[0] == ".pi":
        raise ValueError(f"{_EXPECTED} and outside .pi, which Sopwith keeps for itself")
    if segments[-1] == "**" or any("**" in segment and segment != "**" for segment in segments):
        raise ValueError(f"{_EXPECTED} in which ** is a part of its own, and not the last one")


def fixed_folder(pattern: str) -> str:
    """The folders that a pattern begins with by name, joined by slashes; empty: the project folder itself."""
    segments = pattern.split("/")[:-1]
    count = next((at for at, segment in enumerate(segments) if _is_open(segment)), len(segments))
    return "/".join(segments[:count])


def matches(pattern: str, path: str) -> bool:
    """Whether the pattern matches the path of a file."""
    return _matches(tuple(pattern.split("/")), tuple(path.split("/")), whole=True)


def may_hold(pattern: str, folder: str) -> bool:
    """Whether files that the pattern matches can be in this folder, or further below."""
    return _matches(tuple(pattern.split("/")), tuple(folder.split("/")), whole=False)


def _is_open(segment: str) -> bool:
    return any(char in segment for char in "*?[")


def _matches(pattern: tuple[str, ...], path: tuple[str, ...], *, whole: bool) -> bool:
    reached = {0}
    for part in path:
        reached = _after(pattern, reached, part)
        if not reached:
            return False
    open_ends = {at for at in reached for at in _past_stars(pattern, at)}
    return len(pattern) in open_ends if whole else any(at < len(pattern) for at in open_ends)


def _after(pattern: tuple[str, ...], reached: set[int], part: str) -> set[int]:
    """The places in the pattern that can be reached with one more part of the path."""
    after: set[int] = set()
    for start in reached:
        for at in _past_stars(pattern, start):
            if at == len(pattern):
                continue
            if pattern[at] == "**":
                if not part.startswith("."):
                    after.add(at)
            elif _fits(pattern[at], part):
                after.add(at + 1)
    return after


def _past_stars(pattern: tuple[str, ...], at: int) -> list[int]:
    found = [at]
    while at < len(pattern) and pattern[at] == "**":
        at += 1
        found.append(at)
    return found


def _fits(segment: str, part: str) -> bool:
    if part.startswith(".") and not segment.startswith("."):
        return False
    return _compiled(segment).match(part) is not None


@lru_cache(maxsize=256)
def _compiled(segment: str) -> re.Pattern[str]:
    return re.compile(translate(segment), re.DOTALL)
