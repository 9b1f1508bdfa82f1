"""Verbs about tokens: create, list, revoke, log. A token itself is printed once, by `create`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sopwith.core.grants import Role
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Document, Door, verb
from sopwith.doors.cli.terminal import crop, safe, shown

if TYPE_CHECKING:
    from sopwith.doors.remote.tokens import RemoteTokens
    from sopwith.engine.tokens import Tokens


@click.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What it may do at most.")
@click.option(
    "--kind",
    type=click.Choice(["user", "agent", "service"]),
    default="user",
    show_default=True,
    help="A person, an AI agent, or a program.",
)
@click.option(
    "--procedures",
    multiple=True,
    metavar="PATTERN",
    help="Only for these procedures: a name, or a pattern such as 'deploy-*'. May be given many times.",
)
@click.option("--expires", default="", metavar="TIME", help="It ends by itself after 90d, 12h or 30m.")
@verb
def token_create(door: Door, name: str, role: str, kind: str, procedures: tuple[str, ...], expires: str) -> None:
    """Make a token with which NAME calls the server, and print it: this once, it is kept nowhere.

    It gives no more than config.json gives to NAME.
    """
    from sopwith.engine.tokens import Asked, Kind

    asked = Asked(name=name, role=Role(role), kind=Kind(kind), procedures=procedures, expires=expires)
    token, document = _tokens(door).create(asked, actor=door.actor)
    door.say({"token": token, **document}, lambda: _created_text(token, document))


@click.command()
@verb
def token_list(door: Door) -> None:
    """Show all tokens: whose, what for, until when, and when each was used last; never the token itself."""
    tokens: list[Document] = _tokens(door).documents(actor=door.actor) if door.has_runs else []
    door.say({"tokens": tokens, "total": len(tokens)}, lambda: _list_text(tokens))


@click.command()
@click.argument("which", metavar="ID|NAME")
@verb
def token_revoke(door: Door, which: str) -> None:
    """End the token ID, or all tokens of NAME, at once: also for a server that is running."""
    ended = _tokens(door).revoke(which, actor=door.actor)
    door.say(
        {"tokens": ended, "total": len(ended)},
        lambda: "\n".join(f"token {each['id']} of {shown(each['name'])} is revoked" for each in ended),
    )


@click.command()
@click.option("--limit", type=click.IntRange(min=1, max=100_000), default=50, show_default=True)
@verb
def token_log(door: Door, limit: int) -> None:
    """Show the server's own log, the newest first: sign-ins, refusals, tokens made and revoked."""
    entries: list[Document] = _tokens(door).log(limit=limit, actor=door.actor) if door.has_runs else []
    door.say({"entries": entries}, lambda: "\n".join(map(_entry_text, entries)) or "nobody has called yet")


def _tokens(door: Door) -> Tokens | RemoteTokens:
    if door.server is not None:
        from sopwith.doors.remote.tokens import RemoteTokens

        return RemoteTokens(door.server.client)
    from sopwith.assembly import tokens_of

    return tokens_of(door.engine)


def _created_text(token: str, document: Document) -> str:
    where = f" for {', '.join(document['procedures'])}" if document["procedures"] else ""
    until = f", until {text.local_time(document['expiresAt'])}" if document["expiresAt"] else ""
    told = f"{document['kind']} {document['name']}, {document['role']}{where}{until}: keep it, it is shown this once"
    return f"{token}\n{text.dim(told)}"


def _list_text(tokens: list[Document]) -> str:
    if not tokens:
        return "no tokens yet: sop token create NAME --role ROLE"
    rows = [
        [
            each["id"],
            text.bold(shown(each["name"])),
            each["kind"],
            each["role"],
            ", ".join(each["procedures"]) or "*",
            each["status"],
            text.local_time(each["expiresAt"]) if each["expiresAt"] else "-",
            text.local_time(each["lastUsedAt"]) if each["lastUsedAt"] else "-",
        ]
        for each in tokens
    ]
    return text.table(["ID", "NAME", "KIND", "ROLE", "PROCEDURES", "STATUS", "EXPIRES", "LAST USED"], rows)


def _entry_text(entry: Document) -> str:
    details = " ".join(f"{key}={value}" for key, value in entry["details"].items() if value not in (None, [], ""))
    line = f"{entry['seq']:>4} {entry['timestamp']} {entry['type']} {details}"
    return crop(safe(line), terminal.columns())
