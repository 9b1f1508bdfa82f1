"""Whether a batch may follow what is stored. Every store asks this, inside its transaction."""

from __future__ import annotations

from itertools import pairwise

from sopwith.core.codec import NO_HASH
from sopwith.errors import Conflict
from sopwith.ports import Batch, RunSummary


def check_new(batch: Batch, name: str, group: str, *, exists: bool) -> None:
    """Whether the batch can begin a run of `name` in this group. Raises Conflict if there is such a run already."""
    run_id = batch.summary.run_id
    _check_whole(batch, run_id, name, group)
    if exists:
        raise Conflict(f"cannot create {run_id}: there is a run of this id already", hint=f"see: sop status {run_id}")
    if batch.events[0].seq != 1 or batch.events[0].prev_hash != NO_HASH:
        raise Conflict(f"cannot create {run_id}: its first event has seq {batch.events[0].seq}, not 1, or a past")


def check_next(batch: Batch, after_seq: int, stored: RunSummary, *, head: str) -> None:
    """Whether the batch continues the run that is stored and ends in `head`. Raises Conflict if not."""
    run_id, seq = stored.run_id, stored.seq
    _check_whole(batch, run_id, stored.name, stored.concurrency_group)
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


def _check_whole(batch: Batch, run_id: str, name: str, group: str) -> None:
    """Raises ValueError for a batch that no engine should have made."""
    if not batch.events:
        raise ValueError("a batch has at least one event")
    for one, next_one in pairwise(batch.events):
        if next_one.seq != one.seq + 1 or next_one.prev_hash != one.hash:
            raise ValueError(f"events {one.seq} and {next_one.seq} of {run_id} are no chain")
    summary = batch.summary
    if (summary.run_id, summary.name, summary.seq) != (run_id, name, batch.events[-1].seq):
        raise ValueError(f"the summary of {summary.run_id} does not belong to events of {run_id} ({name})")
    if summary.concurrency_group != group:
        raise ValueError(f"{run_id} is of the concurrency group {group!r}, not {summary.concurrency_group!r}")
