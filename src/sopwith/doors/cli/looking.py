"""Verbs that look and change nothing: status, history, inbox, logs. None of them makes a database."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from sopwith.core.address import StepId, address_in
from sopwith.core.run import RunStatus
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Document, Door, StepType, complete_procedure, run_argument, verb
from sopwith.doors.cli.terminal import shown
from sopwith.errors import InvalidProcedure, WorkspaceError

if TYPE_CHECKING:
    from sopwith.doors.cli.logs import LogReader
    from sopwith.doors.remote.reader import RemoteLogs

_FINISHED = ("completed", "cancelled", "failed")
_LOOK_SECS = 0.3
_PATIENCE_SECS = 5.0
"""How long a run may go on without a driver before nobody waits for its output any more."""


@click.command()
@run_argument
@click.option("--step", type=StepType(), help="Show one step in full: script, output, evidence.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until it ends; --json: only the end.")
@verb
def status(door: Door, run_id: str, step: StepId | None, watch: bool) -> None:
    """Show a run: where it stands, each step, who decided what, and what can be done now."""
    door.check_run(run_id)
    show = _show_run if step is None else _show_step
    is_animated = watch and not door.as_json and terminal.is_drawable(sys.stdout)
    document = door.reader.status(run_id)
    _check_step(door, run_id, step)
    if not (watch and door.as_json):
        show(door, document, step, is_animated)
    while watch and document["status"] not in _FINISHED:
        document = _changed(door, run_id, document)
        if not door.as_json:
            show(door, document, step, is_animated)
    if watch and door.as_json:
        show(door, document, step, is_animated)


@click.command()
@click.argument("name", required=False, shell_complete=complete_procedure)
@click.option("--status", "statuses", multiple=True, type=click.Choice([s.value for s in RunStatus]))
@click.option(
    "--limit", type=click.IntRange(min=1, max=1_000_000), default=20, show_default=True, help="How many at the most."
)
@verb
def history(door: Door, name: str | None, statuses: tuple[str, ...], limit: int) -> None:
    """List runs of procedure NAME, or all, the newest first."""
    if name is not None:
        from sopwith.core.procedure import check_name

        check_name(name)
    wanted = tuple(RunStatus(each) for each in statuses)
    document: Document = {"runs": [], "total": 0}
    if door.has_runs:
        document = door.reader.history(name=name, statuses=wanted, limit=limit)
    if name is not None and not document["runs"] and door.server is None:
        door.library.find(name)  # a procedure that ran once and is gone keeps its history; any other is an error
    door.say(document, lambda: _history_text(document, name, statuses))


@click.command()
@click.option("--mine", is_flag=True, help="Only gates that you may approve, and what anybody can do.")
@click.option(
    "--limit", type=click.IntRange(min=1, max=1_000_000), default=20, show_default=True, help="About how many."
)
@click.option("--after", metavar="RUN", help="Go on after this run: nextAfter of --json.")
@verb
def inbox(door: Door, mine: bool, limit: int, after: str | None) -> None:
    """Show what waits for whom: gates, manual steps, stuck runs; since when, and what happens at the timeout.

    The oldest run first. What one run asks is never cut apart, so it may be a few more than --limit.
    """
    document: Document = {"items": [], "total": 0, "nextAfter": None}
    if door.has_runs:
        document = _inbox(door, mine=mine, limit=limit, after=after)
    door.say(document, lambda: _inbox_text(document, mine=mine, after=after))


@click.command()
@run_argument
@click.option("--step", type=StepType(), help="Only this step.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing until the run ends or waits for a person.")
@verb
def logs(door: Door, run_id: str, step: StepId | None, follow: bool) -> None:
    """Print what the steps printed: the last attempt of each, as it is on disk, and what verified it."""
    door.check_run(run_id)
    _check_step(door, run_id, step)
    reader = door.logs(run_id, step)
    printer = LogPrinter(with_headings=step is None, is_silent=door.as_json)
    while follow and _goes_on(door, run_id, step):
        printer.print_more(reader)
        time.sleep(_LOOK_SECS)
    printer.print_more(reader)
    printer.end()
    if door.as_json:
        door.say({"runId": run_id, "logs": reader.documents()}, lambda: "")


def _inbox(door: Door, **which: Any) -> Document:
    """What waits; where config.json cannot be read nobody can tell who may approve, and the rest is told."""
    try:
        return door.reader.inbox(door.actor, **which)
    except (InvalidProcedure, WorkspaceError) as error:
        document = door.reader.inbox(**which)
        door.warn(f"who may approve is not known: {error.message}")
        return document


def _check_step(door: Door, run_id: str, step: StepId | None) -> None:
    """Raises BadRequest for a step that the run does not have."""
    if step is None:
        return
    from sopwith.core.refusal import no_such_step

    run = door.engine.runs.load(run_id).run
    if step not in run.steps:
        raise no_such_step(run, step)


def _show_run(door: Door, document: Document, _step: StepId | None, is_animated: bool) -> None:
    if is_animated:
        terminal.redraw(text.run_text(document))
    else:
        door.say(document, lambda: text.run_text(document))


def _show_step(door: Door, document: Document, step: StepId | None, is_animated: bool) -> None:
    assert step is not None
    whole = door.reader.step(document["runId"], step)
    if is_animated:
        terminal.redraw(text.step_text(whole))
    else:
        door.say({"runId": document["runId"], "step": whole}, lambda: text.step_text(whole))


def _changed(door: Door, run_id: str, before: Document) -> Document:
    while True:
        time.sleep(_LOOK_SECS)
        document = door.reader.status(run_id)
        if any(document.get(key) != before.get(key) for key in ("revision", "overdue", "drivenBy")):
            return document


def _goes_on(door: Door, run_id: str, step: StepId | None) -> bool:
    """Whether more output may come: somebody drives the run, or should within a moment."""
    until = time.monotonic() + _PATIENCE_SECS
    while True:
        document = door.reader.status(run_id)
        if step is not None and _has_ended(document, step):
            return False
        if document["drivenBy"] is not None or not document.get("undriven"):
            return document["drivenBy"] is not None
        if time.monotonic() > until:
            terminal.echo(text.dim(f"nobody drives {run_id}: sop resume {run_id}"), err=True)
            return False
        time.sleep(_LOOK_SECS)


def _has_ended(document: Document, step: StepId) -> bool:
    ended = ("completed", "failed", "rejected", "skipped", "interrupted", "cancelled", "rolled_back")
    return any(address_in(each) == step and each["status"] in ended for each in document["stepResults"])


class LogPrinter:
    """Prints logs: raw bytes into a pipe; on a terminal nothing that could steer it."""

    def __init__(self, *, with_headings: bool, is_silent: bool) -> None:
        from sopwith.doors.cli.display import Tamer

        self._tamer = Tamer() if sys.stdout.isatty() else None
        self._with_headings = with_headings
        self._is_silent = is_silent
        self._heading = ""

    def print_more(self, reader: LogReader | RemoteLogs) -> None:
        """Prints what is new, with a heading where another step's output begins, or that of its verification."""
        if self._is_silent:
            return
        for piece in reader.pieces():
            heading = f"step {piece.step}, its verification" if piece.verifies else f"step {piece.step}"
            if heading != self._heading and (self._with_headings or piece.verifies):
                self.end()
                terminal.echo(text.bold(f"==> {heading} <=="))
            self._heading = heading
            self._print(piece.data)

    def end(self) -> None:
        """Prints what has no line end yet."""
        if self._tamer is not None and (rest := self._tamer.rest()):
            terminal.echo(rest)

    def _print(self, chunk: bytes) -> None:
        if self._tamer is not None:
            terminal.echo(self._tamer.feed(chunk), newline=False)
            return
        terminal.echo_bytes(chunk)


