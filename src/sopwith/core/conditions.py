"""Conditions and other expressions in CEL: whether one is sound, and what it comes to.

Every name is declared with its type, so that an unknown name and a comparison that could never hold are found when the
file is read. At run time nothing raises: what cannot be evaluated gives no result and a reason. CEL bounds nesting and
loops itself; length, patterns and the work that values can cause are bounded here. CEL is imported on first use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec

from sopwith.core.cel_messages import UNDECLARED, shown_name, told, type_name, unknown
from sopwith.core.cel_words import GIVEN, Unsound, asked_for, calls, chains, patterns, refuse_dyn, rewritten, tokens_of
from sopwith.core.procedure import MAX_INTEGER
from sopwith.core.run import STEP_STATUSES
from sopwith.core.scope import ITEM, Scope, ValueType

MAX_LENGTH = 4096
MAX_WORK = 100_000_000
"""Characters times words of the expression times rounds of its loops: about 100 ms at worst."""
_MAX_DEPTH = 32
_LOOPS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_MAX_ROUNDS = 10_000


class Wanted(StrEnum):
    """What an expression must come to."""

    TRUTH = "true or false"
    TEXT = "text"
    LIST = "a list"
    VALUE = "text, a number, or true or false"


class Found(msgspec.Struct, frozen=True):
    """What an expression came to, a JSON value; with a `reason` nothing, because it could not be evaluated."""

    value: Any = None
    reason: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What a condition came to; `result` None: it could not be evaluated, and `reason` says why."""

    result: bool | None
    reason: str = ""


