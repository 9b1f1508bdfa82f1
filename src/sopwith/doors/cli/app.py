"""The command's frame: verbs loaded when they are called, and one place where an error becomes text and exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from sopwith.doors.cli import terminal
from sopwith.errors import BadRequest, SopwithError
from sopwith.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_VERBS = {
    "init": ("authoring", "Make a workspace here"),
    "create": ("authoring", "Make a procedure from a template"),
    "list": ("listing", "Show all procedures"),
    "show": ("authoring", "Show one procedure"),
    "validate": ("authoring", "Find what is wrong with procedures, without running them"),
    "test": ("rehearsing", "Play procedures against scenarios, without running them"),
    "schema": ("authoring", "Print the JSON Schema of manifest.json, config.json or a scenario"),
    "run": ("running", "Run a procedure"),
    "approve": ("deciding", "Approve what waits at a gate"),
    "reject": ("deciding", "Reject what waits at a gate"),
    "status": ("looking", "Show a run"),
    "history": ("looking", "List runs, the newest first"),
    "inbox": ("looking", "Show what waits for a person"),
    "logs": ("looking", "Show what steps printed"),
    "audit": ("auditing", "Show the record of a run, or verify it"),
    "audit export": ("auditing", "Write records so that somebody else can verify them"),
    "audit prune": ("auditing", "Drop records that are older than auditRetentionDays"),
    "cancel": ("steering", "End a run for good"),
    "pause": ("steering", "Start nothing more for now"),
    "resume": ("steering", "Go on with a run that is paused or that nobody drives"),
    "retry": ("steering", "Run failed, rejected or interrupted steps again"),
    "rollback": ("steering", "Undo the completed steps of a run"),
    "skip": ("reporting", "Pass over a step, with a reason"),
    "complete": ("reporting", "Report a step as done by hand"),
    "fail": ("reporting", "Report a manual step as failed"),
    "serve": ("serving", "Drive all runs that nobody else drives"),
    "notify test": ("notifying", "Send a test message over the channels of config.json"),
    "notify list": ("notifying", "Show what was told to whom, and what waits"),
    "trigger list": ("triggers", "Show what may start procedures besides people"),
    "trigger test": ("triggers", "Tell what an event would start, and why not"),
    "trigger log": ("triggers", "List what happened outside, and what came of it"),
    "mcp": ("agents", "Serve the workspace to an AI agent as MCP tools"),
    "tools": ("agents", "Print the agents' tools for hosts without MCP"),
    "skill install": ("agents", "Write the skill file for agents"),
    "token create": ("tokens", "Make a token for somebody who calls over the network"),
    "token list": ("tokens", "Show the tokens of the workspace"),
    "token revoke": ("tokens", "End a token at once"),
    "token log": ("tokens", "Show the server's own log: sign-ins, refusals, tokens"),
    "doctor": ("keeping", "Check the workspace and mend what can be mended"),
    "backup": ("safekeeping", "Copy the record into one file, while others work"),
    "restore": ("safekeeping", "Put a backup in the place of the record"),
    "completion": ("completing", "Print the shell completion script"),
}
SECOND_WORDS = tuple(name.partition(" ")[2] for name in _VERBS if name.startswith("audit "))
_PLANNED = frozenset({"import", "edit", "worker"})
_INTERRUPTED = 130


class Verbs(click.Group):
    """A verb's module is imported when the verb is called; the help and completion read the table only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = import_module(f"sopwith.doors.cli.{_VERBS[cmd_name][0]}")
        command = getattr(module, "list_" if cmd_name == "list" else cmd_name.replace(" ", "_"))
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if " ".join(args[:2]) in _VERBS:  # a run is never called by such a second word
            word, args = " ".join(args[:2]), [" ".join(args[:2]), *args[2:]]
        if word == "token":
            words = ", ".join(name.partition(" ")[2] for name in _VERBS if name.startswith("token "))
            raise click.UsageError(f"sop token needs a second word: {words}", ctx)
        if word in _PLANNED:
            raise click.UsageError(f"sop {word} is designed but not built yet", ctx)
        if word not in _VERBS and not ctx.resilient_parsing:
            raise click.UsageError(f"no command is called {word}{_nearest(word)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in _VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, (_module, text) in _VERBS.items()
            if name.startswith(incomplete) and " " not in name
        ]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--workspace", metavar="DIR", help="The folder that holds .pi/sops; else the nearest one above.")
