"""Checks a JSON value against a model and reports every mistake, where msgspec alone stops at the first.

The model's own type information is walked, so the check, the decoder and the published JSON Schema cannot drift apart.
A model may declare `designed_keys` and `designed_values`: known to the design, refused as not supported yet.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Protocol, TypeVar

from msgspec import NODEFAULT, Struct, convert, inspect

from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.strict_json import FLAWED, Path

Model = TypeVar("Model", bound=Struct)


class Places(Protocol):
    """Where the parts of a value stand in the file that they came from."""

    def at(self, path: Path) -> Place:
        """The place of the value at `path`, or of what surrounds it."""

    def at_key(self, path: Path) -> Place:
        """The place of the key that `path` ends with."""


def read_shape(value: Any, model: type[Model], places: Places, findings: Findings) -> Model | None:
    """`value` as a `model`; None, and every mistake in `findings`, if it is none."""
    check = _ShapeCheck(places, findings)
    check.value(_type_of(model), value, ())
    return convert(value, model) if check.passed else None


@cache
def _type_of(model: type[Struct]) -> inspect.Type:
    return inspect.type_info(model)


class _ShapeCheck:
    def __init__(self, places: Places, findings: Findings) -> None:
        self._places = places
        self._findings = findings
        self.passed = True

    def value(self, kind: inspect.Type, value: Any, path: Path, designed: frozenset[str] = frozenset()) -> None:
        """Checks one value; `designed` are texts that may stand here one day."""
        if value is FLAWED:
            self.passed = False
            return None
        hint = _hint_of(kind, value)
        kind, title = _unwrapped(kind)
        if isinstance(kind, inspect.UnionType):
            fitting = [member for member in kind.types if _fits(_unwrapped(member)[0], value)]
            if not fitting:
                return self._unexpected(_said_of_union(kind), value, path)
            return self.value(fitting[0], value, path, designed)
        if not _fits(kind, value):
            return self._unexpected(_said(kind), value, path)
        match kind:
            case inspect.StructType():
                self._struct(kind, value, path)
            case inspect.DictType():
                self._dict(kind, value, path)
            case inspect.VarTupleType():
                self._list(kind, value, path)
            case inspect.StrType():
                self._text(kind, value, path, title, hint)
            case inspect.IntType() | inspect.FloatType():
                self._number(kind, value, path)
            case inspect.EnumType() | inspect.LiteralType():
                self._choice(_choices(kind), value, path, designed)
        return None

    def _struct(self, kind: inspect.StructType, value: dict[str, Any], path: Path) -> None:
        fields = {field.encode_name: field for field in kind.fields}
        designed_keys: frozenset[str] = getattr(kind.cls, "designed_keys", frozenset())
        designed_values: dict[str, frozenset[str]] = getattr(kind.cls, "designed_values", {})
        never_null: frozenset[str] = getattr(kind.cls, "never_null", frozenset())
        for key, inner in value.items():
            if inner is None and key in never_null:
                self._unexpected(_said_of_union(fields[key].type), None, (*path, key), hint="say it, or take it out")
            elif key in fields:
                self.value(fields[key].type, inner, (*path, key), designed_values.get(key, frozenset()))
            elif key in designed_keys:
                self.passed = False
                self._findings.not_supported(f'"{key}"', at=self._places.at_key((*path, key)))
            else:
                self._unknown_key(key, sorted(fields), path)
        for key, field in fields.items():
            if field.required and key not in value and field.default is NODEFAULT:
                self.passed = False
                self._findings.error(
                    "missing_key", f'expected the key "{key}"', at=self._places.at(path), hint=f'add "{key}"'
                )

    def _dict(self, kind: inspect.DictType, value: dict[str, Any], path: Path) -> None:
        if not self._short_enough(kind.max_length, value, path):
            return
        keys = _ShapeCheck(_KeyPlaces(self._places), self._findings)
        for key, inner in value.items():
            keys.value(kind.key_type, key, (*path, key))
            self.value(kind.value_type, inner, (*path, key))
        self.passed = self.passed and keys.passed

    def _list(self, kind: inspect.VarTupleType, value: list[Any], path: Path) -> None:
        if kind.min_length and not value:
            self._unexpected("one entry at least", value, path)
        elif self._short_enough(kind.max_length, value, path):
            for index, item in enumerate(value):
                self.value(kind.item_type, item, (*path, index))

    def _text(self, kind: inspect.StrType, value: str, path: Path, title: str, hint: str) -> None:
        if kind.pattern is not None and not re.fullmatch(kind.pattern, value):
            self._unexpected(title or f"text that matches {kind.pattern}", value, path, hint=hint)
        elif kind.min_length and len(value.strip()) < kind.min_length:
            self._unexpected("some text", value, path)
        elif kind.max_length is not None and len(value) > kind.max_length:
            self._unexpected(f"{kind.max_length} characters at most", f"{len(value)}", path)

    def _number(self, kind: inspect.IntType | inspect.FloatType, value: float, path: Path) -> None:
        if kind.gt is not None and value <= kind.gt:
            self._unexpected(f"a number above {kind.gt}", value, path)
        elif kind.ge is not None and value < kind.ge:
            self._unexpected(f"a number of at least {kind.ge}", value, path)
        elif kind.le is not None and value > kind.le:
            self._unexpected(f"a number up to {kind.le}", value, path)

    def _choice(self, choices: list[str], value: str, path: Path, designed: frozenset[str]) -> None:
        if value in choices:
            return
        if value in designed:
            self.passed = False
            self._findings.not_supported(f'"{value}"', at=self._places.at(path))
        else:
            self._unexpected(
                f"one of {', '.join(choices)}", value, path, hint=self._findings.did_you_mean(value, choices)
            )

    def _short_enough(self, limit: int | None, value: dict[str, Any] | list[Any], path: Path) -> bool:
        if limit is None or len(value) <= limit:
            return True
        self.passed = False
        self._findings.unexpected(
            "bad_value",
            expected=f"{limit} entries at most",
            got=str(len(value)),
            at=self._places.at(path),
            hint="make it shorter",
        )
        return False

    def _unknown_key(self, key: str, known: list[str], path: Path) -> None:
        self.passed = False
        self._findings.error(
            "unknown_key",
            f"expected a known key, got {shown(key)}",
            at=self._places.at_key((*path, key)),
            expected=f"one of {', '.join(known)}",
            got=key[:60],
            hint=self._findings.did_you_mean(key, known)
            or f"take it out, or look its name up in {_reference(self._places.at(path))}",
        )

    def _unexpected(self, expected: str, value: Any, path: Path, *, hint: str = "") -> None:
        self.passed = False
        self._findings.unexpected(
            "bad_value", expected=expected, got=shown(value), at=self._places.at(path), hint=hint or f"write {expected}"
        )


class _KeyPlaces:
    """For the keys of a dict: what is wrong is the key itself."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def at(self, path: Path) -> Place:
        return self._places.at_key(path)

    at_key = at


