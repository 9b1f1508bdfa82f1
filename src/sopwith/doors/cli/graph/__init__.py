"""Pictures of a procedure's flow: `flow` says what is shown, `layout` and `wires` where, the others draw it.

Own code, because what the layout must keep no small library does: edges never join what does not belong together or
run through a box (measured: graphtty and termaid do the one or the other; grandalf is GPL; networkx takes 0.3 s to
import).
"""

from __future__ import annotations

from enum import StrEnum

from sopwith.doors.cli.graph.drawing import WIDEST, draw
from sopwith.doors.cli.graph.flow import Flow
from sopwith.doors.cli.graph.mermaid import mermaid
from sopwith.doors.cli.graph.pen import FINE, Pen
from sopwith.doors.cli.graph.svg import svg


class Format(StrEnum):
    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


def picture(flow: Flow, format_: Format, *, columns: int = WIDEST, pen: Pen = FINE) -> str:
    """The flow in this format, without a line feed at its end; columns and pen are for text, which is styled."""
    match format_:
        case Format.TEXT:
            return draw(flow, columns, pen)
        case Format.MERMAID:
            return mermaid(flow)
        case Format.SVG:
            return svg(flow)
