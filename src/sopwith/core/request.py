"""A call that its caller has named, so that it can be sent again when its answer got lost.

The name is recorded with the events that the call made; the run itself knows what was carried out already.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from sopwith.core.actor import Actor

MAX_KEY = 64


class Request(msgspec.Struct, frozen=True):
    """`key` is the caller's name for the call, behind the caller's own; `digest` the SHA-256 of all that was asked."""

    key: str
    digest: str


class Carried(msgspec.Struct, frozen=True):
    """What became of a request: the digest it had, and the last event that it made."""

    digest: str
    seq: int


def request_of(actor: Actor, key: str, asked: Mapping[str, Any]) -> Request:
    """The request that `actor` calls `key`; two callers never mean the same one. `asked` holds JSON values."""
    content = json.dumps(asked, sort_keys=True).encode()
    return Request(key=f"{actor.kind}:{actor.id}/{key}", digest=hashlib.sha256(content).hexdigest())


def run_id_of(request: Request) -> str:
    """The id of the run that the request makes: always the same, so that a second one collides with the first."""
    digest = hashlib.sha256(request.key.encode()).digest()
    return "sop_run_" + base64.b32encode(digest).decode().lower()[:12]