def _reference(at: Place) -> str:
    """The page that lists the keys of the file."""
    if at.file.endswith(".toml"):
        return "the page about scenarios"
    return "the reference of config.json" if at.file == "config.json" else "the manifest's reference"


def _unwrapped(kind: inspect.Type) -> tuple[inspect.Type, str]:
    title = ""
    while isinstance(kind, inspect.Metadata):
        title = str((kind.extra_json_schema or {}).get("title", ""))
        kind = kind.type
    return kind, title


def _hint_of(kind: inspect.Type, value: Any) -> str:
    """What the model itself says of a text that does not fit."""
    hint = (kind.extra or {}).get("hint") if isinstance(kind, inspect.Metadata) else None
    return str(hint(value)) if hint is not None and isinstance(value, str) else ""


def _is_none(kind: inspect.Type) -> bool:
    return isinstance(_unwrapped(kind)[0], inspect.NoneType)


def _fits(kind: inspect.Type, value: Any) -> bool:
    """Whether `value` is of the JSON kind that `kind` wants; what it holds is checked later."""
    match kind:
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.StrType() | inspect.EnumType() | inspect.LiteralType():
            return isinstance(value, str)
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.VarTupleType():
            return isinstance(value, list)
        case inspect.AnyType():
            return True
        case _:
            raise TypeError(f"no check for {kind!r}: a model uses a type that shape.py does not know")


def _said_of_union(kind: inspect.Type) -> str:
    kind = _unwrapped(kind)[0]
    members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return " or ".join(dict.fromkeys(_said(member) for member in members if not _is_none(member)))


def _said(kind: inspect.Type) -> str:
    kind, title = _unwrapped(kind)
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.EnumType() | inspect.LiteralType():
            return f"one of {', '.join(_choices(kind))}"
        case inspect.StructType() | inspect.DictType():
            return "an object"
        case inspect.VarTupleType():
            return "a list"
        case _:
            return title or "text"


def _choices(kind: inspect.EnumType | inspect.LiteralType) -> list[str]:
    if isinstance(kind, inspect.LiteralType):
        return [str(value) for value in kind.values]
    return [str(member.value) for member in kind.cls]
