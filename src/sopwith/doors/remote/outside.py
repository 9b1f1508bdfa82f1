"""What a server knows of triggers and messages."""

from __future__ import annotations

from sopwith.doors.remote.client import Client, Document, in_path
from sopwith.errors import BadRequest

_PAGE = 200


class RemoteOutside:
    """The same questions as `engine.outside.Outside` takes, asked of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def triggers(self, name: str | None = None) -> Document:
        return self._client.get(in_path("triggers"), sopName=name)

    def foreseen(self, name: str, event: bytes) -> Document:
        try:
            text = event.decode()
        except UnicodeDecodeError:
            raise BadRequest("the event is not UTF-8", hint="write it as JSON in UTF-8") from None
        return self._client.post(in_path("procedures", name, "foresight"), {"event": text}, keyed=False)

    def deliveries(self, *, name: str | None = None, limit: int) -> Document:
        found: list[Document] = []
        cursor = None
        while len(found) < limit:
            page = self._client.get(
                in_path("deliveries"), sopName=name, limit=min(_PAGE, limit - len(found)), cursor=cursor
            )
            found += page["deliveries"]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        return {"deliveries": found}

    def delivery(self, number: int) -> Document:
        return self._client.get(in_path("deliveries", number))

    def notices(self, limit: int) -> Document:
        return self._client.get(in_path("notices"), limit=limit)

    def tried(self, channel: str | None) -> list[Document]:
        """Has the server send a test message."""
        body: Document = {} if channel is None else {"channel": channel}
        return list(self._client.post(in_path("notices", "test"), body, keyed=False)["channels"])
