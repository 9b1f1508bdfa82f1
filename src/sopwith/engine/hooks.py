"""Webhooks in: what arrived at `/hooks` + path, what is believed of it, and what to answer.

A door hands over the path below `/hooks`, the headers, the query and the raw body as they came, and what a token of the
call may start, if there is one; it sends back what `receive` answers. Nothing is parsed before it is believed, and
nothing is acknowledged before it is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.people import Directory, check_runner
from sopwith.core.procedure import AdmissionRule, TriggerType
from sopwith.core.request import run_id_of
from sopwith.core.trigger_events import BadEvent, EventTooLarge, encode_event, kept_headers, new_event, read_body
from sopwith.core.triggers import (
    MAX_EVENT_BYTES,
    Outcome,
    admission_of,
    caller_in_event,
    match,
    request_for,
    secret_variables,
)
from sopwith.core.webhooks import Proof, Signed, delivery_of_caller, verify
from sopwith.engine.armed import Armed
from sopwith.engine.intake import Intake
from sopwith.engine.library import Library
from sopwith.engine.parts import Parts
from sopwith.errors import SopwithError
from sopwith.ports import Accepted, Deliveries, Delivery, NewDelivery

PATIENCE_SECS = 2.0
"""So long an answer waits for what limits say, where the trigger rejects or coalesces."""
RETRY_SECS = 10
"""When a sender may try again that was told to come later."""


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrived. `path` is what the URL has below /hooks, and begins with a slash; `body` its bytes."""

    path: str
    headers: Sequence[tuple[str, str]]
    query: Sequence[tuple[str, str]] = ()
    body: bytes = b""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The status, the JSON document, and headers besides."""

    status: int
    document: Mapping[str, Any]
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever a call's API token stands for. `may_start`: whether it may start the procedure of this name."""

    actor: Actor
    may_start: Callable[[str], bool]


def caller_of(library: Library, actor: Actor) -> Caller:
    """What this actor may start, as it is asked of everybody who starts a procedure."""

    def may_start(name: str) -> bool:
        try:
            check_runner(library.procedure(name), actor, Directory(library.config()))
        except SopwithError:
            return False
        return True

    return Caller(actor=actor, may_start=may_start)


class Refusal(msgspec.Struct, frozen=True):
    """A webhook that was not believed: at which trigger, and why, for our own log and nobody else."""

    procedure: str
    trigger: str
    reason: str