class _Undeclared(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def check(expression: str, scope: Scope, wanted: Wanted = Wanted.TRUTH) -> str | None:
    """What is wrong with the expression, in one sentence; None if it is sound and gives what is wanted."""
    try:
        _condition(expression, scope, wanted)
    except Unsound as error:
        return str(error)
    return None


def evaluate(
    expression: str, scope: Scope, values: Mapping[str, Any], *, is_open: Callable[[str], bool] | None = None
) -> Verdict:
    """True, False, or no result and the reason. Raises nothing, whatever the values are.

    `is_open` tells the names that may still get a value: `has()` does not say of them that there is none.
    """
    found = find(expression, scope, values, Wanted.TRUTH, is_open=is_open)
    return Verdict(None if found.reason else found.value, found.reason)


def find(
    expression: str,
    scope: Scope,
    values: Mapping[str, Any],
    wanted: Wanted,
    *,
    is_open: Callable[[str], bool] | None = None,
) -> Found:
    """What the expression comes to, or the reason why nobody can know. Raises nothing, whatever the values are."""
    try:
        condition = _condition(expression, scope, wanted)
        used = {name: _typed(name, values[name], kind) for name, kind in condition.scope if name in values}
        asked = [name for name in condition.words.asked_for if is_open is None or not is_open(name)]
        used |= {f"{GIVEN}.{name}": _is_given(name, scope, values) for name in asked}
        if _work(condition.words, used) > MAX_WORK:
            return Found(None, "the values are too large for what the expression does with them")
        found = condition.program.eval(data=used)
        # a failure is a value too, and its plain value is text: true, to Python
        if _is_failure(found) or not _gives(found.type().name(), wanted):
            return Found(None, _told_instead(found, wanted))
        return Found(_plain(found.plain_value()))
    except Unsound as error:
        return Found(None, str(error))
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        return Found(None, told(str(error)))


def _is_failure(found: Any) -> bool:
    return str(found.type().name()) in ("ERROR", "UNKNOWN")


def _told_instead(found: Any, wanted: Wanted) -> str:
    if _is_failure(found):
        return told(str(found.plain_value()))
    return f"it must be {wanted}, and it is {type_name(found.type().name())}"


def _gives(kind: str, wanted: Wanted) -> bool:
    """Whether CEL's type is one of those that are wanted."""
    match wanted:
        case Wanted.TRUTH:
            return kind == "BOOL"
        case Wanted.TEXT:
            return kind == "STRING"
        case Wanted.LIST:
            return kind.startswith("LIST")
        case Wanted.VALUE:
            return kind in ("STRING", "INT", "UINT", "DOUBLE", "BOOL")


def _plain(value: Any) -> Any:
    """The value as JSON carries it. Raises Unsound for what JSON has not."""
    match value:
        case None | bool() | str():
            return value
        case int() if abs(value) <= MAX_INTEGER:
            return value
        case float() if isfinite(value):
            return value
        case list():
            return [_plain(each) for each in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _plain(each) for key, each in value.items()}
        case _:
            raise Unsound(f"it gives {str(value)[:60]}, which is no JSON value")


def names_in(expression: str) -> tuple[str, ...]:
    """The dotted names that a sound condition asks about: `params.to`, `steps.2.outputs.url`."""
    return _read(expression).names


_STATUS_WORD = re.compile(r"\.status\s*[=!]=\s*(?:'([^'\\]*)'|\"([^\"\\]*)\")")


def unknown_status(expression: str) -> str | None:
    """The first text that a status is compared with and that no step ever has: a comparison that never changes."""
    words = (one or other for one, other in _STATUS_WORD.findall(expression))
    return next((word for word in words if word not in STEP_STATUSES), None)


class _Words(msgspec.Struct, frozen=True):
    """What can be told from the text alone; `text` is what CEL is given, `names` the dotted names in it."""

    text: str
    names: tuple[str, ...]
    asked_for: tuple[str, ...]
    """Names that `has()` asks about."""
    count: int
    listed: int
    loops: int
    joins: bool
    patterns: int


class _Condition(msgspec.Struct, frozen=True):
    program: Any
    scope: tuple[tuple[str, ValueType], ...]
    words: _Words


def _condition(expression: str, scope: Scope, wanted: Wanted) -> _Condition:
    """The expression, ready to evaluate. Raises Unsound."""
    words = _read(expression)
    used = {name: scope[name] for each in words.names for name in _prefixes(each) if name in scope}
    try:
        for name in words.asked_for:
            if _known_as(name, scope) is None:
                raise _Undeclared(name)
            used[f"{GIVEN}.{name}"] = ValueType.BOOLEAN
        return _compiled(words, tuple(sorted(used.items())), wanted)
    except _Undeclared as error:
        raise Unsound(unknown(error.name, scope)) from None


def _known_as(name: str, scope: Scope) -> str | None:
    """The declared name that holds this one: itself, or what it is a part of; None if there is none."""
    if name in scope:
        return name
    open_kinds = (ValueType.TEXTS, ValueType.ANYTHING, ValueType.ANY)
    return next((each for each in _prefixes(name) if each in scope and scope[each] in open_kinds), None)


def _is_given(name: str, scope: Scope, values: Mapping[str, Any]) -> bool:
    """What `has()` comes to. Raises Unsound where what would hold the value is not there itself."""
    known = _known_as(name, scope)
    assert known is not None
    if known == name:
        return name in values
    *around, last = name[len(known) + 1 :].split(".")
    holder = values.get(known)
    for part in around:
        holder = holder.get(part) if isinstance(holder, dict) else None
    if not isinstance(holder, dict):
        raise Unsound(f"{shown_name(name.rpartition('.')[0])} has no value")
    return last in holder


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, min(len(parts), 5) + 1))


@lru_cache(maxsize=256)
def _read(expression: str) -> _Words:
    _check_text(expression)
    tokens = tokens_of(expression)
    refuse_dyn(tokens)
    names = {start: ".".join(parts) for start, _, parts in chains(tokens)}
    # a loop may call its variable item too, so this is no root of dotted names
    own = [ITEM] if any(token.text == ITEM for token in tokens) else []
    words = _Words(
        text=rewritten(expression, tokens),
        names=tuple(dict.fromkeys([*names.values(), *own])),
        asked_for=tuple(".".join(parts) for _start, _end, parts in asked_for(tokens)),
        count=len(tokens),
        listed=1 + sum(token.text == "," for token in tokens),
        loops=sum(1 for _ in calls(tokens, *_LOOPS)),
        joins=any(token.text == "+" for token in tokens),
        patterns=patterns(tokens),
    )
    if _work(words, {}) > MAX_WORK:
        raise Unsound("it would take too much work: fewer loops and joins, please")
    return words


