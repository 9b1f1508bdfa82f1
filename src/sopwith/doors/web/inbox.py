"""The inbox page by page, as the route and the stream show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sopwith.doors.agent.tools import Schema
from sopwith.doors.web.cursors import cursor, read_cursor
from sopwith.doors.web.schemas import number, text
from sopwith.engine.documents import Document

if TYPE_CHECKING:
    from sopwith.doors.web.office import Desk
    from sopwith.doors.web.table import Asked

INBOX_PAGE: dict[str, Schema] = {
    "mine": {"type": "boolean", "description": "Only what the caller may do"},
    "limit": number("About how many: what one run asks is never cut apart", least=1, most=200),
    "cursor": text("From the page before", most=200),
}
_LIMIT = 20


def inbox_page(desk: Desk, asked: Asked) -> Document:
    """`{items, total, nextCursor}`: a page of what the caller sees wait."""
    query = asked.query
    after = read_cursor(query["cursor"]) if "cursor" in query else None
    found = desk.reader(asked).inbox(
        asked.who, limit=query.get("limit", _LIMIT), after=after, mine=query.get("mine", False)
    )
    following = found.pop("nextAfter")
    return {**found, "nextCursor": None if following is None else cursor(following)}
