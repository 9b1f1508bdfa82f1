"""What every verb is given: the workspace, the actor, the engine when it is asked for, and the way to speak.

The actor is the OS user. `SOPWITH_ACTOR_KIND` can only take rights away: whatever it is set to but `human`, the
session counts as an agent's. So does one that a step started, even if it cleared its environment (see `ancestry`).
"""

from __future__ import annotations

import functools
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sopwith.core.actor import Actor, ActorKind, Session
from sopwith.core.address import StepId, read_step_id
from sopwith.core.run import RunStatus
from sopwith.doors.cli import terminal
from sopwith.errors import NotFound, NoWorkspace
from sopwith.ports import Workspace
from sopwith.settings import find_workspace

if TYPE_CHECKING:
    from sopwith.core.events import Event
    from sopwith.core.run import Run
    from sopwith.engine.engine import Engine
    from sopwith.engine.library import Library
    from sopwith.engine.reading import Reader

Document = dict[str, Any]
_NO_LOGIN = 2**32 - 1
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
NEEDS_A_PERSON = 3
EXIT_CODES = {RunStatus.COMPLETED: 0, RunStatus.FAILED: 4, RunStatus.CANCELLED: 4}
"""Of a run that has ended; of any other it depends on who drives it."""


class Door:
    """One call of the command."""

    def __init__(self, *, workspace: str | None, as_json: bool) -> None:
        self._override = workspace
        self.as_json = as_json

    @functools.cached_property
    def workspace(self) -> Workspace:
        override = self._override or os.environ.get("SOPWITH_WORKSPACE") or None
        start = Path("/") if override is not None and Path(override).is_absolute() else here()
        return find_workspace(start, override=override)

    @functools.cached_property
    def engine(self) -> Engine:
        from sopwith.assembly import open_engine

        engine = open_engine(self.workspace)
        if not self.as_json:
            engine.on_settled = _tell_settled
        return engine

    @property
    def has_runs(self) -> bool:
        """Whether a run was ever made here. Verbs that only look make no database."""
        return self.workspace.database.exists()

    def check_run(self, run_id: str) -> None:
        """Raises BadName, or NotFound where there is no database to look into, and makes none."""
        from sopwith.engine.runs import check_run_id

        check_run_id(run_id)
        if not self.has_runs:
            raise NotFound(f"no run is called {run_id}", hint="nothing was run in this workspace yet: sop run NAME")

    @functools.cached_property
    def reader(self) -> Reader:
        from sopwith.engine.reading import Reader

        return Reader(self.engine)

    @functools.cached_property
    def library(self) -> Library:
        from sopwith.assembly import open_library

        return open_library(self.workspace)

    @functools.cached_property
    def actor(self) -> Actor:
        return os_actor()

    def say(self, document: Document, text: Callable[[], str]) -> None:
        """Prints the document with --json, the text otherwise; `success`: the command was carried out."""
        if self.as_json:
            terminal.echo_json({"success": True, **document})
        elif shown := text():
            terminal.echo(shown)

    def tell_warnings(self) -> None:
        """Tells on stderr what could not be signed or copied, once a command. Harms nothing that was done."""
        opened = self.__dict__.get("engine")  # a verb that asked for no engine has none made now
        for warning in opened.parts.auditing.warnings if opened is not None else ():
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


def here() -> Path:
    """The current directory. Raises NoWorkspace if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise NoWorkspace(
            "the current directory does not exist any more", hint="change to one that does: cd DIR"
        ) from None


def os_actor() -> Actor:
    """Who calls, as the operating system knows it."""
    user_id = os.getuid()
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        name = f"uid-{user_id}"
    from sopwith.doors.cli.ancestry import origin

    found = origin()
    is_marked = os.environ.get("SOPWITH_ACTOR_KIND", "human") not in ("", "human")
    kind = ActorKind.AGENT if is_marked or found.is_agent else ActorKind.HUMAN
    inside = found.inside or os.environ.get("SOP_RUN_ID") or None
    return Actor(name, kind, "cli", inside=inside, session=_session(user_id))


def _session(user_id: int) -> Session:
    """What stands beside a decision: the account, the host, and the terminal or login that it came from."""
    try:
        printed_name = pwd.getpwuid(user_id).pw_gecos.partition(",")[0]
    except KeyError:
        printed_name = ""
    return Session(
        printed_name=printed_name,
        user_id=f"uid {user_id}",
        host=os.uname().nodename,
        session=", ".join(filter(None, (_terminal(), _login()))),
        authenticated_by="operating system account",
    )


def _terminal() -> str:
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            return os.ttyname(descriptor)
    return "no terminal"


def _login() -> str:
    """Who logged in at first, which the kernel keeps through su and sudo; empty where it keeps nothing."""
    try:
        login_uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return ""
    return "" if login_uid == _NO_LOGIN else f"login uid {login_uid}"


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb its Door as the first argument, and the options that every verb has."""

    @click.option("--workspace", metavar="DIR", help="The folder that holds .pi/sops; else the nearest one above.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document, errors too.")
    @functools.wraps(function)
    def wrapped(*args: Any, workspace: str | None, as_json: bool, **kwargs: Any) -> None:
        before = click.get_current_context().obj
        door = Door(workspace=workspace or before["workspace"], as_json=as_json or before["as_json"])
        try:
            function(door, *args, **kwargs)
        finally:
            door.tell_warnings()

    return wrapped


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
