"""Whether a run may begin now: cooldown, maxConcurrent, maxConcurrentRuns, its concurrency group.

Asked inside the store's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from sopwith.errors import CoolingDown, LimitReached


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """None: unlimited. `cooldown_secs` counts from the end of the last run that executed a step."""

    max_concurrent: int | None = None
    max_concurrent_runs: int | None = None
    cooldown_secs: int = 0
    line: frozenset[str] = frozenset()
    """The runs within which it runs: it shares the place that one of them has in its concurrency group."""
    in_queue: bool = True
    """Whether it waits its turn among those that came first: not a run within another, for which that one may hold
    the very slot that they wait for."""
    concurrency_group: str = ""
    """The group of the run that asks; empty: none."""


class Occupancy(msgspec.Struct, frozen=True, kw_only=True):
    """What the store sees in this transaction: runs that hold a slot, oldest first, and those queued before us.

    To be looked at inside the transaction: a store may read what is many only when it is looked at.
    """

    of_procedure: Sequence[str] = ()
    of_workspace: Sequence[str] = ()
    of_group: tuple[str, ...] = ()
    """Runs of the same concurrency group, of any procedure."""
    queued_before: tuple[str, ...] = ()
    """Runs of the same procedure that wait in the queue and came first, without those that their own group holds up."""
    queued_in_group: tuple[str, ...] = ()
    """Runs of the same concurrency group that wait in the queue and came first, of any procedure."""
    last_executed_end: datetime | None = None
    """When the latest run of the procedure that executed a step ended."""


def admit(name: str, limits: Limits, occupancy: Occupancy, now: datetime, *, cooldown: bool = True) -> None:
    """Returns if a run of `name` may take a slot. Raises LimitReached or CoolingDown, naming what holds it back.

    A retry passes `cooldown=False`: it continues a run that was admitted before.
    """
    _check_slots(
        f"{name} may have {limits.max_concurrent} at once",
        limits.max_concurrent,
        occupancy.of_procedure,
        "maxConcurrent",
    )
    _check_slots(
        f"this workspace may have {limits.max_concurrent_runs} at once",
        limits.max_concurrent_runs,
        occupancy.of_workspace,
        "maxConcurrentRuns",
    )
    group = f"the group {limits.concurrency_group}"
    _check_slots(
        f"{group} may have 1 run at once",
        1 if limits.concurrency_group else None,
        tuple(run_id for run_id in occupancy.of_group if run_id not in limits.line),
        "concurrencyGroup",
    )
    if limits.in_queue and limits.concurrency_group:
        _check_queue(group, occupancy.queued_in_group)
    if limits.in_queue:
        _check_queue(name, occupancy.queued_before)
    if cooldown and limits.cooldown_secs and occupancy.last_executed_end is not None:
        left = limits.cooldown_secs - (now - occupancy.last_executed_end).total_seconds()
        # after the clock was set back nobody knows how long it is; never more than the whole is asked for
        seconds_left = min(-int(-left // 1), limits.cooldown_secs)
        if seconds_left > 0:
            raise CoolingDown(
                f"{name} rests for {limits.cooldown_secs} s after a run: {seconds_left} s are left",
                hint=f"try again in {seconds_left} s",
                seconds_left=seconds_left,
            )


def rule_of(refusal: LimitReached | CoolingDown) -> str:
    """What a run has to wait for, without the runs that hold it: not everybody who sees the one may know of those."""
    holders = tuple(refusal.details.get("holders", ()))
    if not holders:
        return refusal.message
    for before in (f": {holders[0]}", f", and {holders[0]}"):
        rule, found, _ = refusal.message.rpartition(before)
        if found:
            return rule
    return "it waits for others"


def _check_queue(whose: str, queued_before: tuple[str, ...]) -> None:
    if not queued_before:
        return
    first = queued_before[0]
    raise LimitReached(
        f"{whose} has a queue, and {first} came first",
        hint=f"sop resume {first} continues it, sop cancel {first} gives up its place",
        holders=queued_before,
    )


def _check_slots(rule: str, limit: int | None, holders: Sequence[str], key: str) -> None:
    if limit is None or len(holders) < limit:
        return
    shown = ", ".join(holders[:3]) + (f" and {len(holders) - 3} more" if len(holders) > 3 else "")
    verb = "holds" if len(holders) == 1 else "hold"
    raise LimitReached(
        f"{rule} ({key}): {shown} {verb} the slot" + ("s" if limit > 1 else ""),
        hint=f"wait for it, cancel it (sop cancel {holders[0]}), or queue this one (sop run --queue)",
        holders=tuple(holders),
    )
