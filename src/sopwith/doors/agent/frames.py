"""The frames of one answer to an agent, with an id that is drawn when the answer is made."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sopwith.core.frames import ABOUT, MOST_OF_ALL, MOST_OF_ONE, cropped, disarmed, plain, prose
from sopwith.core.frames import Frames as CoreFrames

__all__ = ["ABOUT", "MOST_OF_ALL", "MOST_OF_ONE", "Frames", "cropped", "disarmed", "new_id", "plain", "prose"]


def new_id() -> str:
    """64 random bits."""
    return secrets.token_hex(8)


class Frames(CoreFrames):
    """The frames of one answer: they share its id, and the room there is."""

    def __init__(self, *, room: int = MOST_OF_ALL, make_id: Callable[[], str] = new_id) -> None:
        super().__init__(make_id(), room=room)
