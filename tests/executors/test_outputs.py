"""What a step may write to $SOP_OUTPUT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.executors.outputs import MAX_FILE_BYTES, read_values


def test_lines_are_text_json_or_several_lines_long():
    data = b'# a comment\n\nurl=a=b c \nlist:=[1, {"a": null}]\nnotes<<END\n one\nkey=x\nEND\n_x9=\n'
    found = read_values(data, {})
    assert found.problem == ""
    assert found.outputs == {"url": "a=b c ", "list": [1, {"a": None}], "notes": " one\nkey=x", "_x9": ""}


@pytest.mark.parametrize(
    ("declared", "raw", "value"),
    [
        ("string", "007", "007"),
        ("integer", "-7", -7),
        ("integer", str(2**53 - 1), 2**53 - 1),
        ("number", "1.5", 1.5),
        ("number", "3", 3),
        ("boolean", "true", True),
        ("json", '{"a":[]}', {"a": []}),
    ],
)
def test_a_declared_type_converts(declared, raw, value):
    found = read_values(f"key={raw}\n".encode(), {"key": declared})
    assert found.problem == ""
    assert found.outputs == {"key": value}
    assert type(found.outputs["key"]) is type(value)


@pytest.mark.parametrize(
    ("line", "declared"),
    [
        (b"key=1.5", "integer"),
        (b"key=0x10", "integer"),
        (b"key=9007199254740993", "integer"),
        (b"key=NaN", "number"),
        (b"key=true", "number"),
        (b"key=1e999", "number"),
        (b"key=yes", "boolean"),
        (b"key={", "json"),
        (b"key:=1", "string"),
        (b'key:="1"', "integer"),
        (b"key:=true", "integer"),
        (b"key:=NaN", None),
        (b"key:=Infinity", None),
        (b"key:=", None),
        (b"key:=9007199254740993", None),
        (b"key:=" + b"[" * 33 + b"]" * 33, None),
        (b"key:=" + b"[" * 50_000, None),
        (b"key<<", None),
        (b"key<<END\nnever ended", None),
        (b"9key=1", None),
        (b"my-key=1", None),
        (b"a" * 65 + b"=1", None),
        (b"just words", None),
        (b" key=1", None),
        (b"key=a\0b", None),
        (b"key=\xff", None),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_never_shown(line, declared):
    found = read_values(b"fine=1\n" + line + b"\n", {"key": declared} if declared else {})
    assert found.problem.startswith("cannot read line 2 of $SOP_OUTPUT: expected ")
    assert "words" not in found.problem


def test_a_key_given_twice_keeps_the_last_value_with_a_warning():
    found = read_values(b"a=1\na=2\n", {})
    assert found.outputs == {"a": "2"}
    assert found.warnings == ("output 'a' is given again at line 2 of $SOP_OUTPUT: the last one counts",)


def test_a_file_past_the_limit_is_refused():
    assert "65536 bytes" in read_values(b"a=" + b"x" * MAX_FILE_BYTES, {}).problem


@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["integer", "json"])))
def test_no_bytes_make_it_crash(data, types):
    read_values(data, types)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=50))
def test_any_one_line_text_comes_back_as_it_was(text):
    assert read_values(f"key={text}\n".encode(), {}).outputs == {"key": text}


def test_two_names_that_later_steps_could_not_tell_apart_fail_the_step():
    assert "tell the two apart" in read_values(b"url=a\nURL=b\n", {}).problem
