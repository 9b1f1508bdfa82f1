"""Masks: what is held and searched stays bounded whatever a step prints, and how it was cut changes nothing."""

from __future__ import annotations

import base64
import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sopwith.core.masking import MARK, Mask

WINDOW = 3 * 1024
PARTS = ("a", "b", "\n", "\r\n", "abc", "0000", "YWFh", "****", ".")
REPEATING = ("00000000", "abcabc", "********", "a\na\na\na", "\nabcdef\n", "aaaaaa")


def streamed(mask: Mask, pieces: list[bytes]) -> bytes:
    stream = mask.stream()
    return b"".join(stream.feed(piece) for piece in pieces) + stream.end()


@pytest.mark.parametrize("secret", ["00000000", "abcabc", "********", "ab" * 900, "x" * 1024])
@pytest.mark.parametrize("piece", [1000, 64 * 1024])
def test_a_secret_that_repeats_itself_is_neither_held_nor_searched_again(
    secret: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    spans = Mask.spans

    def counted(mask: Mask, data: bytes, *more: int) -> list[tuple[int, int]]:
        searched.append(len(data))
        return spans(mask, data, *more)

    monkeypatch.setattr(Mask, "spans", counted)
    text = secret.encode() * (128 * 1024 // len(secret))
    stream = Mask([secret]).stream()
    told = bytearray()
    for at in range(0, len(text), piece):
        told += stream.feed(text[at : at + piece])
        assert searched[-1] <= piece + 2 * WINDOW
    assert told == MARK, "told before the end"
    assert told + stream.feed(b".") + stream.end() == MARK + b"."
    assert sum(searched) <= len(text) + (len(searched) + 1) * 2 * WINDOW


@settings(max_examples=200, deadline=None)
@given(
    secrets=st.lists(st.text("ab\n", min_size=6, max_size=12).filter(lambda text: len(text.strip()) >= 6), max_size=3),
    text=st.lists(st.sampled_from([*REPEATING, *PARTS]), max_size=40),
    places=st.lists(st.integers(0, 10_000), max_size=12),
)
@example(secrets=["a\nbaba\n"], text=["a\nbaba", "\n"], places=[6])
@example(secrets=["\nbababa"], text=["\n", "b", "ababa"], places=[2])
def test_how_it_was_cut_changes_nothing_where_secrets_overlap_themselves(
    secrets: list[str], text: list[str], places: list[int]
) -> None:
    data = "".join(text).encode()
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    mask = Mask([*secrets, *REPEATING])
    whole = mask.whole(data)
    assert streamed(mask, [data[one:other] for one, other in pairwise(at)]) == whole
    assert streamed(mask, [bytes([byte]) for byte in data]) == whole
    assert b"abcabc" not in whole
    assert b"00000000" not in whole


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab0", max_size=60))
def test_what_is_masked_is_what_stands_at_any_place(text: str) -> None:
    secrets = ["aaaaaa", "ababab", "abaaba", "00000000"]
    hidden = [False] * len(text)
    for secret in secrets:
        for found in re.finditer(f"(?={secret})", text):
            hidden[found.start() : found.start() + len(secret)] = [True] * len(secret)
    expected = re.sub("#+", "***", "".join("#" if hides else each for each, hides in zip(text, hidden, strict=True)))
    assert Mask(secrets).text(text) == expected


def test_a_secret_of_many_lines_compiles_only_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"line {at:04} of a secret" for at in range(200)]
    mask = Mask(["\n".join(lines)])
    tried: list[int] = []
    real = re.compile
    monkeypatch.setattr(re, "compile", lambda text, *flags: tried.append(len(text)) or real(text, *flags))
    encoded = base64.b64encode(lines[8].encode()).decode()
    told = mask.text(f"<{lines[7]}> and\n <{encoded[:9]}\n{encoded[9:]}>" + "." * 10_000)
    assert told == "<***> and\n <***>" + "." * 10_000
    assert 1 <= len(tried) <= 4
    assert sum(tried) < 1000, "what was found, and not all of them in one"


def test_a_long_secret_with_many_empty_lines_masks_no_single_letters() -> None:
    mask = Mask(["a" + "\n" * 2000 + "bcdefgh"])
    assert mask.text("a b c\n\n") == "a b c\n\n"
    assert mask.text("bcdefgh") == "***"


@pytest.mark.parametrize(
    ("secrets", "pieces", "told"),
    [
        (["xxabcdefgyyyy", "abcdefgyyyyZZ", "abcdef"], [b"xxabcdefgyyyy", b"."], b"***."),
        (["abcdefghij", "cdefgh"], [b"-abcdefgh", b"ij-"], b"-***-"),
        (["a" * 9], [b"YWFhYWFhYWFhY\n\nWFh"], b"***\n\nWFh"),
        (["a" * 9], [b"YWFhYWFhYWFh\n\nYWFhYWFhYWFh"], b"***\n\n***"),
    ],
)
def test_one_within_another_and_one_after_another(secrets: list[str], pieces: list[bytes], told: bytes) -> None:
    assert streamed(Mask(secrets), pieces) == told == Mask(secrets).whole(b"".join(pieces))
