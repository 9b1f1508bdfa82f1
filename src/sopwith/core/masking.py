"""Masking: secrets, and what they look like once encoded, are replaced by `***` in bytes that come in pieces.

What is emitted does not depend on how the bytes were cut: what may be the beginning of a secret is held back until
more is known. Bytes that belong to no secret are never changed.

Base64 is searched for without line ends, which programs put anywhere into it; a pattern is compiled and used only where
it was found.
"""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from urllib.parse import quote, quote_plus

from sopwith.core.confidential import MIN_CHARACTERS, can_be_masked

MARK = b"***"
_MOST = 1024
"""The longest text that is looked for in one; a longer one is looked for in parts, which are as telling."""
_LINE_ENDS = b"\r\n"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
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
        data = _encoded(text)
        return next(self._spans(data, len(data)), None) is not None

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

    def spans(self, data: bytes, until: int | None = None) -> list[tuple[int, int]]:
        """Where secrets stand that begin before `until`, in order; those that overlap as one."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(self._spans(data, len(data) if until is None else until)):
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged

    def _spans(self, data: bytes, until: int) -> Iterator[tuple[int, int]]:
        squeezed = _Squeezed(data)
        before = squeezed.count_before(until)
        for form in self._forms:
            if form.wrapped:
                yield from squeezed.spans(form, before)
            else:
                yield from _runs(form.text, data, until)

    def held_from(self, data: bytes) -> int:
        """Where what may be the beginning of a secret starts, at the end of the data; its length if nothing is."""
        window = data[-_WINDOW:]
        places = [at for at, byte in enumerate(window) if byte not in _LINE_ENDS][-_MOST:]
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
        return sorted({text.translate(None, _LINE_ENDS) for form in self._forms for text in form.texts()})

    @cached_property
    def _firsts(self) -> frozenset[int]:
        return frozenset(text[0] for text in self._texts)


class Masking:
    """One stream of bytes through a mask."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""
        self._covered = 0
        """So much of what is held belongs to a secret for which the mark was given."""
        self._after_mark = False

    def feed(self, chunk: bytes) -> bytes:
        """What can be told for sure by now; perhaps nothing."""
        data = self._held + chunk
        return self._masked(data, self._mask.held_from(data))

    def end(self) -> bytes:
        """What was held back: no more comes."""
        return self._masked(self._held, len(self._held))

    def _masked(self, data: bytes, until: int) -> bytes:
        """All before `until` and the mark of what begins there; the rest is held."""
        parts: list[bytes] = []
        at = self._covered
        for start, end in self._mask.spans(data, until):
            if start > at or not self._after_mark:
                parts += [data[at:start], MARK]
            at, self._after_mark = max(at, end), True
        if until > at:
            parts.append(data[at:until])
            self._after_mark = False
        self._held, self._covered = data[until:], max(0, at - until)
        return b"".join(parts)


