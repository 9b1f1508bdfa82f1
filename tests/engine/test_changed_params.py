"""Retry with other parameters, from the engine's side: what is asked, what runs, and what the record says."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from sopwith.core.procedure import sha256
from sopwith.engine.envelopes import step_envelope_bytes, what_changed
from sopwith.errors import BadParameter, NotAllowed
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOT, Bench

DECLARED = [
    {"name": "where", "type": "enum", "values": ["test", "prod"], "required": True},
    {"name": "count", "type": "integer", "default": 1},
]


def failed(bench: Bench, **keys: object) -> str:
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", {}, {}, params=DECLARED, **keys)
    run_id = bench.create("deploy", where="test")
    if bench.drive(run_id).start_gate is not None:
        bench.engine().approve(run_id, actor=ANN)
        bench.drive(run_id)
    assert bench.now(run_id).ended == "failed"
    return run_id


def test_a_step_is_given_the_new_values_and_those_that_were_not_changed(bench: Bench) -> None:
    run_id = failed(bench)
    bench.engine().retry(run_id, actor=ANN, params={"where": "prod"})
    assert bench.drive(run_id).ended == "completed"
    order = bench.world.orders[run_id, 2, 1, 2]
    assert (order.environment["SOP_PARAM_WHERE"], order.environment["SOP_PARAM_COUNT"]) == ("prod", "1")
    assert json.loads(order.parameters_json) == {"where": "prod", "count": 1}
    assert [key[1] for key in bench.starts(run_id)] == [1, 2, 2]


def test_the_record_has_the_old_and_the_new_and_the_status_the_new(bench: Bench) -> None:
    run_id = failed(bench)
    bench.engine().retry(run_id, actor=ANN, params={"count": "3"})
    first, retried = bench.events(run_id)[0].body, bench.events(run_id)[-1].body
    assert first.params == {"where": "test", "count": 1}
    assert retried.params == {"where": "test", "count": 3}
    assert bench.reader.status(run_id)["params"] == {"where": "test", "count": 3}


@pytest.mark.parametrize("params", [{"where": "moon"}, {"wher": "prod"}, {"count": "x"}])
def test_a_value_that_does_not_fit_is_refused_as_at_the_start(bench: Bench, params: dict[str, str]) -> None:
    run_id = failed(bench)
    with pytest.raises(BadParameter):
        bench.engine().retry(run_id, actor=ANN, params=params)
    assert bench.names(run_id)[-1] == "run_failed"


def test_the_pinned_procedure_says_which_values_fit(bench: Bench) -> None:
    run_id = failed(bench)
    bench.procedure("deploy", {}, {}, params=[{"name": "other"}])
    bench.engine().retry(run_id, actor=ANN, params={"where": "prod"})
    assert bench.now(run_id).params["where"] == "prod"


def test_an_approved_start_is_asked_about_the_new_values(bench: Bench) -> None:
    run_id = failed(bench, executionMode="supervised")
    before = bench.now(run_id).start_gate
    bench.engine().retry(run_id, actor=ANN, params={"where": "prod"})
    run = bench.drive(run_id)
    gate = run.start_gate
    assert before is not None
    assert gate is not None
    assert (gate.revision, len(bench.starts(run_id))) == (2, 2)
    content = bench.reader.envelope(gate.digest)
    assert content is not None
    assert content["parameters"]["where"] == "prod"
    assert gate.digest != before.digest
    bench.engine().approve(run_id, actor=ANN, digest=gate.digest)
    assert bench.drive(run_id).ended == "completed"
    assert run.started_at == bench.now(run_id).started_at
    assert bench.names(run_id).count("run_started") == 2


def test_a_gate_of_a_step_is_asked_about_the_new_values(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", {"requiresApproval": True}, params=DECLARED)
    run_id = bench.create("deploy", where="test")
    bench.drive(run_id)
    bench.engine().approve(run_id, actor=ANN)
    bench.drive(run_id)
    bench.engine().retry(run_id, actor=ANN, params={"where": "prod"})
    gate = bench.drive(run_id).steps[1].gate
    assert gate is not None
    content = bench.reader.envelope(gate.digest)
    assert content is not None
    assert (gate.revision, content["parameters"]["where"]) == (2, "prod")


def test_an_envelope_with_other_parameters_is_never_the_one_that_was_approved(bench: Bench) -> None:
    """What `approval_stale` rests on, should a passed gate ever outlive a change."""
    bench.procedure("deploy", {"requiresApproval": True}, params=DECLARED)
    run_id = bench.create("deploy", where="test")
    run = bench.drive(run_id)
    gate = run.steps[1].gate
    assert gate is not None
    parts = bench.engine().parts
    assert sha256(step_envelope_bytes(parts, run, 1)) == gate.digest
    found = step_envelope_bytes(parts, replace(run, params={**run.params, "where": "prod"}), 1)
    assert what_changed(parts, gate.digest, found) == ("parameters where",)


def test_who_may_steer_but_not_start_may_not_change_what_was_asked_for(bench: Bench) -> None:
    run_id = failed(bench, runners=["user:ann"])
    with pytest.raises(NotAllowed):
        bench.engine().retry(run_id, actor=BOT, params={"where": "prod"})
    bench.engine().retry(run_id, actor=BOT, params={"where": "test"})
