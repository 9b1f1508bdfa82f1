"""Parameters (DESIGN section 3): typed, complete, and every mistake told at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.core.parameters import MAX_VALUE_BYTES, resolve_parameters
from sopwith.core.procedure import Parameter, ParameterType, canonical
from sopwith.errors import BadParameter

from .given import procedure, shell

STRING, INTEGER, NUMBER, BOOLEAN, ENUM, SECRET = ParameterType


def _resolve(declared: list[Parameter], **given: Any) -> dict[str, Any]:
    return resolve_parameters(procedure(shell(), parameters=tuple(declared)), given)


def _mistakes(declared: list[Parameter], given: dict[Any, Any]) -> tuple[str, ...]:
    with pytest.raises(BadParameter) as caught:
        resolve_parameters(procedure(shell(), parameters=tuple(declared)), given)
    assert caught.value.exit_code == 2
    assert caught.value.message == f"cannot run deploy: {'; '.join(caught.value.details['mistakes'])}"
    return tuple(caught.value.details["mistakes"])


def test_a_procedure_that_declares_none_takes_any_well_named_one_as_text() -> None:
    values = _resolve([], version="1.2", count=3, ratio=0.5, force=True)
    assert values == {"count": "3", "force": "true", "ratio": "0.5", "version": "1.2"}
    assert list(values) == sorted(values)


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "ä", "A" * 65, 7, "a\n"])
def test_a_badly_named_parameter_is_refused(name: Any) -> None:
    assert "is not a parameter name" in _mistakes([], {name: "x"})[0]


def test_a_procedure_that_declares_some_takes_no_others_and_names_the_nearest() -> None:
    mistakes = _mistakes([Parameter(name="environment")], {"enviroment": "x"})
    assert mistakes == ("no parameter enviroment is declared, did you mean environment?",)


def test_every_mistake_is_told_at_once() -> None:
    declared = [
        Parameter(name="tag", required=True, description="what to deploy"),
        Parameter(name="count", type=INTEGER),
        Parameter(name="target", type=ENUM, values=("eu", "us")),
    ]
    mistakes = _mistakes(declared, {"count": "many", "target": "mars", "zzz": "1", "9": ""})
    assert len(mistakes) == 5
    assert "tag is required (what to deploy)" in mistakes
    assert "count: expected a whole number, got 'many'" in mistakes
    assert "target: expected one of eu, us, got 'mars'" in mistakes


def test_defaults_are_filled_in_and_the_order_is_the_declared_one() -> None:
    declared = [Parameter(name="z", default="1"), Parameter(name="a", required=True), Parameter(name="none")]
    values = _resolve(declared, a="2")
    assert list(values.items()) == [("z", "1"), ("a", "2")]


def test_a_required_parameter_with_a_default_is_not_missing() -> None:
    assert _resolve([Parameter(name="a", required=True, default="x")]) == {"a": "x"}


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (STRING, "", ""),
        (STRING, "$(rm -rf /)\n", "$(rm -rf /)\n"),
        (INTEGER, "42", 42),
        (INTEGER, "-7", -7),
        (INTEGER, 2**53 - 1, 2**53 - 1),
        (INTEGER, 2.0, 2),
        (NUMBER, "1.5", 1.5),
        (NUMBER, "2e3", 2000),
        (NUMBER, "3.0", 3),
        (NUMBER, 7, 7),
        (BOOLEAN, "Yes", True),
        (BOOLEAN, "0", False),
        (BOOLEAN, True, True),
    ],
)
def test_a_value_takes_the_declared_type(kind: ParameterType, raw: Any, value: Any) -> None:
    got = _resolve([Parameter(name="p", type=kind)], p=raw)["p"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (STRING, None),
        (STRING, ["a"]),
        (STRING, "a\x00b"),
        (STRING, "\ud800"),
        (STRING, "x" * (MAX_VALUE_BYTES + 1)),
        (INTEGER, "1.0"),
        (INTEGER, 1.5),
        (INTEGER, float(2**53)),
        (INTEGER, float("inf")),
        (INTEGER, float("nan")),
        (INTEGER, True),
        (INTEGER, 2**53),
        (INTEGER, "9" * 17),
        (INTEGER, "４２"),
        (INTEGER, ""),
        (NUMBER, "nan"),
        (NUMBER, "1_0"),
        (NUMBER, float("nan")),
        (NUMBER, float("inf")),
        (NUMBER, "9e99"),
        (NUMBER, float(2**53)),
        (NUMBER, True),
        (BOOLEAN, "maybe"),
        (BOOLEAN, 1),
        (BOOLEAN, None),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_was_expected(kind: ParameterType, raw: Any) -> None:
    (mistake,) = _mistakes([Parameter(name="p", type=kind)], {"p": raw})
    assert mistake.startswith("p: expected ")
    assert len(mistake) < 200


def test_a_pattern_matches_the_whole_value() -> None:
    declared = [Parameter(name="tag", pattern="v[0-9]+")]
    assert _resolve(declared, tag="v12") == {"tag": "v12"}
    for bad in ("v12\n", "xv12", "v12; rm"):
        assert _mistakes(declared, {"tag": bad})[0].startswith("tag: expected text that matches v[0-9]+")


RAW = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@given(st.sampled_from(ParameterType), RAW)
def test_whatever_is_accepted_can_be_recorded(kind: ParameterType, raw: Any) -> None:
    try:
        values = _resolve([Parameter(name="p", type=kind, values=("a", "b"))], p=raw)
    except BadParameter:
        return
    canonical(values)
