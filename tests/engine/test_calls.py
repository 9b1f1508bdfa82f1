"""Calls that their callers have named or bound to a revision, as the engine carries them out."""

from __future__ import annotations

import pytest

from sopwith.core.request import request_of
from sopwith.engine.engine import Call, RunRequest
from sopwith.errors import KeyReused, LimitReached, RevisionConflict
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, Bench
from .test_children import child_of, nested, status


def named(key: str, **asked: object) -> Call:
    return Call(request=request_of(ANN, key, asked))


def test_a_named_start_makes_one_run(bench: Bench) -> None:
    bench.procedure("deploy", {})
    one, two = (bench.engine().for_call(named("k")) for _ in range(2))
    request = RunRequest(name="deploy")
    assert one.create_run(request, actor=ANN).run_id == two.create_run(request, actor=ANN).run_id
    assert (one.replayed, two.replayed) == (False, True)
    with pytest.raises(KeyReused):
        bench.engine().for_call(named("k", other=1)).create_run(request, actor=ANN)


def test_a_start_that_was_refused_is_no_start(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True}, maxConcurrent=1)
    run = bench.run("deploy")
    with pytest.raises(LimitReached):
        bench.engine().for_call(named("k")).create_run(RunRequest(name="deploy"), actor=ANN)
    bench.engine().cancel(run.run_id, actor=ANN)
    again = bench.engine().for_call(named("k"))
    again.create_run(RunRequest(name="deploy"), actor=ANN)
    assert not again.replayed


def test_an_answer_that_is_repeated_is_told_as_it_was(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True})
    run = bench.run("deploy")
    first = bench.engine().for_call(named("r")).reject(run.run_id, actor=ANN, reason="no")
    bench.engine().retry(run.run_id, actor=ANN)
    bench.drive(run.run_id)
    engine = bench.engine().for_call(named("r"))
    again = engine.reject(run.run_id, actor=ANN, reason="no")
    assert engine.replayed
    assert (again.step, again.gate, again.led_to) == (first.step, first.gate, "paused")
    assert bench.now(run.run_id).steps[1].gate != again.gate


def test_what_goes_with_a_run_is_not_held_to_its_revision(bench: Bench) -> None:
    """A cancel reaches a child that somebody brought back, which has a revision of its own."""
    nested(bench, {}, {})
    bench.world.plays[1] = [Play(result=FAILED), Play(seconds=100)]
    run = bench.run("deploy")
    child = child_of(bench, run.run_id)
    bench.engine().retry(child, actor=ANN)
    bench.begin(child)
    bench.pass_time(1)
    seen = bench.now(run.run_id).seq
    with pytest.raises(RevisionConflict):
        bench.engine().for_call(Call(expected_seq=seen - 1)).cancel(run.run_id, actor=ANN)
    call = Call(request=request_of(ANN, "c", {}), expected_seq=seen)
    bench.engine().for_call(call).cancel(run.run_id, actor=ANN)
    bench.pass_time(3)
    assert (status(bench, run.run_id), status(bench, child)) == ("cancelled", "cancelled")
    assert not bench.now(child).requests