def _history_text(document: Document, name: str | None, statuses: tuple[str, ...]) -> str:
    if not document["runs"]:
        of = f" of {name}" if name else ""
        if statuses:
            return f"no run{of} is {' or '.join(statuses)}"
        return f"no runs of {name} yet" if name else "no runs yet: sop run NAME starts one"
    rows = [
        [
            run["runId"],
            run["sopName"],
            text.coloured(run["status"]),
            f"{run['currentStep']}/{run['totalSteps']}",
            text.local_time(run["createdAt"]),
            shown(run["createdBy"]) + (text.dim(f"  within {run['parent']}") if run["parent"] else ""),
        ]
        for run in document["runs"]
    ]
    listed = text.table(["RUN", "PROCEDURE", "STATUS", "STEP", "CREATED", "BY"], rows)
    total = document["total"]
    # a server does not count what somebody may not know of
    left = 0 if total is None else total - len(rows)
    return listed + (text.dim(f"\n{terminal.mark('…')} and {left} more: --limit {total}") if left else "")


def _inbox_text(document: Document, *, mine: bool, after: str | None) -> str:
    if not document["items"]:
        nothing = "nothing waits for you" if mine else "nothing waits for a person"
        return f"{nothing} after {shown(after)}" if after else nothing
    lines = []
    for item in document["items"]:
        lines.append(
            f"{text.bold(item['sopName'])} {item['runId']}{_where(item)}"
            f"  {text.coloured('awaiting_approval' if item['kind'] == 'approval' else item['kind'])}"
        )
        if item.get("parent"):
            lines.append(text.dim(f"  {text.within(item['parent'])}"))
        if item["kind"] in ("paused", "unreadable") and item["reason"]:
            lines.append(f"  {shown(item['reason'])}")
        since = f"  since {text.local_time(item['requestedAt'])}"
        if item["kind"] == "queued":
            since = f"  queued{since[1:]}: sop resume asks for its slot again"
        if item.get("dueAt"):
            late = click.style("overdue: ", fg="red") if item["overdue"] else ""
            since += f", {late}{item['onTimeout']} at {text.local_time(item['dueAt'])}"
        lines += [text.dim(since), *_whom(item)]
        lines += [f"  {item['next']}" if item.get("mayApprove", True) else text.dim(f"  {shown(item['whyNot'])}"), ""]
    return "\n".join([*lines, *_more_of_inbox(document, mine=mine, after=after)]).rstrip()


