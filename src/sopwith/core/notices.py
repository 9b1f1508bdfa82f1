"""Which moment an event is, who is told of it, and whether it is still worth telling. Pure: rules only, no words.

What is told of it is `messages.py`'s question; when and how often it is tried, the engine's postman's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from sopwith.core import events as ev
from sopwith.core.address import StepId, address_in
from sopwith.core.approvers import approvers_of, gate_of
from sopwith.core.events import Body, EventBody
from sopwith.core.notifications import Moment, Notifications, Route
from sopwith.core.people import GROUP
from sopwith.core.procedure import Priority
from sopwith.core.run import GateStatus, Run, awaits_report

MOMENTS: dict[type[Body], Moment | None] = {
    ev.RunCreated: None,
    ev.RunQueued: None,
    ev.RunStarted: None,
    ev.RunPauseRequested: None,  # run_paused follows
    ev.RunPaused: Moment.RUN_PAUSED,
    ev.RunResumed: None,
    ev.RunTimedOut: None,  # run_failed follows
    ev.RunCancelRequested: None,
    ev.RunCancelled: Moment.RUN_FAILED,  # where its rollback failed
    ev.RunFailed: Moment.RUN_FAILED,
    ev.RunCompleted: Moment.RUN_COMPLETED,
    ev.RunRetried: None,
    ev.RollbackStarted: None,  # the end of the run tells how it went
    ev.ApprovalRequested: Moment.APPROVAL_REQUIRED,
    ev.ApprovalGranted: None,
    ev.ApprovalVoteRecorded: None,
    ev.ApprovalRejected: None,  # what it led to is told
    ev.ApprovalTimeout: Moment.APPROVAL_EXPIRED,
    ev.ApprovalEscalated: Moment.APPROVAL_ESCALATED,
    ev.ApprovalReminded: Moment.APPROVAL_REMINDER,
    ev.ApprovalPostponed: None,
    ev.ApprovalClosed: None,
    ev.ApprovalStale: None,  # the gate asks again
    ev.StepStarted: Moment.MANUAL_STEP,  # where somebody carries it out
    ev.StepExpanded: None,
    ev.ChildRunChanged: None,  # the child tells for itself
    ev.StepReported: None,
    ev.StepCompleted: Moment.STEP_COMPLETED,
    ev.StepFailed: None,  # what it led to is told
    ev.StepRolledBack: None,
    ev.StepInterrupted: None,  # run_paused follows
    ev.VerificationStarted: None,
    ev.VerificationEnded: None,
    ev.StepSkipped: None,
    ev.ConditionEvaluated: None,
    ev.StepRetryScheduled: None,
    ev.WaitStarted: None,
    ev.WaitEnded: None,
}
"""What each event may be; `moment_of` says when it is."""
NOTABLE = frozenset(str(kind.__struct_config__.tag) for kind, moment in MOMENTS.items() if moment is not None)
"""The types of events that are to be looked at."""
_OF_TYPE = {str(kind.__struct_config__.tag): moment for kind, moment in MOMENTS.items()}
_ASKING = (Moment.APPROVAL_REQUIRED, Moment.APPROVAL_REMINDER, Moment.APPROVAL_ESCALATED)


def moment_of(body: EventBody, run: Run, notifications: Notifications) -> Moment | None:
    """The moment, where it is switched on; None: nobody is told of this event."""
    moment = MOMENTS[type(body)]
    if moment not in notifications.moments:
        return None
    match body:
        case ev.StepStarted() if body.rollback or body.executor != "manual":
            return None
        case ev.RunPaused(cause="approval_timeout") if Moment.APPROVAL_EXPIRED in notifications.moments:
            return None  # told already, with what it led to
        case ev.RunCancelled() if not (body.rollback_failed or body.not_rolled_back):
            return None  # somebody wanted it so
        case ev.RunCompleted() | ev.RunFailed() | ev.RunCancelled() if run.parent is not None:
            return None  # the run around it tells what came of it
        case _:
            return moment


def moment_of_type(event_type: str) -> Moment | None:
    """What an event most likely is, where nothing but its type can be read. Steps tell too little by that."""
    moment = _OF_TYPE.get(event_type)
    return None if moment in (Moment.MANUAL_STEP, Moment.STEP_COMPLETED) else moment


def channels_for(
    moment: Moment, notifications: Notifications, *, procedure: str, priority: Priority, asked: Iterable[str]
) -> tuple[str, ...]:
    """The channels by name, in the order of the file. `asked`: the principals whom the gate asks."""
    if not notifications.routes:
        return tuple(notifications.channels)
    groups = {principal.removeprefix(GROUP) for principal in asked if principal.startswith(GROUP)}
    chosen = {
        channel
        for route in notifications.routes
        if _fits(route, moment, procedure, priority, groups)
        for channel in route.channels
    }
    return tuple(name for name in notifications.channels if name in chosen)


def _fits(route: Route, moment: Moment, procedure: str, priority: Priority, groups: set[str]) -> bool:
    return (
        (not route.moments or moment in route.moments)
        and (not route.priorities or priority in route.priorities)
        and (not route.groups or not groups.isdisjoint(route.groups))
        and (not route.procedures or any(fnmatchcase(procedure, pattern) for pattern in route.procedures))
    )


def asked_by(body: EventBody, run: Run) -> tuple[str, ...]:
    """The principals whom the gate asks that the event is about; nobody where it is about none, or asks anybody."""
    match body:
        case ev.ApprovalEscalated(to=to):
            return to
        case ev.GateBody(step_number=number) if number is None or number in run.steps:
            return approvers_of(run, number)
        case _:
            return ()


def why_stale(document: Mapping[str, Any], run: Run) -> str:
    """Why nobody need be told any more of what a message's document says; empty: it holds as it did."""
    moment = document.get("moment")
    if "stepNumber" not in document:
        return ""  # of a record that could not be read
    number = address_in(document)
    if moment in _ASKING:
        return _why_gate_is_stale(number, document.get("revision"), run)
    if moment == Moment.MANUAL_STEP:
        step = run.steps.get(number) if number is not None else None
        this = (document.get("visit"), document.get("attempt"))
        if step is None or not awaits_report(run, step) or (step.visit, step.attempt) != this:
            return "the step was reported before it left"
    if moment == Moment.RUN_PAUSED and not run.paused:
        return "the run went on, or ended, before it left"
    return ""


def _why_gate_is_stale(number: StepId | None, revision: Any, run: Run) -> str:
    known = number is None or number in run.steps
    gate = gate_of(run, number) if known else None
    if gate is None or gate.revision != revision:
        return "the gate asked anew before it left"
    if gate.status is not GateStatus.OPEN:
        return "the gate was answered before it left"
    return ""
