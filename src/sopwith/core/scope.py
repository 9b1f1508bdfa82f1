"""What a condition may name, with types and values: the run, its parameters, and the steps before a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, instance_of, number_of
from sopwith.core.approval import FieldType
from sopwith.core.procedure import ExecutionMode, ParameterType, Procedure, Step
from sopwith.core.run import Run, StepState, ancestors


class ValueType(StrEnum):
    """The types that CEL is told of. Under `ANY` nothing is checked: only for what no file declares."""

    TEXT = "string"
    INTEGER = "int"
    NUMBER = "double"
    BOOLEAN = "bool"
    ANY = "dyn"
    LIST = "list(dyn)"
    TEXTS = "map(string, string)"
    ANYTHING = "map(string, dyn)"


Scope = Mapping[str, ValueType]
"""Dotted name -> type: `params.environment`, `steps.2.outputs.url`, `steps.build.status`."""

_TYPE_OF_PARAMETER = {
    ParameterType.STRING: ValueType.TEXT,
    ParameterType.ENUM: ValueType.TEXT,
    ParameterType.INTEGER: ValueType.INTEGER,
    ParameterType.NUMBER: ValueType.NUMBER,
    ParameterType.BOOLEAN: ValueType.BOOLEAN,
}
_TYPE_OF_FIELD = {field: _TYPE_OF_PARAMETER[ParameterType(field.value)] for field in FieldType}
_TYPE_OF_OUTPUT = {**{field.value: kind for field, kind in _TYPE_OF_FIELD.items()}, "json": ValueType.ANY}
EVENT = "event.type"
"""What started the run: manual, procedure where a step of another run did or the end of one, or a trigger's type."""
_OF_EVENT: dict[str, ValueType] = {EVENT: ValueType.TEXT, "event.id": ValueType.TEXT, "event.at": ValueType.TEXT}
_OF_EVENTS: dict[str, dict[str, ValueType]] = {
    "webhook": {
        "event.path": ValueType.TEXT,
        "event.headers": ValueType.TEXTS,
        "event.query": ValueType.TEXTS,
        "event.body": ValueType.ANY,
        "event.caller": ValueType.TEXTS,
    },
    "cron": {
        "event.scheduledAt": ValueType.TEXT,
        "event.expression": ValueType.TEXT,
        "event.timezone": ValueType.TEXT,
        "event.missed": ValueType.INTEGER,
    },
    "filesystem": {
        "event.path": ValueType.TEXT,
        "event.name": ValueType.TEXT,
        "event.change": ValueType.TEXT,
        "event.sha256": ValueType.TEXT,
        "event.size": ValueType.INTEGER,
    },
    "procedure": {
        "event.procedure": ValueType.TEXT,
        "event.runId": ValueType.TEXT,
        "event.status": ValueType.TEXT,
        "event.params": ValueType.ANYTHING,
        "event.depth": ValueType.INTEGER,
    },
}
"""What an event of a trigger brings, by the trigger's type."""
ITEM = "item"
"""What an instance is done for, in conditions of its own."""
_OF_RUN = ("id", "mode", "name", "priority", "startedBy")
_BEFORE_THE_RUN = tuple(name for name in _OF_RUN if name != "id")


def scope_of_event(trigger_type: str) -> Scope:
    """What the expressions of a trigger of this type may name."""
    return _OF_EVENT | _OF_EVENTS.get(trigger_type, {})


