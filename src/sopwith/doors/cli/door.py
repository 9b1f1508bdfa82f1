"""What every verb is given: the workspace, the actor, the engine when it is asked for, and the way to speak."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, read_step_id
from sopwith.core.run import RunStatus
from sopwith.doors.cli import terminal
from sopwith.doors.opened import Opened

if TYPE_CHECKING:
    from pathlib import Path

    from sopwith.core.events import Event
    from sopwith.core.run import Run
    from sopwith.doors.cli.logs import LogReader
    from sopwith.doors.remote.catalog import RemoteCatalog
    from sopwith.doors.remote.door import RemoteDoor
    from sopwith.doors.remote.outside import RemoteOutside
    from sopwith.doors.remote.reader import RemoteLogs
    from sopwith.engine.catalog import Catalog
    from sopwith.engine.engine import Engine
    from sopwith.engine.outside import Outside

Document = dict[str, Any]
SERVER = "SOPWITH_SERVER"
_HERE = frozenset({"init", "schema", "serve", "mcp", "tools", "skill install", "completion"})
"""Verbs that are about this machine, whatever server the environment names."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
NEEDS_A_PERSON = 3
EXIT_CODES = {RunStatus.COMPLETED: 0, RunStatus.FAILED: 4, RunStatus.CANCELLED: 4}
"""Of a run that has ended; of any other it depends on who drives it."""


class Door(Opened):
    """One call of the command."""

    def __init__(self, *, workspace: str | None, as_json: bool) -> None:
        super().__init__(workspace)
        self.as_json = as_json

    @functools.cached_property
    def engine(self) -> Engine:
        engine = super().engine
        if not self.as_json:
            engine.on_settled = _tell_settled
        return engine

    @functools.cached_property
    def actor(self) -> Actor:
        from sopwith.doors.caller import os_actor

        return os_actor("cli")

    @property
    def server(self) -> RemoteDoor | None:
        """This door itself, where its engine is a server's."""
        return None

    @functools.cached_property
    def catalog(self) -> Catalog | RemoteCatalog:
        from sopwith.engine.catalog import Catalog
        from sopwith.plugins import Registry

        return Catalog(self.library, Registry(), os.environ)

    @functools.cached_property
    def outside(self) -> Outside | RemoteOutside:
        """What is known of triggers and messages. Makes no database."""
        from sopwith.assembly import outside_of
        from sopwith.clock import SystemClock

        return outside_of(self.engine if self.has_runs else None, self.library, SystemClock())

    def rehearsed(self, name: str | None, files: tuple[Path, ...]) -> Document:
        """What came of the scenarios of one procedure or of all. Writes nothing, the cache neither."""
        from sopwith.engine.library import Library
        from sopwith.rehearsal.documents import rehearsal_document
        from sopwith.rehearsal.rehearse import rehearse

        return rehearsal_document(rehearse(Library(self.workspace), name, files))

    def logs(self, run_id: str, step: StepId | None) -> LogReader | RemoteLogs:
        """Reads what the steps print. Raises NotFound."""
        from sopwith.doors.cli.logs import LogReader

        return LogReader(self.reader, run_id, step)

    def say(self, document: Document, text: Callable[[], str]) -> None:
        """Prints the document with --json, the text otherwise; `success`: the command was carried out."""
        if self.as_json:
            terminal.echo_json({"success": True, **document})
        elif shown := text():
            terminal.echo(shown)

    def tell_warnings(self) -> None:
        """Tells on stderr what could not be signed or copied, once a command. Harms nothing that was done."""
        for warning in self.warnings:
            self.warn(warning)

    def warn(self, words: str) -> None:
        """One sentence on stderr, with --json too; whether it can be written matters to nobody."""
        with terminal.optional():
            terminal.echo(f"{click.style('warning:', fg='yellow')} {terminal.safe(words)}", err=True)

    def leave(self, exit_code: int) -> NoReturn:
        """Ends the verb with this exit code."""
        raise click.exceptions.Exit(exit_code)


def _tell_settled(event: Event, run: Run) -> None:
    """What the clock had decided before the command came to it."""
    from sopwith.doors.cli.display import event_line

    if line := event_line(event, run):
        with terminal.optional():
            terminal.echo(line)


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb its Door as the first argument, and the options that every verb has."""

    @click.option("--workspace", metavar="DIR", help="The folder that holds .pi/sops; else the nearest one above.")
    @click.option("--server", metavar="URL", help="Ask this server, with the token in SOPWITH_TOKEN.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document, errors too.")
    @terminal.help_option
    @functools.wraps(function)
    def wrapped(*args: Any, workspace: str | None, server: str | None, as_json: bool, **kwargs: Any) -> None:
        context = click.get_current_context()
        before = context.obj
        door = _door(
            context.command.name or "",
            workspace=workspace or before["workspace"],
            server=server or before["server"],
            as_json=as_json or before["as_json"],
        )
        try:
            function(door, *args, **kwargs)
        finally:
            door.tell_warnings()

    return wrapped


def _door(verb: str, *, workspace: str | None, server: str | None, as_json: bool) -> Door:
    """To the workspace or the server that is named; else to the server that SOPWITH_SERVER names."""
    if workspace and server:
        raise click.UsageError("--workspace and --server name two places: leave one out")
    if not workspace and verb not in _HERE:
        server = server or os.environ.get(SERVER)
    if not server:
        return Door(workspace=workspace, as_json=as_json)
    from sopwith.doors.remote.door import RemoteDoor

    return RemoteDoor(server, verb=verb, as_json=as_json)


def complete_procedure(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names for the shell's completion; silent where there is no workspace."""
    try:
        entries, _ = _completing(ctx).library.entries()
    except Exception:
        return []
    return [entry.name for entry in entries if entry.name.startswith(incomplete)]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Run ids for the shell's completion."""
    try:
        door = _completing(ctx)
        runs = door.reader.history(limit=50)["runs"] if door.has_runs else []
    except Exception:
        return []
    return [run["runId"] for run in runs if run["runId"].startswith(incomplete)]


def _completing(ctx: click.Context) -> Door:
    before = ctx.parent.params.get("workspace") if ctx.parent is not None else None
    return Door(workspace=ctx.params.get("workspace") or before, as_json=False)


procedure_argument = click.argument("name", shell_complete=complete_procedure)


class StepType(click.ParamType[StepId]):
    """`3`, or `3:eu` for one instance of a step that is done for each of several items."""

    name = "step"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StepId:
        step = value if isinstance(value, int) else read_step_id(value)
        if step is None:
            self.fail(f"{value!r} is not a step: write 3, or 3:eu for one of its instances", param, ctx)
        return step


run_argument = click.argument("run_id", metavar="RUN", shell_complete=complete_run)
