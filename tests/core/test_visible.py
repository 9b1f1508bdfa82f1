"""What an approver sees: different texts never look the same, and nothing hides or poses as something else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sopwith.core.visible import TAB, in_one_line, visible, visible_code, visible_value

TEXTS = st.text(st.one_of(st.sampled_from("\\u{}0041\t\n⇥aаα\u202e\u0301é"), st.characters()))
_ESCAPED = re.compile(r"(\\+)(?:u\{([0-9a-f]{4,6})\}|(u\{))?|" + TAB)


def unescape(shown: str) -> str:
    """What was shown, read back."""

    def read(match: re.Match[str]) -> str:
        if match[0] == TAB:
            return "\t"
        count = len(match[1])
        if match[2] is None and match[3] is None:
            return "\\" * ((count + 1) // 2)
        if count % 2:
            return "\\" * (count // 2) + chr(int(match[2], 16))
        return "\\" * (count // 2) + match[0][count:]

    return _ESCAPED.sub(read, shown)


@pytest.mark.parametrize("show", [visible, visible_code])
@given(text=TEXTS)
def test_what_is_shown_can_be_read_back(show: Callable[[str], str], text: str) -> None:
    assert unescape(show(text)) == text


@given(text=TEXTS)
def test_of_what_runs_only_ascii_is_seen(text: str) -> None:
    assert visible_code(text).replace(TAB, "").isascii()


@pytest.mark.parametrize("show", [visible, visible_code])
def test_a_backslash_before_an_escape_is_doubled(show: Callable[[str], str]) -> None:
    assert show("\\\u202e") == "\\\\\\u{202e}"
    assert show("\\\\u{202e}") == "\\\\\\\\u{202e}"
    assert show("printf 'a\\n'") == "printf 'a\\n'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vаr", "v\\u{0430}r"),
        ("αdmin", "\\u{03b1}dmin"),
        ("привет, Zürich, αβγ 日本語", "привет, Zürich, αβγ 日本語"),
    ],
)
def test_a_word_of_mixed_scripts_shows_its_strange_letters(text: str, shown: str) -> None:
    assert visible(text) == shown


def _read_value(shown: str) -> str:
    """The text behind what `visible_value` shows of a text, read back."""
    if not shown.startswith('"'):
        return unescape(shown)
    escapes = {r"\n": "\n", r"\t": "\t", r"\"": '"', r"\\": "\\"}
    return re.sub(r"\\(?:u\{([0-9a-f]{4,6})\}|.)", lambda m: chr(int(m[1], 16)) if m[1] else escapes[m[0]], shown[1:-1])


@given(text=TEXTS | st.text(' "\\ab\n', max_size=8))
def test_a_value_stands_in_one_line_and_can_be_read_back(text: str) -> None:
    for only_text in (False, True):
        shown = visible_value(text, only_text=only_text)
        assert shown.isascii()
        assert shown.isprintable()
        assert shown
        assert _read_value(shown) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain words", "plain words"),
        ("Zürich", "Z\\u{00fc}rich"),
        ("5", '"5"'),
        (5, "5"),
        (True, "true"),
        ("", '""'),
        (" x", '" x"'),
        ("a\nb\tc", '"a\\nb\\tc"'),
        ("C:\\n", '"C:\\\\n"'),
        ("x  y", '"x \\u{0020}y"'),
        ({"a": ["b\n"]}, '{"a": ["b\\n"]}'),
        ("[x", '"[x"'),
    ],
)
def test_a_value_that_could_be_misread_stands_in_quotation_marks(value: object, shown: str) -> None:
    assert visible_value(value) == shown


def test_where_only_texts_stand_a_number_needs_no_marks() -> None:
    assert visible_value("5", only_text=True) == "5"


def test_a_backslash_before_a_line_feed_is_not_an_escape_that_was_written_so() -> None:
    lines = [in_one_line(visible(text)) for text in ("a\\\n", "a\\\\\n", "a\\u{000a}", "a\n")]
    assert len(set(lines)) == 4
    assert [unescape(line) for line in lines] == ["a\\\n", "a\\\\\n", "a\\u{000a}", "a\n"]


@given(text=TEXTS)
@example("\\\n")
def test_one_line_can_be_read_back(text: str) -> None:
    for show in (visible, visible_code):
        shown = in_one_line(show(text))
        assert "\n" not in shown
        assert unescape(shown) == text
