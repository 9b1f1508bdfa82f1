"""A log held in a list, so that thousands of changes can be tried without a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec
from tests.audit.given import Ledger

from sopwith.audit.report import Finding
from sopwith.audit.signing import known_keys
from sopwith.audit.verify import verify_all, verify_run
from sopwith.ports import KeptCheckpoint, LogEnd, LogEntry


class ListedLog:
    """Log and Seals over entries and checkpoints that a test changes at will."""

    def __init__(self, ledger: Ledger) -> None:
        self.all = list(ledger.log.entries(0, 10_000))
        self.kept = list(ledger.log.checkpoints(0, 10_000))
        self.stones = list(ledger.log.tombstones())
        self.high_water = len(self.all)
        self.contents: dict[str, bytes | None] = {}
        self._content = ledger.store.content
        self._keys = known_keys(ledger.folder / "keys")

    def reading(self) -> AbstractContextManager[object]:
        return nullcontext()

    def leaves(self, after_position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        return [(entry.position, entry.hash) for entry in self.entries(after_position, limit)]

    def entries(self, after_position: int, limit: int) -> Sequence[LogEntry]:
        return [entry for entry in self.all if entry.position > after_position][:limit]

    def run_entries(self, run_id: str, after_seq: int, limit: int) -> Sequence[LogEntry]:
        found = (entry for entry in self.all if entry.run_id == run_id and entry.seq > after_seq)
        return sorted(found, key=lambda entry: entry.seq)[:limit]

    def end(self) -> LogEnd:
        return LogEnd(self.high_water)

    def checkpoints(self, after_size: int, limit: int) -> Sequence[KeptCheckpoint]:
        return [kept for kept in self.kept if kept.size > after_size][:limit]

    def newest_checkpoint(self) -> Any: ...

    def keep_checkpoint(self, checkpoint: KeptCheckpoint) -> Any: ...

    def tombstones(self) -> Sequence[bytes]:
        return self.stones

    def drop_payloads(self, runs: object, line: bytes) -> Any: ...

    def content(self, digest: str) -> bytes | None:
        if digest not in self.contents:
            self.contents[digest] = self._content(digest)
        return self.contents[digest]

    def change(self, index: int, **fields: Any) -> None:
        self.all[index] = msgspec.structs.replace(self.all[index], **fields)

    def first_bad(self, run_id: str | None = None) -> Finding | None:
        if run_id is None:
            return verify_all(self, self, self.content, keys=lambda: self._keys).first_bad
        return verify_run(run_id, self, self, self.content, keys=lambda: self._keys).first_bad
