"""The verbs `trigger list`, `trigger test` and `trigger log`: what may start runs, and what did."""

from __future__ import annotations

from pathlib import Path

import click

from sopwith.core.visible import visible_value
from sopwith.doors.cli import text
from sopwith.doors.cli.door import Document, Door, complete_procedure, procedure_argument, verb
from sopwith.doors.cli.terminal import mark, safe, shown
from sopwith.engine.files import read_bounded
from sopwith.errors import BadRequest

_MARKS = {
    "started": ("✔", "green"),
    "queued": ("✔", "green"),
    "coalesced": ("✔", "green"),
    "refused": ("✘", "red"),
    "unmatched": ("·", "yellow"),
    "waiting": ("…", "cyan"),
}


@click.command()
@click.argument("name", required=False, shell_complete=complete_procedure)
@verb
def trigger_list(door: Door, name: str | None) -> None:
    """Show what may start procedure NAME, or all procedures: webhooks, schedules, files, ends of other runs."""
    document = door.outside.triggers(name)
    door.say(document, lambda: _list_text(document))


@click.command()
@procedure_argument
@click.option(
    "--event",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='The event as JSON, such as {"type": "webhook", "path": "/deploy", "body": {"ref": "main"}}.',
)
@verb
def trigger_test(door: Door, name: str, file: Path) -> None:
    """Tell what an event would start of procedure NAME, with which parameters, and why not. Starts nothing.

    Limits are asked as they are now: whether it would start at once, wait, join a run that waits, or be refused.
    Exit code 1 if nothing would come of it.
    """
    data = read_bounded(file)
    if data is None:
        raise BadRequest(f"there is no file {file}", hint="write the event into it as JSON")
    document = door.outside.foreseen(name, data)
    door.say(document, lambda: _test_text(document))
    door.leave(0 if document["wouldStart"] else 1)


@click.command()
@click.argument("name", required=False, shell_complete=complete_procedure)
@click.option("--limit", type=click.IntRange(min=1, max=10_000), default=20, show_default=True, help="How many.")
@click.option("--show", "number", type=int, metavar="NUMBER", help="Show this one in full, with its event.")
@verb
def trigger_log(door: Door, name: str | None, limit: int, number: int | None) -> None:
    """List what happened outside and what came of it, the newest first; of procedure NAME, or all."""
    if number is not None:
        whole = door.outside.delivery(number)
        door.say(whole, lambda: _delivery_text(whole))
        return
    document = door.outside.deliveries(name=name, limit=limit)
    door.say(document, lambda: "\n".join(map(_row, document["deliveries"])) or "nothing has happened outside yet")


def _list_text(document: Document) -> str:
    lines: list[str] = []
    for each in document["triggers"]:
        lines.append(f"{text.bold(each['sopName'])}  {safe(each['trigger'])}{_about(each)}")
        if each.get("unset"):
            names = ", ".join(each["unset"])
            lines.append(
                f"  {click.style('!', fg='yellow')} not set here: {safe(names)}; without it nobody is believed"
            )
    for problem in document["problems"]:
        lines.append(f"{click.style(mark('✘'), fg='red')} {text.bold(problem['sopName'])}  {shown(problem['message'])}")
    return "\n".join(lines) or "no procedure has a trigger: sop list shows the procedures"


def _about(trigger: Document) -> str:
    words = []
    if trigger["type"] == "webhook":
        words += [f"POST {trigger['url']}", trigger["scheme"]]
    elif trigger["type"] == "cron":
        words += [trigger["words"], trigger["timezone"]]
        words += [f"next {text.local_time(trigger['nextAt'])}"] if trigger["nextAt"] else []
    if trigger.get("condition"):
        words.append(f"if {trigger['condition']}")
    return text.dim(f"  {safe(', '.join(words))}") if words else ""


def _test_text(document: Document) -> str:
    lines = []
    for each in document["triggers"]:
        good = each["wouldStart"]
        sign = click.style(mark("✔" if good else "✘"), fg="green" if good else "red")
        lines.append(f"{sign} {safe(each['trigger'])} {_would(each)}")
        lines += [f"    {text.assigned(name, value)}" for name, value in each.get("params", {}).items()]
    return "\n".join(lines) or f"{document['sopName']} has no trigger but people"


def _would(answer: Document) -> str:
    """What would come of the event at one trigger."""
    if not answer["wouldStart"]:
        return f"starts nothing: {shown(answer['reason'])}"
    if answer["outcome"] == "coalesced":
        return f"starts no run of its own: {shown(answer['reason'])}, which waits in the queue"
    if answer["outcome"] == "queued":
        return f"would make a run that waits, at place {answer['place']} of the queue: {shown(answer['reason'])}"
    return "would start a run"


def _row(delivery: Document) -> str:
    sign, colour = _MARKS[delivery["outcome"]]
    parts = [
        text.dim(f"{delivery['number']:>5}  {text.local_time(delivery['receivedAt'])}"),
        f"{click.style(mark(sign), fg=colour)} {delivery['outcome']}",
        text.bold(delivery["sopName"]),
        safe(delivery["trigger"]),
        delivery["runId"] or "",
        shown(delivery["reason"]) if delivery["reason"] else "",
    ]
    return "  ".join(part for part in parts if part)


def _delivery_text(delivery: Document) -> str:
    head = {key: value for key, value in delivery.items() if key != "event" and value is not None}
    lines = [f"{text.code(key)}: {visible_value(value)}" for key, value in head.items()]
    return "\n".join([*lines, text.event_text(delivery["event"])])
