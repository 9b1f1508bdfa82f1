"""Over which channels somebody can be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from sopwith.core.instant import Instant
    from sopwith.core.messages import Message
    from sopwith.core.notifications import ChannelConfig


class Messenger(Protocol):
    """One channel, ready to send."""

    def send(self, message: Message) -> str:
        """Blocks until the other side took the message, 20 seconds at most; tells what came back, in a few words.

        Raises NotSent, whose words hold no secret.
        """
        ...


class Premises(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel may use of the process that sends: its environment, the project folder, the time."""

    environ: Mapping[str, str]
    root: Path
    now: Callable[[], Instant]


class ChannelKind(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind of channel registers itself. `make` reads secrets from the environment; raises NotSent without."""

    name: str
    make: Callable[[ChannelConfig, Premises], Messenger]
