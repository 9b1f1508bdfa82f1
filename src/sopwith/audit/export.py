"""Writes the records of some runs so that somebody else can read and verify them without us (`tools/verify_audit.py`).

What is written is what the store holds, right or wrong: a bundle of a record that was changed does not verify.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from sopwith.audit.bundle import README, Bundle, event_line
from sopwith.audit.chain import Content
from sopwith.audit.checkpoints import Checkpointer
from sopwith.audit.merkle import Range, collect, consistency_plan, inclusion_plan
from sopwith.audit.page import Record, page
from sopwith.audit.statements import Buried, Checkpoint, Manifest, Signer, Tombstone, line_of, read, signed
from sopwith.core.instant import iso
from sopwith.core.procedure import canonical
from sopwith.errors import NotFound, StoreError
from sopwith.ports import Log, LogEntry, Seals

_PAGE = 1000
_NEWEST_CHECKPOINTS = 64
_FOLDERS = {
    "run_created": (("procedures", "procedureDigest"), ("triggers", "eventDigest")),
    "approval_requested": (("envelopes", "digest"),),
}
"""Where the contents go that events of a type refer to, and under which key."""


class Exported(msgspec.Struct, frozen=True):
    """What a bundle holds. `failures`: places that its checkpoint could not be copied to."""

    folder: Path
    runs: int
    events: int
    checkpoint: Checkpoint
    failures: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The JSON form, without the folder."""
        return {
            "runs": self.runs,
            "events": self.events,
            "logSize": self.checkpoint.size,
            "signedAt": self.checkpoint.timestamp,
            "publicKey": self.checkpoint.public_key,
        }


class Exporter:
    """Makes bundles from a log; each takes a checkpoint first, so that every event is signed for."""

    def __init__(self, log: Log, seals: Seals, content: Content, signer: Signer, checkpointer: Checkpointer) -> None:
        self._log = log
        self._seals = seals
        self._content = content
        self._signer = signer
        self._checkpointer = checkpointer

    def export(self, folder: Path, run_ids: Sequence[str], *, now: datetime, sizes: Iterable[int] = ()) -> Exported:
        """Writes the bundle. `sizes` are those of checkpoints that the reader holds and wants proofs from.

        The newest checkpoints of the store have proofs anyway. Raises NotFound, BadRequest, WorkspaceError, and
        StoreError for a log with a gap.
        """
        self._checkpointer.take(now)
        failures = self._checkpointer.failures
        with self._log.reading():
            checkpoint = self._newest()
            runs = [self._entries(run_id, checkpoint.size) for run_id in dict.fromkeys(run_ids)]
            bundle = Bundle(folder)
            bundle.write("events.jsonl", b"".join(event_line(entry) for entries in runs for entry in entries))
            bundle.write("checkpoint.json", line_of(checkpoint) + b"\n")
            bundle.write("proofs.json", self._proofs([entries[-1] for entries in runs], checkpoint.size, set(sizes)))
            contents = self._write_contents(bundle, runs)
            self._write_tombstones(bundle, runs)
        records = [Record(str(entries[0].run_id), entries) for entries in runs]
        bundle.write("index.html", page(records, contents, checkpoint).encode())
        bundle.write("README.txt", README.encode())
        manifest = signed(Manifest, self._signer, timestamp=iso(now), files=bundle.files)
        bundle.write("bundle.json", line_of(manifest) + b"\n")
        return Exported(folder, len(runs), sum(map(len, runs)), checkpoint, failures)

    def _newest(self) -> Checkpoint:
        kept = self._seals.newest_checkpoint()
        if kept is None:
            raise NotFound("there is nothing to export: no event was ever recorded")
        return read(Checkpoint, kept.line)

    def _entries(self, run_id: str, size: int) -> list[LogEntry]:
        """The run up to what the checkpoint covers."""
        found: list[LogEntry] = []
        while batch := self._log.run_entries(run_id, found[-1].seq if found else 0, _PAGE):
            found += batch
        covered = [entry for entry in found if entry.position <= size]
        if not covered:
            raise NotFound(f"no run is called {run_id}", hint="sop history shows all runs")
        return covered

    def _proofs(self, last: list[LogEntry], size: int, sizes: set[int]) -> bytes:
        older = sorted(each for each in {*sizes, *_some(list(self._checkpoint_sizes()))} if 0 < each <= size)
        inclusion = {entry.position: inclusion_plan(entry.position - 1, size) for entry in last}
        consistency = {each: consistency_plan(each, size) for each in older}
        wanted = [part for plan in (*inclusion.values(), *consistency.values()) for part in plan]
        hashes = collect(self._leaves(size), wanted)
        return canonical(
            {
                "runs": [
                    {
                        "runId": entry.run_id,
                        "lastSeq": entry.seq,
                        "position": entry.position,
                        "proof": _hex(inclusion[entry.position], hashes),
                    }
                    for entry in last
                ],
                "consistency": [{"size": each, "proof": _hex(consistency[each], hashes)} for each in older],
            }
        )

    def _checkpoint_sizes(self) -> Iterator[int]:
        size = 0
        while batch := self._seals.checkpoints(size, _PAGE):
            yield from (kept.size for kept in batch)
            size = batch[-1].size

    def _leaves(self, size: int) -> Iterator[bytes]:
        position = 0
        while position < size:
            batch = self._log.leaves(position, min(_PAGE, size - position))
            if not batch or batch[-1][0] != position + len(batch):
                raise StoreError("cannot export: the log has a gap", hint="see: sop audit --verify-all")
            yield from (digest for _position, digest in batch)
            position = batch[-1][0]

    def _write_contents(self, bundle: Bundle, runs: list[list[LogEntry]]) -> dict[str, bytes]:
        written: dict[str, bytes] = {}
        for entry in (entry for entries in runs for entry in entries):
            if entry.payload is None or entry.event_type not in _FOLDERS:
                continue
            details = msgspec.json.decode(entry.payload)["details"]
            for folder, key in _FOLDERS[entry.event_type]:
                digest = str(details.get(key, ""))
                data = self._content(digest)
                if data is not None and digest not in written:
                    written[digest] = data
                    bundle.write(f"{folder}/{digest}.json", data)
        return written

    def _write_tombstones(self, bundle: Bundle, runs: list[list[LogEntry]]) -> None:
        """Only the entries of these runs' tombstones are anybody's business, but a signature covers them all."""
        dropped = {entries[0].run_id for entries in runs if any(entry.payload is None for entry in entries)}
        lines = [line for line in self._seals.tombstones() if dropped & {run.run_id for run in _buried(line)}]
        if lines:
            bundle.write("tombstones.jsonl", b"".join(line + b"\n" for line in lines))


def _some(sizes: list[int]) -> set[int]:
    """The newest, and ever fewer of the older ones: somebody who kept a few over time finds one of theirs."""
    return {*sizes[-_NEWEST_CHECKPOINTS:], *(sizes[-(1 << bit)] for bit in range(len(sizes).bit_length()))}


def _buried(line: bytes) -> tuple[Buried, ...]:
    return read(Tombstone, line).runs


def _hex(plan: tuple[Range, ...], hashes: dict[Range, bytes]) -> list[str]:
    return [hashes[part].hex() for part in plan]
