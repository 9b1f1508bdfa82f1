"""What may stand after the colon of a key line: durations, choices, lists. Each reader gives the manifest's JSON value.

A reader raises Unreadable rather than guess; whether that is an error or only means caution, `sop_md.py` decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sopwith.parse.findings import shown

_DURATION_PART = re.compile(r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]*)\s*(?:and\b|,)?", re.ASCII)
_UNIT_SECS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
}
_YES = frozenset({"yes", "y", "true", "required"})
_NO = frozenset({"no", "n", "false", "none", "not required"})
NOTHING = frozenset({"none", "never", "no", "-"})


class Unreadable(Exception):
    """The value cannot be read; `expected` says what could."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected)
        self.expected = expected
        self.got = shown(got)


def unwrapped(value: str) -> str:
    """`value` without the backticks, if it is one code span; else as it is."""
    ticks = len(value) - len(value.lstrip("`"))
    inner = value[ticks:-ticks] if ticks else ""
    if not inner or not value.endswith("`" * ticks) or inner.endswith("`"):
        return value
    if any(len(run) == ticks for run in re.findall("`+", inner)):
        return value
    if inner[0] == inner[-1] == " " and inner.strip():
        return inner[1:-1]
    return inner


def text(value: str) -> str:
    """The value as it stands."""
    return value


def word(value: str) -> str:
    """`Step by step` and `step-by-step` as the manifest writes them: step_by_step."""
    return re.sub(r"[\s-]+", "_", value.strip().lower())


def yes_or_no(value: str) -> bool:
    """Yes or No in the usual spellings. Raises Unreadable."""
    said = value.strip().rstrip(".").lower()
    if said in _YES or said in _NO:
        return said in _YES
    raise Unreadable("Yes or No", value)


def integer(value: str) -> int:
    """A whole number. Raises Unreadable."""
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise Unreadable("a whole number", value)
    return int(value)


def seconds(value: str, *, bare_unit: str = "s") -> int | float:
    """`90 s`, `5 minutes`, `1 hour 30 minutes`, `1h30m` in seconds. Raises Unreadable.

    A bare number is in `bare_unit`.
    """
    rest = value.strip().lower()
    if not rest or len(rest) > 60:
        raise Unreadable("a time such as `5 minutes` or `1 hour`", value)
    total = 0.0
    at = 0
    while at < len(rest):
        part = _DURATION_PART.match(rest, at)
        unit = (part[2] or (bare_unit if part[0].strip() == rest else "")) if part else ""
        if part is None or unit not in _UNIT_SECS:
            raise Unreadable("a time such as `5 minutes` or `1 hour`", value)
        total += float(part[1]) * _UNIT_SECS[unit]
        at = part.end()
    return _plain(total)


def cooldown_secs(value: str) -> int | float:
    """As `seconds`; `none` is 0."""
    return 0 if value.lower() in NOTHING else seconds(value)


def minutes(value: str) -> int | float:
    """A time in minutes, more than none; a bare number is minutes. Raises Unreadable."""
    read = _plain(seconds(value, bare_unit="m") / 60)
    if read <= 0:
        raise Unreadable("a time of more than 0 minutes", value)
    return read


def retries(value: str) -> dict[str, int]:
    """`2` more tries after the first; `none`. Raises Unreadable."""
    more = 0 if value.lower() in NOTHING else integer(value)
    if not 0 <= more < 1000:
        raise Unreadable("a number of further tries", value)
    return {"maxAttempts": more + 1}


def on_failure(value: str) -> str:
    """`stop`, `continue`, `goto 5`, `goto step 5`, `goto:clean-up`."""
    said = re.sub(r"\s+", " ", value.strip().lower())
    target = re.fullmatch(r"go ?to ?:? ?(?:step )?(\S+)", said)
    return f"goto:{target[1]}" if target else said


def on_interrupt(value: str) -> str:
    """`ask`, `rerun`, `fail`, or `verify: COMMAND`; the command may stand in a code span."""
    word, colon, command = value.partition(":")
    return f"{word.strip().lower()}{colon}{unwrapped(command.strip())}"


def items(value: str) -> list[str]:
    """The comma-separated items, each without its code span. Commas inside a code span do not separate."""
    return [unwrapped(item) for item in split(value, ",") if item]


def for_each(value: str) -> str | list[str]:
    """`eu, us, ap` is a list; what has brackets, parentheses or quotes, or no comma, is an expression in CEL."""
    return items(value) if "," in value and not re.search(r"[\[({'\"]", value) else value


def principals(value: str) -> list[str]:
    """`group:release, user:alice`. Raises Unreadable for `none`, which could mean anybody as well as nobody."""
    named = items(value)
    if not named or value.lower() in NOTHING:
        raise Unreadable("user:NAME, group:NAME or agent:NAME, separated by commas", value)
    return named


def dependencies(value: str) -> list[int | str]:
    """`1, build, Step 3`: numbers as numbers, keys as text; `none` is the empty list."""
    if value.lower() in NOTHING:
        return []
    return [_dependency(item) for item in items(value)]


def outputs(value: str) -> dict[str, str]:
    """`url, size: integer`: names with their types, string if not said."""
    declared: dict[str, str] = {}
    for item in items(value):
        name, _, type_name = item.partition(":")
        declared[name.strip()] = type_name.strip().lower() or "string"
    return declared


def environment(value: str) -> dict[str, Any]:
    """`AWS_PROFILE, REGION=eu`: a bare name is passed on, `NAME=value` is set; a code span may hold commas."""
    passed: list[str] = []
    set_here: dict[str, str] = {}
    for item in split(value, ","):
        name, equals, content = unwrapped(item).partition("=")
        if equals:
            set_here[name.strip()] = unwrapped(content.strip())
        elif name:
            passed.append(name)
    return {key: held for key, held in (("pass", passed), ("set", set_here)) if held}


def handed_over(value: str) -> dict[str, str]:
    """`version=params.version, channel='ops'`: parameters with their expressions; a code span may hold commas."""
    given: dict[str, str] = {}
    for item in items(value):
        name, equals, expression = item.partition("=")
        if not equals:
            raise Unreadable("NAME=EXPRESSION, separated by commas", value)
        given[name.strip()] = unwrapped(expression.strip())
    return given


def triggers(value: str) -> list[dict[str, str]]:
    """`manual, webhook /deploy`: kinds of triggers, a webhook with its path."""
    return [_trigger(*item.partition(" ")) for item in items(value)]


def split(value: str, separator: str) -> Iterator[str]:
    """The parts between separators that stand outside code spans, stripped."""
    part = ""
    for piece in re.split(r"(`+[^`]*`+)", value):
        if piece.startswith("`"):
            part += piece
            continue
        head, *more = piece.split(separator)
        part += head
        for following in more:
            yield part.strip()
            part = following
    yield part.strip()


def _dependency(item: str) -> int | str:
    number = re.fullmatch(r"(?:step\s+|#)?([0-9]{1,6})", item, re.IGNORECASE)
    return int(number[1]) if number else item


def _trigger(kind: str, _space: str, path: str) -> dict[str, str]:
    return {"type": kind.lower(), **({"path": unwrapped(path.strip())} if path.strip() else {})}


def _plain(number: float) -> int | float:
    return int(number) if number.is_integer() else number
