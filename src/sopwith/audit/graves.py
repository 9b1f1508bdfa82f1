"""Which payloads may be missing: what the valid tombstones say."""

from __future__ import annotations

from collections.abc import Iterable

from sopwith.audit.statements import BadStatement, Buried, Tombstone, read


class Graves:
    """The runs under valid tombstones. Those that are not valid, or not signed by a known key, bury nothing."""

    def __init__(self, lines: Iterable[bytes], keys: frozenset[str]) -> None:
        self._runs: dict[str, Buried] = {}
        self.problems: list[str] = []
        for number, line in enumerate(lines, start=1):
            try:
                tombstone = read(Tombstone, line)
                if tombstone.public_key not in keys:
                    raise BadStatement(f"it is signed by {tombstone.origin}, which is no key of this workspace")
            except BadStatement as error:
                self.problems.append(f"tombstone {number} is not valid: {error}")
            else:
                self._runs.update((run.run_id, run) for run in tombstone.runs)

    def covers(self, run_id: str, seq: int) -> bool:
        """Whether the payload of this event may be missing."""
        run = self._runs.get(run_id)
        return run is not None and run.first_seq <= seq <= run.last_seq

    def contradicts(self, run_id: str, seq: int, digest: bytes) -> bool:
        """Whether the tombstone names another hash for this event."""
        run = self._runs.get(run_id)
        return run is not None and run.last_seq == seq and run.head != digest.hex()
