"""What an approver sees: different texts never look the same, and nothing hides or poses as something else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.core.visible import TAB, visible, visible_code

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