def _where(item: Document) -> str:
    if item["title"] is None:
        return ""
    where = "start" if item["stepNumber"] is None else f"step {address_in(item)}"
    return f" {where}: {shown(item['title'])}"


def _more_of_inbox(document: Document, *, mine: bool, after: str | None) -> list[str]:
    """How much is not shown, and how to see it."""
    following, total = document["nextAfter"], document["total"]
    if following is None:
        return []
    how = f"sop inbox{' --mine' if mine else ''}"
    if total is None or after is not None:
        return [text.dim(f"{terminal.mark('…')} and perhaps more: {how} --after {shown(following)}")]
    left = max(total - len(document["items"]), 1)
    return [text.dim(f"{terminal.mark('…')} and {left} more: {how} --after {shown(following)}, or --limit {total}")]


def _whom(item: Document) -> list[str]:
    """For whom a gate waits, where it does not wait for just anybody."""
    if item["kind"] != "approval":
        return []
    told = f"for {shown(', '.join(item['approvers']))}" if item["approvers"] else ""
    if item["votesNeeded"] > 1:
        told += f"{', ' if told else ''}{text.votes(item)} votes"
        told += f" ({shown(', '.join(vote['by']['id'] for vote in item['votes']))})" if item["votes"] else ""
    told += f"{', ' if told else ''}escalated" if item["escalated"] else ""
    return [text.dim(f"  {told}")] if told else []
