"""What the streams of this process can show: colours, marks, columns; and the one way to write to them.

Nothing here can fail for a character that the locale lacks: people then see an escape, and marks fall back to ASCII.
JSON is UTF-8 bytes whatever the locale says. What a step printed passes `tame`, so that it cannot steer the screen.
"""

from __future__ import annotations

import os
import re
import select
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Any, TypeVar

import click
import msgspec

from sopwith.core.visible import in_one_line, visible

_F = TypeVar("_F", bound=Callable[..., Any])
_MARKS = {"✔": "+", "▶": ">", "✘": "x", "·": ".", "…": "...", "│": "|"}
_UNBOUND = 100_000
_USUAL_COLUMNS = 80
_ESCAPE_SEQUENCES = (
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    "|[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?"  # OSC, DCS and the like, up to their end
    "|[ -/]*[0-~]?)"
)
_NOT_PLAIN = "[^ -~\n]"
_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"})


class ReaderGone(Exception):
    """Whoever read stdout has closed it (`sop audit … | head`). No OSError: click turns those into exits of its own."""


def prepare_streams() -> None:
    """Makes both streams show an escape for what their encoding lacks, instead of failing; a closed one leads nowhere.

    Left closed, its number would be given to the next file opened, and what is printed would be written into that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open_if_closed(number, name)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def echo(text: str = "", *, err: bool = False, newline: bool = True) -> None:
    """Writes text for people; colours stay in where the stream is a terminal that wants them."""
    stream = sys.stderr if err else sys.stdout
    # not click's echo, which writes UTF-8 to a stream that says it is ASCII
    _write(stream, (text if wants_colour(stream) else click.unstyle(text)) + ("\n" if newline else ""))


def redraw(text: str) -> None:
    """Shows the text in place of what stands on the screen, without a moment of emptiness in between."""
    words = text if wants_colour(sys.stdout) else click.unstyle(text)
    _write(sys.stdout, "\x1b[H" + words.replace("\n", "\x1b[K\n") + "\x1b[K\n\x1b[J")


def telling_option(*names: str, help: str, told: Callable[[click.Context], str]) -> Callable[[_F], _F]:
    """An option that prints something and ends the command.

    Those that click has ready ask for a translation of their help, and load what looks for one.
    """

    def tell(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            click.echo(told(ctx), color=ctx.color)
            ctx.exit()

    return click.option(*names, is_flag=True, is_eager=True, expose_value=False, callback=tell, help=help)


help_option = telling_option("-h", "--help", help="Show this message and exit.", told=lambda ctx: ctx.get_help())


def echo_json(document: object) -> None:
    """Writes one JSON document and a line feed as UTF-8."""
    echo_bytes(encoded(document) + b"\n")


def echo_bytes(data: bytes) -> None:
    """Writes bytes as they are, after what was written before."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error


def give_up_stdout() -> None:
    """Sends what is still to be written nowhere, so that no later flush fails."""
    _give_up(sys.stdout)


@contextmanager
def optional() -> Iterator[None]:
    """What is written within may fail to be: the reader has gone, the disk is full. Nothing more is written then."""
    try:
        yield
        flush()
    except (ReaderGone, OSError):
        give_up_what_fails()


def flush() -> None:
    """Writes what is still buffered, while a failure can still be told. Raises ReaderGone or OSError."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error


def give_up_what_fails() -> None:
    """Like `give_up_stdout`, for each stream that cannot be written to."""
    for stream in (sys.stdout, sys.stderr):
        if not _flushes(stream):
            _give_up(stream)


def takes_more(stream: IO[Any]) -> bool:
    """Whether a line can be written now without waiting for whoever reads; a file always takes one."""
    try:
        _reading, writable, _rest = select.select([], [stream.fileno()], [], 0)
    except (OSError, ValueError):
        return True  # no stream of the system's, or one that fails when it is written to
    return bool(writable)


def encoded(document: object) -> bytes:
    """The document as JSON. A lone surrogate, which JSON cannot carry, becomes its escape as text."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return msgspec.json.encode(_without_surrogates(msgspec.to_builtins(document)))


def is_drawable(stream: IO[Any]) -> bool:
    """Whether the cursor can be moved: a terminal, and none that calls itself dumb."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def wants_colour(stream: IO[Any]) -> bool:
    """Colours follow the terminal and NO_COLOR (no-color.org: set and not empty)."""
    return is_drawable(stream) and not os.environ.get("NO_COLOR")


def mark(symbol: str) -> str:
    """The symbol, or its ASCII stand-in where stdout cannot show it."""
    return symbol if _draws_marks(sys.stdout.encoding or "ascii") else _MARKS.get(symbol, symbol)


def columns() -> int:
    """The width of the terminal, or COLUMNS; without bound where stdout is no terminal."""
    if not sys.stdout.isatty():
        return _UNBOUND
    fixed = os.environ.get("COLUMNS", "")
    if fixed.isascii() and fixed.isdigit() and int(fixed):
        return int(fixed)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


def width(text: str) -> int:
    """How many columns unstyled text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def seen_width(text: str) -> int:
    """The same of text that may be styled."""
    return width(click.unstyle(text) if "\x1b" in text else text)


def crop(text: str, limit: int) -> str:
    """The text in at most `limit` columns, ending in an ellipsis if something is left out."""
    if width(text) <= limit:
        return text
    ellipsis = mark("…")
    room = limit - len(ellipsis)
    if room < 0:
        return ellipsis[:limit]
    kept = []
    for character in text:
        room -= _character_width(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + ellipsis


def pad(text: str, to: int) -> str:
    """The text, which may be styled, with spaces up to `to` columns."""
    return text + " " * (to - seen_width(text))


def shown(text: str) -> str:
    """What a person or an agent wrote, in one line: whole, trustworthy, and in characters that stdout has."""
    return printable(in_one_line(visible(text)))


def safe(text: str) -> str:
    """A message of Sopwith's own, in one line: what could steer the screen is shown as an escape, the rest as it is."""
    return in_one_line(_unsteering(text))


def tame(text: str) -> str:
    """What a program printed, as its plain words: no colours, only the last state of a line it overwrote."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in re.sub(_ESCAPE_SEQUENCES, "", text).split("\n"))
    return _unsteering("\n".join(lines).replace("\t", "    "))


def printable(text: str) -> str:
    """The text with escapes for what the encoding of stdout lacks, so that columns can be counted."""
    encoding = sys.stdout.encoding or "ascii"
    with suppress(LookupError):
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _open_if_closed(number: int, name: str) -> None:
    if getattr(sys, name) is not None:
        return
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number, inheritable=True)
            os.close(descriptor)
    # the number may serve something else by now
    setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _flushes(stream: IO[str]) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def _give_up(stream: IO[str]) -> None:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def _write(stream: IO[str], words: str) -> None:
    try:
        stream.write(words)
        stream.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error


def _unsteering(text: str) -> str:
    return printable(re.sub(_NOT_PLAIN, _tamed, text))


def _tamed(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\u{{{ord(character):04x}}}" if unicodedata.category(character) in _STEERING else character


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


@cache
def _draws_marks(encoding: str) -> bool:
    try:
        "".join(_MARKS).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(each) for each in value]
    return value
