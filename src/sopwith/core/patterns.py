"""Patterns that authors write, matched in linear time (RE2): no value, however hostile, can make one run away."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    # only procedures that have patterns pay for the import
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0]
        raise ValueError(text.decode() if isinstance(text, bytes) else str(text)) from None


def check_pattern(pattern: str) -> None:
    """Raises ValueError, with the reason, for what RE2 cannot match: look-around and back-references are not in it."""
    _compiled(pattern)


def matches(pattern: str, value: str) -> bool:
    """Whether the pattern matches the whole value."""
    return _compiled(pattern).fullmatch(value) is not None
