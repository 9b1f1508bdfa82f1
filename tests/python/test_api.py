"""The Python API on real files, real SQLite and real processes."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.doors.workshop import Workshop, eventually, lines, slow, workshop
from tests.python import typed_usage

import sopwith
from sopwith import RunStatus, SopwithWarning, StepStatus, Workspace
from sopwith.core.run import Run
from sopwith.doors.python import results
from sopwith.engine.begun import Begun
from sopwith.engine.driver import drive
from sopwith.engine.parts import Parts
from sopwith.errors import (
    AlreadyDecided,
    ApproverNotAllowed,
    BadRequest,
    LimitReached,
    NotFound,
    NoWorkspace,
    RunBusy,
    StaleApproval,
    StoreError,
    VerificationFailed,
)

__all__ = ["slow", "workshop"]


@pytest.fixture
def api(workshop: Workshop) -> Workspace:
    return Workspace(workshop.root)


def test_a_procedure_is_run_approved_and_told(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "Build | echo built; echo version=2 >> $SOP_OUTPUT", "?Ship | echo shipped >> shipped")
    run = api.create_run("deploy")
    assert (run.status, run.sop_name, run.current_step, run.total_steps) == ("awaiting_approval", "deploy", 2, 2)
    assert run.step(1).outputs == {"version": "2"}
    assert run.step(1).output == "built\n"
    [gate] = run.gates
    decision = api.approve_step(run.run_id, 2, comment="tests passed", digest=gate.digest)
    assert (decision.status, decision.step_number, decision.action) == ("approved", 2, None)
    assert decision.run.status is RunStatus.COMPLETED
    assert lines(workshop, "shipped") == 1
    events = api.get_audit_log(run.run_id).events
    granted = next(event for event in events if event.event_type == "approval_granted")
    assert granted.actor == msgspec.structs.replace(run.created_by)
    assert granted.actor.via == "python"
    assert granted.details["comment"] == "tests passed"
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_the_typed_usage_does_what_it_says(workshop: Workshop) -> None:
    workshop.steps("deploy", "Build | true", "Ship | true")
    folder = str(workshop.root)
    assert typed_usage.approve_all("deploy", folder) is RunStatus.COMPLETED
    run_id = workshop.run_id("deploy")
    assert typed_usage.tell(run_id, folder)[0] == "1 run_created"
    told = typed_usage.steer(run_id, folder)
    assert told == "illegal_move, illegal_move, illegal_move, illegal_move, illegal_move, already_decided"


def test_a_rejection_says_what_it_led_to(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "?Ship | true")
    run = api.create_run("deploy")
    decision = api.reject_step(run.run_id, reason="not today")
    assert (decision.status, decision.action, decision.run.status) == ("rejected", "paused", "paused")
    assert decision.run.step(1).status is StepStatus.REJECTED
    with pytest.raises(AlreadyDecided):
        api.approve_step(run.run_id, 1)
    assert api.retry_run(run.run_id).status is RunStatus.AWAITING_APPROVAL
    assert api.cancel_run(run.run_id, reason="enough").status is RunStatus.CANCELLED


def test_a_vote_that_is_not_the_last_is_recorded(workshop: Workshop, api: Workspace) -> None:
    me = api._actor.id
    rules = {"approvers": [f"user:{me}", "user:bob"], "quorum": 2, "onTimeout": "reject", "allowSelfApproval": True}
    workshop.steps(
        "deploy",
        "?Ship | true",
        steps=[{"number": 1, "title": "Ship", "requiresApproval": True, "approval": rules}],
    )
    run = api.create_run("deploy")
    decision = api.approve_step(run.run_id, 1)
    assert (decision.status, decision.votes, decision.needed) == ("vote_recorded", 1, 2)
    assert [vote.by.id for vote in decision.run.gates[0].votes] == [me]


def test_an_approval_of_something_else_is_stale(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "?Ship | true")
    run = api.create_run("deploy")
    with pytest.raises(StaleApproval):
        api.approve_step(run.run_id, digest="0" * 12)


def test_an_approval_that_went_stale_on_its_way_is_an_error(workshop: Workshop, api: Workspace) -> None:
    pinned = workshop.root / "pinned.txt"
    pinned.write_text("before")
    workshop.steps(
        "deploy",
        "?Ship | true",
        steps=[{"number": 1, "title": "Ship", "requiresApproval": True, "pins": ["pinned.txt"]}],
    )
    run = api.create_run("deploy")
    pinned.write_text("after")
    with pytest.raises(StaleApproval):
        api.approve_step(run.run_id)
    assert api.get_run_status(run.run_id).gates[0].revision == 2


def test_a_report_that_is_not_confirmed_raises_and_the_step_stays_open(workshop: Workshop, api: Workspace) -> None:
    workshop.procedure(
        "check", "# C\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Do\n\nDo it.\n\n**Verify**: test -e done\n"
    )
    run = api.create_run("check")
    with pytest.raises(VerificationFailed, match="ended with exit code 1") as caught:
        api.complete_step(run.run_id, 1)
    assert f"sop complete {run.run_id}" in caught.value.hint
    assert api.get_run_status(run.run_id).step(1).status is StepStatus.RUNNING
    (workshop.root / "done").touch()
    assert api.complete_step(run.run_id, 1).status is RunStatus.COMPLETED


def test_manual_steps_are_reported_with_evidence(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("check", "Look at it")
    run = api.create_run("check")
    assert run.step(1).instructions == "Prose."
    photo = workshop.root / "photo.txt"
    photo.write_text("a photo")
    done = api.complete_step(run.run_id, 1, comment="looks good", output="fine", evidence=[photo])
    assert done.status is RunStatus.COMPLETED
    [evidence] = done.step(1).evidence
    assert (evidence.name, evidence.size_bytes) == ("photo.txt", 7)


def test_without_waiting_another_process_carries_it_on(workshop: Workshop, api: Workspace, slow: str) -> None:
    run = api.create_run(slow, wait=False)
    eventually((workshop.root / "begun").exists)
    assert api.get_run_status(run.run_id).driven_by is not None
    (workshop.root / "go").touch()
    eventually(lambda: api.get_run_status(run.run_id).status is RunStatus.COMPLETED)
    assert lines(workshop, "done") == 1


def test_a_run_that_somebody_else_drives_is_left_to_them(workshop: Workshop, api: Workspace, slow: str) -> None:
    run = api.create_run(slow, wait=False)
    eventually((workshop.root / "begun").exists)
    told = api.resume_run(run.run_id)
    assert (told.status, told.driven_by is not None) == (RunStatus.RUNNING, True)
    paused = api.pause_run(run.run_id, reason="later")
    assert paused.pause_requested
    (workshop.root / "go").touch()
    eventually(lambda: api.get_run_status(run.run_id).status is RunStatus.PAUSED)
    assert api.resume_run(run.run_id).status is RunStatus.COMPLETED


def test_cancelling_ends_the_running_step_first(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("slow", "Wait | touch begun; sleep 300")
    run = api.create_run("slow", wait=False)
    eventually((workshop.root / "begun").exists)
    api.cancel_run(run.run_id, reason="enough")
    eventually(lambda: api.get_run_status(run.run_id).status is RunStatus.CANCELLED)
    assert api.get_run_status(run.run_id).step(1).status is StepStatus.CANCELLED


def test_within_an_event_loop_it_works_as_well(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "Build | true")

    async def here() -> str:
        return api.create_run("deploy").status

    async def aside() -> str:
        return (await asyncio.to_thread(api.create_run, "deploy")).status

    assert asyncio.run(here()) == "completed"
    assert asyncio.run(aside()) == "completed"

    async def refused() -> None:
        api.create_run("nothing")

    with pytest.raises(NotFound):
        asyncio.run(refused())


def test_what_goes_wrong_while_a_run_is_carried_on_is_told_within_a_loop_too(
    workshop: Workshop, api: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.steps("deploy", "Build | true")

    async def broken(*_arguments: object, **_more: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("sopwith.engine.driver.drive", broken)

    async def inside() -> None:
        api.create_run("deploy")

    with pytest.raises(StoreError):
        asyncio.run(inside())


def test_a_run_that_its_driver_let_go_of_meanwhile_is_taken_up(
    workshop: Workshop, api: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.steps("deploy", "Build | true")
    calls: list[str] = []

    async def at_first_busy(parts: Parts, run_id: str, *, begun: Begun) -> Run:
        calls.append(run_id)
        if len(calls) == 1:
            begun.let_go()
            raise RunBusy(f"{run_id} is driven by somebody")
        return await drive(parts, run_id, begun=begun)

    monkeypatch.setattr("sopwith.engine.driver.drive", at_first_busy)
    assert api.create_run("deploy").status is RunStatus.COMPLETED
    assert len(calls) == 2


def test_a_rejection_that_goes_elsewhere_carries_the_run_on(workshop: Workshop, api: Workspace) -> None:
    steps = [{"number": 1, "onReject": "goto:2"}, {"number": 2}]
    workshop.steps("deploy", "?Ship | true", "Tell | echo told >> told", steps=steps)
    run = api.create_run("deploy")
    decision = api.reject_step(run.run_id, 1, reason="not today")
    assert (decision.action, decision.run.status) == ("goto", RunStatus.COMPLETED)
    assert lines(workshop, "told") == 1


def test_cancelling_a_run_that_nobody_drives_ends_its_processes(workshop: Workshop, api: Workspace, slow: str) -> None:
    run_id = _left_in_the_middle(workshop, slow)
    cancelled = api.cancel_run(run_id)
    assert cancelled.status is RunStatus.CANCELLED
    assert cancelled.step(1).status is StepStatus.CANCELLED
    assert lines(workshop, "done") == 0


def test_many_threads_may_use_one_workspace(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "?Ship | echo x >> shipped")
    run = api.create_run("deploy")
    told: list[str] = []

    def answer() -> None:
        told.append(api.approve_step(run.run_id, 1).status)

    threads = [threading.Thread(target=answer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["approved"] * 8
    eventually(lambda: api.get_run_status(run.run_id).status is RunStatus.COMPLETED)
    assert lines(workshop, "shipped") == 1


_AT_ONCE = """
import sys, threading
from sopwith import Workspace
workspace, together, told = Workspace(sys.argv[1]), threading.Barrier(16), []
def call():
    together.wait()
    try:
        told.append(workspace.get_run_status(workspace.create_run("deploy").run_id).status.value)
    except BaseException as error:
        told.append(repr(error))
