"""The record of runs as a server keeps it: read-only, and each content is what its digest says."""

from __future__ import annotations

import base64
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple, NoReturn

import msgspec

from sopwith.core.codec import SealedEvent
from sopwith.doors.remote.client import Client, Document, in_path
from sopwith.errors import StoreError
from sopwith.ports import Lease, Owner

_BEYOND = 10**9
"""No run has so many events."""


class Seen(NamedTuple):
    """The one thing of a summary that is asked for from afar."""

    seq: int


class RemoteStore:
    """What reading a run needs of a Store."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._contents: dict[str, bytes] = {}
        self._asked = ""
        """The run that was asked about last: its record names the contents that are asked for next."""

    def events(self, run_id: str, after_seq: int = 0) -> tuple[SealedEvent, ...]:
        """The run's events with a greater seq, in order. Raises NotFound for an unknown run."""
        self._asked = run_id
        found: list[SealedEvent] = []
        more = True
        while more:
            document = self._record(run_id, found[-1].seq if found else after_seq)
            found += [_sealed(each) for each in document["events"]]
            more = bool(document["more"] and document["events"])
        return tuple(found)

    def content(self, digest: str) -> bytes | None:
        """The bytes with this digest, as the record of the run that was read last names them."""
        if digest not in self._contents:
            data = self._client.data(in_path("runs", self._asked, "contents", digest))
            if sha256(data).hexdigest() != digest:
                raise StoreError(
                    f"what {self._client.address} sent is not what its digest says", hint="trust nothing that it shows"
                )
            self._contents[digest] = data
        return self._contents[digest]

    def holder(self, run_id: str) -> Owner | None:
        """Who drives the run, or is about to."""
        driver = self._record(run_id, _BEYOND)["driver"]
        return None if driver is None else msgspec.convert(driver, Owner)

    def summary(self, run_id: str) -> Seen:
        """How far the run's record has come; lists are the server's to make."""
        return Seen(self._record(run_id, _BEYOND)["revision"])

    def lease(self, run_id: str) -> Lease | None:
        """What a lease keeps out is the server's to know."""
        return None

    def version(self) -> int:
        """Nothing tells of changes: look."""
        return 0

    def claim(self, run_id: str, owner: Owner, now: datetime) -> NoReturn:
        """Nobody drives a run from afar."""
        raise AssertionError(f"{run_id} is driven by its server")

    def _record(self, run_id: str, after: int) -> Document:
        return self._client.get(in_path("runs", run_id, "record"), after=after)


def _sealed(document: Document) -> SealedEvent:
    payload = base64.b64decode(document["payload"])
    return SealedEvent(document["seq"], payload, document["prevHash"], document["hash"])