@click.option("--server", metavar="URL", help="Ask this server, with the token in SOPWITH_TOKEN.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, errors too.")
@terminal.telling_option("--version", help="Show the version and exit.", told=lambda _ctx: f"sop {__version__}")
@terminal.help_option
@click.pass_context
def sop(ctx: click.Context, workspace: str | None, server: str | None, as_json: bool) -> None:
    """Carry out Standard Operating Procedures: step by step, approved by people, proven by a record.

    Exit codes: 0 done, 1 error, 2 usage, 3 a person is needed, 4 failed or cancelled, 5 refused, 6 not found.

    These options may also stand after the command. SOPWITH_WORKSPACE and SOPWITH_SERVER name the place where none does.
    """
    ctx.obj = {"workspace": workspace, "server": server, "as_json": as_json}


def main(argv: list[str] | None = None) -> None:
    """Runs the command and exits."""
    code = run_command(sys.argv[1:] if argv is None else argv)
    # the interpreter flushes once more at its end, and would answer a failure with an exit code of its own
    terminal.give_up_what_fails()
    # nor is all that was imported looked through once more before it goes
    gc.freeze()
    sys.exit(code)


def run_command(argv: list[str]) -> int:
    """Runs the command; tells the exit code. Whatever happens, a user sees a sentence, not a traceback."""
    terminal.prepare_streams()
    as_json = "--json" in argv
    try:
        argv = [_as_text(argument, position) for position, argument in enumerate(argv, 1)]
        # without standalone mode click hands an Exit's code back as the result
        code = sop.main(args=argv, prog_name="sop", standalone_mode=False)
        terminal.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        return _help_without_arguments(error, as_json=as_json)
    except click.ClickException as error:
        return tell(_usage_error(error), as_json=as_json)
    except SopwithError as error:
        return tell(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except terminal.ReaderGone:
        terminal.give_up_stdout()
        return 0
    except Exception as error:
        if os.environ.get("SOPWITH_DEBUG"):
            raise
        return tell(_unexpected(error), as_json=as_json)
    return code if isinstance(code, int) else 0


def tell(error: SopwithError, *, as_json: bool) -> int:
    """Shows an error, on stdout as JSON or on stderr as text; tells its exit code."""
    if as_json:
        from sopwith.engine.documents import error_document

        with terminal.optional():
            terminal.echo_json(error_document(error))
    else:
        from sopwith.doors.cli.text import error_text

        with terminal.optional():
            terminal.echo(error_text(error), err=True)
    return error.exit_code


class UsageError(BadRequest):
    """The command line cannot be understood."""

    code = "usage"


class Unexpected(SopwithError):
    """A fault of Sopwith's own."""

    code = "internal"


def _usage_error(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "sop"
    # click lists choices on lines of their own
    message = " ".join(error.format_message().split()).rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} --help shows how")


def _unexpected(error: Exception) -> SopwithError:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        # whichever file came last, and wherever: it is not to blame
        return Unexpected("too many files are open", hint="raise the limit (ulimit -n), and call sop again")
    if isinstance(error, OSError):
        place = f" {error.filename}" if error.filename else ""
        return Unexpected(
            f"the operating system refused{place}: {error.strerror or error}", hint="SOPWITH_DEBUG=1 shows where"
        )
    return Unexpected(
        f"something went wrong inside sop: {type(error).__name__}: {error}",
        hint="SOPWITH_DEBUG=1 shows where; please report it",
    )


def _help_without_arguments(error: click.exceptions.NoArgsIsHelpError, *, as_json: bool) -> int:
    if as_json:
        return tell(UsageError("no command was given", hint="sop --help shows all"), as_json=True)
    terminal.echo(error.format_message())
    return error.exit_code


def _as_text(argument: str, position: int) -> str:
    """Python passes bytes that the locale cannot read as lone surrogates; no record could carry those."""
    try:
        return argument.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise UsageError(
            f"expected UTF-8 text, got other bytes in argument {position}", hint="write the argument in UTF-8"
        ) from None


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, _VERBS, n=1)
    return f", did you mean {near[0]}?" if near else ""
