"""A flow as text: boxes and lines where it fits the width, an indented list where it does not.

The colours are styles that `terminal.echo` leaves out where they are not wanted.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sopwith.doors.cli.graph.flow import Flow, Kind, Node
from sopwith.doors.cli.graph.layout import LABEL, Box, Layout, depths, lay_out
from sopwith.doors.cli.graph.listing import listed
from sopwith.doors.cli.graph.pen import Pen, cropped, styled
from sopwith.doors.cli.graph.wires import Gap, Wire
from sopwith.doors.cli.graph.wrap import wrapped
from sopwith.doors.cli.terminal import crop, width

WIDEST = 160
"""Columns that a drawing takes at most where nothing else limits it: more, and no editor shows it well."""
_ROOMS = (48, 36, 28, 22, 18, 14)
"""Columns for the words of a box, the best first."""
_BESIDE = 22
"""Columns from which on the heading has room for what carries a step out."""
_MOST_LINES = 4
_UP, _RIGHT, _DOWN, _LEFT = 1, 2, 4, 8


class _Look(msgspec.Struct, frozen=True):
    """What is inside a box: lines above the bar, where a gate stands, and below it."""

    gate: tuple[str, ...]
    heading: str
    how: str
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        heading = width(self.heading) + (2 + width(self.how) if self.how else 0)
        return max([heading, *map(width, self.gate), *map(width, self.notes)]) + 4

    @property
    def height(self) -> int:
        return 2 + bool(self.heading) + len(self.notes) + len(self.gate) + bool(self.gate and self.heading)


def draw(flow: Flow, columns: int, pen: Pen) -> str:
    """The picture in at most so many columns, or the list."""
    columns = min(columns, WIDEST)
    best = _fitting(flow, _ROOMS[-1], columns, pen)
    if best is None:
        return listed(flow, columns, pen)
    for room in _ROOMS[:-1]:
        wider = _fitting(flow, room, columns, pen)
        if wider is not None:
            return wider.text()
    return best.text()


def _fitting(flow: Flow, room: int, columns: int, pen: Pen) -> _Canvas | None:
    """A canvas with this room for words, all boxes as wide as the widest one if that fits too."""
    looks = {node.key: _look(node, min(room, columns - 4), pen) for node in flow.nodes}
    widths = {key: look.width for key, look in looks.items()}
    if _least_width(flow, widths) > columns:
        return None
    layout = lay_out(flow, widths)
    if layout.width > columns:
        return None
    even = lay_out(flow, dict.fromkeys(widths, max(widths.values(), default=0)))
    return _Canvas(even if even.width <= columns else layout, looks, pen)


def _least_width(flow: Flow, widths: Mapping[int, int]) -> int:
    """Of the fullest layer, without anything between the boxes: cheaper than to find out by laying all out."""
    layers: dict[int, int] = {}
    for key, depth in depths(flow).items():
        layers[depth] = layers.get(depth, 0) + widths[key]
    return max(layers.values(), default=0)


def _look(node: Node, room: int, pen: Pen) -> _Look:
    def lines(text: str) -> tuple[str, ...]:
        said = pen.words(text)
        return tuple(wrapped(said, room, measure=width, lines=_MOST_LINES, crop=cropped) if said else ())

    how = pen.words(node.how)
    if node.kind is Kind.START:
        return _Look(gate=lines(f"{pen.asks} {node.gate} before the start"), heading="", how="", notes=())
    notes = [line for note in node.notes for line in lines(note)]
    if node.kind is Kind.WAIT or width(how) > room // 3 or room < _BESIDE:
        notes[:0], how = lines(how), ""
    heading = crop(pen.words(node.heading), room - (2 + width(how) if how else 0))
    return _Look(
        gate=lines(f"{pen.asks} {node.gate}") if node.gate else (), heading=heading, how=how, notes=tuple(notes)
    )


class _Canvas:
    """Characters with styles by row and column. A wide character takes its column and an empty one after it."""

    def __init__(self, layout: Layout, looks: Mapping[int, _Look], pen: Pen) -> None:
        self._layout = layout
        self._looks = looks
        self._pen = pen
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}
        self._strokes: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
        """Cell -> wire -> the directions in which that wire leaves the cell."""

    def text(self) -> str:
        row = 0
        for index, layer in enumerate(self._layout.layers):
            height = max(self._height(box) for box in layer)
            for box in layer:
                self._draw_box(box, row, height)
            row += height
            if index < len(self._layout.gaps):
                gap = self._layout.gaps[index]
                self._draw_gap(gap, row, index)
                row += gap.tracks
        self._ink_strokes()
        return "\n".join(self._row(number) for number in range(row))

    def _height(self, box: Box) -> int:
        return 1 if box.node is None else self._looks[box.node].height

    def _draw_box(self, box: Box, top: int, height: int) -> None:
        if box.node is None:
            for row in range(top, top + height):
                self._stroke(row, box.middle, (-1, id(box)), _UP | _DOWN, dashed=box.dashed)
            if box.labelled:
                self._write(top, box.middle - len(LABEL) // 2, LABEL, "red")
            return
        look = self._looks[box.node]
        bottom = top + look.height - 1
        self._frame(box, top, bottom)
        row = top + 1
        for line in look.gate:
            self._write(row, box.left + 2, line, "yellow")
            row += 1
        if look.gate and look.heading:
            self._rule(box, row)
            row += 1
        if look.heading:
            self._write(row, box.left + 2, look.heading, "bold")
            self._write(row, box.left + box.width - 2 - width(look.how), look.how, "dim")
        for line in look.notes:
            row += 1
            self._write(row, box.left + 2, line, "dim")
        self._draw_ports(box, top, bottom, top + height)

    def _draw_ports(self, box: Box, top: int, bottom: int, end: int) -> None:
        for link in box.entries:
            self._write(top, box.left + link.entry, self._pen.arrow, "dim")
        for link in box.exits:
            column = box.left + link.exit
            self._write(bottom, column, self._pen.lines[_LEFT | _RIGHT | _DOWN], "dim")
            for row in range(bottom + 1, end):
                self._stroke(row, column, (-1, id(box)), _UP | _DOWN, dashed=link.dashed)

    def _frame(self, box: Box, top: int, bottom: int) -> None:
        lines, right = self._pen.lines, box.left + box.width - 1
        across = lines[_LEFT | _RIGHT] * (box.width - 2)
        self._write(top, box.left, lines[_RIGHT | _DOWN] + across + lines[_LEFT | _DOWN], "dim")
        for row in range(top + 1, bottom):
            for column in (box.left, right):
                self._write(row, column, lines[_UP | _DOWN], "dim")
        self._write(bottom, box.left, lines[_UP | _RIGHT] + across + lines[_UP | _LEFT], "dim")

    def _rule(self, box: Box, row: int) -> None:
        lines = self._pen.lines
        across = lines[_LEFT | _RIGHT] * (box.width - 2)
        self._write(row, box.left, lines[_UP | _DOWN | _RIGHT] + across + lines[_UP | _DOWN | _LEFT], "dim")

    def _draw_gap(self, gap: Gap, top: int, index: int) -> None:
        for wire in gap.wires:
            self._draw_wire(wire, gap, top, (index, wire.net))

    def _draw_wire(self, wire: Wire, gap: Gap, top: int, net: tuple[int, int]) -> None:
        if wire.track is None:
            for row in range(top, top + gap.tracks):
                self._stroke(row, wire.source, net, _UP | _DOWN, dashed=wire.dashed)
            return
        track = top + wire.track
        if wire.parent is None:
            for row in range(top, track):
                self._stroke(row, wire.source, net, _UP | _DOWN, dashed=wire.dashed)
            self._stroke(track, wire.source, net, _UP, dashed=wire.dashed)
        else:
            assert wire.parent.track is not None
            for row in range(top + wire.parent.track + 1, track):
                self._stroke(row, wire.source, net, _UP | _DOWN, dashed=wire.dashed)
            self._stroke(track, wire.source, net, _UP, dashed=wire.dashed)
        for column in range(wire.first, wire.last + 1):
            sides = (_LEFT if column > wire.first else 0) | (_RIGHT if column < wire.last else 0)
            self._stroke(track, column, net, sides, dashed=wire.dashed)
        for column in wire.detours:
            self._stroke(track, column, net, _DOWN, dashed=wire.dashed)
        for column in wire.targets:
            self._stroke(track, column, net, _DOWN, dashed=wire.dashed)
            for row in range(track + 1, top + gap.tracks):
                self._stroke(row, column, net, _UP | _DOWN, dashed=wire.dashed)

    def _stroke(self, row: int, column: int, net: tuple[int, int], sides: int, *, dashed: bool) -> None:
        here = self._strokes.setdefault((row, column), {})
        key = (2 * net[0] + dashed, net[1])
        here[key] = here.get(key, 0) | sides

    def _ink_strokes(self) -> None:
        for (row, column), nets in self._strokes.items():
            # where two wires cross, the one that goes down lies on top
            key = max(nets, key=lambda net: nets[net] & (_UP | _DOWN))
            line = self._pen.lines[nets[key]]
            if (row, column) not in self._cells:
                dashed = key[0] % 2 == 1
                self._write(
                    row, column, self._pen.dashed.get(line, line) if dashed else line, "red" if dashed else "dim"
                )

    def _write(self, row: int, column: int, words: str, style: str) -> None:
        before = column
        for character in words:
            taken = width(character)
            if taken == 0:  # joins what stands before it
                self._cells[row, before] = (self._cells[row, before][0] + character, style)
                continue
            before = column
            self._cells[row, column] = (character, style)
            for beside in range(column + 1, column + taken):
                self._cells[row, beside] = ("", style)
            column += taken

    def _row(self, row: int) -> str:
        cells = [self._cells.get((row, column), (" ", "")) for column in range(self._layout.width)]
        while cells and cells[-1] == (" ", ""):
            cells.pop()
        runs: list[tuple[str, str]] = []
        for character, style in cells:
            if runs and runs[-1][1] == style:
                runs[-1] = (runs[-1][0] + character, style)
            else:
                runs.append((character, style))
        return "".join(styled(words, style) for words, style in runs)
