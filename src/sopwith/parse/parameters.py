"""SOP.md's parameter list: `- name (required, integer, default: 3): what it is for` -> an entry of `params`."""

from __future__ import annotations

import re
from typing import Any

from sopwith.parse.values import Unreadable, integer, split, unwrapped, yes_or_no

_ITEM = re.compile(r"`?([A-Za-z0-9_.-]{1,100})`?\s*(.*)", re.DOTALL)
_TYPES = frozenset({"string", "integer", "number", "boolean", "enum", "secret"})
_SHAPE = "`name (required, integer, default: 3): what it is for`"


def read_parameter(source: str) -> dict[str, Any]:
    """One list item as a `params` entry of the manifest. Raises Unreadable."""
    item = _ITEM.fullmatch(source.strip())
    if item is None:
        raise Unreadable(_SHAPE, source)
    options, rest = _parted(item[2], source)
    if rest and not rest.startswith(":"):
        raise Unreadable(_SHAPE, source)
    parameter: dict[str, Any] = {"name": item[1]}
    for option in split(options, ","):
        if option:
            _read_option(option, parameter)
    if "values" in parameter:
        parameter.setdefault("type", "enum")
    if "default" in parameter:
        parameter["default"] = _typed(parameter["default"], parameter.get("type", "string"))
    description = " ".join(rest.removeprefix(":").split())
    return {**parameter, **({"description": description} if description else {})}


def _parted(text: str, source: str) -> tuple[str, str]:
    """What stands inside the brackets, and what stands after them."""
    if not text.startswith("("):
        return "", text
    depth = 0
    for part in re.finditer(r"`[^`]*`|[()]", text):
        depth += {"(": 1, ")": -1}.get(part[0], 0)
        if depth == 0:
            return text[1 : part.start()], text[part.end() :].strip()
    raise Unreadable(f"a closing bracket: {_SHAPE}", source)


def _read_option(option: str, parameter: dict[str, Any]) -> None:
    word = option.lower()
    name, colon, value = option.partition(":")
    value = unwrapped(value.strip())
    if word in ("required", "optional"):
        parameter["required"] = word == "required"
    elif word in _TYPES:
        parameter["type"] = word
    elif colon and name.strip().lower() in ("default", "pattern"):
        parameter[name.strip().lower()] = value
    elif colon and name.strip().lower() in ("values", "one of"):
        parameter["values"] = [unwrapped(choice) for choice in split(value, "|")]
    else:
        raise Unreadable("required, optional, a type, `default: x`, `values: a | b` or `pattern: x`", option)


def _typed(value: str, type_name: str) -> str | int | float | bool:
    match type_name:
        case "integer":
            return integer(value)
        case "number":
            return _number(value)
        case "boolean":
            return yes_or_no(value)
        case _:
            return value


def _number(value: str) -> int | float:
    if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", value):
        raise Unreadable("a number", value)
    return float(value) if "." in value else int(value)