threads = [threading.Thread(target=call) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(told))
"""


def test_threads_may_make_their_first_calls_at_once(workshop: Workshop) -> None:
    """Each type is met for the first time by all of them: what reads it must have been there before."""
    workshop.steps("deploy", "Build | true")
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", _AT_ONCE, workshop.root], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{['completed'] * 16}\n", "")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda api: api.create_run("nothing"), NotFound),
        (lambda api: api.create_run("../x"), BadRequest),
        (lambda api: api.create_run("deploy", execution_mode="fast"), BadRequest),
        (lambda api: api.get_run_status("sop_run_aaaaaaaaaaaa"), NotFound),
        (lambda api: api.get_run_status("../../etc"), BadRequest),
        (lambda api: api.get_audit_log("sop_run_aaaaaaaaaaaa"), NotFound),
        (lambda api: api.list_runs(status="odd"), BadRequest),
        (lambda api: api.list_runs(limit=-1), BadRequest),
        (lambda api: api.approve_step("sop_run_aaaaaaaaaaaa", "x"), BadRequest),
        (lambda api: api.approve_step("sop_run_aaaaaaaaaaaa", True), BadRequest),
    ],
)
def test_what_cannot_be_is_an_error_of_ours(
    workshop: Workshop, api: Workspace, call: Callable[[Workspace], Any], error: type[Exception]
) -> None:
    workshop.steps("deploy", "Build | true")
    with pytest.raises(error) as raised:
        call(api)
    assert raised.value.message  # type: ignore[attr-defined]
    assert raised.value.hint  # type: ignore[attr-defined]


def test_looking_makes_no_database(workshop: Workshop, api: Workspace) -> None:
    assert api.list_runs().total == 0
    with pytest.raises(NotFound):
        api.get_run_status("sop_run_aaaaaaaaaaaa")
    assert not (workshop.sops / "runs.db").exists()


def test_a_limit_says_who_holds_the_slot(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "?Ship | true", maxConcurrent=1)
    run = api.create_run("deploy")
    with pytest.raises(LimitReached) as raised:
        api.create_run("deploy")
    assert raised.value.details["holders"] == (run.run_id,)
    assert api.create_run("deploy", queue=True).status is RunStatus.PENDING


def test_an_agent_cannot_approve(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPWITH_ACTOR_KIND", "agent")
    workshop.steps("deploy", "?Ship | true")
    agent = Workspace(workshop.root)
    run = agent.create_run("deploy")
    assert run.created_by.kind == "agent"
    with pytest.raises(ApproverNotAllowed):
        agent.approve_step(run.run_id)
    assert run.gates[0].status == "open"


def test_nobody_says_by_an_argument_who_they_are() -> None:
    import inspect

    for name in sopwith.__all__:
        call = getattr(sopwith, name)
        if inspect.isfunction(call):
            assert not {"actor", "user", "agent", "kind", "by"} & set(inspect.signature(call).parameters), name
    for name, method in inspect.getmembers(Workspace, inspect.isfunction):
        assert not {"actor", "user", "agent", "kind", "by"} & set(inspect.signature(method).parameters), name


def test_a_workspace_is_found_named_or_missed(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    workshop.steps("deploy", "Build | true")
    inside = workshop.root / "src"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert sopwith.create_run("deploy").status is RunStatus.COMPLETED
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoWorkspace):
        sopwith.list_runs()
    monkeypatch.setenv("SOPWITH_WORKSPACE", str(workshop.root))
    assert sopwith.list_runs().total == 1
    assert Workspace().path == workshop.root


def test_closed_it_opens_anew(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "Build | true")
    with api:
        api.create_run("deploy")
    assert api.create_run("deploy").status is RunStatus.COMPLETED
    assert api.list_runs().total == 2


def test_after_a_fork_it_is_refused(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "Build | true")
    run = api.create_run("deploy")
    child = os.fork()
    if child == 0:
        try:
            api.get_run_status(run.run_id)
        except StoreError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_could_not_be_copied_is_a_warning(workshop: Workshop, api: Workspace) -> None:
    workshop.steps("deploy", "Build | true")
    (workshop.sops / "config.json").write_text('{"checkpointCopies": ["/proc/nowhere/copy"]}')
    with pytest.warns(SopwithWarning):
        assert api.create_run("deploy").status is RunStatus.COMPLETED


def test_a_run_left_by_a_killed_program_can_be_resumed(workshop: Workshop, api: Workspace, slow: str) -> None:
    run_id = _left_in_the_middle(workshop, slow)
    assert api.get_run_status(run_id).undriven
    (workshop.root / "go").touch()
    assert api.resume_run(run_id).status is RunStatus.COMPLETED
    assert lines(workshop, "done") == 1


def test_results_hold_every_field_of_the_documents(workshop: Workshop, api: Workspace) -> None:
    """A field that the documents get later must not be missing here."""
    workshop.steps("deploy", "Build | true", "?Ship | true", "Look")
    run_id = api.create_run("deploy").run_id

    def fields(kind: type[msgspec.Struct]) -> set[str]:
        return set(kind.__struct_encode_fields__)

    document = workshop.json("status", run_id)
    assert set(document) - fields(results.Run) == {"success"}
    assert set(document["gates"][0]) <= fields(results.Gate)
    told = {"duration"}  # in words; `durationMs` is here
    assert set().union(*document["stepResults"]) - fields(results.StepResult) == told
    assert set(workshop.json("history")["runs"][0]) <= fields(results.RunSummary)
    assert set(workshop.json("audit", run_id)["events"][0]) <= fields(results.AuditEvent)
    assert set(workshop.json("list")["sops"][0]) - fields(results.Procedure) == {"errors"}


def test_importing_the_package_loads_nothing_of_it() -> None:
    probe = "import sys, json, sopwith; print(json.dumps([m for m in sys.modules if m.startswith('sopwith')]))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {"sopwith", "sopwith.version"}


def test_every_name_is_there_and_no_other() -> None:
    for name in sopwith.__all__:
        assert getattr(sopwith, name) is not None
    with pytest.raises(AttributeError):
        _ = sopwith.approve_everything
    assert set(sopwith.__all__) <= set(dir(sopwith))


def _left_in_the_middle(workshop: Workshop, slow: str) -> str:
    """A run whose program was killed while its first step ran."""
    program = f"import sopwith; sopwith.create_run({slow!r}, workspace={str(workshop.root)!r})"
    process = subprocess.Popen([sys.executable, "-c", program])
    eventually((workshop.root / "begun").exists)
    process.kill()
    process.wait()
    return workshop.run_id(slow)
