"""`onInterrupt` as the driver carries it out: what is run again, what is verified, what is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core.commands import StepResult
from sopwith.core.procedure import Procedure
from sopwith.core.run import Run
from sopwith.engine.library import Library
from sopwith.errors import IllegalMove
from sopwith.ports import Lost, WorkOrder
from sopwith.testing.executor import FAILED, FakeWorld, Play, fake_kind

from .bench import ANN, Bench

VERIFY = {"onInterrupt": "verify:test -e done"}
RERUN = {"onInterrupt": "rerun"}
FAIL = {"onInterrupt": "fail"}
UNSURE = StepResult(exit_code=3, error="exit status 3")


class Killed(BaseException):
    """This process is gone."""


def lost_in(bench: Bench, *steps: dict[str, Any], **keys: Any) -> str:
    """A run whose first step was lost while a driver watched it, and that was driven on."""
    bench.world.plays[1] = [Play(seconds=None), Play()]
    bench.procedure("deploy", *steps, **keys)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.world.lose(bench.world.starts[0])
    bench.finish(driving)
    return run_id


def told(bench: Bench, run_id: str, name: str) -> Any:
    return next(event.body for event in reversed(bench.events(run_id)) if event.event_type == name)


def checks(bench: Bench) -> list[Any]:
    return bench.world.checks.starts


def test_rerun_starts_the_step_once_more_and_no_gate_asks_again(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None), Play()]
    bench.procedure("deploy", {**RERUN, "requiresApproval": True}, {})
    run_id = bench.create("deploy")
    bench.drive(run_id)
    bench.engine().approve(run_id, actor=ANN)
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.world.lose(bench.world.starts[0])
    assert bench.finish(driving).ended == "completed"
    assert [key[3] for key in bench.starts(run_id)] == [1, 2, 1]
    assert bench.names(run_id).count("approval_requested 1") == 1


def test_fail_fails_the_run_and_starts_nothing(bench: Bench) -> None:
    run_id = lost_in(bench, {**FAIL, "retry": {"maxAttempts": 5}})
    assert bench.now(run_id).ended == "failed"
    assert len(bench.starts(run_id)) == 1


def test_a_verification_that_says_done_completes_the_step(bench: Bench) -> None:
    run_id = lost_in(bench, VERIFY, {})
    run = bench.now(run_id)
    assert (run.ended, len(bench.starts(run_id)), len(checks(bench))) == ("completed", 2, 1)
    order = bench.world.checks.orders[checks(bench)[0]]
    assert (order.step.script.text, order.step.executor) == ("test -e done\n", "shell")
    own = bench.world.orders[bench.starts(run_id)[0]]
    assert order.folder == own.folder / "verify"
    assert (order.working_dir, order.parameters_json) == (own.working_dir, own.parameters_json)
    assert dict(order.environment) == {**own.environment, "SOP_VERIFY": "1"}


def test_whoever_carries_a_step_out_its_verification_is_a_script_of_the_shell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file may name another executor of scripts yet; what carries steps out is told by its kind alone."""
    elsewhere = FakeWorld()
    bench.kinds.known["remote"] = fake_kind(elsewhere, bench.clock, "remote")
    elsewhere.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", VERIFY)
    read = Library.procedure

    def remote(self: Library, name: str) -> Procedure:
        procedure = read(self, name)
        return replace(procedure, steps=tuple(replace(step, executor="remote") for step in procedure.steps))

    monkeypatch.setattr(Library, "procedure", remote)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    elsewhere.lose(elsewhere.starts[0])
    assert bench.finish(driving).ended == "completed"
    assert (bench.world.starts, len(bench.world.checks.starts)) == ([], 1)
    assert elsewhere.checks.starts == []
    assert bench.world.checks.orders[checks(bench)[0]].step.executor == "shell"


def test_a_verification_that_says_not_done_leads_to_another_run_of_it(bench: Bench) -> None:
    bench.world.checks.plays[1] = [Play(result=FAILED)]
    run_id = lost_in(bench, VERIFY)
    assert bench.now(run_id).ended == "completed"
    assert [key[3] for key in bench.starts(run_id)] == [1, 2]
    assert len(checks(bench)) == 1


def test_a_verification_that_says_neither_asks_and_shows_what_it_printed(bench: Bench) -> None:
    bench.world.checks.plays[1] = [Play(result=UNSURE, output=b"no route to host\n")]
    run_id = lost_in(bench, VERIFY)
    run = bench.now(run_id)
    assert (run.paused, bench.statuses(run_id), len(bench.starts(run_id))) == (True, ["interrupted"], 1)
    ended = told(bench, run_id, "verification_ended")
    assert (ended.exit_code, ended.output) == (3, "no route to host\n")
    bench.engine().complete(run_id, actor=ANN, comment="I looked")
    assert bench.drive(run_id).ended == "completed"


def test_a_verification_is_ended_after_its_minute(bench: Bench) -> None:
    bench.world.checks.plays[1] = [Play(seconds=None)]
    run_id = lost_in(bench, VERIFY)
    assert told(bench, run_id, "verification_ended").cause == "timeout"
    assert bench.now(run_id).paused


