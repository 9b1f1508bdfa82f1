"""Who an agent is: the name that whoever set the door up gave it, else the account's. No message can change it."""

from __future__ import annotations

import re

from msgspec.structs import replace

from sopwith.core.actor import Actor, ActorKind, Session
from sopwith.doors.caller import os_actor
from sopwith.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def agent_actor(name: str | None, *, via: str = "mcp") -> Actor:
    """`agent:<name>`, in a step of a run where this process is. Raises BadRequest."""
    account = os_actor(via)
    if name is not None and not _NAME.fullmatch(name):
        raise BadRequest(
            f"{name[:80]!r} is no name for an agent", hint="a name has A-Z a-z 0-9 . _ @ - (64 at most), as: reviewer"
        )
    session = account.session or Session()
    by = "the name given to sop mcp" if name is not None else session.authenticated_by
    return replace(
        account,
        id=name or account.id,
        kind=ActorKind.AGENT,
        session=replace(session, printed_name="", session=f"{via}, account {account.id}", authenticated_by=by),
    )
