"""The event of a happening outside: a JSON object with `type`, `id`, `at` and what its type brings, as bytes.

What came over the network is read strictly: no key twice, no NaN, no number that JSON tools read differently, a bound
on depth and size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from sopwith.core.instant import iso
from sopwith.core.procedure import TriggerType
from sopwith.core.triggers import MAX_EVENT_BYTES
from sopwith.core.webhooks import SECRET_HEADERS

_MAX_DEPTH = 64
_MAX_NUMBER = 2**63
_FORM = "application/x-www-form-urlencoded"


class BadEvent(ValueError):
    """What came is no event; the text says why, to whoever sent it."""


class EventTooLarge(BadEvent):
    """It has more bytes than an event may have."""


def new_event(kind: TriggerType, delivery: str, at: datetime, **brought: Any) -> dict[str, Any]:
    """The event as a JSON object."""
    return {"type": kind.value, "id": delivery, "at": iso(at), **brought}


def encode_event(event: Mapping[str, Any]) -> bytes:
    """The bytes that are kept. Raises EventTooLarge, or BadEvent for text that is none."""
    try:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        raise BadEvent("it holds half a character") from None
    if len(data) > MAX_EVENT_BYTES:
        raise EventTooLarge(f"an event may have {MAX_EVENT_BYTES // 1024} KiB, and this one has more")
    return data


def decode_event(data: bytes) -> dict[str, Any]:
    """The reverse of `encode_event`; strict, for events that a person gives too. Raises BadEvent."""
    event = read_json(data)
    if not isinstance(event, dict):
        raise BadEvent("it is no JSON object")
    return event


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that an event keeps: without what proves who sent it."""
    return {name: value for name, value in sorted(headers.items()) if name not in SECRET_HEADERS}


def read_body(body: bytes, content_type: str) -> Any:
    """The body as its content type says: JSON, a form, or text; empty is null. Raises BadEvent."""
    if not body:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return read_json(body)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise BadEvent("the body is neither JSON nor text in UTF-8") from None
    if kind != _FORM:
        return text
    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=1000, errors="strict"))
    except ValueError:
        raise BadEvent("the body is no form that can be read") from None


def read_json(data: bytes) -> Any:
    """The JSON value. Raises BadEvent."""
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_number
        )
    except UnicodeDecodeError:
        raise BadEvent("the body is not UTF-8") from None
    except RecursionError:
        raise BadEvent("the JSON is nested too deep") from None
    except json.JSONDecodeError as error:
        raise BadEvent(f"the body is no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise BadEvent(f"the JSON is nested more than {_MAX_DEPTH} levels deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BadEvent("the JSON has a key twice in one object")
    return made


def _constant(word: str) -> NoReturn:
    raise BadEvent(f"the JSON has {word}, which is no number")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -_MAX_NUMBER <= int(digits) < _MAX_NUMBER:
        raise BadEvent("the JSON has a number of more than 64 bits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise BadEvent("the JSON has a number that is too large")
    return number
