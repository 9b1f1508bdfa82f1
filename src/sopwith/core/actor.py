"""Who did something, as the door knows it. An actor is never read from an argument."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from sopwith.core.grants import Grant


class ActorKind(StrEnum):
    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"
    TRIGGER = "trigger"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """How the door knows the person: for the signature beside a decision."""

    printed_name: str = ""
    user_id: str = ""
    host: str = ""
    session: str = ""
    """The terminal, connection or login that it came through."""
    authenticated_by: str = ""


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """`id` is the name within its kind (an OS user for the CLI), `via` the door it came through.

    `inside` names the run one of whose steps this is a process of: such an actor decides nothing about that run.
    `session` goes into signatures and is recorded nowhere else. `grant` is what a token gives; None: it came through no
    token. It is recorded nowhere.
    """

    id: str
    kind: ActorKind
    via: str
    inside: str | None = None
    session: Session | None = None
    grant: Grant | None = None

    @property
    def recorded(self) -> Actor:
        """As events name it."""
        return self if self.session is None and self.grant is None else replace(self, session=None, grant=None)

    def __str__(self) -> str:
        return self.id if self.kind is ActorKind.HUMAN else f"{self.id} ({self.kind})"


SYSTEM = Actor("sopwith", ActorKind.SYSTEM, "engine")
