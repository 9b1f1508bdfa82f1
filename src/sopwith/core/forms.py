"""The form of a gate: what an approver gives against the fields that the procedure asks for. All mistakes at once.

Values are read as parameters are (`parameters.py`): text from a command line takes the field's type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sopwith.core.approval import FieldType, FormField, FormValue
from sopwith.core.parameters import shown, typed
from sopwith.core.procedure import Parameter, ParameterType
from sopwith.errors import BadRequest


def read_form(
    fields: tuple[FormField, ...], given: Mapping[str, Any], earlier: Mapping[str, Any] | None
) -> dict[str, FormValue]:
    """Checked values in the order of the fields, with defaults filled in. Raises BadRequest with every mistake.

    `earlier` is what earlier voters agreed to: it stands for what is left out, and may not be changed; None: nobody
    voted yet.
    """
    known = {field.name: field for field in fields}
    mistakes = [_unknown(name, known) for name in given if name not in known]
    values: dict[str, FormValue] = {}
    for field in fields:
        if field.name in given:
            _take(field, given[field.name], earlier, values, mistakes)
        elif earlier is not None and field.name in earlier:
            values[field.name] = earlier[field.name]
        elif field.default is not None and earlier is None:
            values[field.name] = field.default
        elif field.required:
            mistakes.append(f"{field.name} is required" + (f" ({field.title})" if field.title else ""))
    if mistakes:
        raise BadRequest(f"the form is not filled in as asked: {'; '.join(mistakes)}", hint=_hint(fields))
    return values


def value_of(field: FormField, raw: Any) -> FormValue:
    """`raw` as a value of this field. Raises ValueError, which says what was expected."""
    value = typed(Parameter(name=field.name, type=ParameterType(field.type.value), pattern=field.pattern), raw)
    if field.values and not any(_same(value, choice) for choice in field.values):
        raise ValueError(f"one of {', '.join(_written(choice) for choice in field.values)}")
    if field.type in (FieldType.INTEGER, FieldType.NUMBER) and not isinstance(value, str):
        if field.minimum is not None and value < field.minimum:
            raise ValueError(f"a number of at least {field.minimum}")
        if field.maximum is not None and value > field.maximum:
            raise ValueError(f"a number up to {field.maximum}")
    return value


def _take(
    field: FormField, raw: Any, earlier: Mapping[str, Any] | None, values: dict[str, FormValue], mistakes: list[str]
) -> None:
    try:
        value = value_of(field, raw)
    except ValueError as error:
        mistakes.append(f"{field.name}: expected {error}, got {shown(raw)}")
        return
    if earlier is not None and not (field.name in earlier and _same(value, earlier[field.name])):
        before = shown(earlier[field.name]) if field.name in earlier else "nothing"
        mistakes.append(f"{field.name}: agreed to as {before}, which cannot become {shown(value)}")
        return
    values[field.name] = value


def _same(one: Any, other: Any) -> bool:
    """Equal and of one kind: true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _unknown(name: Any, known: Mapping[str, FormField]) -> str:
    from difflib import get_close_matches  # only for a name that is wrong

    near = get_close_matches(name, known, n=1) if isinstance(name, str) and len(name) <= 100 else []
    guess = f", did you mean {near[0]}?" if near else ""
    return f"the form has no field {shown(name)}{guess}" if known else f"this gate has no form, got {shown(name)}"


def _written(value: FormValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hint(fields: tuple[FormField, ...]) -> str:
    if not fields:
        return "leave --field out"
    asked = ", ".join(f"{field.name}{' (required)' if field.required else ''}" for field in fields)
    return f"give each as --field NAME=VALUE: {asked}"
