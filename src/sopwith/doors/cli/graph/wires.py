"""How edges run between two layers: down from their source, along a track of their own, down into their targets.

Edges that leave one place together share a wire and fork; wires of different origin never share a piece of line, they
only cross at right angles. Tracks are chosen for few crossings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec


class End(NamedTuple):
    """One edge into the next layer, by columns. Edges with the same `net` leave from the same column."""

    net: int
    source: int
    target: int
    dashed: bool


class Wire(msgspec.Struct, eq=False):
    """One origin and all it leads to. `track` None: straight down. `parent`: it begins on that wire's track instead
    of at the layer above.
    """

    net: int
    source: int
    targets: list[int]
    dashed: bool
    track: int | None = None
    parent: Wire | None = None
    detours: list[int] = msgspec.field(default_factory=list)
    """Columns that lead down to the track of a child instead of to the next layer."""

    @property
    def first(self) -> int:
        return min(self.source, *self.targets, *self.detours)

    @property
    def last(self) -> int:
        return max(self.source, *self.targets, *self.detours)

    @property
    def is_straight(self) -> bool:
        return self.parent is None and not self.detours and self.targets == [self.source]


class Gap(msgspec.Struct):
    """The wires between two layers, on tracks 0 (the topmost) to `tracks` - 1."""

    wires: list[Wire]
    tracks: int

    def shift(self, by: int) -> None:
        for wire in self.wires:
            wire.source += by
            wire.targets = [column + by for column in wire.targets]
            wire.detours = [column + by for column in wire.detours]


def gap_between(ends: Iterable[End]) -> Gap:
    """Wires with tracks for these edges, of which no two end at the same column."""
    wires: dict[int, Wire] = {}
    for end in ends:
        wire = wires.setdefault(end.net, Wire(end.net, end.source, [], end.dashed))
        wire.targets.append(end.target)
    bent = [wire for wire in wires.values() if not wire.is_straight]
    straight = [wire for wire in wires.values() if wire.is_straight]
    ordered = _ordered(bent, {column for wire in wires.values() for column in (wire.source, *wire.targets)})
    return Gap(wires=straight + ordered, tracks=_give_tracks(ordered))


def _ordered(wires: list[Wire], taken: set[int]) -> list[Wire]:
    """The wires from the topmost track down. One whose source stands above another's target must come first; where
    that goes round in a circle, one of them makes a detour through a free column.
    """
    waiting, placed = list(wires), list[Wire]()
    costs = {wire.net: sum(_cost(wire, other) for other in wires) for wire in wires}
    while waiting:
        sources = {wire.source: wire for wire in waiting if wire.parent is None}
        free = [wire for wire in waiting if not _blockers(wire, waiting, sources)]
        if not free:
            waiting.append(_detour(waiting, sources, taken))
            continue
        chosen = min(free, key=lambda wire: costs[wire.net])
        waiting.remove(chosen)
        placed.append(chosen)
        for other in waiting:
            costs[other.net] -= _cost(other, chosen)
    return placed


def _cost(upper: Wire, lower: Wire) -> int:
    """How many crossings more there are if the first wire lies above the second than the other way round."""
    apart = upper.last < lower.first or lower.last < upper.first
    return 0 if apart or upper is lower else _crossings(upper, lower) - _crossings(lower, upper)


def _blockers(wire: Wire, waiting: Sequence[Wire], sources: Mapping[int, Wire]) -> list[Wire]:
    """Those that must lie above this wire: they come down where it goes down to a target, or it begins on them."""
    above = [sources[column] for column in wire.targets if sources.get(column, wire) is not wire]
    return above + [other for other in waiting if wire.parent is not None and other is wire.parent]


def _detour(waiting: Sequence[Wire], sources: Mapping[int, Wire], taken: set[int]) -> Wire:
    """Splits a wire of a circle in two, so that its first half is blocked by one less. Tells the second half."""
    wire = next(each for each in waiting if each.parent is None and _blockers(each, waiting, sources))
    blocker = _blockers(wire, waiting, sources)[0]
    column = _nearest_free(blocker.source, taken)
    taken.add(column)
    wire.targets.remove(blocker.source)
    wire.detours.append(column)
    return Wire(wire.net, column, [blocker.source], wire.dashed, parent=wire)


def _nearest_free(column: int, taken: set[int]) -> int:
    distance = 1
    while True:
        for candidate in (column + distance, column - distance):
            if candidate not in taken:
                return candidate
        distance += 1


def _crossings(upper: Wire, lower: Wire) -> int:
    """How often two wires cross if the first lies above the second."""
    down = sum(lower.first < column < lower.last for column in upper.targets)
    return down + (upper.first < lower.source < upper.last)


def _give_tracks(ordered: Sequence[Wire]) -> int:
    """The topmost track for each wire that is free beside the others and keeps their order; tells how many."""
    tracks = 0
    for place, wire in enumerate(ordered):
        lowest = 0
        for other in ordered[:place]:
            assert other.track is not None
            apart = other.last + 1 < wire.first or wire.last + 1 < other.first
            if other is wire.parent or not apart:
                lowest = max(lowest, other.track + 1)
        wire.track = lowest
        tracks = max(tracks, lowest + 1)
    return tracks
