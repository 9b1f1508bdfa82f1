"""Who calls, for doors that are used by programs of this account: the command and the Python API.

The actor is the OS user. `SOPWITH_ACTOR_KIND` can only take rights away: whatever it is set to but `human`, the
session counts as an agent's. So does one that a step started, even if it cleared its environment (see `ancestry`).
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

from sopwith.core.actor import Actor, ActorKind, Session

_NO_LOGIN = 2**32 - 1


def os_actor(via: str) -> Actor:
    """Who calls, as the operating system knows it. `via`: the door, `cli` or `python`."""
    user_id = os.getuid()
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        name = f"uid-{user_id}"
    from sopwith.doors.ancestry import origin

    found = origin()
    is_marked = os.environ.get("SOPWITH_ACTOR_KIND", "human") not in ("", "human")
    kind = ActorKind.AGENT if is_marked or found.is_agent else ActorKind.HUMAN
    inside = found.inside or os.environ.get("SOP_RUN_ID") or None
    return Actor(name, kind, via, inside=inside, session=_session(user_id))


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
