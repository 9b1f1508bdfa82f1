"""What a drawing is made of: lines as fine as the screen allows, and words in a style."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click
import msgspec
from msgspec import structs

from sopwith.doors.cli.terminal import crop, printable


class Pen(msgspec.Struct, frozen=True):
    """The characters to draw with, and how words are made fit to be shown. `lines` is indexed by directions."""

    lines: str
    dashed: Mapping[str, str]
    arrow: str
    asks: str = "?"
    words: Callable[[str], str] = str


FINE = Pen(lines=" ╵╶└╷│┌├╴┘─┴┐┤┬┼", dashed={"│": "┆", "─": "┄"}, arrow="▼")
PLAIN = Pen(lines=" |-+||++-+-+++++", dashed={"|": ":", "-": "."}, arrow="v", words=printable)


def pen_for_stdout() -> Pen:
    """Lines as fine as stdout's encoding allows."""
    needed = "".join((*FINE.lines, *FINE.dashed.values(), FINE.arrow))
    return structs.replace(FINE, words=printable) if printable(needed) == needed else PLAIN


def cropped(text: str, limit: float) -> str:
    return crop(text, int(limit))


def styled(words: str, style: str) -> str:
    match style:
        case "":
            return words
        case "bold":
            return click.style(words, bold=True)
        case "dim":
            return click.style(words, fg="bright_black")
        case _:
            return click.style(words, fg=style)
