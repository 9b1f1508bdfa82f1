"""CommonMark text -> its leaf blocks with line numbers, by markdown-it-py's block rules; inline rules never run.

The work is metered, since block parsing is slow on dense input and quadratic on some: a file that is much denser than
writing is refused, so that no file can hold up a caller. The parser is imported on first use: most commands need none.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token

MAX_NESTING = 20
_WORK_PER_BYTE = 0.2
_LEAST_WORK = 12_000
_BLOCK_WORK = 4
"""A block, a list item or a line that may be HTML costs about four times what another look-ahead costs."""


class Kind(Enum):
    HEADING = auto()
    PARAGRAPH = auto()
    FENCE = auto()
    CODE = auto()
    HTML = auto()
    RULE = auto()


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A leaf block in the lines `first` (from 0) up to, not including, `end`.

    `text` is the raw source without its containers' indents and markers; of a fence, its contents. `item` is the line
    on which the list item around it starts.
    """

    kind: Kind
    first: int
    end: int
    text: str = ""
    info: str = ""
    level: int = 0
    underlined: bool = False
    quoted: bool = False
    list_depth: int = 0
    item: int | None = None

    @property
    def line(self) -> int:
        """The first line, counted from 1 as people do."""
        return self.first + 1

    @property
    def is_comment(self) -> bool:
        """Whether the block is an HTML comment."""
        return self.kind is Kind.HTML and self.text.lstrip().startswith("<!--")

    @property
    def closed(self) -> bool:
        """False for a fence that only its container's end stopped: markdown-it counts no closing line for it."""
        return self.text.count("\n") == self.end - self.first - 2


class TooComplex(Exception):
    """The text is nested too deeply, or has too many blocks for its size. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def read_blocks(text: str) -> tuple[Block, ...]:
    """The leaf blocks in order. `text` has LF line ends only and ends in one. Raises TooComplex."""
    work = max(_LEAST_WORK, int(len(text) * _WORK_PER_BYTE))
    return tuple(_blocks(_parser().parse(text, {"work": work})))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": MAX_NESTING + 10})
    parser.core.ruler.enableOnly(["block"])
    # Link definitions are no structure we use, and their rule would drop them from the paragraph they stand in.
    parser.disable("reference")
    parser.block.ruler.before("code", "meter", _meter, {"alt": ["paragraph", "blockquote", "list"]})
    return parser


def _meter(state: StateBlock, first: int, _end: int, silent: bool) -> bool:
    """A rule that matches nothing and counts how often rules are tried."""
    if state.level > MAX_NESTING:
        raise TooComplex(first + 1, f"expected at most {MAX_NESTING // 2} lists or quotes inside each other")
    is_cheap = silent and state.parentType != "list" and not state.src.startswith("<", state.bMarks[first])
    state.env["work"] -= 1 if is_cheap else _BLOCK_WORK
    if state.env["work"] < 0:
        raise TooComplex(first + 1, "expected a document, got far more blocks than a file of this size should have")
    return False


def _blocks(tokens: list[Token]) -> Iterator[Block]:
    heading: Token | None = None
    quotes = 0
    items: list[int] = []
    for token in tokens:
        around: dict[str, Any] = {"quoted": quotes > 0, "list_depth": len(items), "item": items[-1] if items else None}
        match token.type:
            case "blockquote_open" | "blockquote_close":
                quotes += token.nesting
            case "list_item_open":
                items.append(_range(token)[0])
            case "list_item_close":
                items.pop()
            case "heading_open":
                heading = token
            case "inline" if heading is not None:
                level, underlined = int(heading.tag[1:]), heading.markup in ("-", "=")
                yield _leaf(Kind.HEADING, heading, around, text=token.content, level=level, underlined=underlined)
                heading = None
            case "inline":
                yield _leaf(Kind.PARAGRAPH, token, around, text=token.content)
            case "fence":
                yield _leaf(Kind.FENCE, token, around, text=token.content, info=token.info)
            case "code_block":
                yield _leaf(Kind.CODE, token, around, text=token.content)
            case "html_block":
                yield _leaf(Kind.HTML, token, around, text=token.content)
            case "hr":
                yield _leaf(Kind.RULE, token, around)


def _leaf(kind: Kind, token: Token, around: dict[str, Any], **more: Any) -> Block:
    first, end = _range(token)
    return Block(kind=kind, first=first, end=end, **around, **more)


def _range(token: Token) -> tuple[int, int]:
    assert token.map is not None
    return token.map[0], token.map[1]
