"""Verbs about notifications: notify test, notify list. What is to be told is sent by `sop serve`."""

from __future__ import annotations

import click

from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.terminal import mark, safe
from sopwith.engine.notifying import notices_document, try_channels
from sopwith.errors import NotAllowed

_COLOURS = {"sent": "green", "waiting": "blue", "retrying": "yellow", "dropped": "bright_black", "given_up": "red"}


@click.command(name="notify test")
@click.argument("channel", required=False)
@verb
def notify_test(door: Door, channel: str | None) -> None:
    """Send a message over CHANNEL, or over every channel of config.json, and show what came back.

    From here, with the environment of this shell: that of sop serve may be another one. Exit code 1 if any failed.
    """
    from sopwith.assembly import make_messenger

    if door.actor.inside is not None:
        raise NotAllowed(
            f"a step of {door.actor.inside} cannot send test messages", hint="run sop notify test from a shell"
        )
    found = try_channels(door.engine.parts, make_messenger(door.engine.parts), channel)
    door.say({"channels": found}, lambda: "\n".join(_tested(each) for each in found))
    door.leave(0 if all(each["sent"] for each in found) else 1)


@click.command(name="notify list")
@click.option("--limit", type=click.IntRange(1, 1000), default=30, show_default=True, help="So many, the newest first.")
@verb
def notify_list(door: Door, limit: int) -> None:
    """Show what waits to be told, was sent, was dropped, or was given up, the newest first."""
    from sopwith.assembly import notices_of

    found = notices_document(notices_of(door.engine).newest(limit)) if door.has_runs else []
    door.say({"notices": found}, lambda: "\n".join(map(_listed, found)) or "nothing was to be told yet")


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
