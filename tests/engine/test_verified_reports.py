"""`verify` as the driver carries it out: a report is believed once the step's own script says so too."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core.commands import StepResult
from sopwith.core.envelope import changed_fields
from sopwith.core.interruption import REPORT_VERIFY_SECS
from sopwith.core.request import request_of
from sopwith.core.run import Run, StepStatus
from sopwith.engine.engine import Call
from sopwith.errors import Conflict, VerificationFailed
from sopwith.ports import WorkOrder
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOT, Bench

BY_HAND = {"run": None, "verify": "test -e done"}
NO = Play(result=FAILED, output=b"no such file\n")


class Killed(BaseException):
    """This process is gone."""


def opened(bench: Bench, *more: dict[str, Any], **keys: Any) -> str:
    """A run whose first step is to be done by hand."""
    bench.procedure("deploy", {**BY_HAND, **keys}, *more)
    run_id = bench.create("deploy")
    bench.drive(run_id)
    return run_id


def report(bench: Bench, run_id: str, **more: Any) -> int:
    """Reports the step done; tells the report's revision."""
    return bench.engine().complete(run_id, actor=BOT, step=1, **more).seq


def checks(bench: Bench) -> list[Any]:
    return bench.world.checks.starts


def ended(bench: Bench, run_id: str) -> Any:
    return next(e.body for e in reversed(bench.events(run_id)) if e.event_type == "verification_ended")


def is_open(bench: Bench, run_id: str) -> bool:
    return bench.now(run_id).steps[1].status is StepStatus.RUNNING and bench.now(run_id).ended is None


def begun(bench: Bench, run_id: str) -> Any:
    """The driver of a run whose report is being verified, for as long as the test likes."""
    bench.world.checks.plays[1] = [Play(seconds=None), Play()]
    report(bench, run_id)
    driving = bench.begin(run_id)
    bench.pass_time(1)
    assert bench.names(run_id)[-1] == "verification_started 1"
    return driving


def abandoned(bench: Bench, run_id: str) -> None:
    """The same, and the driver has been killed."""
    driving = begun(bench, run_id)
    driving.cancel()
    bench.pass_time(0)


def test_a_yes_completes_the_step_and_the_run_goes_on(bench: Bench) -> None:
    run_id = opened(bench, {})
    seq = report(bench, run_id, output="did it")
    assert bench.reader.check_believed(run_id, seq) == "pending"
    assert bench.drive(run_id).ended == "completed"
    assert bench.reader.check_believed(run_id, seq) == "passed"
    order = bench.world.checks.orders[checks(bench)[0]]
    assert (order.step.script.text, order.step.executor, order.verifies) == ("test -e done\n", "shell", 1)
    assert order.folder == bench.workspace.run_folder(run_id) / "step-1.1.1" / "verify"
    assert order.folder.stat().st_mode & 0o077 == order.folder.parent.stat().st_mode & 0o077 == 0
    assert order.environment["SOP_VERIFY"] == "1"
    assert order.environment["SOP_RUN_ID"] == run_id


def test_a_no_leaves_the_step_open_and_the_next_report_is_verified_in_a_folder_of_its_own(bench: Bench) -> None:
    run_id = opened(bench)
    bench.world.checks.plays[1] = [NO, Play()]
    first = report(bench, run_id)
    bench.drive(run_id)
    assert is_open(bench, run_id)
    assert (ended(bench, run_id).exit_code, ended(bench, run_id).output) == (1, "no such file\n")
    second = report(bench, run_id)
    assert bench.drive(run_id).ended == "completed"
    assert bench.reader.check_believed(run_id, second) == "passed"
    with pytest.raises(VerificationFailed, match="ended with exit code 1"):
        bench.reader.check_believed(run_id, first)
    [last] = bench.world.checks.orders.values()
    assert (last.folder.name, last.verifies) == ("verify-2", 2)


def test_a_report_that_is_not_verified_is_neither_believed_nor_not(bench: Bench) -> None:
    bench.procedure("plain", {"run": None})
    run_id = bench.create("plain")
    bench.drive(run_id)
    seq = report(bench, run_id)
    assert bench.reader.check_believed(run_id, seq) == ""
    other = opened(bench)
    seq = report(bench, other)
    bench.engine().fail(other, actor=ANN, reason="no")
    assert bench.reader.check_believed(other, seq) == ""


