"""`due(run)`: what the world owes the run. The driver carries an item out and brings the result back as a command.

Between two items any driver can go on; nothing of this list is remembered anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from functools import wraps
from typing import TYPE_CHECKING

import msgspec

from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId
from sopwith.core.approvers import gate_of
from sopwith.core.gates import is_gated, needs_start_gate
from sopwith.core.instant import Instant
from sopwith.core.run import (
    GateStatus,
    Rollback,
    Run,
    StepState,
    StepStatus,
    asks_items,
    busy_processes,
    gate_left_ms,
    has_room,
    held_back,
    is_child,
    is_running_out,
    is_wait,
    may_start,
    may_verify,
    open_gates,
    run_left_ms,
    run_times_out_at,
    running_processes,
    starts_nothing,
    takes_a_process,
    time_left_ms,
    times_out_at,
)

if TYPE_CHECKING:
    from sopwith.core import commands as cmd


class DueKind(StrEnum):
    ADMIT = "admit"
    """Ask the limits for a slot."""
    OPEN_GATE = "open_gate"
    """Make the envelope and ask for approval; step None is the start gate."""
    START_STEP = "start_step"
    """Record the intent, then start."""
    WATCH_STEP = "watch_step"
    """A process was started; see how it ends."""
    VERIFY = "verify"
    """The step was reported done; record the intent to verify that, then do."""
    STOP_STEP = "stop_step"
    """The run is being cancelled or stopped, or its time is up; end the process."""
    EXPIRE_GATE = "expire_gate"
    """At the deadline, and not before, settle the gate."""
    EVALUATE = "evaluate"
    """Ask the step's own condition, and for which items it is to be done."""
    TIME_OUT = "time_out"
    """The step has used up its time: end its process, or call it failed where a person carries it out."""
    END_WAIT = "end_wait"
    """The time of a wait has come."""
    TIME_OUT_RUN = "time_out_run"
    """The run has used up its time."""
    REMIND = "remind"
    """At its time, record that the gate still waits."""


AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for the time of what is due already, however a clock is set."""
_BY_ITSELF = (DueKind.START_STEP, DueKind.END_WAIT, DueKind.TIME_OUT)


class Due(msgspec.Struct, frozen=True):
    """One item. `at` None means now; `revision` names the gate that expires."""

    kind: DueKind
    step: StepId | None = None
    at: datetime | None = None
    revision: int = 0


def _once_for_each_state(ask: Callable[[Run], tuple[Due, ...]]) -> Callable[[Run], tuple[Due, ...]]:
    """The same question, which keeps its latest answer: of one state of a run it is asked many times in a row."""
    latest: tuple[Run | None, tuple[Due, ...]] = (None, ())

    @wraps(ask)
    def answer(run: Run) -> tuple[Due, ...]:
        nonlocal latest
        known, items = latest
        if known is not run:
            items = ask(run)
            latest = (run, items)
        return items

    return answer


@_once_for_each_state
def due(run: Run) -> tuple[Due, ...]:
    """Everything owed, in the order in which it is best carried out."""
    if run.ended is not None:
        return ()
    if run.queued:
        return (Due(DueKind.ADMIT),)
    watched = running_processes(run)
    if run.cancel_requested or is_running_out(run):
        return tuple(Due(DueKind.STOP_STEP, number) for number in watched)
    # a child run that rests is nobody's to drive: whoever lets it go on tells this run first
    watching = (
        *_of_run(run),
        *(Due(_looked_after(run, number), number) for number in busy_processes(run)),
        *_time_outs(run),
        *_verifications(run),
    )
    if run.paused or starts_nothing(run):
        return watching
    if run.rollback is None and not may_start(run):
        return _before_start(run)
    if run.rollback is not None:
        return watching or _of_rollback(run, run.rollback)
    room = has_room(run)
    held = held_back(run)
    coming = (step for step in run.live if step.number not in held)
    owed = [item for step in coming if (item := _next(run, step, room=room)) is not None]
    return (*owed, *watching, *_expiries(run), *_reminders(run))


def _looked_after(run: Run, number: StepId) -> DueKind:
    """A pause may end processes; a child run is told of it, and ends its own."""
    return DueKind.STOP_STEP if run.stopping and not is_child(run, number) else DueKind.WATCH_STEP


def ready(items: Iterable[Due], now: datetime) -> tuple[Due, ...]:
    """Those whose time has come."""
    return tuple(item for item in items if item.at is None or item.at <= now)


def ready_now(run: Run, now: Instant) -> tuple[Due, ...]:
    """All that is due now. Limits, lengths and delays count by the boot clock, which nobody sets."""
    items = due(run)
    timed = {item: left for item in items if (left := left_ms(run, item, now)) is not None}
    by_wall = ready((item for item in items if item not in timed), now.at)
    by_boot = tuple(item for item, left in timed.items() if left <= 0)
    # a run whose time is up begins nothing that came due meanwhile
    last = tuple(item for item in by_boot if item.kind is DueKind.TIME_OUT_RUN)
    return last or (*by_wall, *by_boot)


def left_ms(run: Run, item: Due, now: Instant) -> int | None:
    """How much time an item has that counts by the boot clock; None: it does not."""
    if item.kind is DueKind.TIME_OUT_RUN:
        return run_left_ms(run, now)
    if item.kind is DueKind.REMIND:
        gate = gate_of(run, item.step)
        return None if gate is None or item.at is None else gate_left_ms(gate, item.at, now)
    if item.kind not in (DueKind.TIME_OUT, DueKind.END_WAIT, DueKind.START_STEP) or item.step is None:
        return None
    return time_left_ms(run, run.steps[item.step], now)


def at_rest(run: Run) -> bool:
    """Whether nothing can be carried out now: the run has ended, or waits for a person or a deadline."""
    return all(item.at is not None for item in due(run))


def settling(item: Due, now: Instant) -> cmd.Expire | cmd.Remind | cmd.TimeOutRun:
    """The command that records what a clock has brought: a gate's deadline or reminder, or the limit of the run."""
    from sopwith.core import commands as cmd  # whoever only looks at what is due makes no command

    if item.kind is DueKind.TIME_OUT_RUN:
        return cmd.TimeOutRun(actor=SYSTEM, now=now)
    verb = cmd.Expire if item.kind is DueKind.EXPIRE_GATE else cmd.Remind
    return verb(actor=SYSTEM, now=now, step=item.step, revision=item.revision)