class _Squeezed:
    """Bytes without their line ends, and where each stood with them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._bytes = data.translate(None, _LINE_ENDS)

    def spans(self, form: _Form, before: int) -> Iterator[tuple[int, int]]:
        """Where a text stands in the data, with line ends where programs put them."""
        # one more place: the letter before it may be of the secret too
        for at, to in _runs(form.text, self._bytes, before + 1, lambda at: self._stands(form, at)):
            start = at - 1 if at and self._bytes[at - 1] in form.lead and self._joined(at - 1) else at
            is_followed = to < len(self._bytes) and self._bytes[to] in form.trail and self._joined(to - 1)
            end = to + 1 if is_followed else to
            if start < before:
                yield self._place(start), self._place(end - 1) + 1

    def count_before(self, place: int) -> int:
        """How many of its bytes stood before a place."""
        return len(self._data[:place].translate(None, _LINE_ENDS))

    def _stands(self, form: _Form, at: int) -> bool:
        return form.pattern.match(self._data, self._place(at)) is not None

    def _joined(self, at: int) -> bool:
        """Whether a line end at most stands between one of its bytes and the next."""
        return self._data[self._place(at) + 1 : self._place(at + 1)] in (b"", b"\n", b"\r", b"\r\n")

    def _place(self, at: int) -> int:
        return at + bisect_right(self._ends, at)

    @cached_property
    def _ends(self) -> list[int]:
        """Before which of the bytes there was a line end; as often as there were some."""
        return [found.start() - count for count, found in enumerate(re.finditer(rb"[\r\n]", self._data))]


def _runs(
    text: bytes, data: bytes, before: int, stands: Callable[[int], bool] = lambda _: True
) -> Iterator[tuple[int, int]]:
    """Where a text stands that begins before a place; of those that overlap, two stand for all between them."""
    size, last = len(text), before + len(text) - 1
    at = data.find(text, 0, last)
    while at >= 0:
        to = at
        if stands(at):
            further = data.rfind(text, at + 1, min(at + 2 * size - 1, last))
            to = further if further >= 0 and stands(further) else at
            yield at, to + size
        at = data.find(text, max(to, at + 1), last)


class _Form:
    """One text to look for; `wrapped`: `pattern` allows for line ends where programs put them.

    `lead` and `trail`: the letters of which one stands before and after it where it is the end of something longer.
    """

    def __init__(self, text: bytes, *, wrapped: bool = False, lead: bytes = b"", trail: bytes = b"") -> None:
        self.text = text
        self.wrapped = wrapped
        self.lead = lead
        self.trail = trail

    def texts(self) -> Iterator[bytes]:
        """The text by itself, and with a letter before or after it."""
        yield self.text
        yield from (bytes([letter]) + self.text for letter in self.lead)
        yield from (self.text + bytes([letter]) for letter in self.trail)

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        return re.compile(rb"\r?\n?".join(re.escape(bytes([byte])) for byte in self.text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Form) and self._told() == other._told()

    def __hash__(self) -> int:
        return hash(self._told())

    def _told(self) -> tuple[bytes, bool, bytes, bytes]:
        return self.text, self.wrapped, self.lead, self.trail


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
        yield from _as_base32(_encoded(secret))


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
    for percent in ("%{:02X}", "%{:02x}"):
        yield "".join(percent.format(byte) for byte in raw).encode()
    # a quote within quotes: as a shell shows it (set -x), and as programs write it for a shell
    yield _encoded(secret.replace("'", "'\\''"))
    yield _encoded(secret.replace("'", "'\"'\"'"))
    # as Python shows a text, or bytes
    yield _encoded(secret.replace("'", "\\'"))
    yield _encoded(secret.replace("\\", "\\\\").replace("'", "\\'"))
    yield from (_encoded(repr(secret)[1:-1]), ascii(secret)[1:-1].encode(), repr(raw)[2:-1].encode())
    for quotes in (True, False):
        entities = html.escape(secret, quote=quotes)
        yield from (_encoded(entities.replace("&#x27;", quote)) for quote in ("&#x27;", "&#39;", "'"))


def _as_base64(raw: bytes) -> Iterator[_Form]:
    """What base64 makes of it wherever it stands in what is encoded: three alignments, two alphabets."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        after = (before + len(raw)) % 3
        # the ends share their bits with what stands around
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (after != 0)]
        lead, trail = _leads(before, raw[0]), _trails(after, raw[-1])
        for form in {whole, whole.translate(_URL_SAFE)}:
            parts = list(_parts(form))
            for at, part in enumerate(parts):
                is_last = at == len(parts) - 1
                yield _Form(part, wrapped=True, lead=b"" if at else lead, trail=trail if is_last else b"")


def _as_base32(raw: bytes) -> Iterator[_Form]:
    """The same of base32, of which each letter holds five bits: five alignments."""
    for before in range(5):
        encoded = base64.b32encode(b"\0" * before + raw).rstrip(b"=")
        ahead, after = before * 8 % 5, (before + len(raw)) * 8 % 5
        whole = encoded[-(-before * 8 // 5) : len(encoded) - (after != 0)]
        lead = _letters32(
            (other << (5 - ahead)) | (raw[0] >> (3 + ahead)) for other in range(1 << ahead if ahead else 0)
        )
        known = (raw[-1] & ((1 << after) - 1)) << (5 - after)
        trail = _letters32(known | other for other in range(1 << (5 - after) if after else 0))
        parts = list(_parts(whole))
        for at, part in enumerate(parts):
            is_last = at == len(parts) - 1
            yield _Form(part, wrapped=True, lead=b"" if at else lead, trail=trail if is_last else b"")


def _letters32(values: Iterable[int]) -> bytes:
    return bytes(sorted({_BASE32[value] for value in values}))


def _leads(before: int, first: int) -> bytes:
    """The letters that hold the first bits of a byte, behind bits of the one before it that nobody knows."""
    shift, bits = ((0, 8), (4, 4), (2, 6))[before]
    return _letters((other << shift) | (first >> bits) for other in range(64 >> shift if shift else 0))


def _trails(after: int, last: int) -> bytes:
    """The letters that hold the last bits of a byte, in front of bits of the one after it that nobody knows."""
    mask, shift = ((0, 0), (3, 4), (15, 2))[after]
    return _letters(((last & mask) << shift) | other for other in range(1 << shift if shift else 0))


def _letters(values: Iterable[int]) -> bytes:
    letters = bytes(_BASE64[value] for value in values)
    return bytes(sorted({*letters, *letters.translate(_URL_SAFE)}))


def _parts(text: bytes) -> Iterator[bytes]:
    """The text, or parts of about the same length where it is too long; line ends around them count for nothing."""
    count = -(-len(text) // _MOST)
    size = -(-len(text) // count) if count else 0
    parts = (text[at : at + size].strip(_LINE_ENDS) for at in range(0, len(text), size)) if size else ()
    yield from (part for part in parts if len(part) >= MIN_CHARACTERS)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", _errors(text))


def _errors(text: str) -> str:
    """How surrogates are taken: as the bytes of a variable that is not UTF-8, where they are such."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "surrogatepass"
    return "surrogateescape"
