"""Masking: secrets, and what they look like once encoded, are replaced by `***` in bytes that come in pieces.

What is emitted does not depend on how the bytes were cut: what may be the beginning of a secret is held back until
more is known. Bytes that belong to no secret are never changed.

A cheap search (`in`) says whether a piece holds anything at all; only then the one regular expression is compiled and
used. Both look for the same texts, the search without line ends, which programs put anywhere into base64.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cached_property
from urllib.parse import quote, quote_plus

from sopwith.core.confidential import MIN_CHARACTERS, can_be_masked

MARK = b"***"
_MOST = 1024
"""The longest text that is looked for in one; a longer one is looked for in parts, which are as telling."""
_LINE_ENDS = b"\r\n"
_WINDOW = 3 * _MOST
"""In so many bytes a text of `_MOST` bytes has room, with a line end after each."""


class Mask:
    """The texts to be masked. False where there are none."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = {form for secret in secrets if can_be_masked(secret) for form in _forms(secret)}

    def __bool__(self) -> bool:
        return bool(self._forms)

    def found_in(self, text: str) -> bool:
        """Whether the text holds a secret."""
        return next(self._spans(_encoded(text)), None) is not None

    def text(self, text: str) -> str:
        """The text with its secrets masked."""
        if not self._forms:
            return text
        data = _encoded(text)
        masked = self.whole(data)
        return text if masked == data else masked.decode("utf-8", _errors(text))

    def whole(self, data: bytes) -> bytes:
        """Bytes that came all at once, with their secrets masked."""
        stream = self.stream()
        return stream.feed(data) + stream.end()

    def stream(self) -> Masking:
        """For bytes that come in pieces."""
        return Masking(self)

    # for Masking

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets stand, in order; those that overlap as one."""
        merged: list[tuple[int, int]] = []
        for start, end in self._spans(data):
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged

    def _spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        squeezed = data.translate(None, _LINE_ENDS)
        if not any(text in squeezed for text in self._texts):
            return
        at = 0
        while (match := self._pattern.search(data, at)) is not None:
            yield match.span()
            at = match.start() + 1

    def held_from(self, data: bytes) -> int:
        """Where what may be the beginning of a secret starts, at the end of the data; its length if nothing is."""
        window = data[-_WINDOW:]
        places = [at for at, byte in enumerate(window) if byte not in _LINE_ENDS][-_MOST + 1 :]
        tail = bytes(window[at] for at in places)
        for at, place in enumerate(places):
            if tail[at] in self._firsts and self._begins(tail[at:]):
                return len(data) - len(window) + place
        return len(data)

    def _begins(self, text: bytes) -> bool:
        at = bisect_left(self._texts, text)
        found = self._texts[at : at + 2]
        return any(len(each) > len(text) and each.startswith(text) for each in found)

    @cached_property
    def _texts(self) -> list[bytes]:
        """All of them without line ends, in order."""
        return sorted({form.text.translate(None, _LINE_ENDS) for form in self._forms})

    @cached_property
    def _firsts(self) -> frozenset[int]:
        return frozenset(text[0] for text in self._texts)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        # the longest first: of two that begin at one place it is the one that counts
        forms = sorted(self._forms, key=lambda form: (-len(form.text), form.text))
        return re.compile(b"|".join(form.pattern for form in forms), re.DOTALL)


class Masking:
    """One stream of bytes through a mask."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""
        self._after_mark = False

    def feed(self, chunk: bytes) -> bytes:
        """What can be told for sure by now; perhaps nothing."""
        data = self._held + chunk
        spans = self._mask.spans(data)
        until = self._mask.held_from(data)
        for start, end in spans:
            if start < until < end:
                until = start
        self._held = data[until:]
        return self._masked(data, spans, until)

    def end(self) -> bytes:
        """What was held back: no more comes."""
        data, self._held = self._held, b""
        return self._masked(data, self._mask.spans(data), len(data))

    def _masked(self, data: bytes, spans: list[tuple[int, int]], until: int) -> bytes:
        parts: list[bytes] = []
        at = 0
        for start, end in spans:
            if start >= until:
                break
            if start > at or not self._after_mark:
                parts += [data[at:start], MARK]
            at, self._after_mark = end, True
        if until > at:
            parts.append(data[at:until])
            self._after_mark = False
        return b"".join(parts)


class _Form:
    """One text to look for; `pattern` allows for line ends where programs put them."""

    __slots__ = ("pattern", "text")

    def __init__(self, text: bytes, *, wrapped: bool = False) -> None:
        self.text = text
        between = rb"\r?\n?" if wrapped else b""
        self.pattern = between.join(re.escape(bytes([byte])) for byte in text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Form) and self.pattern == other.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)


def _forms(secret: str) -> Iterator[_Form]:
    """What a secret looks like where it is printed: as it is, and encoded as scripts and programs do."""
    lines = [line.strip() for line in secret.splitlines()] if "\n" in secret or "\r" in secret else []
    for text in (secret, *lines):
        if len(text) >= MIN_CHARACTERS:
            yield from (_Form(part) for part in _parts(_encoded(text)))
            yield from _as_base64(_encoded(text))
    if len(secret) >= MIN_CHARACTERS:
        for encoded in _encodings(secret):
            yield from (_Form(part) for part in _parts(encoded))


def _encodings(secret: str) -> Iterator[bytes]:
    raw = _encoded(secret)
    for ascii_only in (True, False):
        inside = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield _encoded(inside)
        yield _encoded(inside.replace("/", "\\/"))
    for safe in ("", "/"):
        url = quote(raw, safe=safe)
        yield url.encode()
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), url).encode()
    yield quote_plus(raw).encode()
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    # as a shell that shows its commands (set -x) writes a quote within quotes
    yield _encoded(secret.replace("'", "'\\''"))


def _as_base64(raw: bytes) -> Iterator[_Form]:
    """What base64 makes of it wherever it stands in what is encoded: three alignments, two alphabets."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        # the ends share their bits with what stands around
        whole = encoded[(0, 2, 3)[before] : len(encoded) - ((before + len(raw)) % 3 != 0)]
        for form in {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}:
            yield from (_Form(part, wrapped=True) for part in _parts(form))


def _parts(text: bytes) -> Iterator[bytes]:
    """The text, or parts of about the same length where it is too long."""
    count = -(-len(text) // _MOST)
    size = -(-len(text) // count) if count else 0
    yield from (text[at : at + size] for at in range(0, len(text), size)) if size else ()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", _errors(text))


def _errors(text: str) -> str:
    """How surrogates are taken: as the bytes of a variable that is not UTF-8, where they are such."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "surrogatepass"
    return "surrogateescape"
