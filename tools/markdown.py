"""Small pieces of Markdown that the generated pages are put together from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

NOTE = "<!-- Made by `python -m tools.docs`. Changes belong in the code that this page is made from. -->"


def page(title: str, *parts: str) -> str:
    """A generated page: the note, the title, and the parts with one blank line between them."""
    return "\n\n".join([NOTE, f"# {title}", *(part.strip("\n") for part in parts if part)]) + "\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars and line breaks inside a cell are made harmless."""
    lines = [_row(headings), "|" + "---|" * len(headings)]
    return "\n".join([*lines, *(_row([_cell(text) for text in row]) for row in rows)])


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def prose(documented: object) -> str:
    """A docstring as one paragraph for each of its own, without its line breaks."""
    paragraphs = (inspect.getdoc(documented) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    pieces = re.split(r"(`[^`]*`)", text.replace("|", "\\|").replace("\n", " "))
    return "".join(piece if piece.startswith("`") else piece.replace("<", "&lt;") for piece in pieces)