def test_cancel_ends_a_verification(bench: Bench) -> None:
    run_id, driving = being_verified(bench)
    bench.engine().cancel(run_id, actor=ANN)
    assert bench.finish(driving).ended == "cancelled"
    assert not_running(bench.world.checks, bench)


def test_the_limit_of_the_run_ends_a_verification(bench: Bench) -> None:
    run_id, driving = being_verified(bench, timeoutSecs=20)
    assert bench.finish(driving).ended == "failed"
    assert not_running(bench.world.checks, bench)
    assert bench.names(run_id)[-3:] == ["run_timed_out", "verification_ended 1", "run_failed"]


def being_verified(bench: Bench, **keys: Any) -> tuple[str, Any]:
    """A run whose first step is being verified, which takes as long as the test likes; and its driver."""
    bench.world.checks.plays[1] = [Play(seconds=None)]
    bench.world.plays[1] = [Play(seconds=None), Play()]
    bench.procedure("deploy", VERIFY, **keys)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.world.lose(bench.world.starts[0])
    bench.pass_time(1)
    assert bench.names(run_id)[-1] == "verification_started 1"
    return run_id, driving


def not_running(world: FakeWorld, bench: Bench) -> bool:
    return all(at is not None and at <= bench.clock.now().boot_ms for at in world.finish_at.values())


def abandoned(bench: Bench) -> str:
    """As `being_verified`, and its driver has been killed."""
    run_id, driving = being_verified(bench)
    driving.cancel()
    bench.pass_time(0)
    return run_id


# crashes in the middle


def test_a_verification_outlives_its_driver_and_is_watched_on(bench: Bench) -> None:
    run_id = abandoned(bench)
    bench.world.checks.finish(checks(bench)[0])
    assert bench.drive(run_id).ended == "completed"
    assert len(checks(bench)) == 1


def test_a_verification_that_was_lost_asks_and_is_not_run_again(bench: Bench) -> None:
    run_id = abandoned(bench)
    bench.world.checks.lose(checks(bench)[0])
    assert bench.drive(run_id).paused
    assert told(bench, run_id, "verification_ended").cause == "lost"
    bench.drive(run_id)
    assert len(checks(bench)) == 1


def test_a_verification_whose_driver_died_before_its_start_is_started_once(bench: Bench) -> None:
    def die(_order: WorkOrder) -> None:
        bench.world.checks.before_start = lambda _: None
        raise Killed

    bench.world.checks.before_start = die
    with pytest.raises(Killed):
        lost_in(bench, VERIFY)
    (run_id,) = {key[0] for key in bench.world.starts}
    assert (bench.names(run_id)[-1], checks(bench)) == ("verification_started 1", [])
    assert bench.drive(run_id).ended == "completed"
    assert len(checks(bench)) == 1


def test_a_verification_that_a_restart_has_overtaken_is_not_started(bench: Bench) -> None:
    def die(_order: WorkOrder) -> None:
        bench.world.checks.before_start = lambda _: None
        raise Killed

    bench.world.checks.before_start = die
    with pytest.raises(Killed):
        lost_in(bench, VERIFY)
    (run_id,) = {key[0] for key in bench.world.starts}
    bench.clock.reboot()
    assert bench.drive(run_id).paused
    assert (checks(bench), told(bench, run_id, "verification_ended").cause) == ([], "lost")


def test_a_verification_after_a_restart_belongs_to_the_boot_in_which_it_was_recorded(bench: Bench) -> None:
    def die(_order: WorkOrder) -> None:
        bench.world.checks.before_start = lambda _: None
        raise Killed

    bench.world.checks.before_start = die
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", VERIFY)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    driving.cancel()
    bench.pass_time(0)
    bench.clock.reboot()
    bench.world.lose(bench.world.starts[0])
    with pytest.raises(Killed):
        bench.drive(run_id)
    assert bench.drive(run_id).ended == "completed"
    assert len(checks(bench)) == 1


def test_a_verification_that_is_no_longer_what_was_recorded_does_not_start(bench: Bench) -> None:
    bench.environ["TOKEN"] = "one"

    def die(_order: WorkOrder) -> None:
        bench.world.checks.before_start = lambda _: None
        raise Killed

    bench.world.checks.before_start = die
    with pytest.raises(Killed):
        lost_in(bench, {**VERIFY, "env": {"pass": ["TOKEN"]}})
    (run_id,) = {key[0] for key in bench.world.starts}
    run = bench.drive(run_id, environ={**bench.environ, "TOKEN": "two"})
    assert (run.paused, checks(bench)) == (True, [])
    assert "what would run is not what was recorded" in told(bench, run_id, "verification_ended").because


# what was not approved is not run


@pytest.mark.parametrize("policy", [RERUN, FAIL, VERIFY])
def test_what_differs_from_what_was_recorded_is_asked_about(bench: Bench, policy: dict[str, Any]) -> None:
    bench.environ["TOKEN"] = "one"
    bench.world.plays[1] = [Play(seconds=None), Play()]
    bench.procedure("deploy", {**policy, "env": {"pass": ["TOKEN"]}})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    driving.cancel()
    bench.pass_time(0)
    bench.world.lose(bench.world.starts[0])
    run = bench.drive(run_id, environ={**bench.environ, "TOKEN": "two"})
    assert (run.paused, len(bench.starts(run_id)), checks(bench)) == (True, 1, [])
    assert "not what was recorded" in told(bench, run_id, "step_interrupted").because