def is_left(run: Run, now: datetime) -> bool:
    """Whether something is to be carried out that no person need decide, now or already since its time came."""
    at = left_at(due(run))
    return at is not None and at <= now


def left_at(items: Iterable[Due]) -> datetime | None:
    """Since when, or from when on, something of these is to be carried out that no person need decide.

    None: nothing is before somebody changes the run.
    """
    times = (item.at or AT_ONCE for item in items if item.at is None or item.kind in _BY_ITSELF)
    return min(times, default=None)


def waits_by_itself(run: Run) -> bool:
    """Whether the run goes on by itself after a while: a wait, or the next try of a step."""
    return any(item.kind in (DueKind.START_STEP, DueKind.END_WAIT) for item in due(run))


def next_due_at(run: Run) -> datetime | None:
    """The earliest time of all that is due at a time; None where nothing is."""
    return first_at(due(run))


def first_at(items: Iterable[Due]) -> datetime | None:
    """The earliest time of those that are due at a time; None where none is."""
    return min((item.at for item in items if item.at is not None), default=None)


def overdue(run: Run, now: datetime) -> tuple[Due, ...]:
    """The deadlines that have passed and that nobody has settled yet: of gates, and of the run as a whole."""
    return ready((*_of_run(run), *_expiries(run)), now) if run.ended is None and not run.paused else ()


def _before_start(run: Run) -> tuple[Due, ...]:
    gate = run.start_gate
    if needs_start_gate(run.mode) and (gate is None or gate.status is not GateStatus.OPEN):
        return (Due(DueKind.OPEN_GATE, None),)
    return (*_expiries(run), *_reminders(run))


def _next(run: Run, step: StepState, *, room: bool) -> Due | None:
    if step.status is StepStatus.WAITING:
        if step.tries and is_wait(run, step.number):
            return Due(DueKind.END_WAIT, step.number, step.wake_at)
        return Due(DueKind.START_STEP, step.number, step.wake_at) if room else None
    if step.status is not StepStatus.PENDING:
        return None
    asks = run.procedure.step(step.number).condition is not None and step.condition_held is None
    if asks or asks_items(run, step):
        return Due(DueKind.EVALUATE, step.number)
    if is_gated(run, step.number) and not step.gate_passed:
        return Due(DueKind.OPEN_GATE, step.number)
    return Due(DueKind.START_STEP, step.number) if room or not takes_a_process(run, step.number) else None


def _of_rollback(run: Run, rollback: Rollback) -> tuple[Due, ...]:
    """One script after another; each waits for its gate, where it has one."""
    number = rollback.left[0]
    step = run.steps[number]
    if not is_gated(run, number) or step.rollback_approved:
        return (Due(DueKind.START_STEP, number),)
    return _reminders(run) if step.gate_open else (Due(DueKind.OPEN_GATE, number),)


def _of_run(run: Run) -> tuple[Due, ...]:
    at = run_times_out_at(run)
    return () if at is None else (Due(DueKind.TIME_OUT_RUN, None, at),)


def _verifications(run: Run) -> tuple[Due, ...]:
    return tuple(Due(DueKind.VERIFY, step.number) for step in run.under_way if may_verify(run, step))


def _time_outs(run: Run) -> tuple[Due, ...]:
    # a report that came in time is verified first
    timed = ((step.number, times_out_at(run, step)) for step in run.under_way if not step.to_verify)
    return tuple(Due(DueKind.TIME_OUT, number, at) for number, at in timed if at is not None)


def _expiries(run: Run) -> tuple[Due, ...]:
    return tuple(
        Due(DueKind.EXPIRE_GATE, number, gate.due_at, gate.revision)
        for number, gate in open_gates(run)
        if gate.due_at is not None
    )


def _reminders(run: Run) -> tuple[Due, ...]:
    return tuple(
        Due(DueKind.REMIND, number, gate.remind_at[0], gate.revision)
        for number, gate in open_gates(run)
        if gate.remind_at
    )
