"""What a verification found: how much was looked at, how far it is proven, and the first thing that is wrong."""

from __future__ import annotations

from typing import Any

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The first bad event, as exactly as it can be told.

    `run_id` and `seq` are None where what is left does not tell them; with `to_position` it is about several events,
    or one of several that no hash tells apart. All are None if a checkpoint or a tombstone itself is wrong.
    """

    what: str
    position: int | None = None
    to_position: int | None = None
    run_id: str | None = None
    seq: int | None = None

    def __str__(self) -> str:
        if self.position is None:
            return self.what
        if self.to_position is not None and self.to_position != self.position:
            return f"events {self.position} to {self.to_position} of the log: {self.what}"
        named = "" if self.run_id is None else f" (event {self.seq} of {self.run_id})"
        return f"event {self.position} of the log{named}: {self.what}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`events` counts those that were looked at: all, if nothing is wrong.

    `log_size`: so many events the log has. `signed_size`: so many are covered by a checkpoint in the store;
    `trusted_size`: by one from outside the workspace. What lies beyond is held together by its chain alone.
    """

    events: int
    runs: int
    dropped: int
    """Events whose payload retention took, under a valid tombstone."""
    checkpoints: int
    signed_size: int
    trusted_size: int
    log_size: int = 0
    reached: dict[str, int] = msgspec.field(default_factory=dict)
    """For each copy of the checkpoints that was compared, the greatest size at which it agreed."""
    first_bad: Finding | None = None

    @property
    def fine(self) -> bool:
        return self.first_bad is None

    @property
    def unsigned(self) -> int:
        """How many events came after the newest checkpoint."""
        return max(0, self.log_size - max([self.signed_size, *self.reached.values()]))

    def document(self) -> dict[str, Any]:
        """The JSON form, camelCase."""
        bad = self.first_bad
        return {
            "fine": self.fine,
            "events": self.events,
            "runs": self.runs,
            "dropped": self.dropped,
            "checkpoints": self.checkpoints,
            "signedSize": self.signed_size,
            "trustedSize": self.trusted_size,
            "logSize": self.log_size,
            "unsigned": self.unsigned,
            "firstBad": None
            if bad is None
            else {
                "position": bad.position,
                "toPosition": bad.to_position,
                "runId": bad.run_id,
                "seq": bad.seq,
                "what": str(bad),
            },
        }
