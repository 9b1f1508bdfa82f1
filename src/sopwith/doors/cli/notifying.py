"""Verbs about notifications: notify test, notify list. What is to be told is sent by `sop serve`."""

from __future__ import annotations

import click

from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.terminal import mark, safe
from sopwith.engine.notifying import try_channels

_COLOURS = {"sent": "green", "waiting": "blue", "retrying": "yellow", "dropped": "bright_black", "given_up": "red"}


@click.command(name="notify test")
@click.argument("channel", required=False)
@verb
def notify_test(door: Door, channel: str | None) -> None:
    """Send a message over CHANNEL, or over every channel of config.json, and show what came back.

    From here, with the environment of this shell: that of sop serve may be another one. With --server, from there.
    Exit code 1 if any failed.
    """
    found = _tried(door, channel)
    door.say({"channels": found}, lambda: "\n".join(_tested(each) for each in found))
    door.leave(0 if all(each["sent"] for each in found) else 1)


@click.command(name="notify list")
@click.option("--limit", type=click.IntRange(1, 1000), default=30, show_default=True, help="So many, the newest first.")
@verb
def notify_list(door: Door, limit: int) -> None:
    """Show what waits to be told, was sent, was dropped, or was given up, the newest first."""
    document = door.outside.notices(limit)
    door.say(document, lambda: "\n".join(map(_listed, document["notices"])) or "nothing was to be told yet")


def _tried(door: Door, channel: str | None) -> list[Document]:
    if door.server is not None:
        return door.server.outside.tried(channel)
    from sopwith.assembly import make_messenger

    return try_channels(door.engine.parts, make_messenger(door.engine.parts), channel, actor=door.actor)


def _tested(found: Document) -> str:
    sign = click.style(mark("✔"), fg="green") if found["sent"] else click.style(mark("✘"), fg="red")
    hint = f"\n    {text.dim(safe(found['hint']))}" if found["hint"] else ""
    return f"{sign} {text.bold(safe(found['channel']))} ({safe(found['kind'])}): {safe(found['told'])}{hint}"


def _listed(notice: Document) -> str:
    status = notice["status"]
    told = f"  {text.dim(safe(notice['told']))}" if notice["told"] else ""
    next_ = f", next try {text.local_time(notice['nextAt'])}" if status == "retrying" else ""
    head = click.style(terminal.pad(status, 8), fg=_COLOURS[status])
    return (
        f"{head}  {text.dim(text.local_time(notice['madeAt']))}  {text.bold(safe(notice['channel']))}  "
        f"{safe(notice['title'])}{next_}{told}"
    )
