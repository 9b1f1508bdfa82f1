"""A flow as a Mermaid flowchart. Labels are quoted, and every character that means something there is an entity."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sopwith.doors.cli.graph.flow import START, Edge, Flow, Kind, Node
from sopwith.doors.cli.graph.layout import LABEL

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 ,._=/-]")
_FORMULA = re.compile(r"\$(?=\$)")
"""Mermaid looks for `$$` after it has read the entities; a joiner of no width keeps the two apart."""
_SHAPES = {Kind.SCRIPT: ('["', '"]'), Kind.MANUAL: ('[/"', '"/]'), Kind.WAIT: ('(["', '"])')}
_GATE = ('{{"', '"}}')
_LONGEST = 200
"""Characters of one line; a title may have no more than that, a condition may."""


def mermaid(flow: Flow) -> str:
    """`flowchart TD`, one statement a line."""
    return "\n".join(["flowchart TD", *(f"    {line}" for line in _statements(flow))])


def _statements(flow: Flow) -> Iterator[str]:
    for node in flow.nodes:
        yield from _node(node)
    for edge in flow.edges:
        yield _edge(edge, flow)
    yield "classDef gate fill:#fff3cd,stroke:#b58900,color:#3d2e00"


def _node(node: Node) -> Iterator[str]:
    if node.kind is Kind.START:
        yield f"start{_quoted([f'{node.gate} before the start'], _GATE)}:::gate"
        return
    if node.gate:
        yield f"gate{node.key}{_quoted([node.gate], _GATE)}:::gate"
        yield f"gate{node.key} --> step{node.key}"
    yield f"step{node.key}{_quoted([node.heading, node.how, *node.notes], _SHAPES[node.kind])}"


def _edge(edge: Edge, flow: Flow) -> str:
    source = "start" if edge.source == START else f"step{edge.source}"
    target = f"{'gate' if flow.node(edge.target).gate else 'step'}{edge.target}"
    return f'{source} -. "{LABEL}" .-> {target}' if edge.on_failure else f"{source} --> {target}"


def _quoted(lines: list[str], shape: tuple[str, str]) -> str:
    return shape[0] + "<br/>".join(escaped(line) for line in lines) + shape[1]


def escaped(text: str) -> str:
    """The text with an entity code (`#35;`) for whatever Mermaid, Markdown or HTML could read as something else."""
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    text = _FORMULA.sub("$\u2060", text)
    return _NOT_PLAIN.sub(lambda match: f"#{ord(match[0])};" if match[0].isascii() else match[0], text)
