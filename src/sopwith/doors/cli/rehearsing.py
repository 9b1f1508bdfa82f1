"""The verb `test`: procedures against scenarios. Writes nothing, starts nothing, and asks nobody."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from sopwith.doors.cli import text
from sopwith.doors.cli.door import Document, Door, complete_procedure, verb
from sopwith.doors.cli.terminal import shown
from sopwith.errors import BadRequest, Problem

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
    document = door.rehearsed(name, files)
    door.say(document, lambda: _text(document))
    door.leave(1 if document["failed"] else 0)


def _text(document: Document) -> str:
    played, failed = document["scenarios"], document["failed"]
    lines = [_line(each) for each in played]
    for each in played:
        if not each["passed"]:
            lines += ["", *_trouble(each)]
    verdict = click.style(f"{failed} failed", fg="red") if failed else click.style("all ok", fg="green")
    count = f"{len(played)} scenario" + ("" if len(played) == 1 else "s")
    return "\n".join([*lines, "", f"{count}, {verdict}"])


def _line(played: Document) -> str:
    verdict = click.style("ok    ", fg="green") if played["passed"] else click.style("FAILED", fg="red", bold=True)
    about = text.dim(f"  {shown(played['description'])}") if played["description"] else ""
    return f"{verdict}  {_name(played)}{about}"


def _name(played: Document) -> str:
    name, scenario = shown(played["sopName"]), played["scenario"]
    return f"{name} {shown(scenario)}" if scenario else f"{name} has errors"


def _trouble(played: Document) -> list[str]:
    """What is not as it should be, and what happened instead."""
    lines = [text.bold(_name(played)) + text.dim(f"  {shown(played['file'])}" if played["file"] else "")]
    lines += [text.problem_text(msgspec.convert(problem, Problem)) for problem in played["problems"]]
    lines += [
        f"  {shown(each['what'])}: expected {shown(each['expected'])}, got {shown(each['got'])}"
        for each in played["differences"]
    ]
    lines += [f"  {shown(played['waitsFor'])}"] if played["waitsFor"] else []
    return [*lines, *_happened(played["events"])]


def _happened(events: list[Document]) -> list[str]:
    if not events:
        return []
    last = events[-_EVENTS_SHOWN:]
    left_out = len(events) - len(last)
    widest = max(len(each["after"]) for each in last)
    return [
        text.dim("  what happened:"),
        *([text.dim(f"    {left_out} earlier events: --json shows all")] if left_out else []),
        *(
            f"    {shown(each['after']):>{widest}}  {shown(each['event'])}"
            + (f" by {shown(each['by'])}" if each["by"] else "")
            for each in last
        ),
    ]