def test_a_report_that_is_sent_again_is_told_its_own_verification(bench: Bench) -> None:
    run_id = opened(bench)
    bench.world.checks.plays[1] = [NO, Play()]
    call = Call(request=request_of(BOT, "first", {"step": 1}))
    engine = bench.engine().for_call(call)
    seq = engine.decided_at(engine.complete(run_id, actor=BOT, step=1))
    bench.drive(run_id)
    report(bench, run_id)
    bench.drive(run_id)
    again = bench.engine().for_call(call)
    assert again.decided_at(again.complete(run_id, actor=BOT, step=1)) == seq
    assert again.replayed
    with pytest.raises(VerificationFailed):
        bench.reader.check_believed(run_id, seq)


@pytest.mark.parametrize(
    "result",
    [
        StepResult(signal="SIGKILL", error="killed by SIGKILL", cause="signal"),
        StepResult(error="bash is not there", cause="start"),
        StepResult(exit_code=0, error="its outputs cannot be read", cause="output"),
    ],
)
def test_an_end_that_tells_nothing_leaves_the_step_open(bench: Bench, result: StepResult) -> None:
    run_id = opened(bench)
    bench.world.checks.plays[1] = [Play(result=result)]
    report(bench, run_id)
    bench.drive(run_id)
    assert is_open(bench, run_id)
    assert ended(bench, run_id).outcome == "unknown"


def test_it_is_ended_after_its_time(bench: Bench) -> None:
    run_id = opened(bench)
    bench.world.checks.plays[1] = [Play(seconds=REPORT_VERIFY_SECS + 1)]
    report(bench, run_id)
    bench.drive(run_id)
    assert (ended(bench, run_id).cause, is_open(bench, run_id)) == ("timeout", True)


def test_an_end_that_is_lost_asks_for_a_new_report(bench: Bench) -> None:
    run_id = opened(bench)
    driving = begun(bench, run_id)
    bench.world.checks.lose(checks(bench)[0])
    bench.finish(driving)
    assert (ended(bench, run_id).cause, is_open(bench, run_id)) == ("lost", True)
    report(bench, run_id)
    assert bench.drive(run_id).ended == "completed"


# engines that die


def test_the_driver_dies_before_it_records_anything_and_the_next_one_begins(bench: Bench) -> None:
    run_id = opened(bench)
    report(bench, run_id)
    assert bench.names(run_id)[-1] == "step_reported 1"
    assert bench.drive(run_id).ended == "completed"
    assert len(checks(bench)) == 1


def test_the_driver_dies_while_it_runs_and_the_next_one_takes_its_end(bench: Bench) -> None:
    run_id = opened(bench)
    abandoned(bench, run_id)
    bench.world.checks.finish(checks(bench)[0], FAILED)
    bench.drive(run_id)
    assert (is_open(bench, run_id), len(checks(bench))) == (True, 1)


def begun_and_not_started(bench: Bench) -> str:
    """A run whose driver died between recording that it verifies and starting the script."""
    run_id = opened(bench)

    def die(_order: WorkOrder) -> None:
        bench.world.checks.before_start = lambda _: None
        raise Killed

    bench.world.checks.before_start = die
    report(bench, run_id)
    with pytest.raises(Killed):
        bench.drive(run_id)
    return run_id


def test_the_driver_dies_before_the_process_and_the_next_one_starts_it_once(bench: Bench) -> None:
    run_id = begun_and_not_started(bench)
    assert (bench.names(run_id)[-1], checks(bench)) == ("verification_started 1", [])
    assert bench.drive(run_id).ended == "completed"
    assert len(checks(bench)) == 1


def test_a_restart_of_the_machine_asks_again(bench: Bench) -> None:
    run_id = begun_and_not_started(bench)
    bench.clock.reboot()
    bench.drive(run_id)
    assert (ended(bench, run_id).cause, is_open(bench, run_id), checks(bench)) == ("lost", True, [])


