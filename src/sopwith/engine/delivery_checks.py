"""Whether what deliveries brought is there, and what it was when it was accepted: for `sop doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from sopwith.core.instant import iso
from sopwith.core.procedure import sha256
from sopwith.core.trigger_events import BadEvent, decode_event
from sopwith.core.triggers import Outcome
from sopwith.engine.runs import Runs
from sopwith.errors import SopwithError
from sopwith.ports import Deliveries, Delivery

_PAGE = 50
_ALL = 2**62


def examine_deliveries(deliveries: Deliveries, runs: Runs) -> Iterator[tuple[str, str]]:
    """What is wrong with deliveries: a sentence and a hint."""
    before = _ALL
    while page := deliveries.newest(before, _PAGE):
        for delivery in page:
            if (wrong := why_unfit(delivery) or _differs(delivery, runs)) is not None:
                yield f"what {_named(delivery)} brought {wrong}", _hint(delivery)
        before = page[-1].number


def why_unfit(delivery: Delivery) -> str | None:
    """What is wrong with what it brought, in words; None if nothing is."""
    if not delivery.event:
        return "is lost"
    if not delivery.is_whole:
        return "is not what was accepted"
    try:
        decode_event(delivery.event)
    except BadEvent as error:
        return f"cannot be read: {error}"
    return None


def _differs(delivery: Delivery, runs: Runs) -> str | None:
    """Whether the record of the run that it made names another event."""
    if delivery.outcome not in (Outcome.STARTED, Outcome.QUEUED):
        return None
    try:
        run = runs.load(delivery.run_id).run
    except SopwithError:
        return None  # it was dropped, or is told of by itself
    return None if run.event_digest == sha256(delivery.event) else f"is not what {run.run_id} was started by"


def _named(delivery: Delivery) -> str:
    what = f"{delivery.procedure}, {delivery.trigger}, {iso(delivery.received_at)}"
    return f"delivery {delivery.number} ({what})"


def _hint(delivery: Delivery) -> str:
    if not delivery.outcome:
        return "no run is made of it: ask whoever sent it to send it again, under another id"
    if delivery.outcome in (Outcome.STARTED, Outcome.QUEUED):
        return f"its run has an event of its own: sop status {delivery.run_id} --json shows it"
    return "nothing is made of it any more: keep a copy of runs.db, and find out who could write to it"
