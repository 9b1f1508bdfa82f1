"""What somebody was given who comes over the network: a role, and the procedures that it holds for.

It only takes away: config.json says what the principal may, and a grant keeps a call within a part of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec

PATTERN = r"[a-z0-9*][a-z0-9._*-]{0,63}"
"""A name of procedures in which each `*` stands for any characters, or none."""


class Role(StrEnum):
    """What somebody is here; `people.py` says what each role may do."""

    VIEWER = "viewer"
    RUNNER = "runner"
    APPROVER = "approver"
    AUTHOR = "author"
    ADMIN = "admin"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """`procedures`: patterns of the names that it holds for; none: all of them, and what belongs to no procedure."""

    role: Role
    procedures: tuple[str, ...] = ()
    lent: bool = False
    """A person's, in the hands of an agent or of a step: it acts as an agent, and is nobody whom `agent:NAME` means."""

    def covers(self, procedure: str | None) -> bool:
        """Whether it holds for this procedure; None: for what belongs to none."""
        return not self.procedures or (procedure is not None and named_by(self.procedures, procedure))


def is_pattern(text: str) -> bool:
    """Whether names can be told by it."""
    return re.fullmatch(PATTERN, text) is not None


def named_by(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns means this name."""
    return any(_means(pattern, name) for pattern in patterns)


def _means(pattern: str, name: str) -> bool:
    """Piece by piece from the left, each at its first place: linear, however many `*` there are."""
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    if not name.startswith(first):
        return False
    *middle, last = others
    at = len(first)
    for piece in middle:
        found = name.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(name) - len(last) >= at and name.endswith(last)
