"""A flow as an indented list, for where a drawing would be too wide."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import click

from sopwith.doors.cli.graph.flow import START, Edge, Flow, Kind, Node
from sopwith.doors.cli.graph.layout import LABEL, depths
from sopwith.doors.cli.graph.pen import Pen, cropped, styled
from sopwith.doors.cli.graph.wrap import wrapped
from sopwith.doors.cli.terminal import width


def listed(flow: Flow, columns: int, pen: Pen) -> str:
    """Steps in the order in which they may run; what may run side by side is indented."""
    layers: dict[int, list[int]] = {}
    for key, depth in depths(flow).items():
        layers.setdefault(depth, []).append(key)
    above: dict[int, list[Edge]] = {node.key: [] for node in flow.nodes}
    for edge in flow.edges:
        above[edge.target].append(edge)
    lines = []
    for _, keys in sorted(layers.items()):
        indent = 4 if len(keys) > 1 else 2
        for key in sorted(keys):
            lines += _listed_node(flow.node(key), above[key], flow, pen, _Margins(indent, columns))
    return "\n".join(lines)


class _Margins(NamedTuple):
    indent: int
    columns: int

    def hanging(self, words: str, style: str, by: int = 0) -> list[str]:
        """The words on as many lines as they need, the first indented further by so much, the others by two more."""
        indent = self.indent + by
        lines = wrapped(words, max(self.columns - indent - 2, 1), measure=width, lines=len(words), crop=cropped)
        return [" " * (indent + (2 if place else 0)) + styled(line, style) for place, line in enumerate(lines)]


def _listed_node(node: Node, above: list[Edge], flow: Flow, pen: Pen, margins: _Margins) -> list[str]:
    if node.kind is Kind.START:
        return margins.hanging(pen.words(f"{pen.asks} {node.gate} before the start"), "yellow")
    solid = [edge.source for edge in above if not edge.on_failure and edge.source != START]
    goto = [edge.target for edge in flow.edges if edge.on_failure and edge.source == node.key]
    lines = margins.hanging(pen.words(f"{node.heading} ({node.how})"), "bold")
    after = f"after {_ranges(solid)}"
    if solid and width(click.unstyle(lines[-1])) + 2 + len(after) <= margins.columns:
        lines[-1] += f"  {styled(after, 'dim')}"
    elif solid:
        lines += margins.hanging(after, "dim", 2)
    lines += margins.hanging(pen.words(f"{pen.asks} {node.gate}"), "yellow", 2) if node.gate else []
    for note in (*node.notes, *(f"{LABEL}: go to {target}" for target in goto)):
        lines += margins.hanging(pen.words(note), "dim", 2)
    return lines


def _ranges(numbers: list[int]) -> str:
    """`1, 3-5`."""
    told: list[str] = []
    for _, run in groupby(enumerate(sorted(numbers)), key=lambda each: each[1] - each[0]):
        found = [number for _, number in run]
        told.append(f"{found[0]}-{found[-1]}" if len(found) > 2 else ", ".join(map(str, found)))
    return ", ".join(told)
