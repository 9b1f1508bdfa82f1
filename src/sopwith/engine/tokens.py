"""Who may call over the network: tokens are made, shown once, looked up, and revoked here.

`sopwith_` + 8 characters that name it + `_` + 256 random bits. Kept is its SHA-256 alone: whoever reads the database
can use none. What a token gives is a `Grant`, within what config.json gives its principal (`core/people.py`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from sopwith.core.actor import Actor, ActorKind, Session
from sopwith.core.grants import Grant, Role, is_pattern
from sopwith.core.instant import iso
from sopwith.core.people import Directory, Right, check_right
from sopwith.engine.access import TOKEN_CREATED, TOKEN_REVOKED, access_document, entry_maker
from sopwith.engine.documents import Document
from sopwith.engine.library import Library
from sopwith.errors import BadRequest, NotAllowed, NotFound, Refused
from sopwith.ports import Clock, Ids, TokenRow, TokenStore

PREFIX = "sopwith_"
MOST_TOKENS = 10_000
"""So many hold or have held; a program that makes one for each call is told to keep its own."""
MOST_PATTERNS = 100
LONGEST = timedelta(days=3660)
_TOKEN = re.compile(r"sopwith_([a-z2-7]{8})_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}")
_LIFETIME = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Kind(StrEnum):
    """Who holds a token: a person, an AI agent, or a program such as a build server."""

    USER = "user"
    AGENT = "agent"
    SERVICE = "service"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The token that is to be made. `expires`: `90d`, `12h`, `30m`; empty: never."""

    name: str
    role: Role
    kind: Kind = Kind.USER
    procedures: tuple[str, ...] = ()
    expires: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says of itself besides its token, and nobody can check: that it is an agent, or a step of a run."""

    is_agent: bool = False
    inside: str | None = None


UNSAID = Said()


class Principal(msgspec.Struct, frozen=True):
    """Who calls, by the token that proved it."""

    token: TokenRow
    grant: Grant

    def actor(self, address: str, said: Said = UNSAID) -> Actor:
        """As runs name them: a user is a person; an agent or a program counts as an agent.

        What the caller has said of itself only takes away.
        """
        is_person, is_agent = self.token.kind == Kind.USER, said.is_agent or said.inside is not None
        kind = ActorKind.HUMAN if is_person and not is_agent else ActorKind.AGENT
        grant = replace(self.grant, lent=True) if is_person and is_agent else self.grant
        session = Session(
            user_id=f"token {self.token.id}", host=address, session="http", authenticated_by=f"token {self.token.id}"
        )
        return Actor(self.token.name, kind, "http", inside=said.inside, session=session, grant=grant)


class Tokens:
    """The tokens of one workspace."""

    def __init__(self, store: TokenStore, library: Library, clock: Clock, ids: Ids) -> None:
        self.store = store
        self._library = library
        self._clock = clock
        self._ids = ids

    def holder(self, token: str) -> Principal | None:
        """Who holds it; None for one that is unknown, expired or revoked: nobody is told which."""
        found = _TOKEN.fullmatch(token)
        row = self.store.token(found[1]) if found is not None else None
        # compared in any case: how long it takes tells nothing
        same = hmac.compare_digest(_hash(token), bytes(32) if row is None else row.hash)
        if row is None or not same or not self._holds(row):
            return None
        return Principal(row, Grant(role=Role(row.role), procedures=row.procedures))

    def create(self, asked: Asked, *, actor: Actor) -> tuple[str, Document]:
        """The token itself, which is told this once, and what is kept of it. Raises NotAllowed or BadRequest."""
        self._check_manager(actor, "make tokens")
        self._check_asked(asked)
        if len(self.store.tokens()) >= MOST_TOKENS:
            raise Refused(f"this workspace has had {MOST_TOKENS} tokens", hint="let each program keep the one it has")
        text, row = self._make(asked, f"{actor.kind}:{actor.id}")
        return text, self.document(row)

    def create_first(self, name: str) -> str | None:
        """An administrator's token where the workspace never had one; None otherwise."""
        if self.store.tokens():
            return None
        return self._make(Asked(name=name, role=Role.ADMIN), "system:sopwith")[0]

    def documents(self, *, actor: Actor) -> list[Document]:
        """All tokens, those that hold no more too. Raises NotAllowed."""
        check_right(actor, Right.MANAGE, self._people(), "see tokens")
        return [self.document(row) for row in self.store.tokens()]

    def check_reader(self, actor: Actor) -> None:
        """NotAllowed unless the actor may read the server's own log."""
        check_right(actor, Right.MANAGE, self._people(), "read the server's log")

    def log(self, *, limit: int, actor: Actor) -> list[Document]:
        """The newest entries of the server's own log. Raises NotAllowed."""
        self.check_reader(actor)
        return [access_document(entry) for entry in self.store.entries(limit=limit)]

    def revoke(self, which: str, *, actor: Actor) -> list[Document]:
        """Ends the token of this id, or all of this name. From now on nothing can be done with it.

        The token itself, as somebody may have found it, is as good as its id. Raises NotFound or NotAllowed.
        """
        self._check_manager(actor, "revoke tokens")
        now = self._clock.now().at
        by = f"{actor.kind}:{actor.id}"
        found = self._meant(which)
        for row in found:
            details = {"tokenId": row.id, "name": row.name, "by": by}
            self.store.revoke(row.id, by, now, entry_maker(TOKEN_REVOKED, now, details))
        rows = (self.store.token(row.id) for row in found)
        return [self.document(row) for row in rows if row is not None]

    def document(self, row: TokenRow) -> Document:
        """What is told of a token; never the token."""
        return {
            "id": row.id,
            "name": row.name,
            "kind": row.kind,
            "role": row.role,
            "procedures": list(row.procedures),
            "status": "active" if self._holds(row) else "revoked" if row.revoked_at is not None else "expired",
            "createdAt": iso(row.created_at),
            "createdBy": row.created_by,
            "expiresAt": None if row.expires_at is None else iso(row.expires_at),
            "revokedAt": None if row.revoked_at is None else iso(row.revoked_at),
            "revokedBy": row.revoked_by,
            "lastUsedAt": None if row.last_used_at is None else iso(row.last_used_at),
        }

    def _holds(self, row: TokenRow) -> bool:
        return row.revoked_at is None and (row.expires_at is None or self._clock.now().at < row.expires_at)

    def _meant(self, which: str) -> list[TokenRow]:
        token_id = which.removeprefix(PREFIX)[:8] if which.startswith(PREFIX) else which
        by_id = self.store.token(token_id)
        found = [by_id] if by_id is not None else [row for row in self.store.tokens() if row.name == which]
        if not found:
            raise NotFound("no token has this id or name", hint="sop token list shows all")
        return found

    def _make(self, asked: Asked, by: str) -> tuple[str, TokenRow]:
        now = self._clock.now().at
        token_id = base64.b32encode(bytes.fromhex(self._ids.nonce())[-5:]).decode().lower()
        secret = base64.urlsafe_b64encode(bytes.fromhex(self._ids.nonce() + self._ids.nonce())).decode().rstrip("=")
        text = f"{PREFIX}{token_id}_{secret}"
        row = TokenRow(
            id=token_id,
            hash=_hash(text),
            name=asked.name,
            kind=asked.kind,
            role=asked.role,
            procedures=asked.procedures,
            created_at=now,
            created_by=by,
            expires_at=now + read_lifetime(asked.expires) if asked.expires else None,
        )
        told = self.document(row)
        details = {key: told[key] for key in ("name", "kind", "role", "procedures", "expiresAt")}
        details |= {"tokenId": row.id, "by": by}
        self.store.add(row, entry_maker(TOKEN_CREATED, now, details))
        return text, row

    def _check_manager(self, actor: Actor, to: str) -> None:
        """Only a person gives and takes: an agent that could would make itself whoever it likes."""
        if actor.kind is not ActorKind.HUMAN or actor.inside is not None:
            raise NotAllowed(f"{actor} may not {to}: that is a person's to do", hint="ask a person to do it")
        check_right(actor, Right.MANAGE, self._people(), to)

    def _check_asked(self, asked: Asked) -> None:
        if not _NAME.fullmatch(asked.name):
            raise BadRequest(
                f"{asked.name[:80]!r} is no name for a principal",
                hint="a name has A-Z a-z 0-9 . _ @ - (64 at most), as: ann",
            )
        users = self._library.config().users
        if asked.kind is Kind.USER and users and asked.name not in users:
            raise BadRequest(
                f"{asked.name} is none of the users of config.json", hint="add them there, or make --kind agent|service"
            )
        _check_patterns(asked.procedures)
        if asked.expires:
            read_lifetime(asked.expires)

    def _people(self) -> Directory:
        return Directory(self._library.config())


def read_lifetime(text: str) -> timedelta:
    """`90d`, `12h`, `30m`. Raises BadRequest."""
    found = _LIFETIME.fullmatch(text)
    lifetime = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found is not None else None
    if lifetime is None or lifetime > LONGEST:
        raise BadRequest(f"expected a time, got {text[:40]!r}", hint="write it as 90d, 12h or 30m; ten years at most")
    return lifetime


def _check_patterns(patterns: Iterable[str]) -> None:
    patterns = tuple(patterns)
    if len(patterns) > MOST_PATTERNS:
        raise BadRequest(f"expected {MOST_PATTERNS} patterns at most", hint="join some with *")
    for pattern in patterns:
        if not is_pattern(pattern):
            raise BadRequest(
                f"{pattern[:80]!r} is no pattern of procedure names",
                hint="a name, or one with * for any characters: deploy-*",
            )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
