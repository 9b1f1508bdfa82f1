"""One mutant: a rule, the lines that make it, and the lines without it."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import msgspec

SIMULATION = "simulation"


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """`place` is `file.py:function`; `old` stands exactly once in it. `found_by`: the simulation, or a test.

    `equivalent` says why nothing can tell the mutant from the original.
    """

    rule: str
    place: str
    old: str
    new: str
    found_by: str = SIMULATION
    equivalent: str = ""

    @property
    def file(self) -> str:
        return self.place.partition(":")[0]

    @property
    def digest(self) -> str:
        """What is recorded of its hunt holds for this text of it only."""
        return hashlib.sha256(f"{self.old}\0{self.new}".encode()).hexdigest()[:8]

    def apply(self, package: Path) -> None:
        """Takes the rule away in this copy of the package. Raises LookupError where its lines are not there."""
        path = package / self.file
        path.write_text(self.changed(path.read_text()))

    def changed(self, source: str) -> str:
        """The source of the file without the rule."""
        start, end = _span(source, self.place.partition(":")[2])
        body = source[start:end]
        if body.count(self.old) != 1:
            raise LookupError(f"{self.place} has {body.count(self.old)} times, not once: {self.old!r} ({self.rule})")
        changed = source[:start] + body.replace(self.old, self.new) + source[end:]
        ast.parse(changed)
        return changed


def rule(rule: str, place: str, old: str, new: str, *, found_by: str = SIMULATION, equivalent: str = "") -> Mutant:
    """An entry of a catalogue."""
    return Mutant(rule=rule, place=place, old=old, new=new, found_by=found_by, equivalent=equivalent)


def _span(source: str, name: str) -> tuple[int, int]:
    """Where the function or class stands; the whole file where no name is given."""
    if not name:
        return 0, len(source)
    lines = source.splitlines(keepends=True)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds) and node.name == name]
    if not found or found[0].end_lineno is None:
        raise LookupError(f"there is no {name}")
    node = found[0]
    return len("".join(lines[: node.lineno - 1])), len("".join(lines[: node.end_lineno]))
