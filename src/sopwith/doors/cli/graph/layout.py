"""Where the nodes of a flow stand: layers by longest path, few crossings, edges as straight as may be (Sugiyama).

Works in cells of a grid: characters for the terminal, a few pixels for SVG. Every edge enters its target at a column
of its own and all edges of one kind leave a node at one column, so that no drawing can join what does not belong
together. How the edges run between two layers is `wires.py`'s work.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import msgspec

from sopwith.doors.cli.graph.flow import Edge, Flow, in_order
from sopwith.doors.cli.graph.wires import End, Gap, gap_between

LABEL = "on failure"
_SWEEPS = 12
_SPACE = 2
"""Free columns between two things side by side."""
_LEAST_WIDTH = 7
_STIFF, _SLACK = 8.0, 0.02
"""How much a long edge resists bending, and how little one on failure pulls, where an edge between nodes counts 1."""


class Box(msgspec.Struct):
    """Something in a layer: a node, or (`node` None) a place where an edge passes, with a label or without."""

    layer: int
    width: int
    node: int | None = None
    labelled: bool = False
    dashed: bool = False
    left: int = 0
    entries: list[Link] = msgspec.field(default_factory=list)
    exits: list[Link] = msgspec.field(default_factory=list)

    @property
    def middle(self) -> int:
        return self.left + self.width // 2


class Link(msgspec.Struct):
    """An edge from one layer to the next; `entry` is its column in the target, counted from the left."""

    source: Box
    target: Box
    dashed: bool
    entry: int = 0

    @property
    def exit(self) -> int:
        """Its column in the source, counted from the left: on failure beside the middle."""
        middle = self.source.width // 2
        beside = self.dashed and self.source.node is not None
        return middle + min(4, middle - 1) if beside else middle


class Layout(NamedTuple):
    """Layers from the top down, boxes from the left; `gaps[i]` lies below `layers[i]`."""

    layers: list[list[Box]]
    gaps: list[Gap]
    width: int


def lay_out(flow: Flow, widths: Mapping[int, int]) -> Layout:
    """The places of all nodes, which are `widths[key]` columns wide, or more where many edges enter."""
    layers = _layers(flow, widths)
    _order(layers)
    _space_entries(layers)
    _place(layers)
    _snap_entries(layers)
    gaps = [gap_between(_ends(layer)) for layer in layers[:-1]]
    return Layout(layers, gaps, _normalised(layers, gaps))


def _layers(flow: Flow, widths: Mapping[int, int]) -> list[list[Box]]:
    depth = depths(flow)
    boxes = {node.key: Box(layer=depth[node.key], width=widths[node.key], node=node.key) for node in flow.nodes}
    layers: list[list[Box]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for box in boxes.values():
        layers[box.layer].append(box)
    for edge in flow.edges:
        _link(boxes[edge.source], boxes[edge.target], edge, layers)
    for box in boxes.values():
        box.width = max(box.width, 2 * len(box.entries) + 3, _LEAST_WIDTH)
    return layers


def depths(flow: Flow) -> dict[int, int]:
    """The longest way from the top; an edge with a label needs a layer more to write it in."""
    above: dict[int, list[Edge]] = {node.key: [] for node in flow.nodes}
    for edge in flow.edges:
        above[edge.target].append(edge)
    depth: dict[int, int] = {}
    for key in in_order({key: [edge.source for edge in edges] for key, edges in above.items()}):
        depth[key] = max((depth[edge.source] + 1 + edge.on_failure for edge in above[key]), default=0)
    return depth


def _link(source: Box, target: Box, edge: Edge, layers: list[list[Box]]) -> None:
    """Joins two boxes, through a place in each layer between them."""
    here = source
    for layer in range(source.layer + 1, target.layer + 1):
        there = target
        if layer < target.layer:
            labelled = edge.on_failure and here is source
            there = Box(layer=layer, width=len(LABEL) + 2 if labelled else 1, labelled=labelled, dashed=edge.on_failure)
            layers[layer].append(there)
        link = Link(here, there, edge.on_failure)
        here.exits.append(link)
        there.entries.append(link)
        here = there


def _order(layers: list[list[Box]]) -> None:
    """Fewer crossings: each layer by the barycentre of its neighbours, down and up, the best order kept."""
    best = [list(layer) for layer in layers]
    fewest = _crossings(layers)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            _sort(layer, layers, down=down)
        crossings = _crossings(layers)
        if crossings < fewest:
            fewest, best = crossings, [list(layer) for layer in layers]
    for layer, order in zip(layers, best, strict=True):
        layer[:] = order


def _sort(layer: list[Box], layers: list[list[Box]], *, down: bool) -> None:
    beside = layer[0].layer + (-1 if down else 1) if layer else -1
    if not 0 <= beside < len(layers):
        return
    at = {id(box): place for place, box in enumerate(layers[beside])}
    middle = {}
    for place, box in enumerate(layer):
        near = [at[id(link.source if down else link.target)] for link in (box.entries if down else box.exits)]
        middle[id(box)] = sum(near) / len(near) if near else float(place)
    layer.sort(key=lambda box: middle[id(box)])


def _crossings(layers: list[list[Box]]) -> int:
    count = 0
    for upper, lower in pairwise(layers):
        at = {id(box): place for place, box in enumerate(lower)}
        seen: list[int] = []
        for box in upper:
            targets = sorted(at[id(link.target)] for link in box.exits)
            count += sum(len(seen) - bisect_right(seen, place) for place in targets)
            for place in targets:
                insort(seen, place)
    return count


def _space_entries(layers: list[list[Box]]) -> None:
    """Spreads the edges into a box over its top, in the order in which they come."""
    for upper in layers:
        for box in upper:
            for link in box.exits:
                link.target.entries.remove(link)
                link.target.entries.append(link)
    for layer in layers:
        for box in layer:
            _spread(box)


def _spread(box: Box) -> None:
    """An even distance between the edges, the plain ones in the middle: what happens on failure comes in beside."""
    count = len(box.entries)
    solid = [place for place, link in enumerate(box.entries) if not link.dashed] or list(range(count))
    step = min(6, max(1, (box.width // 2 - 2) // max(1, count)))
    for place, link in enumerate(box.entries):
        link.entry = box.width // 2 + round((place - sum(solid) / len(solid)) * step)


def _place(layers: list[list[Box]]) -> None:
    for layer in layers:
        left = 0
        for box in layer:
            box.left = left
            left += box.width + _SPACE
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            _settle(layer, down=down, both=sweep >= _SWEEPS)
    for layer in layers:
        _straighten(layer)


def _settle(layer: list[Box], *, down: bool, both: bool) -> None:
    """Moves the boxes of a layer as near to their neighbours as their order lets them, by least squares."""
    wishes, weights, offset, offsets = list[float](), list[float](), 0, list[int]()
    for box in layer:
        near = [*(box.entries if down or both else ()), *(box.exits if both or not down else ())]
        pulls = [(_pull(box, link), _weight(link)) for link in near]
        weight = sum(each for _, each in pulls)
        wish = sum(at * each for at, each in pulls) / weight - offset if pulls else (wishes or [0.0])[-1]
        wishes.append(wish)
        weights.append(weight or 0.001)
        offsets.append(offset)
        offset += box.width + _SPACE
    for box, at, shift in zip(layer, _monotone(wishes, weights), offsets, strict=True):
        box.left = round(at) + shift


def _pull(box: Box, link: Link) -> int:
    """Where the left of the box would have to be for the edge to be straight."""
    if link.target is box:
        return link.source.left + link.exit - link.entry
    return link.target.left + link.entry - link.exit


def _weight(link: Link) -> float:
    if link.source.node is None and link.target.node is None:
        return _STIFF
    return _SLACK if link.dashed else 1.0


def _monotone(wishes: list[float], weights: list[float]) -> list[float]:
    """The ascending numbers nearest to the wishes: neighbours that would cross share their mean."""
    blocks: list[tuple[float, float, int]] = []
    for wish, weight in zip(wishes, weights, strict=True):
        block = (wish, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            other = blocks.pop()
            both = other[1] + block[1]
            block = ((other[0] * other[1] + block[0] * block[1]) / both, both, other[2] + block[2])
        blocks.append(block)
    return [value for value, _, count in blocks for _ in range(count)]


def _straighten(layer: list[Box]) -> None:
    """Puts a passing edge right below where it comes from, if there is room."""
    for place, box in enumerate(layer):
        if box.node is not None:
            continue
        link = box.entries[0]
        left = link.source.left + link.exit - box.width // 2
        after = place == 0 or layer[place - 1].left + layer[place - 1].width + _SPACE <= left
        before = place + 1 == len(layer) or left + box.width + _SPACE <= layer[place + 1].left
        if after and before:
            box.left = left


def _snap_entries(layers: list[list[Box]]) -> None:
    """Lets an edge fall straight into its target where the target is wide enough to be hit."""
    for layer in layers:
        for box in layer:
            if box.node is None:
                box.entries[0].entry = box.width // 2
                continue
            box.entries.sort(key=lambda link: link.source.left + link.exit)
            taken = _snapped(box)
            for link, column in zip(box.entries, taken, strict=True):
                link.entry = column


def _snapped(box: Box) -> list[int]:
    count = len(box.entries)
    gap = 2 if 2 * count + 1 < box.width else 1
    wishes = []
    for link in box.entries:
        straight = link.source.left + link.exit - box.left
        wishes.append(straight if 2 <= straight < box.width - 2 else link.entry)
    columns = [round(at) + place * gap for place, at in enumerate(_monotone(_without(wishes, gap), [1.0] * count))]
    too_far = max(0, columns[-1] - (box.width - 2)) if columns else 0
    return [max(column - too_far, 1 + place * gap) for place, column in enumerate(columns)]


def _without(wishes: Iterable[int], gap: int) -> list[float]:
    return [float(wish - place * gap) for place, wish in enumerate(wishes)]


def _ends(layer: list[Box]) -> list[End]:
    """Every edge that leaves a layer; those of one kind from one box share a number."""
    return [
        End(
            net=2 * place + link.dashed,
            source=box.left + link.exit,
            target=link.target.left + link.entry,
            dashed=link.dashed,
        )
        for place, box in enumerate(layer)
        for link in box.exits
    ]


def _normalised(layers: list[list[Box]], gaps: list[Gap]) -> int:
    """Shifts everything to the right of column 0; tells the width."""
    lefts = [box.left for layer in layers for box in layer] + [wire.first for gap in gaps for wire in gap.wires]
    shift = -min(lefts, default=0)
    for layer in layers:
        for box in layer:
            box.left += shift
    for gap in gaps:
        gap.shift(shift)
    rights = [box.left + box.width for layer in layers for box in layer]
    return max(rights + [wire.last + 1 for gap in gaps for wire in gap.wires], default=0)
