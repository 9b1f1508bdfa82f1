"""Whether a batch may follow what is stored. Every store asks this, inside its transaction."""

from __future__ import annotations

from itertools import pairwise

from sopwith.core.codec import NO_HASH
from sopwith.errors import Conflict
from sopwith.ports import Batch


def check_new(batch: Batch, name: str, *, exists: bool) -> None:
    """Whether the batch can begin a run of `name`. Raises Conflict if there is such a run already."""
    run_id = batch.summary.run_id
    _check_whole(batch, run_id, name)
    if exists:
        raise Conflict(f"cannot create {run_id}: there is a run of this id already", hint=f"see: sop status {run_id}")
    if batch.events[0].seq != 1 or batch.events[0].prev_hash != NO_HASH:
        raise Conflict(f"cannot create {run_id}: its first event has seq {batch.events[0].seq}, not 1, or a past")


def check_next(batch: Batch, run_id: str, after_seq: int, *, name: str, seq: int, head: str) -> None:
    """Whether the batch continues the run whose last event is `seq` with hash `head`. Raises Conflict if not."""
    _check_whole(batch, run_id, name)
    first = batch.events[0]
    if after_seq != seq:
        raise Conflict(
            f"cannot write to {run_id} after event {after_seq}: its last event is {seq}",
            hint="read the run again and decide again",
        )
    if first.seq != seq + 1:
        raise Conflict(f"cannot write event {first.seq} to {run_id} after event {seq}")
    if first.prev_hash != head:
        raise Conflict(f"cannot write event {first.seq} to {run_id}: it was made after another event {seq}")


def dropped_run(run_id: str, after_seq: int) -> Conflict:
    """The answer to a batch that was decided on a record which retention has dropped since."""
    return Conflict(
        f"cannot write to {run_id} after event {after_seq}: retention has dropped its record",
        hint=f"sop audit {run_id} shows what is left",
    )


def unknown_run(run_id: str, after_seq: int) -> Conflict:
    """The answer to a batch for a run that is not stored."""
    return Conflict(f"cannot write to {run_id} after event {after_seq}: there is no such run")


def fenced_off(run_id: str, epoch: int, newest: int) -> Conflict:
    """The answer to a writer whose claim was taken over."""
    return Conflict(
        f"cannot write to {run_id} under claim {epoch}: claim {newest} was made since",
        hint="somebody else drives this run now",
    )


def _check_whole(batch: Batch, run_id: str, name: str) -> None:
    """Raises ValueError for a batch that no engine should have made."""
    if not batch.events:
        raise ValueError("a batch has at least one event")
    for one, next_one in pairwise(batch.events):
        if next_one.seq != one.seq + 1 or next_one.prev_hash != one.hash:
            raise ValueError(f"events {one.seq} and {next_one.seq} of {run_id} are no chain")
    summary = batch.summary
    if (summary.run_id, summary.name, summary.seq) != (run_id, name, batch.events[-1].seq):
        raise ValueError(f"the summary of {summary.run_id} does not belong to events of {run_id} ({name})")