@pytest.mark.parametrize("policy", [RERUN, FAIL, VERIFY])
def test_an_attempt_that_never_began_asks(bench: Bench, policy: dict[str, Any]) -> None:
    bench.environ["TOKEN"] = "one"

    def die(_order: WorkOrder) -> None:
        bench.world.before_start = lambda _: None
        raise Killed

    bench.world.before_start = die
    bench.procedure("deploy", {**policy, "env": {"pass": ["TOKEN"]}})
    run_id = bench.create("deploy")
    with pytest.raises(Killed):
        bench.drive(run_id)
    run = bench.drive(run_id, environ={**bench.environ, "TOKEN": "two"})
    assert (run.paused, bench.starts(run_id), checks(bench)) == (True, [], [])
    assert "it never began" in told(bench, run_id, "step_interrupted").because


@pytest.mark.parametrize("policy", [RERUN, FAIL, VERIFY])
def test_a_step_of_which_something_still_runs_is_asked_about(
    bench: Bench, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def still(world: FakeWorld, key: Any) -> Lost:
        return Lost(world.lost[key], still_runs=True)

    monkeypatch.setattr("sopwith.testing.executor._lost", still)
    run_id = lost_in(bench, policy)
    assert bench.now(run_id).paused
    assert (len(bench.starts(run_id)), checks(bench)) == (1, [])
    assert "still runs" in told(bench, run_id, "step_interrupted").because


def test_what_lies_in_the_folder_of_a_verification_before_it_began_tells_nothing(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", VERIFY)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    (bench.world.orders[bench.starts(run_id)[0]].folder / "verify" / "0").mkdir(parents=True)
    bench.world.lose(bench.world.starts[0])
    bench.finish(driving)
    assert (bench.now(run_id).paused, bench.statuses(run_id), checks(bench)) == (True, ["interrupted"], [])
    assert "before that began" in told(bench, run_id, "step_interrupted").because


@pytest.mark.parametrize("policy", [RERUN, FAIL, VERIFY])
def test_a_step_that_a_person_wanted_ended_and_that_is_lost_meanwhile_is_asked_about(
    bench: Bench, policy: dict[str, Any]
) -> None:
    bench.world.plays[1] = [Play(seconds=None), Play()]
    bench.procedure("deploy", policy, {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.engine().pause(run_id, actor=ANN, stop=True)
    bench.world.lose(bench.world.starts[0])
    bench.finish(driving)
    assert (bench.now(run_id).paused, bench.statuses(run_id)[0]) == (True, "interrupted")
    assert "it was to be ended" in told(bench, run_id, "step_interrupted").because
    with pytest.raises(IllegalMove):
        bench.engine().resume(run_id, actor=ANN)
    assert len(bench.starts(run_id)) == 1


# the envelope


def envelope(bench: Bench, step: dict[str, Any]) -> dict[str, Any]:
    bench.procedure("deploy", {**step, "requiresApproval": True})
    run_id = bench.run("deploy").run_id
    digest = told(bench, run_id, "approval_requested").digest
    document: dict[str, Any] = json.loads(bench.store.content(digest) or b"")
    return document


def test_the_command_that_verifies_is_part_of_what_is_approved(bench: Bench) -> None:
    shown = envelope(bench, VERIFY)["on_interrupt"]
    assert (shown["policy"], shown["command"], shown["timeout_secs"]) == ("verify", "test -e done", 60)
    assert envelope(bench, RERUN)["on_interrupt"] == {"policy": "rerun"}


def test_a_step_that_asks_has_the_envelope_and_the_bytes_that_it_always_had(bench: Bench) -> None:
    assert "on_interrupt" not in envelope(bench, {})
    assert "on_interrupt" not in envelope(bench, {"onInterrupt": "ask"})
    run: Run = bench.run("deploy")
    assert b"on_interrupt" not in (bench.store.content(run.procedure_digest) or b"")


# instances


def test_each_instance_is_verified_by_itself(bench: Bench) -> None:
    run_id = lost_in(bench, {**VERIFY, "forEach": ["eu", "us"]})
    assert bench.now(run_id).ended == "completed"
    (key,) = checks(bench)
    assert key[1] == "1:eu"
    assert bench.world.checks.orders[key].environment["SOP_INSTANCE"] == "eu"


def test_whoever_resumes_a_run_that_is_being_stopped_brings_the_stop_to_its_end(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    driving.cancel()
    bench.pass_time(0)
    bench.engine().pause(run_id, actor=ANN, stop=True)
    before = bench.names(run_id)
    bench.engine().resume(run_id, actor=ANN)
    assert bench.names(run_id) == before
    run = bench.drive(run_id)
    assert (run.paused, run.steps[1].error) == (True, f"stopped by {ANN}")
