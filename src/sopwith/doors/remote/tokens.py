"""A server's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sopwith.core.actor import Actor
from sopwith.doors.remote.client import Client, Document, in_path

if TYPE_CHECKING:
    from sopwith.engine.tokens import Asked

_PAGE = 200


class RemoteTokens:
    """The same calls as `engine.tokens.Tokens` takes, made to a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, asked: Asked, *, actor: Actor) -> tuple[str, Document]:
        body: Document = {"name": asked.name, "role": asked.role, "kind": asked.kind}
        body |= {"procedures": list(asked.procedures)} if asked.procedures else {}
        body |= {"expires": asked.expires} if asked.expires else {}
        document = self._client.post(in_path("tokens"), body, keyed=False)
        return str(document.pop("token")), document

    def documents(self, *, actor: Actor) -> list[Document]:
        return list(self._client.get(in_path("tokens"))["tokens"])

    def revoke(self, which: str, *, actor: Actor) -> list[Document]:
        return list(self._client.post(in_path("tokens", which, "revoke"), {}, keyed=False)["tokens"])

    def log(self, *, limit: int, actor: Actor) -> list[Document]:
        found: list[Document] = []
        cursor = None
        while len(found) < limit:
            page = self._client.get(in_path("access"), limit=min(_PAGE, limit - len(found)), cursor=cursor)
            found += page["entries"]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        return found
