"""Processes are killed just before what they do next, and nothing is lost or done twice. A sample of `make crash`.

SOPWITH_CRASH_POINTS says how many points each test here tries.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from tools.crash import strace
from tools.crash.failpoints import Failpoints
from tools.crash.invariants import breaches
from tools.crash.reference import Scene, Told
from tools.crash.strace import Point, Strace
from tools.crash.sweep import Log, Report, Sweep, Trial, sample

POINTS = int(os.environ.get("SOPWITH_CRASH_POINTS", "5"))
needs_strace = pytest.mark.skipif(not strace.available(), reason="there is no strace here; failpoints do what they can")
patient = pytest.mark.timeout(400)
FORWARD = ("run", "approve-3", "approve-6", "approve-9")


def swept(sweep: Sweep) -> Report:
    return sweep.run(sample(sweep.trials(), POINTS, seed=POINTS))


def _steps(told: Told) -> list[str]:
    """How its first three steps stand."""
    assert told.document is not None
    return [step["status"] for step in told.document["stepResults"]][:3]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.make()
    return made


@pytest.fixture
def ended(scene: Scene) -> Scene:
    scene.settle()
    return scene


@patient
@needs_strace
def test_a_command_or_keeper_killed_at_a_system_call_loses_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    report = swept(Sweep(tmp_path, Strace(), stages=FORWARD))
    assert report.breaches == {}
    assert report.survived == report.killed >= POINTS - len(report.not_reached) > 0
    assert report.found > 1000


@patient
@needs_strace
def test_a_recovery_that_is_killed_twice_in_a_row_goes_on_from_there(tmp_path: Path) -> None:
    report = swept(Sweep(tmp_path, Strace(), stages=("resume-ended",)))
    assert report.breaches == {}
    assert report.survived == report.killed
    assert report.kills > report.killed


@patient
@needs_strace
def test_a_nursery_or_a_keeper_that_it_forked_killed_at_a_system_call_loses_nothing_either(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, Strace(only_nursery=True), stages=("run",))
    trials = sweep.trials()
    nurseries = [trial for trial in trials if not trial.point.attempt]
    keepers = [trial for trial in trials if trial.point.attempt]
    drawn = sample(keepers, POINTS // 2, seed=POINTS)
    for call in ("read", "clone3", "write"):  # it waits to be told, it forks, it answers
        drawn += sample([trial for trial in nurseries if trial.point.call == call], max(1, POINTS // 5), seed=POINTS)
    report = sweep.run(drawn)
    assert report.breaches == {}
    assert report.survived == report.killed >= len(drawn) - len(report.not_reached) > 0
    # two steps: each is told of, forked and answered for, and there is nobody to be told of a third
    calls = Counter(trial.point.call for trial in nurseries)
    assert calls >= Counter({"read": 3, "clone3": 2, "write": 2, "openat": 1, "pwrite64": 1})
    assert all(trial.point.nursery for trial in trials)
    assert {trial.point.attempt for trial in keepers} == {"step-1.1.1", "step-2.1.1"}
    assert {trial.point.call for trial in keepers} >= {
        "openat",
        "fcntl",
        "write",
        "link",
        "unlink",
        "wait4",
        "pwrite64",
    }


@patient
def test_a_process_killed_at_a_failpoint_loses_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    report = swept(Sweep(tmp_path, Failpoints(), stages=("run", "approve-9")))
    assert report.breaches == {}
    assert report.survived == report.killed > 0
    assert report.found > 100


@needs_strace
def test_exactly_one_process_is_killed_exactly_there(scene: Scene) -> None:
    told, killed = strace.run_and_kill(scene, ("run", "reference"), Point("fdatasync", 3))
    assert (killed, told.code, told.document) == (True, -9, None)
    trace = (scene.folder / "trace").read_text().splitlines()
    assert sum("fdatasync(" in line for line in trace) == 3
    # the keeper of a step is not traced, and outlives what was killed
    told, killed = strace.run_and_kill(scene, ("run", "reference"), Point("wait4", 1, attempt="step-1.1.1"))
    assert (killed, told.code) == (True, 3)
    assert told.document is not None
    assert told.document["stepResults"][0]["status"] == "interrupted"


@needs_strace
def test_exactly_the_nursery_is_killed_or_exactly_one_keeper_that_it_forked(scene: Scene) -> None:
    forks = [point for point in strace.points_of_nursery(scene, ("run", "reference")) if point.call == "clone3"]
    scene.make()
    told, killed = strace.run_and_kill(scene, ("run", "reference"), forks[0])
    assert (killed, told.code, _steps(told)) == (True, 3, ["completed", "completed", "awaiting_approval"])
    # the first launch of the first step was lost with it; the nursery after it was left alone
    launched = sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in scene.sops.glob("runs/*/*/*/started"))
    assert launched == ["step-1.1.1/0", "step-1.1.1/1", "step-2.1.1/0"]
    scene.make()
    told, killed = strace.run_and_kill(scene, ("run", "reference"), Point("wait4", 1, "step-2.1.1", nursery=True))
    assert (killed, told.code, _steps(told)) == (True, 3, ["completed", "interrupted", "pending"])
    # it is killed before it could have written that it has begun, and in a session of its own by then
    scene.make()
    told, killed = strace.run_and_kill(scene, ("run", "reference"), Point("pwrite64", 1, "step-1.1.1", nursery=True))
    assert (killed, _steps(told), scene.entries()) == (True, ["failed", "pending", "pending"], [])


@needs_strace
def test_a_nursery_that_ends_with_its_engine_was_not_killed_by_us(scene: Scene) -> None:
    beyond = Point("clone3", 3, nursery=True)
    told, killed = strace.run_and_kill(scene, ("run", "reference"), beyond)
    assert (killed, told.code) == (False, 3)
    # it sees that the engine's end of the socket is closed, or is killed for it: whichever comes first
    forks = "clone3({flags=CLONE_PARENT}, 88) = 17793\n" * 2
    (scene.folder / "trace").write_text(forks + "+++ killed by SIGKILL +++\n")
    assert not strace.killed(scene, beyond)
    (scene.folder / "trace").write_text(forks + "clone3({flags=CLONE_PARENT}, 88) = ?\n+++ killed by SIGKILL +++\n")
    assert strace.killed(scene, beyond)


@needs_strace
@pytest.mark.skipif(os.geteuid() != 0, reason="SQLite gives its files an owner only where it may")
def test_giving_a_file_an_owner_is_a_point(scene: Scene) -> None:
    assert "fchown" in {point.call for point in strace.points_of_command(scene, ("run", "reference"))}


@needs_strace
def test_a_nursery_whose_end_costs_a_step_is_found(tmp_path: Path) -> None:
    class Costly(Strace):
        def kill(self, scene: Scene, args: Sequence[str], point: Point) -> tuple[Told, bool]:
            return super().kill(scene, args, replace(point, call="wait4", nth=1, attempt="step-1.1.1"))

    sweep = Sweep(tmp_path, Costly(only_nursery=True), stages=("run",))
    trial = next(trial for trial in sweep.trials() if not trial.point.attempt)
    ((found,),) = sweep.run([trial]).breaches.values()
    assert found.startswith("a nursery's end cost a step: ")


@needs_strace
def test_a_point_that_does_not_come_kills_nobody(scene: Scene) -> None:
    told, killed = strace.run_and_kill(scene, ("run", "reference"), Point("rename", 999))
    assert (killed, told.code) == (False, 3)


def test_the_reference_scenario_has_ten_steps_three_gates_and_two_retries(ended: Scene) -> None:
    starts = ended.entries()
    assert sorted(starts) == sorted([(step, 1, 1) for step in range(1, 11)] + [(4, 1, 2), (7, 1, 2)])
    assert ended.acknowledged.decisions == {3, 6, 9}
    assert breaches(ended) == []


def test_a_step_that_ran_twice_is_found(ended: Scene) -> None:
    lines = ended.ledger.read_text().splitlines(keepends=True)
    ended.ledger.write_text("".join([*lines, lines[3]]))
    assert breaches(ended) == ["attempt 1 of visit 1 of step 4 ran 2 times"]


def test_a_step_that_never_ran_is_found(ended: Scene) -> None:
    lines = ended.ledger.read_text().splitlines(keepends=True)
    ended.ledger.write_text("".join(lines[:-1]))
    assert breaches(ended) == ["(10, 1, 1) is told to be completed and never ran", "a step is completed and never ran"]


def test_a_lost_event_is_found(ended: Scene) -> None:
    with closing(apsw.Connection(str(ended.database))) as db:
        db.execute("delete from events where position = (select max(position) from events)")
    found = breaches(ended)
    assert "an acknowledged event is gone or was changed" in found
    assert any(line.startswith("audit --verify-all ended with 1") for line in found)


def test_a_run_that_ended_otherwise_is_found(scene: Scene) -> None:
    run = scene.sop("run", "reference").document
    assert run is not None
    scene.sop("cancel", run["runId"], "--reason", "no more")
    assert breaches(scene) == ["the run ended as cancelled"]
    assert breaches(scene, may_end_as=("completed", "cancelled")) == []


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    assert log.done() == set()
    log.note(Trial("run", Point("write", 1)), 1, [])
    log.note(Trial("run", Point("link", 1, attempt="step-1.1.1")), 0, ["something"])
    log.note(Trial("run", Point("link", 1, attempt="step-1.1.1", nursery=True)), 2, [])
    keepers = {"run: keeper of step-1.1.1, link 1", "run: forked keeper of step-1.1.1, link 1"}
    assert log.done() == {"run: command, write 1", *keepers}


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    trials = [Trial("run", Point("write", number)) for number in range(100)]
    assert sample(trials, 5, seed=3) == sample(trials, 5, seed=3) != sample(trials, 5, seed=4)
