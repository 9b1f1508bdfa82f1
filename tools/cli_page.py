"""docs/reference/cli.md, from the commands themselves."""

from __future__ import annotations

import re

import click

from sopwith.doors.cli.app import sop
from tools.markdown import code, page, prose, table

_SHARED = ("workspace", "as_json")
_EXIT_CODES = (
    ("0", "completed, or accepted for somebody else to drive; readers, `reject`, `cancel` and `pause`: done"),
    ("1", "an error, or findings of `validate`, `test` and `doctor`"),
    ("2", "wrong usage, or a bad parameter"),
    ("3", "a person is needed: a gate, a manual step, a paused or queued run"),
    ("4", "the run failed or was cancelled"),
    ("5", "refused: limits, rights, a stale approval, a move that the run's status does not allow"),
    ("6", "not found"),
    ("130, 143", "left by Ctrl-C or SIGTERM; a running step goes on by itself, and `sop resume` takes the run up"),
)


def cli_page() -> str:
    context = click.Context(sop, info_name="sop")
    names = sop.list_commands(context)
    commands = [(name, sop.get_command(context, name)) for name in names]
    listed = table(
        ["Command", "What it does"],
        [(f"[`sop {name}`](#{_anchor(name)})", _summary(command)) for name, command in commands if command],
    )
    return page(
        "The command `sop`",
        prose(sop.callback).partition("\n\n")[0],
        listed,
        "## Every command",
        _everywhere(commands),
        _shared_options(commands),
        "Environment variables: `SOPWITH_WORKSPACE` names the workspace where `--workspace` does not; "
        "`SOPWITH_ACTOR_KIND=agent` makes the call an agent's, which may not approve; `SOPWITH_DEBUG=1` shows the "
        "traceback of an internal error; `NO_COLOR=1` leaves out colours.",
        "## Exit codes",
        table(["Code", "Meaning"], _EXIT_CODES),
        *(_section(name, command) for name, command in commands if command),
    )


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"sop {name}")
    usage = " ".join([f"sop {name}", *command.collect_usage_pieces(context)])
    own = [p for p in command.params if isinstance(p, click.Option) and p.name not in (*_SHARED, "help")]
    parts = [f"## sop {name}", prose(command.callback), f"```text\n{usage}\n```"]
    if own:
        parts.append(table(["Option", "Meaning"], [(_option(option), _meaning(option)) for option in own]))
    return "\n\n".join(parts)


def _anchor(name: str) -> str:
    return f"sop {name}".replace(" ", "-")


def _everywhere(commands: list[tuple[str, click.Command | None]]) -> str:
    without = [code(f"sop {name}") for name, command in commands if command and not _is_verb(command)]
    return f"Each one takes these, and `--help`{': all but ' + ', '.join(without) if without else ''}."


def _is_verb(command: click.Command) -> bool:
    return any(param.name == "as_json" for param in command.params)


def _shared_options(commands: list[tuple[str, click.Command | None]]) -> str:
    params = next(command.params for name, command in commands if name == "status" and command)
    shared = [param for param in params if isinstance(param, click.Option) and param.name in _SHARED]
    return table(["Option", "Meaning"], [(_option(option), _meaning(option)) for option in shared])


def _option(option: click.Option) -> str:
    names = ", ".join(code(name) for name in sorted(option.opts, key=len))
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {' / '.join(code(str(choice)) for choice in option.type.choices)}"
    return f"{names} {code(option.metavar or option.type.name.split()[0].upper())}"


def _meaning(option: click.Option) -> str:
    default = f" Default: {option.default}." if option.show_default else ""
    many = " May be given many times." if option.multiple and "many times" not in (option.help or "") else ""
    return f"{option.help or ''}{many}{default}".strip()


def _summary(command: click.Command) -> str:
    text = prose(command.callback).partition("\n\n")[0]
    return re.split(r"(?<=[a-zA-Z`])[.] ", text)[0].rstrip(".")
