"""Concurrency groups: which one a run belongs to, and that nothing is guessed where that is not known."""

from __future__ import annotations

import pytest

from sopwith.core.codec import decode_event, encode_event
from sopwith.core.concurrency import MAX_GROUP_LENGTH, group_mistake, group_of
from sopwith.core.decide import NewRun, create
from sopwith.core.events import Policy, RunCreated
from sopwith.core.evolve import begin
from sopwith.core.instant import Instant
from sopwith.core.procedure import ExecutionMode, Parameter, ParameterType, Priority, Procedure
from sopwith.errors import BadParameter

from .given import ALICE, NOON, RUN, procedure, shell


def _grouped(expression: str | None, *parameters: Parameter) -> Procedure:
    return procedure(shell(), concurrency_group=expression, parameters=parameters, priority=Priority.HIGH)


def _group(expression: str | None, **params: str) -> str:
    return group_of(_grouped(expression), params, mode=ExecutionMode.AUTO, starter=ALICE)


def test_a_procedure_without_an_expression_has_no_group() -> None:
    assert _group(None, environment="production") == ""


def test_the_group_may_name_parameters_and_how_the_run_begins() -> None:
    named = "params.environment + ' ' + run.name + ' ' + run.priority + ' ' + run.mode + ' ' + run.startedBy"
    assert group_mistake(_grouped(named)) is None
    assert _group(named, environment="production") == "production deploy high auto alice"


def test_the_group_sees_declared_parameters_with_their_types() -> None:
    count = Parameter(name="count", type=ParameterType.INTEGER)
    grouped = _grouped("'shard-' + string(params.count)", count)
    assert group_of(grouped, {"count": 3}, mode=ExecutionMode.AUTO, starter=ALICE) == "shard-3"
    assert "did you mean params.count?" in str(group_mistake(_grouped("string(params.cuont)", count)))


@pytest.mark.parametrize("expression", ["params.x == 'y'", "3", "run.id", "steps['1'].status", "event.path", "'a"])
def test_what_gives_no_text_or_names_what_is_not_there_is_a_mistake(expression: str) -> None:
    assert group_mistake(_grouped(expression))


def test_a_group_that_nobody_can_tell_refuses_the_run() -> None:
    with pytest.raises(BadParameter) as caught:
        _group("'deploy-' + params.environment")
    assert caught.value.message == (
        "cannot run deploy: its concurrency group is not known: there is no environment; has() asks whether there is"
    )
    assert "sop show deploy" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_missing_parameter_can_be_asked_for_and_empty_text_is_no_group() -> None:
    optional = "has(params.environment) ? params.environment : ''"
    assert _group(optional) == ""
    assert _group(optional, environment="x") == "x"


def test_a_group_has_a_length_that_can_be_shown() -> None:
    assert _group("params.x", x="é" * MAX_GROUP_LENGTH) == "é" * MAX_GROUP_LENGTH
    with pytest.raises(BadParameter, match="has 201 characters, and 200 are allowed"):
        _group("params.x", x="x" * (MAX_GROUP_LENGTH + 1))


def test_the_group_is_recorded_when_the_run_is_made() -> None:
    new = NewRun(
        run_id=RUN,
        procedure=procedure(shell()),
        procedure_digest="0" * 64,
        mode=ExecutionMode.AUTO,
        declared_mode=ExecutionMode.AUTO,
        params={},
        environment={},
        umask=0o022,
        policy=Policy(),
        trigger="manual",
        concurrency_group="production",
    )
    decision = create(new, actor=ALICE, now=Instant(NOON, 0, "boot"))
    assert decision.run.concurrency_group == "production"
    first = decode_event(encode_event(decision.events[0]))
    assert isinstance(first.body, RunCreated)
    assert first.body.concurrency_group == "production"
    assert begin(new.procedure, first).concurrency_group == "production"
