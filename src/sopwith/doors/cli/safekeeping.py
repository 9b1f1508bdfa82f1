"""The verbs `backup` and `restore`: the record in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.terminal import safe
from sopwith.doors.opened import here

if TYPE_CHECKING:
    from sopwith.backup.restore import Restored

_MOST_SHOWN = 20


@click.command()
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over FILE if it is there.")
@verb
def backup(door: Door, file: Path | None, force: bool) -> None:
    """Copy the record of the workspace into FILE, while others go on working: database, logs, evidence, checkpoints.

    The copy is verified before it gets its name. Private keys are not in it. Without FILE, the name tells the time,
    and the file lies in the current folder.
    """
    from sopwith.backup.make import default_name, make_backup
    from sopwith.clock import SystemClock
    from sopwith.core.instant import iso

    place = here() / (file or default_name(iso(SystemClock().now().at)))
    if door.server is not None:
        document: Document = door.server.keeping.backup(place, force=force)
    else:
        document = {"path": str(place), **make_backup(door.workspace, place, force=force).document()}
    door.say(document, lambda: _made_text(document))


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--accept-older", is_flag=True, help="Restore though events are known that FILE does not have.")
@verb
def restore(door: Door, file: Path, accept_older: bool) -> None:
    """Put the backup FILE in the place of the workspace's record. What is there now is kept aside.

    Runs that had not ended when the backup was made are stopped: nobody knows from it what they did afterwards. Refused
    while a server, a driver or a step is alive.
    """
    from sopwith.backup.restore import restore_backup

    restored = restore_backup(door.workspace, here() / file, actor=door.actor, accept_older=accept_older)
    for copy in restored.ahead:
        door.warn(
            f"{copy} tells of events that are lost: nothing is signed until you move it away; keep it, it is evidence"
        )
    for name in restored.kept:
        door.warn(f"{name} was left as it is: the backup has another one")
    document: Document = {
        "backupMadeAt": restored.backup_at,
        "events": restored.events,
        "lostEvents": restored.lost,
        "keptAside": None if restored.aside is None else str(restored.aside),
        "stoppedRuns": list(restored.stopped),
        "failedRuns": list(restored.failed),
        "checkpointsAhead": list(restored.ahead),
        "leftAsTheyAre": list(restored.kept),
    }
    door.say(document, lambda: _restored_text(restored))


def _made_text(made: Document) -> str:
    signed = "all signed" if made["signedEvents"] == made["events"] else f"{made['signedEvents']:,} of them signed"
    mark = click.style(terminal.mark("✔"), fg="green")
    lines = [
        f"{mark} {safe(made['path'])}: {_count(made['runs'], 'run')}, {_count(made['events'], 'event')}, {signed}",
        text.dim(
            f"  {_count(made['files'], 'file')}, {made['sizeBytes']:,} bytes, verified; key {safe(made['publicKey'])}"
        ),
    ]
    if made["openRuns"]:
        lines.append(
            text.dim(f"  {_count(made['openRuns'], 'run')} had not ended: a restore stops what goes on in them")
        )
    return "\n".join(lines)


def _restored_text(restored: Restored) -> str:
    mark = click.style(terminal.mark("✔"), fg="green")
    lines = [f"{mark} restored the backup of {restored.backup_at}: {_count(restored.events, 'event')}"]
    if restored.lost > 0:
        lines.append(f"  {_count(restored.lost, 'event')} that came after it are lost")
    if restored.aside is not None:
        lines.append(f"  what was there is kept in {safe(str(restored.aside))}")
    if restored.stopped:
        lines.append(f"  {_count(len(restored.stopped), 'run')} had not ended and must be looked at before going on:")
        lines += [f"    {run_id}  {text.dim(f'sop status {run_id}')}" for run_id in restored.stopped]
    if restored.failed:
        lines.append(f"  {_count(len(restored.failed), 'run')} had failed, and may have been retried since:")
        shown = restored.failed[-_MOST_SHOWN:]
        lines += [f"    {run_id}  {text.dim(f'sop status {run_id}')}" for run_id in shown]
        if len(shown) < len(restored.failed):
            lines.append(text.dim(f"    and {len(restored.failed) - len(shown):,} older: sop history --status failed"))
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
