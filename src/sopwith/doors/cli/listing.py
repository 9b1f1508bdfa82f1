"""The verb list. Alone in its module: it is called often, and the options of other verbs take time to make."""

from __future__ import annotations

import click
import msgspec

from sopwith.doors.cli import text
from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.terminal import shown
from sopwith.errors import Problem

_NAMED = 10
"""So many procedures that are not registered are named; the rest is counted."""


@click.command()
@verb
def list_(door: Door) -> None:
    """Show all procedures: version, priority, mode, steps, and whether they can run."""
    document = door.catalog.listed()
    door.say(document, lambda: _list_text(document["sops"], problems_of(document)))


def problems_of(document: Document) -> tuple[Problem, ...]:
    """What is wrong, as the document tells it."""
    return tuple(msgspec.convert(each, Problem) for each in document["problems"])


def _list_text(sops: list[dict[str, object]], problems: tuple[Problem, ...]) -> str:
    if not sops:
        return "\n".join(["no procedures yet: sop create NAME makes one", *map(text.problem_text, problems)])
    rows = []
    for sop in sops:
        if sop["valid"]:
            cells = [str(sop[key]) for key in ("version", "priority", "executionMode", "totalSteps", "gates")]
            rows.append([text.bold(str(sop["name"])), *cells, shown(str(sop["title"]))])
        else:
            trouble = click.style("has errors: sop validate " + str(sop["name"]), fg="red")
            rows.append([text.bold(str(sop["name"])), "", "", "", "", "", trouble])
    listing = text.table(["NAME", "VERSION", "PRIORITY", "MODE", "STEPS", "GATES", "TITLE"], rows)
    notes = [text.problem_text(problem) for problem in problems if problem.code != "unregistered"]
    unregistered = [str(sop["name"]) for sop in sops if not sop.get("registered", True)]
    if unregistered:
        names = ", ".join(unregistered[:_NAMED])
        more = f" and {len(unregistered) - _NAMED} more" if len(unregistered) > _NAMED else ""
        notes.append(text.dim(f"not registered: {names}{more}; sop doctor registers what it finds"))
    return "\n".join([listing, *(["", *notes] if notes else [])])
