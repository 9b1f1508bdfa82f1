"""The executor that does nothing, which measurements use."""

from __future__ import annotations

from sopwith.engine.driver import drive
from sopwith.testing.noop import noop_kind

from .bench import Bench


def test_steps_that_do_nothing_succeed_and_their_runs_complete(bench: Bench) -> None:
    bench.kinds.known["shell"] = noop_kind()
    bench.procedure("deploy", {}, {})
    run_id = bench.create("deploy")
    run = bench.loop.run_until_complete(drive(bench.engine().parts, run_id))
    assert run.ended == "completed"
    assert bench.statuses(run_id) == ["completed", "completed"]
    assert bench.world.starts == []
