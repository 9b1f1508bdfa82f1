"""What a trigger is called, and what an event comes to at one: whether it starts a run, and with which parameters.

Pure. What happened outside is a JSON object, the event; CEL sees it as `event` (`scope.py` has its names by type).
No match raises for what an event holds: what cannot be told starts nothing, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.grants import Grant, Role
from sopwith.core.parameters import resolve_parameters, typed
from sopwith.core.people import is_lent
from sopwith.core.procedure import (
    AdmissionRule,
    Change,
    End,
    Misfire,
    Parameter,
    ParameterType,
    Procedure,
    Scheme,
    Trigger,
    TriggerType,
)
from sopwith.core.request import Request, request_of
from sopwith.core.scope import Scope, scope_of_event, values_of_event
from sopwith.errors import BadParameter, BadRequest

MAX_EVENT_BYTES = 256 * 1024
MAX_DELIVERY = 200
"""Characters of a delivery's id; a longer one is known by its digest."""
MAX_DEPTH = 8
"""So many runs may start one another by their ends."""
MAX_QUEUED = 100
LENT = "lent"
"""Of a caller: the token is a person's, in the hands of an agent or of a step."""
CHANGES = (Change.CREATED, Change.MODIFIED)
ENDS = (End.COMPLETED,)
SETTLE_SECS = 1

_T = TypeVar("_T")


class Outcome(StrEnum):
    """What became of a delivery."""

    STARTED = "started"
    QUEUED = "queued"
    COALESCED = "coalesced"
    UNMATCHED = "unmatched"
    REFUSED = "refused"


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of the run that an event asks for; or the outcome, and why nothing starts."""

    params: dict[str, Any] = msgspec.field(default_factory=dict)
    outcome: Outcome | None = None
    reason: str = ""


def said(value: _T | msgspec.UnsetType, default: _T) -> _T:
    """What the file says; `default` where it says nothing."""
    return default if isinstance(value, msgspec.UnsetType) else value


def name_of(trigger: Trigger) -> str:
    """Its name among the triggers of its procedure: its `key`, or its type and what it is about."""
    if not isinstance(trigger.key, msgspec.UnsetType):
        return trigger.key
    about = {
        TriggerType.WEBHOOK: trigger.path,
        TriggerType.CRON: trigger.expression,
        TriggerType.FILESYSTEM: trigger.path,
        TriggerType.PROCEDURE: trigger.procedure,
    }.get(TriggerType(trigger.type))
    return trigger.type if about is None else f"{trigger.type}:{about}"


def find_trigger(procedure: Procedure, name: str) -> Trigger | None:
    """The trigger of this name, or None."""
    return next((each for each in procedure.triggers if name_of(each) == name), None)


def scheme_of(trigger: Trigger) -> Scheme:
    return said(trigger.scheme, Scheme.STANDARD)


def misfire_of(trigger: Trigger) -> Misfire:
    return said(trigger.misfire, Misfire.SKIP)


def admission_of(trigger: Trigger) -> AdmissionRule:
    return said(trigger.admission, AdmissionRule.QUEUE)


def max_queued_of(trigger: Trigger) -> int:
    return said(trigger.max_queued, MAX_QUEUED)


def secret_variables(trigger: Trigger) -> tuple[str, ...]:
    """The environment variables that hold a webhook's secrets; none: a caller needs a token."""
    return tuple(said(trigger.secret_env, "").split())


def actor_of(procedure: str, trigger: Trigger) -> Actor:
    """Who starts the runs of this trigger where nobody is known to have called it: no person."""
    return Actor(f"{procedure}/{name_of(trigger)}", ActorKind.TRIGGER, trigger.type)


def starter_of(procedure: str, trigger: Trigger, event: Mapping[str, Any]) -> Actor:
    """Who starts the run of an event: the caller, where that is known by a token of its own, with all its rights and
    limits; else the trigger. Raises BadRequest where an event that somebody wrote by hand has a caller that is none.
    """
    caller = event.get("caller")
    if trigger.type != TriggerType.WEBHOOK or secret_variables(trigger) or caller is None:
        return actor_of(procedure, trigger)
    are_texts = isinstance(caller, Mapping) and all(isinstance(value, str) for value in caller.values())
    if not are_texts or not caller.get("id") or caller.get("kind") not in (ActorKind.HUMAN, ActorKind.AGENT):
        raise BadRequest("expected a caller of the webhook at $.caller", hint='as: {"id": "ann", "kind": "human"}')
    # an agent with a person's token may start what they may, which is what a webhook is for, and stays an agent
    grant = Grant(role=Role.RUNNER, procedures=(procedure,), lent=True) if LENT in caller else None
    return Actor(caller["id"], ActorKind(caller["kind"]), trigger.type, inside=caller.get("inside"), grant=grant)


