"""Triggers as people and programs see them: what is armed, what an event would start, and what became of deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from sopwith.core.instant import iso
from sopwith.core.procedure import Procedure, Trigger, TriggerType
from sopwith.core.schedule import explain, times_after
from sopwith.core.scope import scope_of_event
from sopwith.core.trigger_events import BadEvent, decode_event, encode_event, new_event
from sopwith.core.triggers import (
    Outcome,
    admission_of,
    match,
    max_queued_of,
    misfire_of,
    name_of,
    said,
    scheme_of,
    secret_variables,
)
from sopwith.engine.documents import trigger_definition
from sopwith.engine.hooks import run_of
from sopwith.engine.library import Library
from sopwith.errors import BadRequest, Severity, SopwithError
from sopwith.ports import Delivery

Document = dict[str, Any]


def triggers_document(library: Library, environ: Mapping[str, str], now: datetime) -> Document:
    """`{triggers, problems}`: every trigger of the workspace, and the procedures whose triggers start nothing."""
    triggers: list[Document] = []
    problems: list[Document] = []
    entries, _ = library.entries()
    for entry in entries:
        try:
            parsed = library.read(entry)
        except SopwithError as error:
            problems.append({"sopName": entry.name, "message": error.message})
            continue
        if parsed.procedure is None:
            first = next(problem for problem in parsed.problems if problem.severity is Severity.ERROR)
            problems.append({"sopName": entry.name, "message": f"it has errors: {first}"})
            continue
        procedure = parsed.procedure
        triggers += [_trigger_document(procedure, each, environ, now) for each in procedure.triggers]
    return {"triggers": triggers, "problems": problems}


def _trigger_document(procedure: Procedure, trigger: Trigger, environ: Mapping[str, str], now: datetime) -> Document:
    document: Document = {"sopName": procedure.name, "trigger": name_of(trigger), **trigger_definition(trigger)}
    if trigger.type == TriggerType.MANUAL:
        return document
    document |= {"admission": admission_of(trigger), "maxQueued": max_queued_of(trigger)}
    match TriggerType(trigger.type):
        case TriggerType.WEBHOOK:
            variables = secret_variables(trigger)
            document["url"] = f"/hooks{trigger.path}"
            document["scheme"] = scheme_of(trigger) if variables else "api-token"
            document["unset"] = [name for name in variables if not environ.get(name)]
        case TriggerType.CRON:
            expression, timezone = said(trigger.expression, ""), said(trigger.timezone, "UTC")
            upcoming = next(times_after(expression, timezone, now), None)
            document["words"] = explain(expression)
            document["timezone"] = timezone
            document["misfire"] = misfire_of(trigger)
            document["nextAt"] = None if upcoming is None else iso(upcoming)
    return document


def read_event(data: bytes, now: datetime) -> dict[str, Any]:
    """The event of a file: `{"type": "webhook", "body": …}`; what it lacks of id and time is filled in.

    Raises BadRequest.
    """
    try:
        stated = decode_event(data)
        kinds = [kind.value for kind in TriggerType if kind is not TriggerType.MANUAL]
        if stated.get("type") not in kinds:
            raise BadEvent(f'it needs "type", one of {", ".join(kinds)}')
        event = {**new_event(TriggerType(stated["type"]), "test", now), **stated}
        encode_event(event)
    except BadEvent as error:
        raise BadRequest(
            f"the event cannot be read: {error}", hint='such as {"type": "webhook", "path": "/deploy", "body": {}}'
        ) from None
    known = {name.removeprefix("event.") for name in scope_of_event(event["type"])}
    if unknown := sorted(event.keys() - known):
        raise BadRequest(
            f"an event of type {event['type']} has no {', '.join(unknown)}",
            hint=f"it may have {', '.join(sorted(known))}",
        )
    return event


Admission = Callable[[Trigger, dict[str, Any]], Document]
"""What would become of a run of this trigger with these parameters, as limits are now: `{outcome, reason?, …}`."""


def foresight_document(procedure: Procedure, event: Mapping[str, Any], admission: Admission | None = None) -> Document:
    """`{wouldStart, triggers}`: what the event would start, and why not. Starts nothing.

    `admission`: None where no run was ever made, and limits stand in the way of none.
    """
    answers = [
        _foreseen(procedure, each, event, admission) for each in procedure.triggers if each.type != TriggerType.MANUAL
    ]
    return {
        "sopName": procedure.name,
        "event": dict(event),
        "wouldStart": any(each["wouldStart"] for each in answers),
        "triggers": answers,
    }


def _foreseen(
    procedure: Procedure, trigger: Trigger, event: Mapping[str, Any], admission: Admission | None
) -> Document:
    document: Document = {"trigger": name_of(trigger), "wouldStart": False}
    if (reason := next(_not_meant(trigger, event), None)) is not None:
        return {**document, "reason": reason}
    matched = match(procedure, trigger, event)
    if matched.outcome is not None:
        return {**document, "outcome": matched.outcome, "reason": matched.reason}
    found = {"outcome": Outcome.STARTED} if admission is None else admission(trigger, matched.params)
    return {**document, "wouldStart": found["outcome"] is not Outcome.REFUSED, "params": matched.params, **found}


def _not_meant(trigger: Trigger, event: Mapping[str, Any]) -> Iterator[str]:
    """Why the event would not come to this trigger at all."""
    if trigger.type != event["type"]:
        yield f"the event is of type {event['type']}"
        return
    match TriggerType(trigger.type):
        case TriggerType.WEBHOOK:
            if event.get("path", trigger.path) != trigger.path:
                yield f"the event came to {event['path']}"
        case TriggerType.FILESYSTEM:
            from sopwith.core.globs import matches
            from sopwith.core.triggers import CHANGES

            if "path" in event and not matches(trigger.path or "", str(event["path"])):
                yield f"{event['path']} is not what it watches"
            if event.get("change", CHANGES[0]) not in said(trigger.events, CHANGES):
                yield f"{event['change']} is not among its events"
        case TriggerType.PROCEDURE:
            from sopwith.core.triggers import ENDS

            if event.get("procedure", trigger.procedure) != trigger.procedure:
                yield f"the event is the end of {event['procedure']}"
            if event.get("status", said(trigger.status, ENDS)[0]) not in said(trigger.status, ENDS):
                yield f"{event['status']} is not among its statuses"


def delivery_document(delivery: Delivery, *, with_event: bool = False) -> Document:
    """A delivery and what became of it; `outcome` waiting: nobody has carried it out yet."""
    document = {
        "number": delivery.number,
        "sopName": delivery.procedure,
        "trigger": delivery.trigger,
        "deliveryId": delivery.delivery,
        "receivedAt": iso(delivery.received_at),
        "outcome": delivery.outcome or "waiting",
        "reason": delivery.reason,
        "runId": run_of(delivery),
        "settledAt": None if delivery.settled_at is None else iso(delivery.settled_at),
    }
    if with_event:
        document["event"] = {"untrusted": True, "content": msgspec.json.decode(delivery.event)}
    return document
