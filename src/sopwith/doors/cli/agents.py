"""Verbs for agents and their hosts: mcp, tools, skill install."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from sopwith.doors.agent.hosts import FORMATS, tool_list
from sopwith.doors.agent.skill import DEFAULT_FOLDER, install_skill
from sopwith.doors.cli import terminal
from sopwith.doors.cli.door import Door, verb
from sopwith.errors import BadRequest, MissingExtra


@click.command()
@click.option("--as", "name", metavar="NAME", help="The agent's name in the record and at gates; else the account's.")
@click.option("--http", "over_http", is_flag=True, help="Serve over HTTP on 127.0.0.1 instead of stdin and stdout.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --http: the port; else any that is free.")
@verb
def mcp(door: Door, name: str | None, over_http: bool, port: int | None) -> None:
    """Serve this workspace to an AI agent as MCP tools.

    Over stdin and stdout, for a host that starts the command. The agent starts procedures, follows them, and reports
    the steps that are done by hand; it approves only where a gate names it, and never in a run that it started.
    """
    if find_spec("mcp") is None:
        raise MissingExtra("sop mcp needs the MCP SDK, which is not installed", hint='pip install "sopwith[mcp]"')
    if port is not None and not over_http:
        raise BadRequest("--port is for --http", hint="sop mcp --http --port N")
    from sopwith.doors.agent.caller import agent_actor
    from sopwith.doors.agent.desk import Desk

    desk = Desk(door, agent_actor(name))
    door.workspace  # noqa: B018 where there is none, it is told before anybody connects
    if over_http:
        _serve_http(desk, port or 0)
        return
    from sopwith.doors.mcp.stdio import serve_stdio

    if sys.stdin.isatty():
        terminal.echo("sop mcp speaks MCP on stdin and stdout; a host starts it. Ctrl-D ends it.", err=True)
    asyncio.run(serve_stdio(desk))


def _serve_http(desk: object, port: int) -> None:
    from sopwith.doors.agent.desk import Desk
    from sopwith.doors.mcp import http

    assert isinstance(desk, Desk)
    token = http.chosen_token()
    listening = http.listen(port)
    # written before anything else is: whoever starts it reads the port and the token here
    terminal.echo(f"http://{http.HOST}:{listening.getsockname()[1]}{http.PATH}", err=True)
    terminal.echo(f"Authorization: Bearer {token}", err=True)
    asyncio.run(http.serve_http(desk, listening, token))


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="json", show_default=True)
@verb
def tools(door: Door, form: str) -> None:
    """Print the agents' tools with their schemas, for hosts without MCP."""
    terminal.echo_json(tool_list(form))


@click.command(name="skill install")
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER)
@verb
def skill_install(door: Door, folder: Path) -> None:
    """Write the skill file that teaches an agent to use Sopwith, below DIR (else .claude/skills)."""
    installed = install_skill(folder)
    path = terminal.safe(str(installed.path))
    told: dict[str, object] = {"path": str(installed.path), "changed": installed.is_new}
    words = f"wrote {path}" if installed.is_new else f"is as it should be: {path}"
    if installed.kept is not None:
        told["kept"] = str(installed.kept)
        words += f"; what was there is in {terminal.safe(str(installed.kept))}"
    door.say(told, lambda: words)