def caller_in_event(actor: Actor) -> dict[str, str]:
    """Whoever calls a webhook with a token, as the event tells it to `starter_of`: texts only, for conditions."""
    inside = {} if actor.inside is None else {"inside": actor.inside}
    lent = {LENT: "yes"} if is_lent(actor) else {}
    return {"id": actor.id, "kind": actor.kind.value, **inside, **lent}


def request_for(procedure: str, trigger: Trigger, delivery: str) -> Request:
    """The call that a delivery makes: always the same, so that its run has one id, whoever makes it."""
    about = {"procedure": procedure, "trigger": name_of(trigger), "delivery": delivery}
    return request_of(actor_of(procedure, trigger), delivery, about)


def match(procedure: Procedure, trigger: Trigger, event: Mapping[str, Any]) -> Match:
    """What the event comes to at this trigger of the procedure."""
    scope, values = scope_of_event(trigger.type), values_of_event(event)
    condition = said(trigger.condition, "")
    if condition:
        # CEL is imported only where a procedure has an expression
        from sopwith.core.conditions import evaluate

        verdict = evaluate(condition, scope, values)
        if verdict.result is None:
            return _unmatched(f"the condition `{condition}` could not be evaluated: {verdict.reason}")
        if verdict.result is False:
            return _unmatched(f"the condition `{condition}` does not hold")
    given: dict[str, Any] = {}
    for name, stated in said(trigger.params, {}).items():
        if not isinstance(stated, str):
            given[name] = stated
            continue
        from sopwith.core.conditions import Wanted, find

        found = find(stated, scope, values, Wanted.VALUE)
        if found.reason:
            return _refused(f"the parameter {name}, `{stated}`, could not be evaluated: {found.reason}")
        given[name] = found.value
    try:
        return Match(params=dict(resolve_parameters(procedure, given)))
    except BadParameter as error:
        return _refused(error.message)


def _unmatched(reason: str) -> Match:
    return Match(outcome=Outcome.UNMATCHED, reason=reason)


def _refused(reason: str) -> Match:
    return Match(outcome=Outcome.REFUSED, reason=reason)


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a trigger's expression; `where` leads to it from the trigger."""

    code: str
    where: tuple[str, ...]
    expected: str
    got: str
    hint: str


def mistakes_of(procedure: Procedure, trigger: Trigger) -> Iterator[Mistake]:
    """Every expression of the trigger that could never be evaluated, or that its parameter could never take."""
    from sopwith.core.conditions import Wanted, check

    scope = scope_of_event(trigger.type)
    hint = f"it may name {', '.join(sorted(scope))}"
    condition = said(trigger.condition, "")
    if condition and (wrong := check(condition, scope)) is not None:
        yield Mistake(
            code="bad_condition",
            where=("condition",),
            expected="a CEL condition over event",
            got=f"`{condition}`: {wrong}",
            hint=hint,
        )
    declared = {each.name: each for each in procedure.parameters}
    for name, stated in said(trigger.params, {}).items():
        if (odd := _odd_target(name, declared)) is not None:
            yield odd
        elif isinstance(stated, str) and (wrong := check(stated, scope, Wanted.VALUE)) is not None:
            yield Mistake(
                code="bad_expression",
                where=("params", name),
                expected=f"a CEL expression over event that gives {Wanted.VALUE}",
                got=f"`{stated}`: {wrong}",
                hint=f"{hint}; constant text stands in quotes: 'eu'",
            )
        elif name in declared and (wanted := _never_taken(declared[name], stated, scope)):
            yield Mistake(
                code="bad_value",
                where=("params", name),
                expected=wanted,
                got=str(stated),
                hint=f"{name} takes nothing else, so that this trigger would start nothing",
            )


def lacking(procedure: Procedure, trigger: Trigger) -> tuple[str, ...]:
    """The required parameters that no run of this trigger could have."""
    mapped = said(trigger.params, {})
    return tuple(
        each.name for each in procedure.parameters if each.required and each.default is None and each.name not in mapped
    )


def _never_taken(parameter: Parameter, stated: Any, scope: Scope) -> str:
    """What the parameter takes, where a constant is none of that; empty where it is, or nobody can know yet."""
    value = stated
    if isinstance(stated, str):
        from sopwith.core.conditions import Wanted, find

        found = find(stated, scope, {}, Wanted.VALUE)
        # what speaks of the event, if only by has(…), is no constant
        if found.reason or "event" in stated:
            return ""
        value = found.value
    try:
        typed(parameter, value)
    except ValueError as error:
        return str(error)
    return ""


def _odd_target(name: str, declared: Mapping[str, Parameter]) -> Mistake | None:
    if not declared:
        return None
    if name not in declared:
        return Mistake(
            code="unknown_parameter",
            where=("params", name),
            expected="a parameter that the procedure declares",
            got=name,
            hint=f"it declares {', '.join(declared)}",
        )
    if declared[name].type is ParameterType.SECRET:
        return Mistake(
            code="secret_from_event",
            where=("params", name),
            expected="no secret among the parameters of a trigger",
            got=name,
            hint="give the secret a default: whoever sends an event must not choose what it refers to",
        )
    return None
