"""Who did something, as the door knows it. An actor is never read from an argument."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ActorKind(StrEnum):
    HUMAN = "human"
    AGENT = "agent"
    SYSTEM = "system"
    TRIGGER = "trigger"


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """`id` is the name within its kind (an OS user for the CLI), `via` the door it came through.

    `inside` names the run one of whose steps this is a process of: such an actor decides nothing about that run.
    """

    id: str
    kind: ActorKind
    via: str
    inside: str | None = None

    def __str__(self) -> str:
        return self.id if self.kind is ActorKind.HUMAN else f"{self.id} ({self.kind})"


SYSTEM = Actor("sopwith", ActorKind.SYSTEM, "engine")
