"""Collects the problems of a parse, so that an author gets all of them at once.

The list is capped per severity: a hostile file must not buy memory and time with a million findings.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from sopwith.errors import Problem, Severity

MAX_PER_SEVERITY = 50
_LONGEST_GUESS = 48
_MAX_COMPARISONS = 2000


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where something stands. `path` as in `Problem`; `subject` is the key line's name where `path` does not say it."""

    file: str
    line: int | None = None
    column: int | None = None
    path: str = ""
    subject: str = ""

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Findings:
    """The problems found so far."""

    def __init__(self) -> None:
        self._problems: dict[Severity, list[Problem]] = {severity: [] for severity in Severity}
        self._left_out = 0
        self._comparisons_left = _MAX_COMPARISONS

    def error(self, code: str, message: str, *, at: Place, expected: str = "", got: str = "", hint: str = "") -> None:
        """Something that keeps the procedure from running."""
        self._add(Severity.ERROR, code, message, at, expected=expected, got=got, hint=hint)

    def warning(self, code: str, message: str, *, at: Place, expected: str = "", got: str = "", hint: str = "") -> None:
        """Something that is only told."""
        self._add(Severity.WARNING, code, message, at, expected=expected, got=got, hint=hint)

    def unexpected(self, code: str, *, expected: str, got: str, at: Place, hint: str = "") -> None:
        """An error in the house's one shape: expected X, got Y."""
        self.error(code, f"expected {expected}, got {got}", at=at, expected=expected, got=got, hint=hint)

    def not_supported(self, what: str, *, at: Place) -> None:
        """Designed, not built: refused, because ignoring it could run what its author did not mean."""
        self.error("not_supported_yet", f"{what} is designed but not supported yet", at=at, hint="take it out for now")

    def did_you_mean(self, word: str, known: Collection[str]) -> str:
        """A hint that names the known word nearest to `word`; empty if none is near, or after very many guesses."""
        self._comparisons_left -= len(known)
        guess = nearest(word, known) if self._comparisons_left >= 0 else None
        return f'did you mean "{guess}"?' if guess else ""

    @property
    def has_errors(self) -> bool:
        return bool(self._problems[Severity.ERROR])

    def sorted(self) -> tuple[Problem, ...]:
        """All problems by file, line and column; the last one counts what was left out."""
        found = [problem for problems in self._problems.values() for problem in problems]
        found.sort(key=lambda problem: (problem.file, problem.line or 0, problem.column or 0, problem.severity))
        if self._left_out:
            found.append(_left_out(found[-1].file, self._left_out))
        return tuple(found)

    def _add(
        self, severity: Severity, code: str, message: str, at: Place, *, expected: str, got: str, hint: str
    ) -> None:
        problems = self._problems[severity]
        if len(problems) >= MAX_PER_SEVERITY:
            self._left_out += 1
            return
        subject = f"`{at.subject}`: " if at.subject else ""
        problems.append(
            Problem(
                severity=severity,
                code=code,
                file=at.file,
                message=subject + message,
                line=at.line,
                column=at.column,
                path=at.path,
                expected=expected,
                got=got,
                hint=hint,
            )
        )


def _left_out(file: str, count: int) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code="too_many_problems",
        file=file,
        message=f"{count} more problems are not shown",
        hint="mend the ones above and look again",
    )


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that `word` was most likely meant to be, or None."""
    if len(word) > _LONGEST_GUESS:
        return None
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def shown(value: Any) -> str:
    """A JSON value as a message shows it: one line, 60 characters at most."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, msgspec.Struct):
        return "an object"
    text = json.dumps(value[:61] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + '…"'
