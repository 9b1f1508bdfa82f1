"""The data of a memory store: what all handles on it share."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import msgspec

from sopwith.core.codec import SealedEvent
from sopwith.ports import Delivery, KeptCheckpoint, Notice, Owner, RunSummary


class Kept(msgspec.Struct):
    summary: RunSummary
    events: tuple[SealedEvent, ...]
    epoch: int = 0
    owner: Owner | None = None
    claimed_by: Any = None
    """The handle that claimed the run, while it is open."""
    lease_until: datetime | None = None


class Shelf:
    """What all handles on the same data share. `runs` stand in the order of their creation."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.in_transaction = False
        self.runs: dict[str, Kept] = {}
        self.contents: dict[str, bytes] = {}
        self.cache: dict[str, bytes] = {}
        self.commits = 0
        self.dead: set[str] = set()
        self.log: list[tuple[str, SealedEvent]] = []
        """All events in the order in which they were stored."""
        self.dropped: dict[str, int] = {}
        """Runs whose payloads up to a seq are gone."""
        self.checkpoints: dict[int, KeptCheckpoint] = {}
        self.tombstones: list[bytes] = []
        self.notices: dict[int, Notice] = {}
        self.notices_made = 0
        self.notices_cursor: int | None = None
        self.deliveries: dict[int, Delivery] = {}
        self.last_delivery = 0
        self.cursors: dict[tuple[str, str], str] = {}
