"""A flow as an SVG picture: ASCII only, without scripts or anything fetched; it follows the reader's light or dark.

Widths are estimated for the widest of the usual fonts, so that words stay in their boxes whichever is there.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

import msgspec

from sopwith.doors.cli.graph.flow import START, Edge, Flow, Kind, Node
from sopwith.doors.cli.graph.layout import LABEL, Box, Layout, Link, lay_out
from sopwith.doors.cli.graph.wires import Gap, Wire
from sopwith.doors.cli.graph.wrap import wrapped

_CELL = 8
_MARGIN = 24
_TOP = 78
"""Where the first layer begins, below the title."""
_PADDING = 14
_ROOM = 250
"""Pixels for the words of a box."""
_LEAST_ROOM = 96
_LINE, _HEAD_LINE = 17, 20
_GAP, _TRACK = 30, 12
_CORNER = 7.0
_ARROW = 8
_STYLE = """\
.sop-flow{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",sans-serif}
.sop-flow .back{fill:#ffffff}
.sop-flow text{fill:#1f2937;font-size:12px}
.sop-flow .title{font-size:17px;font-weight:600}
.sop-flow .head{font-size:14px;font-weight:600}
.sop-flow .soft{fill:#5b6472}
.sop-flow .box{fill:#f8fafc;stroke:#94a3b8;stroke-width:1.2}
.sop-flow .manual{fill:#f5f3ff;stroke:#a78bfa}
.sop-flow .wait{fill:#ecfeff;stroke:#67b7c4}
.sop-flow .gate{fill:#fef3c7;stroke:#d19b16;stroke-width:1.2}
.sop-flow .asks{fill:#713f12}
.sop-flow .edge{fill:none;stroke:#64748b;stroke-width:1.5}
.sop-flow .tip{fill:#64748b}
.sop-flow .edge.failure{stroke:#dc2626;stroke-dasharray:5 4}
.sop-flow .tip.failure,.sop-flow text.failure{fill:#c11f1f}
@media (prefers-color-scheme:dark){
.sop-flow .back{fill:#0f172a}
.sop-flow text{fill:#e5e7eb}
.sop-flow .soft{fill:#a3aebd}
.sop-flow .box{fill:#1e293b;stroke:#64748b}
.sop-flow .manual{fill:#2a2350;stroke:#8b75dd}
.sop-flow .wait{fill:#123640;stroke:#3f93a1}
.sop-flow .gate{fill:#3f2f0c;stroke:#c08a14}
.sop-flow .asks{fill:#fde68a}
.sop-flow .edge{stroke:#94a3b8}
.sop-flow .tip{fill:#94a3b8}
.sop-flow .edge.failure{stroke:#f87171}
.sop-flow .tip.failure,.sop-flow text.failure{fill:#fca5a5}
}"""


class _Card(msgspec.Struct, frozen=True):
    """The words of a node, broken into lines."""

    gate: tuple[str, ...]
    heading: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        small = [_small(line) for line in (*self.gate, *self.notes)]
        return 2 * _PADDING + math.ceil(max([_LEAST_ROOM, *map(_large, self.heading), *small]))

    @property
    def gate_height(self) -> int:
        return len(self.gate) * _LINE + 14 if self.gate else 0

    @property
    def height(self) -> int:
        words = len(self.heading) * _HEAD_LINE + len(self.notes) * _LINE
        return self.gate_height + (words + 18 if self.heading else 0)


def svg(flow: Flow) -> str:
    """The whole picture, however large: one document, to be shown alone or within a page."""
    cards = {node.key: _card(node) for node in flow.nodes}
    layout = lay_out(flow, {key: math.ceil(card.width / _CELL) for key, card in cards.items()})
    picture = _Picture(flow, layout, cards)
    return "\n".join(picture.lines())


def _card(node: Node) -> _Card:
    def small(text: str) -> tuple[str, ...]:
        return tuple(wrapped(text, _ROOM, measure=_small, lines=4, crop=_crop_small)) if text else ()

    if node.kind is Kind.START:
        return _Card(gate=small(f"{_capital(node.gate)} before the start"), heading=(), notes=())
    notes = [line for note in (node.how, *node.notes) for line in small(note)]
    heading = wrapped(node.heading, _ROOM, measure=_large, lines=2, crop=_crop_large)
    return _Card(gate=small(_capital(node.gate)), heading=tuple(heading), notes=tuple(notes))


class _Picture:
    """Turns the grid of a layout into pixels."""

    def __init__(self, flow: Flow, layout: Layout, cards: Mapping[int, _Card]) -> None:
        self._flow = flow
        self._layout = layout
        self._cards = cards
        self._tops: list[int] = []
        self._bottoms: list[int] = []
        top = _TOP
        for index, layer in enumerate(layout.layers):
            self._tops.append(top)
            self._bottoms.append(top + max(self._height(box) for box in layer))
            top = self._bottoms[-1] + _gap_height(layout.gaps[index] if index < len(layout.gaps) else None)
        self._height_px = (self._bottoms[-1] if self._bottoms else _TOP) + _MARGIN
        self._subtitle = f"{flow.name}, {flow.mode}, {len(cards) - (START in cards)} steps"
        titles = max(_large(flow.title) * 17 / 14, _small(self._subtitle))
        self._width_px = 2 * _MARGIN + max(layout.width * _CELL, min(math.ceil(titles), 3 * _ROOM))

    def lines(self) -> Iterator[str]:
        width, height = self._width_px, self._height_px
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="sop-flow" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" role="img" aria-labelledby="sop-flow-title sop-flow-desc">'
        )
        yield f'<title id="sop-flow-title">{_xml(self._flow.title)}</title>'
        yield f'<desc id="sop-flow-desc">{_xml(described(self._flow))}</desc>'
        yield f"<style>{_STYLE}</style>"
        yield f'<rect class="back" width="{width}" height="{height}" rx="10"/>'
        title = _crop(self._flow.title, (width - 2 * _MARGIN) * 14 / 17, _large)
        yield _text(_MARGIN, 36, title, "title")
        yield _text(_MARGIN, 56, self._subtitle, "soft")
        boxes = [box for layer in self._layout.layers for box in layer]
        for box in boxes:
            for link in box.exits if box.node is not None else ():
                yield from self._edge(link)
        for box in boxes:
            yield from self._label(box) if box.node is None else self._node(box)
        yield "</svg>"

    def _height(self, box: Box) -> int:
        return _LINE if box.node is None else self._cards[box.node].height

    def _x(self, column: int) -> float:
        return _MARGIN + (column + 0.5) * _CELL

    def _node(self, box: Box) -> Iterator[str]:
        assert box.node is not None
        node, card = self._flow.node(box.node), self._cards[box.node]
        left, top, width = _MARGIN + box.left * _CELL, self._tops[box.layer], box.width * _CELL
        yield f"<g><title>{_xml(_sentence(node))}</title>"
        round_ = 10 if node.kind is not Kind.WAIT else min(24, card.height // 2)
        if card.heading:
            kind = "" if node.kind is Kind.SCRIPT else f" {node.kind}"
            yield _rect(left, top, width, card.height, round_, f"box{kind}")
        if card.gate and card.heading:
            yield _band(left, top, width, card.gate_height, round_)
        elif card.gate:
            yield _rect(left, top, width, card.height, card.height // 2, "gate")
        for place, line in enumerate(card.gate):
            yield _text(left + _PADDING, top + 19 + place * _LINE, line, "asks")
        y = top + card.gate_height + 6
        for line in card.heading:
            y += _HEAD_LINE
            yield _text(left + _PADDING, y - 2, line, "head")
        for line in card.notes:
            y += _LINE
            yield _text(left + _PADDING, y, line, "soft")
        yield "</g>"

    def _label(self, box: Box) -> Iterator[str]:
        if box.labelled:
            x, y = self._x(box.middle), self._tops[box.layer]
            width = math.ceil(_small(LABEL))
            yield f'<rect class="back" x="{x - width / 2:g}" y="{y}" width="{width}" height="{_LINE}"/>'
            yield f'<text class="failure" text-anchor="middle" x="{x:g}" y="{y + 13}">{LABEL}</text>'

    def _edge(self, first: Link) -> Iterator[str]:
        """The whole way to the next node, with its tip."""
        link = first
        assert link.source.node is not None
        top = self._tops[link.source.layer] + self._cards[link.source.node].height
        points = [(self._x(link.source.left + link.exit), float(top))]
        while True:
            points += self._through_gap(link)
            if link.target.node is not None:
                break
            link = link.target.exits[0]
        x, y = points[-1][0], self._tops[link.target.layer]
        kind = " failure" if first.dashed else ""
        yield f'<path class="edge{kind}" d="{_rounded([*points, (x, y - _ARROW + 2)])}"/>'
        yield f'<path class="tip{kind}" d="M{x - 4.5:g} {y - _ARROW}h9l-4.5 {_ARROW}z"/>'

    def _through_gap(self, link: Link) -> Iterator[tuple[float, float]]:
        layer = link.source.layer
        gap = self._layout.gaps[layer]
        place = next(at for at, box in enumerate(self._layout.layers[layer]) if box is link.source)
        target = link.target.left + link.entry
        net = 2 * place + link.dashed
        wire = next(wire for wire in gap.wires if wire.net == net and target in wire.targets)
        way = [wire]
        while way[0].parent is not None:
            way.insert(0, way[0].parent)
        for each in way:
            if each.track is not None:
                yield self._x(each.source), self._track_y(layer, gap, each)
        for before, after in zip(way, [*way[1:], None], strict=True):
            if before.track is not None:
                column = target if after is None else after.source
                yield self._x(column), self._track_y(layer, gap, before)

    def _track_y(self, layer: int, gap: Gap, wire: Wire) -> float:
        assert wire.track is not None
        spare = _gap_height(gap) - _ARROW - (gap.tracks - 1) * _TRACK
        return self._bottoms[layer] + spare / 2 + wire.track * _TRACK


def described(flow: Flow) -> str:
    """The flow in words, for who cannot see it."""
    after: dict[int, list[Edge]] = {node.key: [] for node in flow.nodes}
    for edge in flow.edges:
        after[edge.target].append(edge)
    return " ".join(_sentence(node, after[node.key]) for node in flow.nodes)


def _sentence(node: Node, edges: Sequence[Edge] = ()) -> str:
    if node.kind is Kind.START:
        return f"{_capital(node.gate)} before the start."
    parts = [f"Step {node.heading} ({node.how})", *([node.gate] if node.gate else []), *node.notes]
    after = [str(edge.source) for edge in edges if not edge.on_failure and edge.source != START]
    failed = [str(edge.source) for edge in edges if edge.on_failure]
    parts += [f"after {', '.join(after)}"] if after else []
    parts += [f"also where {' or '.join(failed)} failed"] if failed else []
    return "; ".join(parts) + "."


def _gap_height(gap: Gap | None) -> int:
    return 0 if gap is None else _GAP + max(0, gap.tracks - 1) * _TRACK


def _rounded(points: Sequence[tuple[float, float]]) -> str:
    """An SVG path along horizontal and vertical lines, its corners rounded."""
    bends = [point for at, point in enumerate(points) if not 0 < at < len(points) - 1 or _turns(points, at)]
    path = [f"M{bends[0][0]:g} {bends[0][1]:g}"]
    for before, here, after in zip(bends, bends[1:], bends[2:], strict=False):
        radius = min(_CORNER, math.dist(before, here) / 2, math.dist(here, after) / 2)
        (x1, y1), (x2, y2) = _towards(here, before, radius), _towards(here, after, radius)
        path.append(f"L{x1:g} {y1:g}Q{here[0]:g} {here[1]:g} {x2:g} {y2:g}")
    return "".join([*path, f"L{bends[-1][0]:g} {bends[-1][1]:g}"])


def _turns(points: Sequence[tuple[float, float]], at: int) -> bool:
    (x0, y0), (x1, y1), (x2, y2) = points[at - 1], points[at], points[at + 1]
    return not (x0 == x1 == x2 or y0 == y1 == y2)


def _towards(here: tuple[float, float], there: tuple[float, float], by: float) -> tuple[float, float]:
    distance = math.dist(here, there) or 1.0
    return tuple(a + (b - a) * by / distance for a, b in zip(here, there, strict=True))  # type: ignore[return-value]


def _rect(x: int, y: int, width: int, height: int, corner: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{corner}"/>'


def _band(x: int, y: int, width: int, height: int, corner: int) -> str:
    """The upper part of a box."""
    return (
        f'<path class="gate" d="M{x} {y + height}V{y + corner}Q{x} {y} {x + corner} {y}H{x + width - corner}'
        f'Q{x + width} {y} {x + width} {y + corner}V{y + height}z"/>'
    )


def _text(x: int, y: int, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{_xml(words)}</text>'


def _xml(text: str) -> str:
    return escape(text, {'"': "&quot;", "'": "&#39;"}).encode("ascii", "xmlcharrefreplace").decode()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _large(text: str) -> float:
    """Pixels of a heading."""
    return 14 * sum(map(_em, text))


def _small(text: str) -> float:
    """Pixels of any other line."""
    return 12 * 0.92 * sum(map(_em, text))


def _em(character: str) -> float:
    """The width of a character in a bold, wide font, as a part of its height."""
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in "ijlIrtf.,:;|'!()[]/ -":
        return 0.44
    if character in "mwMW@%&":
        return 1.1
    return 0.8 if character.isupper() or character in "+=<>#~" else 0.69


def _crop_large(text: str, limit: float) -> str:
    return _crop(text, limit, _large)


def _crop_small(text: str, limit: float) -> str:
    return _crop(text, limit, _small)


def _crop(text: str, limit: float, measure: object) -> str:
    assert callable(measure)
    if measure(text) <= limit:
        return text
    while text and measure(text + "…") > limit:
        text = text[:-1]
    return text + "…"
