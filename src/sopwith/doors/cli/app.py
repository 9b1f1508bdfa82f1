"""The command's frame: verbs loaded when they are called, and one place where an error becomes text and exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click
import msgspec

from sopwith.errors import SopwithError
from sopwith.version import __version__

_VERBS = {
    "init": ("authoring", "Make a workspace here"),
    "create": ("authoring", "Make a procedure from a template"),
    "list": ("authoring", "Show all procedures"),
    "show": ("authoring", "Show one procedure"),
    "validate": ("authoring", "Find what is wrong with procedures, without running them"),
    "schema": ("authoring", "Print the JSON Schema of manifest.json or config.json"),
    "run": ("running", "Run a procedure"),
    "approve": ("deciding", "Approve what waits at a gate"),
    "reject": ("deciding", "Reject what waits at a gate"),
    "status": ("looking", "Show a run"),
    "history": ("looking", "List runs, the newest first"),
    "inbox": ("looking", "Show what waits for a person"),
    "logs": ("looking", "Show what steps printed"),
    "audit": ("looking", "Show the record of a run"),
    "cancel": ("steering", "End a run for good"),
    "pause": ("steering", "Start nothing more for now"),
    "resume": ("steering", "Go on with a run that is paused or that nobody drives"),
    "retry": ("steering", "Run failed, rejected or interrupted steps again"),
    "skip": ("deciding", "Pass over a step, with a reason"),
    "complete": ("deciding", "Report a step as done by hand"),
    "fail": ("deciding", "Report a manual step as failed"),
    "doctor": ("keeping", "Check the workspace and mend what can be mended"),
    "completion": ("keeping", "Print the shell completion script"),
}


class LazyGroup(click.Group):
    """A verb's module is imported when the verb is called; the help reads the table only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = import_module(f"sopwith.doors.cli.{_VERBS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("list", "list_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"no command is called {args[0]}.{_nearest(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in _VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sop", message="%(prog)s %(version)s")
def sop() -> None:
    """Carry out Standard Operating Procedures: step by step, approved by people, proven by a record.

    Exit codes: 0 done, 1 error, 2 usage, 3 a person is needed, 4 failed or cancelled, 5 refused, 6 not found.
    """


def main(argv: list[str] | None = None) -> None:
    """Runs the command and exits."""
    sys.exit(run_command(sys.argv[1:] if argv is None else argv))


def run_command(argv: list[str]) -> int:
    """Runs the command; tells the exit code. Whatever happens, a user sees a sentence, not a traceback."""
    as_json = "--json" in argv
    try:
        # without standalone mode click hands an Exit's code back as the result
        code = sop.main(args=argv, prog_name="sop", standalone_mode=False)
    except click.ClickException as error:
        hint = _usage_hint(error)
        return _told(as_json, code="usage", message=error.format_message(), hint=hint, exit_code=2)
    except SopwithError as error:
        return tell(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # the reader has gone (sop audit … | head); nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("SOPWITH_DEBUG"):
            raise
        return _told(
            as_json,
            code="internal",
            message=f"something went wrong inside sop: {type(error).__name__}: {error}",
            hint="SOPWITH_DEBUG=1 shows where; please report it",
            exit_code=1,
        )
    return code if isinstance(code, int) else 0


def tell(error: SopwithError, *, as_json: bool) -> int:
    """Shows an error; tells its exit code."""
    from sopwith.engine.documents import error_document

    if as_json:
        click.echo(msgspec.json.encode(error_document(error)).decode())
    else:
        from sopwith.doors.cli.text import error_text

        click.echo(error_text(error), err=True)
    return error.exit_code


def _told(as_json: bool, *, code: str, message: str, hint: str, exit_code: int) -> int:
    if as_json:
        document = {"success": False, "error": {"code": code, "message": message, "hint": hint}}
        click.echo(msgspec.json.encode(document).decode())
    else:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
        if hint:
            click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)
    return exit_code


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "sop"
    return f"{path} --help shows how"


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, _VERBS, n=1)
    return f" Did you mean {near[0]}?" if near else ""
