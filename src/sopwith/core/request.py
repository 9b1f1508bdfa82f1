"""A call that its caller has named, so that it can be sent again when its answer got lost.

The digest of the name is recorded with the events that the call made; the run itself knows what was carried out
already. The name itself is in no record, for it may hold a secret. Records of older versions have it as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.digest import sha256

MAX_KEY = 64
_CONCEALED = "sha256:"
"""No key of an older version begins so: it has the kind of the caller there."""


class Request(msgspec.Struct, frozen=True):
    """`key` stands for the caller and its name for the call, `digest` for that name and all that was asked."""

    key: str
    digest: str

    @property
    def concealed(self) -> Request:
        """Without the name of the call, which was recorded once; otherwise as it is."""
        return self if self.key.startswith(_CONCEALED) else _concealed(self.key, self.digest)


class Carried(msgspec.Struct, frozen=True):
    """What became of a request: the digest it had, and the last event that it made."""

    digest: str
    seq: int


def request_of(actor: Actor, key: str, asked: Mapping[str, Any]) -> Request:
    """The request that `actor` calls `key`; two callers never mean the same one. `asked` holds JSON values."""
    import json  # only whoever names a call needs it

    content = json.dumps(asked, sort_keys=True).encode()
    return _concealed(f"{actor.kind}:{actor.id}/{key}", sha256(content).hexdigest())


def run_id_of(request: Request) -> str:
    """The id of the run that the request makes: always the same, so that a second one collides with the first."""
    import base64  # only whoever makes a run needs it

    digest = bytes.fromhex(request.concealed.key.removeprefix(_CONCEALED))
    return "sop_run_" + base64.b32encode(digest).decode().lower()[:12]


def _concealed(name: str, asked: str) -> Request:
    """`name`: the caller and its name for the call; `asked`: the SHA-256 of what was asked.

    Who does not know the name cannot find out by trying what was asked, which may have held a secret too.
    """
    digest = sha256(f"{name}\0{asked}".encode()).hexdigest()
    return Request(key=_CONCEALED + sha256(name.encode()).hexdigest(), digest=digest)
