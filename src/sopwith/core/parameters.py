"""Parameters of a run: what the procedure declares against what the caller gives. All mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.confidential import read_reference, secret_parameters
from sopwith.core.events import ParamValue
from sopwith.core.patterns import matches
from sopwith.core.procedure import MAX_INTEGER, Parameter, ParameterType, Procedure
from sopwith.errors import BadParameter, NotAllowed

NAME_PATTERN = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
MAX_VALUE_BYTES = 64 * 1024
MAX_TOTAL_BYTES = 256 * 1024
_TRUE = ("true", "yes", "1")
_FALSE = ("false", "no", "0")


def resolve_parameters(procedure: Procedure, given: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Checked values with defaults filled in, in the declared order. Raises BadParameter with every mistake.

    A procedure that declares no parameter takes any well-named one, as text; one that declares some takes no others.
    """
    declared = {parameter.name: parameter for parameter in procedure.parameters}
    mistakes = [mistake for name in given if (mistake := _name_mistake(name, declared))]
    values: dict[str, ParamValue] = {}
    for name, raw in given.items():
        parameter = declared.get(name, Parameter(name=str(name)))
        if not declared or name in declared:
            _take(parameter, raw, values, mistakes)
    for parameter in procedure.parameters:
        if parameter.name in given:
            continue
        if parameter.default is not None:
            values[parameter.name] = parameter.default
        elif parameter.required:
            mistakes.append(f"{parameter.name} is required" + _described(parameter))
    mistakes += _clashes(values)
    if sum(len(str(value).encode()) for value in values.values()) > MAX_TOTAL_BYTES:
        mistakes.append(
            f"all values together are larger than {MAX_TOTAL_BYTES // 1024} KiB; pass a file's path instead"
        )
    if mistakes:
        raise BadParameter(
            f"cannot run {procedure.name}: {'; '.join(mistakes)}", hint=_hint(procedure), mistakes=tuple(mistakes)
        )
    order = list(declared) or sorted(values)
    return {name: values[name] for name in order if name in values}


def check_chooser(
    procedure: Procedure, params: Mapping[str, Any], actor: Actor, *, before: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """NotAllowed where an agent chooses what a secret is: it could name any file that the driver may read.

    A `pattern` says which references anybody may give. `before`: the parameters that the run has.
    """
    if actor.kind is not ActorKind.AGENT:
        return
    for parameter in secret_parameters(procedure):
        known = before.get(parameter.name, parameter.default)
        if parameter.pattern is None and params.get(parameter.name, known) != known:
            raise NotAllowed(
                f"an agent may not choose what the secret {parameter.name} of {procedure.name} refers to",
                hint=f"let a person start the run, or give {parameter.name} a default or a pattern",
            )


def _clashes(values: Mapping[str, ParamValue]) -> list[str]:
    """Names that a script could not tell apart: both would be the same SOP_PARAM_<NAME>."""
    seen: dict[str, str] = {}
    return [
        f"{name} and {seen[name.upper()]} are the same variable to a script"
        for name in values
        if seen.setdefault(name.upper(), name) != name
    ]


def _take(parameter: Parameter, raw: Any, values: dict[str, ParamValue], mistakes: list[str]) -> None:
    try:
        values[parameter.name] = typed(parameter, raw)
    except ValueError as error:
        # what was given for a secret may be the secret itself
        got = "something else" if parameter.type is ParameterType.SECRET else shown(raw)
        mistakes.append(f"{parameter.name}: expected {error}, got {got}")


def _name_mistake(name: str, declared: Mapping[str, Parameter]) -> str | None:
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        return f"{shown(name)} is not a parameter name (letters, digits and _, not starting with a digit)"
    if declared and name not in declared:
        from difflib import get_close_matches  # only for a name that is wrong

        near = get_close_matches(name, declared, n=1)
        return f"no parameter {name} is declared" + (f", did you mean {near[0]}?" if near else "")
    return None


def typed(parameter: Parameter, raw: Any) -> ParamValue:
    if isinstance(raw, str):
        if "\x00" in raw:
            raise ValueError("text without NUL")
        if len(raw.encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
            raise ValueError(f"at most {MAX_VALUE_BYTES // 1024} KiB")
        try:
            raw.encode()
        except UnicodeEncodeError:
            raise ValueError("valid UTF-8") from None
    match parameter.type:
        case ParameterType.STRING:
            return _pattern(parameter, _text(raw))
        case ParameterType.ENUM:
            if raw not in parameter.values:
                raise ValueError(f"one of {', '.join(parameter.values)}")
            return str(raw)
        case ParameterType.BOOLEAN:
            return _boolean(raw)
        case ParameterType.INTEGER:
            return _integer(raw)
        case ParameterType.NUMBER:
            return _number(raw)
        case ParameterType.SECRET:
            return _pattern(parameter, str(read_reference(raw)))


def _text(raw: Any) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int | float):
        return repr(raw)
    raise ValueError("text")


def _pattern(parameter: Parameter, value: str) -> str:
    if parameter.pattern is not None and not matches(parameter.pattern, value):
        raise ValueError(f"text that matches {parameter.pattern}")
    return value


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in (*_TRUE, *_FALSE):
        return raw.lower() in _TRUE
    raise ValueError("true or false")


def _integer(raw: Any) -> int:
    if isinstance(raw, str) and re.fullmatch(r"[+-]?[0-9]{1,16}", raw):
        raw = int(raw)
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)  # as some programs write every number
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) <= MAX_INTEGER:
        return raw
    raise ValueError("a whole number")


def _number(raw: Any) -> int | float:
    if isinstance(raw, str) and re.fullmatch(r"[+-]?[0-9]{1,16}(\.[0-9]{1,16})?([eE][+-]?[0-9]{1,2})?", raw):
        raw = float(raw)
    if isinstance(raw, int | float) and not isinstance(raw, bool) and abs(raw) <= MAX_INTEGER:
        return int(raw) if float(raw).is_integer() else raw
    raise ValueError("a number")


def _described(parameter: Parameter) -> str:
    return f" ({parameter.description})" if parameter.description else ""


def _hint(procedure: Procedure) -> str:
    if not procedure.parameters:
        return "give parameters as --param name=value"
    return "declared: " + ", ".join(p.name + _about(p) for p in procedure.parameters)


def _about(parameter: Parameter) -> str:
    about = ["required"] if parameter.required else []
    about += ["env:NAME or file:PATH, never the secret itself"] if parameter.type is ParameterType.SECRET else []
    return f" ({'; '.join(about)})" if about else ""


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
