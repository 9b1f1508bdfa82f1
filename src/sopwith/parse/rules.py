"""What a sheet must keep to beyond its shape: numbers, names and defaults that fit together within one file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from sopwith.core.confidential import EXPECTED, read_reference
from sopwith.core.patterns import check_pattern, matches
from sopwith.core.procedure import ParameterType
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.manifest import rollback_text
from sopwith.parse.model import ParameterFile
from sopwith.parse.scripts import check_script
from sopwith.parse.sheet import Sheet
from sopwith.parse.triggers import check_triggers


def check_sheet(sheet: Sheet, findings: Findings) -> None:
    """Reports what is wrong within one file."""
    _check_numbers(sheet, findings)
    _check_step_keys(sheet, findings)
    check_triggers(sheet, findings)
    _check_parameters(sheet, findings)
    _check_environment(sheet, findings)
    _check_scripts(sheet, findings)
    _check_pins(sheet, findings)


def _check_environment(sheet: Sheet, findings: Findings) -> None:
    """`SOP_*` and `SOPWITH_*` are what the engine tells a script; a file that set them would make it lie."""
    stated = [(sheet.said.env, sheet.at("env"))]
    stated += [(step.env, sheet.at_step(index, "env")) for index, step in enumerate(sheet.steps)]
    for rules, at in stated:
        for name in (*(rules.pass_ or ()), *(rules.set_ or {})) if rules else ():
            if name.upper().startswith(("SOP_", "SOPWITH_")):
                findings.error(
                    "reserved_variable",
                    f"expected a name that does not start with SOP_ or SOPWITH_, got {shown(name)}",
                    at=at,
                    hint="those are set by Sopwith for the script; choose another name",
                )


def _check_pins(sheet: Sheet, findings: Findings) -> None:
    for index, step in enumerate(sheet.steps):
        pins = step.pins or ()
        # ./a and a are one file
        plain = ["/".join(part for part in pin.split("/") if part not in ("", ".")) for pin in pins]
        for at in _repeated(plain):
            findings.error(
                "repeated_pin",
                f"expected each file once, got {shown(pins[at])} again",
                at=sheet.at_step(index, "pins", at),
                hint="take it out",
            )


def _check_scripts(sheet: Sheet, findings: Findings) -> None:
    """A manifest's scripts; SOP.md's are checked where their own lines are known."""
    for index, step in enumerate(sheet.steps):
        for text, key in ((step.run, "run"), (rollback_text(step), "rollback"), (step.verify, "verify")):
            if text is not None:
                check_script(text, partial(_place_of_script, sheet, index, key), findings)


def _place_of_script(sheet: Sheet, index: int, key: str, _line: int) -> Place:
    return sheet.at_step(index, key)


def _check_numbers(sheet: Sheet, findings: Findings) -> None:
    seen: dict[int, int] = {}
    expected = 1
    for index, step in enumerate(sheet.steps):
        at = sheet.at_step(index, "number")
        if step.number in seen:
            findings.error(
                "duplicate_step_number",
                f"expected each number once, got another step {step.number}; the first is at "
                f"{sheet.at_step(seen[step.number], 'number')}",
                at=at,
                hint="number the steps 1, 2, 3 … in their order",
            )
            continue
        seen[step.number] = index
        if step.number != expected:
            findings.unexpected(
                "step_number_gap",
                expected=f"step {expected}",
                got=f"step {step.number}",
                at=at,
                hint="number the steps 1, 2, 3 … in their order",
            )
        expected = step.number + 1


def _check_step_keys(sheet: Sheet, findings: Findings) -> None:
    for index in _repeated([step.key for step in sheet.steps]):
        findings.error(
            "duplicate_step_key",
            f"expected each step key once, got {shown(sheet.steps[index].key)} again",
            at=sheet.at_step(index, "key"),
            hint="give one of them another key",
        )


def _check_parameters(sheet: Sheet, findings: Findings) -> None:
    declared = sheet.said.params or ()
    for index in _repeated([parameter.name.upper() for parameter in declared]):
        findings.error(
            "duplicate_parameter",
            f"expected each parameter once, got {shown(declared[index].name)} again (scripts see it in upper case)",
            at=sheet.at("params", index, "name"),
            hint="give one of them another name",
        )
    for index, parameter in enumerate(declared):
        _check_parameter(sheet, index, parameter, findings)


def _check_parameter(sheet: Sheet, index: int, parameter: ParameterFile, findings: Findings) -> None:
    type_ = parameter.type or ParameterType.STRING
    if type_ is ParameterType.ENUM and not parameter.values:
        findings.error(
            "enum_without_values",
            'expected "values" for an enum, got none',
            at=sheet.at("params", index),
            hint="list the choices",
        )
    if type_ is not ParameterType.ENUM and parameter.values is not None:
        findings.error(
            "values_without_enum",
            f'expected "values" for an enum only, got type {type_.value}',
            at=sheet.at("params", index, "values"),
            hint="make its type enum, or take the values out",
        )
    if parameter.default is not None and not _fits(parameter.default, type_, parameter):
        secret = type_ is ParameterType.SECRET
        findings.unexpected(
            "bad_default",
            expected=_default_of(type_, parameter),
            got=_got_default(parameter),
            at=sheet.at("params", index, "default"),
            hint="say where the secret is, never the secret itself" if secret else "change the default, or the type",
        )
    if parameter.pattern is not None:
        _check_pattern(parameter, parameter.pattern, index, sheet, findings)


def _check_pattern(parameter: ParameterFile, pattern: str, index: int, sheet: Sheet, findings: Findings) -> None:
    try:
        check_pattern(pattern)
    except ValueError as error:
        findings.unexpected(
            "bad_pattern",
            expected="a regular expression in RE2's syntax",
            got=f"{shown(pattern)}: {error}",
            at=sheet.at("params", index, "pattern"),
            hint="write it without look-around and back-references, and with small repeat counts",
        )
        return
    if isinstance(parameter.default, str) and not matches(pattern, parameter.default):
        findings.unexpected(
            "bad_default",
            expected=f"a default that matches {pattern}",
            got=_got_default(parameter),
            at=sheet.at("params", index, "default"),
            hint="change the default, or the pattern",
        )


def _fits(value: str | int | float | bool, type_: ParameterType, parameter: ParameterFile) -> bool:
    match type_:
        case ParameterType.STRING:
            return isinstance(value, str)
        case ParameterType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case ParameterType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ParameterType.BOOLEAN:
            return isinstance(value, bool)
        case ParameterType.ENUM:
            return value in (parameter.values or ())
        case ParameterType.SECRET:
            return _is_reference(value)


def _is_reference(value: str | int | float | bool) -> bool:
    try:
        read_reference(value)
    except ValueError:
        return False
    return True


def _got_default(parameter: ParameterFile) -> str:
    """What was said may be the secret itself."""
    return "something else" if parameter.type is ParameterType.SECRET else shown(parameter.default)


def _default_of(type_: ParameterType, parameter: ParameterFile) -> str:
    if type_ is ParameterType.ENUM:
        return f"one of {', '.join(parameter.values or ())}"
    if type_ is ParameterType.SECRET:
        return EXPECTED
    return f"a default of type {type_.value}"


def _repeated(names: Iterable[str | None]) -> list[int]:
    """The indexes of names that stood before."""
    seen: set[str] = set()
    repeated: list[int] = []
    for index, name in enumerate(names):
        if name is not None and name in seen:
            repeated.append(index)
        elif name is not None:
            seen.add(name)
    return repeated
