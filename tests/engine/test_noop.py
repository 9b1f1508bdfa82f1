"""The executor that does nothing, which measurements use."""

from __future__ import annotations

from msgspec.structs import replace

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


def test_a_kind_that_keeps_no_files_has_no_folder_made_for_its_attempts(bench: Bench) -> None:
    bench.procedure("deploy", {}, {})
    for kind, keeps in ((noop_kind(), False), (replace(noop_kind(), keeps_files=True), True)):
        bench.kinds.known["shell"] = kind
        parts = bench.engine().parts
        run_id = bench.create("deploy")
        bench.loop.run_until_complete(drive(parts, run_id))
        assert (parts.workspace.run_folder(run_id) / "step-1.1.1").exists() is keeps
