"""The verb `test`: procedures against scenarios. Writes nothing, starts nothing, and asks nobody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sopwith.doors.cli import text
from sopwith.doors.cli.door import Document, Door, complete_procedure, verb
from sopwith.doors.cli.terminal import shown
from sopwith.errors import BadRequest

if TYPE_CHECKING:
    from sopwith.rehearsal.rehearse import Rehearsed

_EVENTS_SHOWN = 40


@click.command()
@click.argument("name", required=False, shell_complete=complete_procedure)
@click.option(
    "--scenario",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Play this scenario instead of those beside the procedure.",
)
@verb
def test(door: Door, name: str | None, files: tuple[Path, ...]) -> None:
    """Play NAME, or every procedure, against its scenarios: scripted people, steps and clock, no side effects.

    Scenarios are `.pi/sops/NAME/scenarios/*.toml`. Exit code 1 if anything is not as they expect it.
    """
    if files and name is None:
        raise BadRequest("--scenario needs the procedure that it is for", hint="sop test NAME --scenario FILE")
    from sopwith.engine.library import Library
    from sopwith.rehearsal.rehearse import rehearse

    # without the cache: nothing at all is written
    played = list(rehearse(Library(door.workspace), name, files))
    failed = sum(not each.passed for each in played)
    document: Document = {
        "passed": failed == 0,
        "total": len(played),
        "failed": failed,
        "scenarios": [_document(each) for each in played],
    }
    door.say(document, lambda: _text(played, failed))
    door.leave(1 if failed else 0)


def _document(played: Rehearsed) -> Document:
    from sopwith.engine.documents import problem_document

    return {
        "sopName": played.procedure,
        "scenario": played.scenario,
        "file": played.file,
        "description": played.description,
        "passed": played.passed,
        "status": played.status or None,
        "steps": {str(number): status.value for number, status in played.steps.items()},
        "differences": [{"what": each.what, "expected": each.expected, "got": each.got} for each in played.differences],
        "waitsFor": played.waits_for,
        "problems": [problem_document(problem) for problem in played.problems],
        "events": [{"after": each.after, "event": each.event, "by": each.by} for each in played.events],
    }


def _text(played: list[Rehearsed], failed: int) -> str:
    lines = [_line(each) for each in played]
    for each in played:
        if not each.passed:
            lines += ["", *_trouble(each)]
    verdict = click.style(f"{failed} failed", fg="red") if failed else click.style("all ok", fg="green")
    count = f"{len(played)} scenario" + ("" if len(played) == 1 else "s")
    return "\n".join([*lines, "", f"{count}, {verdict}"])


def _line(played: Rehearsed) -> str:
    verdict = click.style("ok    ", fg="green") if played.passed else click.style("FAILED", fg="red", bold=True)
    about = text.dim(f"  {shown(played.description)}") if played.description else ""
    return f"{verdict}  {_name(played)}{about}"


def _name(played: Rehearsed) -> str:
    return f"{played.procedure} {shown(played.scenario)}" if played.scenario else f"{played.procedure} has errors"


def _trouble(played: Rehearsed) -> list[str]:
    """What is not as it should be, and what happened instead."""
    lines = [text.bold(_name(played)) + text.dim(f"  {shown(played.file)}" if played.file else "")]
    lines += [text.problem_text(problem) for problem in played.problems]
    lines += [
        f"  {shown(each.what)}: expected {shown(each.expected)}, got {shown(each.got)}" for each in played.differences
    ]
    lines += [f"  {shown(played.waits_for)}"] if played.waits_for else []
    return [*lines, *_happened(played)]


def _happened(played: Rehearsed) -> list[str]:
    if not played.events:
        return []
    last = played.events[-_EVENTS_SHOWN:]
    left_out = len(played.events) - len(last)
    widest = max(len(each.after) for each in last)
    return [
        text.dim("  what happened:"),
        *([text.dim(f"    {left_out} earlier events: --json shows all")] if left_out else []),
        *(f"    {each.after:>{widest}}  {each.event}" + (f" by {shown(each.by)}" if each.by else "") for each in last),
    ]
