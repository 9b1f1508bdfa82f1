"""Masks: no secret is left in what was masked, however it came in pieces, and nothing else is changed."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sopwith.core.masking import MARK, Mask

SECRET = "correct/horse+battery='staple'"
PLAIN = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="*"), min_size=6, max_size=40)
SECRETS = st.lists(PLAIN.filter(lambda text: len("".join(text.split())) >= 6), min_size=1, max_size=4)


def streamed(mask: Mask, pieces: list[bytes]) -> bytes:
    stream = mask.stream()
    return b"".join(stream.feed(piece) for piece in pieces) + stream.end()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[one:other] for one, other in pairwise(at)]


@st.composite
def texts(draw: st.DrawFn, secrets: list[str]) -> bytes:
    """Secrets, their beginnings and ends, encoded or not, among anything else."""
    parts = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=20),
                st.sampled_from(secrets).map(str.encode),
                st.sampled_from(secrets).map(lambda text: text[:-1].encode()),
                st.sampled_from(secrets).map(lambda text: text[1:].encode()),
                st.tuples(st.binary(max_size=4), st.sampled_from(secrets), st.binary(max_size=4)).map(
                    lambda three: base64.b64encode(three[0] + three[1].encode() + three[2])
                ),
                st.sampled_from(secrets).map(lambda text: json.dumps(text).encode()),
                st.sampled_from(secrets).map(lambda text: quote(text, safe="").encode()),
            ),
            max_size=8,
        )
    )
    return b"".join(parts).replace(b"*", b"-")


@settings(max_examples=100, deadline=None)
@given(data=st.data(), secrets=SECRETS, places=st.lists(st.integers(0, 10_000), max_size=12))
def test_no_secret_is_left_however_the_bytes_are_cut(
    data: st.DataObject, secrets: list[str], places: list[int]
) -> None:
    text = data.draw(texts(secrets))
    mask = Mask(secrets)
    masked = streamed(mask, cut(text, places))
    for secret in secrets:
        assert secret.encode() not in masked
        assert json.dumps(secret)[1:-1].encode() not in masked
        assert quote(secret, safe="").encode() not in masked
    assert masked == mask.whole(text)


@settings(max_examples=60, deadline=None)
@given(secrets=SECRETS, text=st.binary(max_size=300), places=st.lists(st.integers(0, 10_000), max_size=12))
def test_what_holds_no_secret_is_the_same_to_the_byte(secrets: list[str], text: bytes, places: list[int]) -> None:
    mask = Mask(secrets)
    assume(not mask.spans(text))
    assert streamed(mask, cut(text, places)) == text


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("width", [0, 4, 7, 19, 76])
def test_base64_is_masked_wherever_the_secret_stands_in_it(before: int, width: int) -> None:
    encoded = base64.b64encode(b"user:x"[:before] + SECRET.encode() + b" and more")
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)] if width else [encoded]
    masked = Mask([SECRET]).whole(b"\r\n".join(lines))
    left = masked.replace(b"\r\n", b"").replace(MARK, b"")
    assert MARK in masked
    # what shares its bits with what stands around stays
    assert len(left) <= len(encoded) - 4 * (len(SECRET) // 3) + 4
    assert base64.b64encode(SECRET.encode())[4:20] not in left


@settings(max_examples=150, deadline=None)
@given(
    secret=st.text("abcxyz/+~ÿ?>", min_size=6, max_size=12),
    around=st.tuples(st.binary(max_size=5), st.binary(max_size=5)),
    places=st.lists(st.integers(0, 100), max_size=6),
    url_safe=st.booleans(),
    width=st.sampled_from([0, 4, 5]),
)
def test_no_letter_of_base64_that_has_bits_of_the_secret_is_left(
    secret: str, around: tuple[bytes, bytes], places: list[int], url_safe: bool, width: int
) -> None:
    raw = secret.encode()
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    encoded = encode(around[0] + raw + around[1])
    first, last = len(around[0]) * 8 // 6, ((len(around[0]) + len(raw)) * 8 - 1) // 6
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)] if width else [encoded]
    masked = streamed(Mask([secret]), cut(b"\n".join(lines), places))
    left = masked.replace(b"\n", b"")
    assert MARK in left
    before, _, after = left.partition(MARK)
    # what stands around may begin or go on like the secret
    assert encoded[:first].startswith(before.replace(MARK, b""))
    assert encoded[last + 1 :].endswith(after.rpartition(MARK)[2])
    assert masked == Mask([secret]).whole(b"\n".join(lines))


def test_the_ends_of_base64_are_masked_only_where_they_fit() -> None:
    # YWJjZGVmZw== and xhYmNkZWZn, of which only some letters may stand at the ends
    mask = Mask(["abcdefg"])
    assert mask.text("<YWJjZGVmZw==>") == "<***==>"
    assert streamed(mask, [b"<YWJjZGVmZ", b"w", b"==>"]) == b"<***==>"
    assert streamed(mask, [b"<YWJjZGVmZ", b"A", b"==>"]) == b"<***A==>"
    assert mask.text("<YWJjZGVmZ\r\nw==>") == "<***==>"
    assert mask.text("<YWJjZGVmZ\n\nw==>") == "<***\n\nw==>"
    assert mask.text("<YWJjZGVmZ") == "<***"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower().replace("%2f", "%2F"),
        json.dumps(SECRET),
        SECRET.replace("/", "\\/"),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        SECRET.replace("'", "'\\''"),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_common_encodings_are_masked(shown: str) -> None:
    assert Mask([SECRET]).text(f"<{shown}>") in ("<***>", '<"***">', "<***=>", "<***==>") or "%2F" in shown
    assert SECRET[:12] not in Mask([SECRET]).text(f"<{shown}>")


SPACED = "ä key/with + blanks & <more>"


@pytest.mark.parametrize(
    "shown",
    [
        quote(SPACED),
        quote(SPACED, safe=""),
        re.sub("%..", lambda found: found[0].lower(), quote(SPACED)),
        re.sub("%..", lambda found: found[0].lower(), quote(SPACED, safe="")),
        quote_plus(SPACED),
        json.dumps(SPACED)[1:-1],
        json.dumps(SPACED, ensure_ascii=False)[1:-1],
        json.dumps(SPACED)[1:-1].replace("/", "\\/"),
    ],
)
def test_a_secret_with_blanks_is_masked_whole_in_each_encoding(shown: str) -> None:
    assert Mask([SPACED]).text(f"<{shown}>") == "<***>"


QUOTED = "a<b>&\"c'd\\e-ü"


@pytest.mark.parametrize(
    "shown",
    [
        "".join(f"%{byte:02X}" for byte in QUOTED.encode()),
        "".join(f"%{byte:02x}" for byte in QUOTED.encode()),
        shlex.quote(QUOTED)[1:-1],
        repr(QUOTED)[1:-1],
        ascii(QUOTED)[1:-1],
        repr(QUOTED.encode())[2:-1],
        QUOTED.replace("'", "\\'"),
        html.escape(QUOTED),
        html.escape(QUOTED, quote=False),
        html.escape(QUOTED).replace("&#x27;", "&#39;"),
        html.escape(QUOTED).replace("&#x27;", "'"),
        base64.b32encode(QUOTED.encode()).decode().rstrip("="),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_other_encodings_are_masked_whole_however_they_come(shown: str, piece: int) -> None:
    data = f"<{shown}>".encode()
    assert streamed(Mask([QUOTED]), [data[at : at + piece] for at in range(0, len(data), piece)]) == b"<***>"


@settings(max_examples=150, deadline=None)
@given(
    secret=st.text("abcxyz/+~ÿ?>", min_size=6, max_size=12),
    around=st.tuples(st.binary(max_size=6), st.binary(max_size=6)),
    places=st.lists(st.integers(0, 100), max_size=6),
    width=st.sampled_from([0, 5, 8]),
)
def test_no_letter_of_base32_that_has_bits_of_the_secret_is_left(
    secret: str, around: tuple[bytes, bytes], places: list[int], width: int
) -> None:
    raw = secret.encode()
    encoded = base64.b32encode(around[0] + raw + around[1])
    first, last = len(around[0]) * 8 // 5, ((len(around[0]) + len(raw)) * 8 - 1) // 5
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)] if width else [encoded]
    masked = streamed(Mask([secret]), cut(b"\n".join(lines), places))
    left = masked.replace(b"\n", b"")
    assert MARK in left
    before, _, after = left.partition(MARK)
    assert encoded[:first].startswith(before.replace(MARK, b""))
    assert encoded[last + 1 :].endswith(after.rpartition(MARK)[2])


def test_the_ends_of_base32_are_masked_only_where_they_fit() -> None:
    mask = Mask(["abcdefg"])
    encoded = base64.b32encode(b"x" + b"abcdefg" + b"y").decode()
    assert mask.text(encoded) == encoded[:1] + "***" + encoded[13:]
    other = encoded[:1] + "A" + encoded[2:]
    assert mask.text(other) == encoded[:1] + "A***" + encoded[13:]


def test_each_line_of_a_secret_is_one() -> None:
    secret = "-----BEGIN KEY-----\r\nabcdefghijkl\n  mnopqrstuvwx\n}\n"
    mask = Mask([secret])
    assert mask.text("> abcdefghijkl <") == "> *** <"
    assert mask.text("mnopqrstuvwx") == "***"
    assert mask.text(base64.b64encode(b"mnopqrstuvwx").decode()) == "***"
    assert mask.text("a } stays") == "a } stays"


def test_words_of_fewer_than_six_characters_are_not_masked() -> None:
    assert not Mask(["abcde", "", "\n\n\n\n\n\n\n"])
    assert Mask(["abcde"]).text("abcde") == "abcde"
    assert Mask(["abcdef"]).text("abcdef") == "***"


def test_secrets_that_overlap_are_masked_together() -> None:
    mask = Mask(["abcdefgh", "efghijkl"])
    assert mask.text("-abcdefghijkl-") == "-***-"
    assert streamed(mask, [b"-abcdefgh", b"ijkl-"]) == b"-***-"
    assert streamed(mask, [b"-abcdefg", b"hefghijkl", b"abcdefgh-"]) == b"-***-"


def test_of_two_that_begin_alike_the_longer_one_counts() -> None:
    mask = Mask(["abcdef", "abcdefghijkl"])
    assert streamed(mask, [b"abcdefgh", b"ijkl."]) == b"***."
    assert streamed(mask, [b"abcdefgh", b"."]) == b"***gh."


def test_only_what_may_become_a_secret_is_held_back() -> None:
    stream = Mask(["swordfish"]).stream()
    assert stream.feed(b"Deploying to eu\n") == b"Deploying to eu\n"
    assert stream.feed(b"it is sword") == b"it is "
    assert stream.feed(b"play\n") == b"swordplay\n"
    assert stream.feed(b"it is sword") + stream.feed(b"fish") + stream.feed(b"!\n") + stream.end() == b"it is ***!\n"


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1000, 9000), places=st.lists(st.integers(0, 100_000), max_size=6))
def test_long_secrets_are_masked_whole(length: int, places: list[int]) -> None:
    secret = "".join(chr(33 + (at * 7 + at * at) % 90) for at in range(length)).replace("*", "-")
    mask = Mask([secret])
    for shown in (secret.encode(), base64.b64encode(secret.encode()), quote(secret, safe="").encode()):
        masked = streamed(mask, cut(b"<" + shown + b">", places))
        assert len(masked) <= 8, masked[:200]


def test_the_letters_at_the_ends_of_the_longest_base64_are_masked_however_it_comes() -> None:
    # 1,024 letters of it alone, and one more on each side
    secret = "".join(chr(48 + at * at % 70) for at in range(769))
    encoded = base64.b64encode(b"x" + secret.encode() + b"yz.")
    mask = Mask([secret])
    told = mask.whole(encoded)
    assert told == encoded[:1] + MARK + encoded[1027:]
    assert streamed(mask, [bytes([byte]) for byte in encoded]) == told


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    mask = Mask(["swordfish"])
    assert mask.whole(b"\xff\x00\xfe swordfish \xc3") == b"\xff\x00\xfe *** \xc3"
    assert mask.text("\udcff swordfish") == "\udcff ***"
    assert mask.text("\ud800 swordfish") == "\ud800 ***"