def values_of_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `scope_of_event`."""
    return {f"event.{name}": value for name, value in event.items()}


def scope_of(procedure: Procedure, number: StepId, *, item: bool = False) -> Scope:
    """What a condition of this step may name: the run, its parameters, and the steps that this one depends on.

    With `item` also the item that an instance of the step is done for.
    """
    return _StepScope(procedure, number_of(number), item=item)


def scope_at_start(procedure: Procedure) -> Scope:
    """What an expression may name that is evaluated before there is a run: the parameters and how it begins."""
    names = {f"run.{name}": ValueType.TEXT for name in _BEFORE_THE_RUN}
    return names | _scope_of_parameters(procedure)


def values_at_start(
    procedure: Procedure, params: Mapping[str, Any], *, mode: ExecutionMode, starter: Actor
) -> dict[str, Any]:
    """The values of `scope_at_start`; a parameter that was not given is left out."""
    values: dict[str, Any] = {
        "run.mode": mode.value,
        "run.name": procedure.name,
        "run.priority": procedure.priority.value,
        "run.startedBy": starter.id,
    }
    if not procedure.parameters:
        return {**values, "params": dict(params)}
    return values | _values_of_parameters(procedure, params)


def _values_of_parameters(procedure: Procedure, params: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {each.name for each in procedure.parameters if each.type is ParameterType.SECRET}
    return {f"params.{name}": value for name, value in params.items() if name not in hidden}


def _scope_of_parameters(procedure: Procedure) -> dict[str, ValueType]:
    if not procedure.parameters:
        return {"params": ValueType.TEXTS}
    kinds = {each.name: _TYPE_OF_PARAMETER.get(each.type) for each in procedure.parameters}
    # what a secret is, no expression may ask
    return {f"params.{name}": kind for name, kind in kinds.items() if kind is not None}


class _StepScope(Mapping[str, ValueType]):
    """Looked up name by name: a procedure of a thousand steps has thousands of names, and a condition has three."""

    def __init__(self, procedure: Procedure, number: int, *, item: bool) -> None:
        self._procedure = procedure
        self._number = number
        self._item = item and procedure.step(number).for_each is not None

    def __getitem__(self, name: str) -> ValueType:
        root, _, rest = name.partition(".")
        if root != "steps":
            return self._plain[name]
        who, _, inner = rest.partition(".")
        for other in self._reached:
            step = self._procedure.step(other)
            if who in _names_of(step):
                return dict(_scope_of_step(step))[inner]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._plain
        for other in self._reached:
            step = self._procedure.step(other)
            for who in _names_of(step):
                yield from (f"steps.{who}.{inner}" for inner, _ in _scope_of_step(step))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @cached_property
    def _reached(self) -> tuple[int, ...]:
        return ancestors(self._procedure, self._number)

    @cached_property
    def _plain(self) -> dict[str, ValueType]:
        scope = {f"run.{name}": ValueType.TEXT for name in _OF_RUN} | _scope_of_parameters(self._procedure)
        scope[EVENT] = ValueType.TEXT
        for trigger in self._procedure.triggers:
            # of a run that something else started they have no value
            scope |= scope_of_event(trigger.type) if trigger.type in _OF_EVENTS else {}
        if self._item:
            scope[ITEM] = _type_of_items(self._procedure.step(self._number))
        return scope


def values_for(run: Run, number: StepId) -> dict[str, Any]:
    """The values of `scope_of` as they are now; what has none yet is left out."""
    values: dict[str, Any] = {
        "run.id": run.run_id,
        "run.mode": run.mode.value,
        "run.name": run.name,
        "run.priority": run.procedure.priority.value,
        "run.startedBy": run.created_by.id,
        **values_of_event(run.event or {}),
        EVENT: run.trigger,
    }
    if run.procedure.parameters:
        values |= _values_of_parameters(run.procedure, run.params)
    else:
        values["params"] = dict(run.params)
    if instance_of(number):
        values[ITEM] = run.steps[number].item
    for other in ancestors(run.procedure, number):
        step = run.procedure.step(other)
        for name in _names_of(step):
            values |= {f"steps.{name}.{inner}": value for inner, value in _values_of_step(step, run.steps[other])}
    return values


def _scope_of_step(step: Step) -> Iterator[tuple[str, ValueType]]:
    yield "status", ValueType.TEXT
    if step.for_each is not None:
        # for each name a list, with what each of its instances handed on
        if step.outputs:
            yield from ((f"outputs.{name}", ValueType.LIST) for name in step.outputs)
        else:
            yield "outputs", ValueType.ANYTHING
        return
    if step.outputs:
        yield from ((f"outputs.{name}", _TYPE_OF_OUTPUT[kind]) for name, kind in step.outputs.items())
    else:
        yield "outputs", ValueType.ANYTHING
    if step.approval is not None:
        yield from ((f"approval.{field.name}", _TYPE_OF_FIELD[field.type]) for field in step.approval.form)


def _values_of_step(step: Step, state: StepState) -> Iterator[tuple[str, Any]]:
    yield "status", state.status.value
    if step.outputs:
        yield from ((f"outputs.{name}", value) for name, value in state.outputs.items())
    else:
        yield "outputs", dict(state.outputs)
    yield from ((f"approval.{name}", value) for name, value in state.approval_values.items())


def _type_of_items(step: Step) -> ValueType:
    all_text = isinstance(step.for_each, tuple) and all(isinstance(item, str) for item in step.for_each)
    return ValueType.TEXT if all_text else ValueType.ANY


def _names_of(step: Step) -> tuple[str, ...]:
    return (str(step.number),) if step.key is None else (str(step.number), step.key)
