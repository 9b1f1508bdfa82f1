"""The form of a gate: typed, complete, every mistake at once, and never changed under an earlier voter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.core.approval import FieldType, FormField
from sopwith.core.forms import read_form
from sopwith.core.procedure import canonical
from sopwith.errors import BadRequest

STRING, INTEGER, NUMBER, BOOLEAN = FieldType
TICKET = FormField(name="ticket", required=True, pattern="[A-Z]+-[0-9]+", title="the change")
COUNT = FormField(name="count", type=INTEGER, minimum=1, maximum=5)
LEVEL = FormField(name="level", values=("low", "high"), default="low")


def refused(fields: tuple[FormField, ...], given: dict[Any, Any], **earlier: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_form(fields, given, earlier)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (STRING, "x", "x"),
        (STRING, 3, "3"),
        (INTEGER, "3", 3),
        (INTEGER, 3, 3),
        (NUMBER, "2.5", 2.5),
        (BOOLEAN, "true", True),
        (BOOLEAN, False, False),
    ],
)
def test_text_and_json_take_the_fields_type(kind: FieldType, raw: Any, value: Any) -> None:
    found = read_form((FormField(name="f", type=kind),), {"f": raw}, None)["f"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("field", "raw", "expected"),
    [
        (COUNT, "x", "a whole number"),
        (COUNT, True, "a whole number"),
        (COUNT, 0, "a number of at least 1"),
        (COUNT, "6", "a number up to 5"),
        (LEVEL, "mid", "one of low, high"),
        (TICKET, "ops-1", "text that matches [A-Z]+-[0-9]+"),
        (TICKET, ["OPS-1"], "text"),
        (FormField(name="b", type=BOOLEAN), 1, "true or false"),
        (FormField(name="b", type=BOOLEAN, values=(True,)), "no", "one of true"),
        (FormField(name="n", type=INTEGER, values=(1, 2)), 3, "one of 1, 2"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(field: FormField, raw: Any, expected: str) -> None:
    error = refused((field,), {field.name: raw})
    assert f"{field.name}: expected {expected}, got " in error.message
    assert "--field NAME=VALUE" in error.hint


def test_all_mistakes_come_at_once() -> None:
    message = refused((TICKET, COUNT), {"count": "x", "tickt": "OPS-1"}).message
    assert "ticket is required (the change)" in message
    assert "the form has no field 'tickt', did you mean ticket?" in message
    assert "count: expected" in message


def test_a_gate_without_a_form_takes_no_field() -> None:
    assert read_form((), {}, None) == {}
    assert "this gate has no form" in refused((), {"a": 1}).message


def test_defaults_are_filled_in_and_the_order_is_the_forms() -> None:
    found = read_form((LEVEL, COUNT, TICKET), {"ticket": "OPS-1"}, None)
    assert list(found.items()) == [("level", "low"), ("ticket", "OPS-1")]


def test_what_an_earlier_voter_gave_stands_for_what_is_left_out() -> None:
    assert read_form((TICKET, LEVEL), {}, {"ticket": "OPS-1", "level": "high"}) == {"ticket": "OPS-1", "level": "high"}
    assert read_form((TICKET, COUNT), {"count": "2"}, {"ticket": "OPS-1", "count": 2})["count"] == 2


def test_what_an_earlier_voter_agreed_to_cannot_be_changed() -> None:
    fields = (TICKET, COUNT, FormField(name="sure", type=BOOLEAN))
    assert "agreed to as 'OPS-1'" in refused(fields, {"ticket": "OPS-2"}, ticket="OPS-1").message
    assert "agreed to as nothing" in refused(fields, {"count": 2}, ticket="OPS-1").message
    assert "agreed to as True" in refused(fields, {"sure": "no"}, ticket="OPS-1", sure=True).message


def test_nothing_is_what_an_earlier_voter_agreed_to_as_well() -> None:
    optional = FormField(name="target")
    assert "agreed to as nothing" in refused((optional,), {"target": "prod"}).message
    assert read_form((optional,), {}, {}) == {}


def test_a_default_is_not_added_to_what_was_agreed_to() -> None:
    assert read_form((TICKET, LEVEL), {}, {"ticket": "OPS-1"}) == {"ticket": "OPS-1"}


RAW = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
FIELDS = st.sampled_from(
    [TICKET, COUNT, LEVEL, FormField(name="ratio", type=NUMBER), FormField(name="b", type=BOOLEAN)]
)


@given(
    st.lists(FIELDS, unique=True), st.dictionaries(st.sampled_from(["ticket", "count", "level", "b"]) | st.text(), RAW)
)
def test_whatever_is_accepted_can_be_recorded_and_given_again(fields: list[FormField], given_: dict[str, Any]) -> None:
    try:
        found = read_form(tuple(fields), given_, None)
    except BadRequest:
        return
    canonical(found)
    assert read_form(tuple(fields), found, None) == found
    assert read_form(tuple(fields), {}, found) == found