@lru_cache(maxsize=256)
def _compiled(words: _Words, scope: tuple[tuple[str, ValueType], ...], wanted: Wanted) -> _Condition:
    return _Condition(_program(words.text, scope, wanted), scope, words)


def _work(words: _Words, values: Mapping[str, Any]) -> int:
    """An upper bound, in characters touched, of what evaluating costs with these values."""
    size, longest = len(words.text), words.listed
    for value in values.values():
        more, length = _extent(value)
        size, longest = size + more, max(longest, length)
    rounds = min(_MAX_ROUNDS, longest * (words.count if words.joins else 1))
    loops = rounds * (words.count * rounds) ** (words.loops - 1) if words.loops else 1
    return size * words.count * (1 + 3 * words.patterns) * loops


def _program(expression: str, scope: tuple[tuple[str, ValueType], ...], wanted: Wanted) -> Any:
    # only procedures that have conditions pay for the import
    from cel_expr_python import cel

    types = {
        ValueType.TEXT: cel.Type.STRING,
        ValueType.INTEGER: cel.Type.INT,
        ValueType.NUMBER: cel.Type.DOUBLE,
        ValueType.BOOLEAN: cel.Type.BOOL,
        ValueType.ANY: cel.Type.DYN,
        ValueType.LIST: cel.Type.List(cel.Type.DYN),
        ValueType.TEXTS: cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        ValueType.ANYTHING: cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    }
    try:
        program = cel.NewEnv(variables={name: types[kind] for name, kind in scope}).compile(expression)
    except (RuntimeError, TypeError, ValueError) as error:
        if found := UNDECLARED.search(str(error)):
            raise _Undeclared(found[1]) from None
        raise Unsound(told(str(error))) from None
    kind = program.return_type().name()
    # what is dyn before any value is known may come to anything; not where it decides something
    if not _gives(kind, wanted) and (wanted in (Wanted.TRUTH, Wanted.TEXT) or kind != "DYN"):
        raise Unsound(f"it must be {wanted}, and it is {type_name(kind)}")
    return program


def _check_text(expression: str) -> None:
    if len(expression) > MAX_LENGTH:
        raise Unsound(f"it is longer than {MAX_LENGTH} characters")
    if not expression.strip():
        raise Unsound("it is empty")
    if "\0" in expression or any("\ud800" <= char <= "\udfff" for char in expression):
        raise Unsound("it holds characters that are no text")


def _typed(name: str, value: Any, kind: ValueType) -> Any:
    """The value as CEL takes it; Raises Unsound if it is not of the declared type."""
    match kind:
        case ValueType.TEXT if isinstance(value, str):
            return value
        case ValueType.BOOLEAN if isinstance(value, bool):
            return value
        case ValueType.INTEGER if isinstance(value, int) and not isinstance(value, bool):
            return value
        case ValueType.NUMBER if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case ValueType.ANY:
            return value
        case ValueType.LIST if isinstance(value, list | tuple):
            return list(value)
        case ValueType.TEXTS | ValueType.ANYTHING if isinstance(value, dict):
            return value
        case _:
            raise Unsound(f"{shown_name(name)} is not {type_name(kind.value)}")


def _extent(value: Any) -> tuple[int, int]:
    """How many characters and numbers a value holds, and how long its longest list is.

    Raises Unsound where CEL would not see the value as it is, or it is nested too deep.
    """
    size = longest = 0
    level = [value]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for each in level:
            size += 1
            if isinstance(each, str):
                if "\0" in each:
                    raise Unsound("a value holds a zero character, at which CEL would cut it off")
                size += len(each)
            elif isinstance(each, dict):
                longest = max(longest, len(each))
                below += [*each, *each.values()]
            elif isinstance(each, list | tuple):
                longest = max(longest, len(each))
                below += each
        if not below:
            return size, longest
        level = below
    raise Unsound(f"a value is nested more than {_MAX_DEPTH} levels deep")
