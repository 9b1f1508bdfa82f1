"""Places in a list, as words that a client brings back. Of a place, not of a page: nothing is told twice."""

from __future__ import annotations

import base64
import binascii

from sopwith.errors import BadRequest


def cursor(place: str) -> str:
    """A word for a place in a list, to come back to."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_cursor(word: str) -> str:
    """Raises BadRequest."""
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise BadRequest("the cursor cannot be read", hint="take nextCursor of the page before") from None


def read_number(word: str) -> int:
    """The number that the word stands for. Raises BadRequest."""
    place = read_cursor(word)
    if not place.isdecimal() or len(place) > 15:
        raise BadRequest("the cursor cannot be read", hint="take nextCursor of the page before")
    return int(place)