def test_one_verification_is_started_once(bench: Bench) -> None:
    run_id = opened(bench)
    abandoned(bench, run_id)
    order = bench.world.checks.orders[checks(bench)[0]]
    with pytest.raises(Conflict):
        bench.world.checks.begin(order, 0)


# what must not be run


def test_what_was_put_into_its_folder_is_no_answer(bench: Bench) -> None:
    run_id = opened(bench)
    planted = bench.workspace.run_folder(run_id) / "step-1.1.1" / "verify" / "0"
    planted.mkdir(parents=True)
    report(bench, run_id)
    bench.drive(run_id)
    assert (is_open(bench, run_id), checks(bench)) == (True, [])
    assert "something was in the folder of its verification" in ended(bench, run_id).because


def test_a_pinned_file_that_was_changed_since_the_step_began_is_not_run(bench: Bench) -> None:
    (bench.workspace.root / "check.sh").write_text("test -e done\n")
    run_id = opened(bench, pins=["check.sh"], verify="sh check.sh")
    (bench.workspace.root / "check.sh").write_text("true\n")
    report(bench, run_id)
    bench.drive(run_id)
    assert (is_open(bench, run_id), checks(bench)) == (True, [])
    assert "was not begun: what would run is not what was recorded" in ended(bench, run_id).because
    (bench.workspace.root / "check.sh").write_text("test -e done\n")
    report(bench, run_id)
    assert bench.drive(run_id).ended == "completed"


def test_a_variable_that_is_missing_here_is_named(bench: Bench) -> None:
    bench.environ["TOKEN"] = "one"
    run_id = opened(bench, env={"pass": ["TOKEN"]})
    report(bench, run_id)
    bench.drive(run_id, environ={"PATH": "/usr/bin"})
    assert (is_open(bench, run_id), checks(bench)) == (True, [])
    assert "TOKEN is not set here" in ended(bench, run_id).because


def test_files_that_were_edited_do_not_change_a_run_in_flight(bench: Bench) -> None:
    run_id = opened(bench)
    bench.procedure("deploy", {"run": None})
    report(bench, run_id)
    bench.drive(run_id)
    assert bench.world.checks.orders[checks(bench)[0]].step.script.text == "test -e done\n"


def test_another_script_is_another_envelope(bench: Bench) -> None:
    asked = []
    for name, script in (("one", "test -e a"), ("two", "test -e b")):
        bench.procedure(name, {"run": None, "verify": script, "requiresApproval": True})
        run_id = bench.create(name)
        run = bench.drive(run_id)
        asked.append(bench.store.content(run.steps[1].gate.digest))
    assert "verify script" in changed_fields(*asked)


# stops


def test_a_cancel_ends_it(bench: Bench) -> None:
    run_id = opened(bench)
    driving = begun(bench, run_id)
    bench.engine().cancel(run_id, actor=ANN)
    assert bench.finish(driving).ended == "cancelled"
    assert all(at == 0 for at in bench.world.checks.finish_at.values())


def test_a_stop_ends_it_and_the_run_is_paused_with_the_step_open(bench: Bench) -> None:
    run_id = opened(bench)
    driving = begun(bench, run_id)
    bench.engine().pause(run_id, actor=ANN, stop=True)
    run: Run = bench.finish(driving)
    assert (run.paused, run.steps[1].status) == (True, StepStatus.RUNNING)
    bench.engine().resume(run_id, actor=ANN)
    report(bench, run_id)
    assert bench.drive(run_id).ended == "completed"


def test_the_runs_own_limit_ends_it(bench: Bench) -> None:
    bench.procedure("deploy", BY_HAND, timeoutSecs=60)
    run_id = bench.create("deploy")
    bench.drive(run_id)
    driving = begun(bench, run_id)
    run = bench.finish(driving)
    assert (run.ended, run.steps[1].error) == ("failed", "the run's 1m 0s were up")


def test_a_report_to_a_paused_run_is_kept(bench: Bench) -> None:
    run_id = opened(bench)
    bench.engine().pause(run_id, actor=ANN)
    seq = report(bench, run_id)
    bench.drive(run_id)
    assert (bench.reader.check_believed(run_id, seq), checks(bench)) == ("pending", [])
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"
