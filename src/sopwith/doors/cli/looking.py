"""Verbs that look and change nothing: status, history, inbox, logs, audit."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator

import click

from sopwith.core.run import RunStatus
from sopwith.core.visible import visible
from sopwith.doors.cli import text
from sopwith.doors.cli.door import Door, complete_procedure, run_argument, verb

_FINISHED = ("completed", "cancelled", "failed")
_LOOK_SECS = 0.3


@click.command()
@run_argument
@click.option("--step", type=int, help="Show one step in full: script, output, evidence.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until it ends.")
@verb
def status(door: Door, run_id: str, step: int | None, watch: bool) -> None:
    """Show a run: where it stands, each step, who decided what, and what can be done now."""
    if step is not None:
        document = door.reader.step(run_id, step)
        door.say({"runId": run_id, "step": document}, lambda: text.step_text(document))
        return
    document = door.reader.status(run_id)
    door.say(document, lambda: text.run_text(document))
    while watch and document["status"] not in _FINISHED:
        document = _changed(door, run_id, document)
        if sys.stdout.isatty() and not door.as_json:
            click.clear()
        door.say(document, lambda shown=document: text.run_text(shown))  # type: ignore[misc]


@click.command()
@click.argument("name", required=False, shell_complete=complete_procedure)
@click.option("--status", "statuses", multiple=True, type=click.Choice([s.value for s in RunStatus]))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at the most.")
@verb
def history(door: Door, name: str | None, statuses: tuple[str, ...], limit: int) -> None:
    """List runs of procedure NAME, or all, the newest first."""
    if name is not None:
        from sopwith.core.procedure import check_name

        check_name(name)
    wanted = tuple(RunStatus(each) for each in statuses)
    document = door.reader.history(name=name, statuses=wanted, limit=limit)
    door.say(document, lambda: _history_text(document, name))


@click.command()
@verb
def inbox(door: Door) -> None:
    """Show what waits for a person: gates, manual steps, stuck runs; since when, and what happens at the timeout."""
    document = door.reader.inbox()
    door.say(document, lambda: _inbox_text(document))


@click.command()
@run_argument
@click.option("--step", type=int, help="Only this step.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing until the run ends.")
@verb
def logs(door: Door, run_id: str, step: int | None, follow: bool) -> None:
    """Print what the steps printed: the last attempt of each, as it is on disk."""
    from sopwith.doors.cli.logs import LogReader

    reader = LogReader(door.reader, run_id, step)
    if door.as_json:
        document = {"runId": run_id, "logs": reader.documents()}
        door.say(document, lambda: "")
        return
    out = _printer()
    out(reader.more())
    while follow and door.reader.status(run_id)["status"] == "running":
        time.sleep(_LOOK_SECS)
        out(reader.more())
    out(reader.more())


@click.command()
@run_argument
@verb
def audit(door: Door, run_id: str) -> None:
    """Show the record of a run: every event with its actor, hash-chained."""
    document = door.reader.audit(run_id)
    door.say(document, lambda: _audit_text(document))


def _changed(door: Door, run_id: str, before: text.Document) -> text.Document:
    while True:
        time.sleep(_LOOK_SECS)
        document = door.reader.status(run_id)
        if any(document.get(key) != before.get(key) for key in ("revision", "overdue", "drivenBy")):
            return document


def _printer() -> Printer:
    return Printer(is_terminal=sys.stdout.isatty())


class Printer:
    """Raw bytes into a pipe; on a terminal nothing that could steer it."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal

    def __call__(self, chunks: Iterator[bytes]) -> None:
        for chunk in chunks:
            if self._is_terminal:
                click.echo(visible(chunk.decode("utf-8", "replace")), nl=False)
            else:
                sys.stdout.buffer.write(chunk)
        sys.stdout.flush()


def _history_text(document: text.Document, name: str | None) -> str:
    if not document["runs"]:
        return f"no runs of {name} yet" if name else "no runs yet: sop run NAME starts one"
    rows = [
        [
            run["runId"],
            visible(run["sopName"]),
            text.coloured(run["status"]),
            f"{run['currentStep']}/{run['totalSteps']}",
            text.local_time(run["createdAt"]),
            visible(run["createdBy"]),
        ]
        for run in document["runs"]
    ]
    shown = text.table(["RUN", "PROCEDURE", "STATUS", "STEP", "CREATED", "BY"], rows)
    left = document["total"] - len(rows)
    return shown + (text.dim(f"\n… and {left} more: --limit {document['total']}") if left else "")


def _inbox_text(document: text.Document) -> str:
    if not document["items"]:
        return "nothing waits for a person"
    lines = []
    for item in document["items"]:
        where = "start" if item["stepNumber"] is None else f"step {item['stepNumber']}"
        lines.append(
            f"{text.bold(item['sopName'])} {item['runId']} {where}: {visible(item['title'])}"
            f"  {text.coloured('awaiting_approval' if item['kind'] == 'approval' else item['kind'])}"
        )
        since = f"  since {text.local_time(item['requestedAt'])}"
        if item.get("dueAt"):
            late = click.style("overdue: ", fg="red") if item["overdue"] else ""
            since += f", {late}{item['onTimeout']} at {text.local_time(item['dueAt'])}"
        lines += [text.dim(since), f"  {item['next']}", ""]
    return "\n".join(lines).rstrip()


def _audit_text(document: text.Document) -> str:
    width = max(40, shutil.get_terminal_size((120, 24)).columns)
    lines = []
    for event in document["events"]:
        step = event.get("stepNumber")
        where = "" if step is None else f" step {step}"
        told = _told(event["details"])
        line = f"{event['seq']:>4} {event['timestamp']} {event['type']}{where} by {event['actor']['id']}{told}"
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
    return "\n".join(lines)


def _told(details: text.Document) -> str:
    for key in ("reason", "comment", "error", "duration", "title"):
        if details.get(key):
            return f": {visible(str(details[key]))}".replace("\n", " ")
    return ""