class Hooks:
    """`refused` hears of what was not believed, `told` of what nothing comes of. `carry_out`: wakes the clerk.

    `armed`: None as long as no procedure was read.
    """

    def __init__(
        self,
        parts: Parts,
        deliveries: Deliveries,
        intake: Intake,
        *,
        armed: Callable[[], Sequence[Armed] | None],
        refused: Callable[[Refusal], None],
        told: Callable[[Delivery], None],
        carry_out: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._deliveries = deliveries
        self._intake = intake
        self._armed = armed
        self._refused = refused
        self._told = told
        self._carry_out = carry_out
        self._waiters: dict[int, list[asyncio.Future[Delivery]]] = {}

    async def receive(self, hook: Hook, *, caller: Caller | None = None) -> Answer:
        """What to answer. `caller`: None where the call has no API token that holds; it may hold a webhook's own."""
        if len(hook.body) > MAX_EVENT_BYTES:
            return _problem(
                413, "too_large", f"a webhook may have {MAX_EVENT_BYTES // 1024} KiB, and this one has more"
            )
        armed = self._armed()
        if armed is None:
            # whoever sends it tries again, as nobody does after a 404
            return _problem(503, "busy", "the server has only just begun", {"Retry-After": "1"})
        there = [each for each in armed if each.trigger.type == TriggerType.WEBHOOK]
        there = [each for each in there if each.trigger.path == hook.path]
        signed = Signed(headers=_joined(hook.headers), body=hook.body)
        proven = [(armed, proof) for armed in there if (proof := self._proof(armed, signed, caller)) is not None]
        if not proven:
            if caller is None or any(secret_variables(each.trigger) for each in there):
                return _problem(401, "not_proven", "the call is not proven", {"WWW-Authenticate": "Bearer"})
            return _problem(404, "not_found", "no webhook that you may call is at this path")
        try:
            body = read_body(hook.body, signed.headers.get("content-type", ""))
            new = [self._delivery(armed, proof, hook, signed, body, caller) for armed, proof in proven]
        except EventTooLarge as error:
            return _problem(413, "too_large", str(error))
        except BadEvent as error:
            return _problem(400, "bad_event", str(error))
        accepted = await self._intake.accept(new)
        if accepted is None:
            return _problem(
                503, "too_many", "too many deliveries wait to be carried out", {"Retry-After": str(RETRY_SECS)}
            )
        for each in accepted:
            if each.is_new and each.delivery.outcome:
                self._told(each.delivery)
        self._carry_out()
        rules = [admission_of(armed.trigger) for armed, _ in proven]
        return _answer([await self._known(each, rule) for each, rule in zip(accepted, rules, strict=True)])

    def settled(self, delivery: Delivery) -> None:
        """The clerk has carried it out: whoever waits for that is told. Called in the loop."""
        for waiter in self._waiters.pop(delivery.number, ()):
            if not waiter.done():
                waiter.set_result(delivery)

    def _proof(self, armed: Armed, signed: Signed, caller: Caller | None) -> Proof | None:
        """What proves the call at this trigger; None where nothing does."""
        variables = secret_variables(armed.trigger)
        if not variables:
            allowed = caller is not None and caller.may_start(armed.procedure.name)
            return Proof(delivery=delivery_of_caller(armed.trigger, signed)) if allowed else None
        secrets = [value for name in variables if (value := self._parts.environ.get(name, ""))]
        proof = verify(armed.trigger, signed, secrets=secrets, now=self._parts.clock.now().at)
        if not proof.refusal:
            return proof
        lacking = [name for name in variables if not self._parts.environ.get(name)]
        reason = f"{' and '.join(lacking)} is not set" if len(lacking) == len(variables) else proof.refusal
        self._refused(Refusal(armed.procedure.name, armed.name, reason))
        return None

    def _delivery(
        self, armed: Armed, proof: Proof, hook: Hook, signed: Signed, body: Any, caller: Caller | None
    ) -> NewDelivery:
        now = self._parts.clock.now().at
        delivery = proof.delivery or self._parts.ids.nonce()
        event = new_event(
            TriggerType.WEBHOOK,
            delivery,
            now,
            path=hook.path,
            headers=kept_headers(signed.headers),
            query=dict(hook.query),
            body=body,
            **_called_by(armed, caller),
        )
        data = encode_event(event)
        matched = match(armed.procedure, armed.trigger, event)
        return NewDelivery(
            procedure=armed.procedure.name,
            trigger=armed.name,
            delivery=delivery,
            event=data,
            received_at=now,
            run_id=run_id_of(request_for(armed.procedure.name, armed.trigger, delivery)),
            outcome="" if matched.outcome is None else matched.outcome.value,
            reason=matched.reason,
        )

    async def _known(self, accepted: Accepted, rule: AdmissionRule) -> tuple[Delivery, bool]:
        """The delivery as it stands when it is answered, and whether it was kept before."""
        kept = accepted.delivery
        if kept.outcome or rule is AdmissionRule.QUEUE:
            return kept, not accepted.is_new
        waiter: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(kept.number, []).append(waiter)
        try:
            # it may have been settled before we waited for that, or by the clerk of another server
            now = self._deliveries.delivery(kept.number) or kept
            kept = now if now.outcome else await asyncio.wait_for(waiter, PATIENCE_SECS)
        except TimeoutError:
            kept = self._deliveries.delivery(kept.number) or kept
        finally:
            self._stop_waiting(accepted.delivery.number, waiter)
        return kept, not accepted.is_new

    def _stop_waiting(self, number: int, waiter: asyncio.Future[Delivery]) -> None:
        others = [each for each in self._waiters.pop(number, []) if each is not waiter]
        if others:
            self._waiters[number] = others


def _called_by(armed: Armed, caller: Caller | None) -> dict[str, Any]:
    """Whoever is known by a token starts the run itself: it gets around none of its own limits by way of a webhook."""
    if caller is None or secret_variables(armed.trigger):
        return {}
    return {"caller": caller_in_event(caller.actor)}


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case; what comes several times is one value with commas, which no signature is."""
    joined: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        joined[lower] = f"{joined[lower]}, {value}" if lower in joined else value.strip()
    return joined


def _answer(known: Sequence[tuple[Delivery, bool]]) -> Answer:
    told = [
        {
            "sopName": delivery.procedure,
            "trigger": delivery.trigger,
            "deliveryId": delivery.delivery,
            "runId": run_of(delivery),
            "outcome": delivery.outcome or "accepted",
            **({"reason": delivery.reason} if delivery.reason else {}),
            **({"replayed": True} if replayed else {}),
        }
        for delivery, replayed in known
    ]
    refused = all(each["outcome"] == Outcome.REFUSED for each in told)
    run_id = next((each["runId"] for each in told if each["runId"] is not None), None)
    document: dict[str, Any] = {"success": not refused, "runId": run_id, "deliveries": told}
    if refused:
        document["error"] = {"code": "refused", "message": told[0].get("reason", ""), "hint": "see: sop trigger log"}
    return Answer(status=409 if refused else 202, document=document)


def run_of(delivery: Delivery) -> str | None:
    """The run that a delivery made, joined or will make; None where it makes none."""
    return None if delivery.outcome in (Outcome.UNMATCHED, Outcome.REFUSED) else delivery.run_id


def _problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    document = {"success": False, "error": {"code": code, "message": message}}
    return Answer(status=status, document=document, headers=headers or {})
