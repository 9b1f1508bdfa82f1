"""Who is let in: a request for a name that is ours, from no foreign web page, with a token that holds.

Any page in a browser can reach a loopback port, and a name of somebody else's can be made to point to it; so the Host
is checked against a list. Nothing but the Authorization header says who calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sopwith.doors.web import limits
from sopwith.doors.web.problems import ForeignOrigin, TooMany, Unauthenticated, WrongHost
from sopwith.engine.tokens import Principal, Tokens
from sopwith.errors import SopwithError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("", "0.0.0.0", "::")  # noqa: S104 compared with, not bound to
_SCHEME = "bearer"


class Entrance:
    """The list of names, and who failed to get in how often."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._failures = limits.Buckets(
            per_second=limits.FAILURES_PER_MINUTE / 60, burst=float(limits.FAILURES_PER_MINUTE)
        )

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raises WrongHost or ForeignOrigin."""
        if _name_of(headers.get("host", "")) not in self._hosts:
            raise WrongHost("the request is for another host", hint="sop serve --allow-host NAME adds a name")
        origin = headers.get("origin")
        if origin is not None and _name_of_origin(origin) not in self._hosts:
            raise ForeignOrigin("a web page of another host sent this", hint="call it from a program")

    def principal(self, tokens: Tokens, headers: Mapping[str, str], address: str, now_ms: int) -> Principal:
        """Raises Unauthenticated; TooMany where the address failed too often, and still has no token that holds."""
        found = tokens.holder(_token(headers))
        if found is None:
            raise self.unproven(address, now_ms)
        return found

    def guest(self, tokens: Tokens, headers: Mapping[str, str]) -> Principal | None:
        """Who calls, where nobody needs to say so; a secret of another kind may stand there, and is no failed try."""
        return tokens.holder(_token(headers))

    def unproven(self, address: str, now_ms: int) -> SopwithError:
        """What somebody is answered who has not proven who they are, and cannot try as often as they like."""
        secs = self._failures.take(address, now_ms)
        return self.too_many("failed sign-ins", secs) if secs else Unauthenticated()

    def still_holds(self, tokens: Tokens, headers: Mapping[str, str]) -> bool:
        """Whether the token that let this request in would still do so."""
        return tokens.holder(_token(headers)) is not None

    def too_many(self, what: str, secs: float) -> TooMany:
        """Says when to come again."""
        wait = max(1, math.ceil(secs))
        how_long = "a second" if wait == 1 else f"{wait} seconds"
        return TooMany(f"too many {what}", hint=f"come again in {how_long}", headers={"retry-after": str(wait)})


def hosts_of(listening: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """The names under which a server that listens on this address may be called."""
    own = () if listening in _ANY else (listening,)
    return (*LOOPBACK, *own, *allowed)


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else ""


def _name_of(host: str) -> str:
    """The name in a Host header, in lower case and without the port; empty for what is none."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 raises ValueError for what is no port
    except ValueError:
        return ""
    plain = parts.username is None and parts.password is None and not (parts.path or parts.query or parts.fragment)
    return (parts.hostname or "").rstrip(".") if plain else ""


def _name_of_origin(origin: str) -> str:
    scheme, mark, host = origin.partition("://")
    return _name_of(host) if mark and scheme in ("http", "https") else ""
