"""The verb `doctor`: what is wrong with the workspace, and what of it was mended."""

from __future__ import annotations

import click

from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.terminal import safe
from sopwith.errors import BadRequest


@click.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be mended; change nothing.")
@click.option("--kill-orphans", is_flag=True, help="End processes of steps that are over and that nobody watches.")
@verb
def doctor(door: Door, dry_run: bool, kill_orphans: bool) -> None:
    """Check database, log, views, registry, claims, files, disk and processes, and mend what can be mended. Exit code 1
    if trouble is left.
    """
    if dry_run and kill_orphans:
        raise BadRequest("--dry-run changes nothing, and --kill-orphans ends processes", hint="leave out one of them")
    document = _examined(door, mend=not dry_run, kill_orphans=kill_orphans)
    door.say(document, lambda: _doctor_text(document["findings"]))
    door.leave(0 if document["healthy"] else 1)


def _examined(door: Door, *, mend: bool, kill_orphans: bool) -> Document:
    if door.server is not None:
        if mend:
            raise BadRequest(
                "a server is mended where its files are", hint="sop doctor --dry-run tells from here what is wrong"
            )
        return door.server.keeping.doctor()
    from sopwith.assembly import troubles_around
    from sopwith.engine.doctor import examine
    from sopwith.engine.findings import findings_document

    engine = door.engine
    return findings_document(examine(engine, mend=mend, around=troubles_around(engine), kill_orphans=kill_orphans))


def _doctor_text(findings: list[dict[str, object]]) -> str:
    if not findings:
        return click.style("all is well", fg="green")
    lines = []
    for finding in findings:
        word = _word(finding)
        lines.append(f"{word} {safe(str(finding['message']))}")
        if finding["hint"] and not finding["mendable"]:
            lines.append(f"    {click.style('hint:', fg='cyan')} {safe(str(finding['hint']))}")
    return "\n".join(lines)


def _word(finding: dict[str, object]) -> str:
    if finding["mended"]:
        return click.style("mended", fg="green")
    if finding["mendable"]:
        return click.style("would be mended:", fg="yellow")
    return click.style("trouble", fg="red")
