"""Who decides, by when, and with what: decision 0008 through the engine and the driver, on a workspace's own files."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.commands import StepResult
from sopwith.core.events import ApprovalGranted, ApprovalRejected, ApprovalReminded, ApprovalTimeout
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.pins import pinned_now
from sopwith.engine.planning import plan_document
from sopwith.engine.reading import Reader
from sopwith.errors import (
    AlreadyDecided,
    ApproverNotAllowed,
    BadRequest,
    IllegalMove,
    InvalidProcedure,
    NotAllowed,
    Refused,
    SopwithError,
    StaleApproval,
)
from sopwith.ports import ExecutorKind
from sopwith.stores.sqlite import SqliteStore
from sopwith.stores.views import FileViews
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOB, BOT, Bench

CAROL = Actor("carol", ActorKind.HUMAN, "cli")
DAVE = Actor("dave", ActorKind.HUMAN, "cli")
GATED = {"requiresApproval": True}
MIB = 1024 * 1024


def among(*approvers: str, **rules: Any) -> dict[str, Any]:
    """A step that these may approve."""
    return {"approval": {"approvers": list(approvers), "onTimeout": "pause", **rules}}


def timed(action: str, **rules: Any) -> dict[str, Any]:
    """A step whose gate is overdue after five minutes."""
    more = {"approvers": ["user:bob"], "escalateTo": ["user:carol"]} if action == "escalate" else {}
    return {"approvalTimeoutMins": 5, "approval": {"onTimeout": action, **more, **rules}}


def overdue(bench: Bench, *steps: dict[str, Any], **keys: Any) -> str:
    """A run at its gates, six minutes later."""
    bench.procedure("deploy", *steps, **keys)
    run_id = bench.run("deploy").run_id
    bench.pass_time(360)
    return run_id


def since(bench: Bench, run_id: str, before: list[str]) -> list[str]:
    names = bench.names(run_id)
    assert names[: len(before)] == before
    return names[len(before) :]


# who is who is read from config.json at each decision


def test_who_belongs_to_a_group_counts_when_the_answer_comes(bench: Bench) -> None:
    bench.config(groups={"release": ["bob"]})
    bench.procedure("deploy", among("group:release"))
    run_id = bench.run("deploy").run_id
    with pytest.raises(ApproverNotAllowed, match="group:release"):
        bench.engine().approve(run_id, actor=CAROL)

    bench.config(groups={"release": ["carol"]})
    with pytest.raises(ApproverNotAllowed):
        bench.engine().approve(run_id, actor=BOB)
    bench.engine().approve(run_id, actor=CAROL)
    assert bench.drive(run_id).ended == "completed"


def test_a_decision_tells_what_config_said_at_that_moment(bench: Bench) -> None:
    digests = []
    for name in ("Bob B.", "Bob Builder"):
        bench.config(users={"bob": {"name": name}, "eve": {}}, groups={"release": ["bob"], "night": ["eve"]})
        bench.procedure("deploy", among("group:release"))
        run_id = bench.run("deploy").run_id
        bench.engine().approve(run_id, actor=BOB)
        (granted,) = (event.body for event in bench.events(run_id) if isinstance(event.body, ApprovalGranted))
        assert granted.signature is not None
        assert (granted.signature.printed_name, granted.signature.groups) == (name, ("release",))
        digests.append(granted.signature.config_digest)
    assert len(set(digests)) == 2


def test_a_vote_stays_when_its_voter_leaves_the_group(bench: Bench) -> None:
    bench.config(groups={"release": ["bob", "carol"]})
    bench.procedure("deploy", among("group:release", quorum=2))
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=BOB)
    bench.config(groups={"release": ["carol"]})
    bench.engine().approve(run_id, actor=CAROL)
    assert bench.drive(run_id).ended == "completed"


def not_json(path: Path) -> None:
    path.write_text("{")


def unknown_key(path: Path) -> None:
    path.write_text('{"groupz": {}}')


def not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS = pytest.mark.parametrize("break_it", [not_json, unknown_key, not_text, a_pipe, a_folder])


def mended(bench: Bench, **config: Any) -> None:
    path = bench.workspace.config
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    bench.config(**config)


def two_votes(bench: Bench) -> str:
    bench.config(groups={"release": ["bob", "carol"]})
    bench.procedure("deploy", among("group:release", quorum=2))
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=BOB)
    return run_id


@BREAKS
def test_nobody_approves_by_a_config_that_cannot_be_read_and_nothing_is_lost(
    bench: Bench, break_it: Callable[[Path], None]
) -> None:
    run_id = two_votes(bench)
    before = bench.names(run_id)
    break_it(bench.workspace.config)
    for verb in (bench.engine().approve, bench.engine().resume):
        with pytest.raises(SopwithError, match=r"config\.json"):
            verb(run_id, actor=CAROL)
    with pytest.raises(SopwithError, match=r"config\.json"):
        bench.engine().skip(run_id, actor=CAROL, reason="cannot wait")
    assert bench.names(run_id) == before

    mended(bench, groups={"release": ["bob", "carol"]})
    bench.engine().approve(run_id, actor=CAROL)
    assert bench.drive(run_id).ended == "completed"


@BREAKS
@pytest.mark.parametrize("verb", ["reject", "pause", "cancel"])
def test_what_stops_a_run_needs_no_config(bench: Bench, break_it: Callable[[Path], None], verb: str) -> None:
    run_id = two_votes(bench)
    break_it(bench.workspace.config)
    getattr(bench.engine(), verb)(run_id, actor=DAVE, reason="stop it")
    run = bench.now(run_id)
    assert run.paused or run.ended == "cancelled"


@BREAKS
def test_a_gate_that_cannot_be_asked_for_lack_of_a_config_pauses_the_run(
    bench: Bench, break_it: Callable[[Path], None]
) -> None:
    bench.world.plays[2] = [Play(seconds=30)]
    bench.config(groups={"release": ["bob"]})
    bench.procedure("deploy", {"dependsOn": []}, {"dependsOn": []}, {**among("group:release"), "dependsOn": [1]})
    run_id = bench.create("deploy")
    bench.world.after_start = lambda order: break_it(bench.workspace.config) if order.step.number == 1 else None
    run = bench.drive(run_id)
    assert run.paused
    assert "config.json" in run.reason
    assert run.steps[2].status == "completed", "what runs is not left alone"

    mended(bench, groups={"release": ["bob"]})
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).steps[3].status == "awaiting_approval"


def test_a_gate_before_a_step_of_a_kind_that_is_gone_pauses_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.procedure("deploy", GATED)
    run_id = bench.create("deploy")

    def gone(name: str) -> ExecutorKind:
        raise BadRequest(f"nothing here registers executor {name}")

    with monkeypatch.context() as patched:
        patched.setattr(bench.kinds, "kind", gone)
        run = bench.drive(run_id)
    assert run.paused
    assert "executor shell" in run.reason
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).steps[1].status == "awaiting_approval"


# runners, roles, modes


def start(bench: Bench, actor: Actor, **request: Any) -> str:
    return bench.engine().create_run(RunRequest(name="deploy", **request), actor=actor).run_id


def test_only_its_runners_start_a_procedure(bench: Bench) -> None:
    bench.config(groups={"release": ["bob", "bot"]})
    bench.procedure("deploy", {}, runners=["group:release", "user:carol", "agent:ci"])
    for actor in (ANN, BOT, Actor("ci", ActorKind.HUMAN, "cli")):
        with pytest.raises(NotAllowed, match="runners"):
            start(bench, actor)
    for actor in (BOB, CAROL, Actor("ci", ActorKind.AGENT, "mcp")):
        assert bench.drive(start(bench, actor)).ended == "completed"
    assert len({key[0] for key in bench.world.starts}) == 3


def test_a_refused_start_leaves_no_run(bench: Bench) -> None:
    bench.procedure("deploy", {}, runners=["user:bob"])
    with pytest.raises(NotAllowed):
        start(bench, ANN)
    assert bench.reader.history()["total"] == 0


def test_who_may_not_start_a_procedure_may_not_run_it_again_from_an_earlier_step(bench: Bench) -> None:
    bench.procedure("deploy", {}, GATED, runners=["user:ann"])
    run_id = bench.run("deploy").run_id
    bench.engine().pause(run_id, actor=CAROL)
    with pytest.raises(NotAllowed, match="its runners are user:ann"):
        bench.engine().retry(run_id, actor=CAROL, from_step=1)
    bench.engine().retry(run_id, actor=ANN, from_step=1)


def test_a_step_of_the_run_does_not_even_settle_what_is_overdue(bench: Bench) -> None:
    run_id = overdue(bench, timed("reject"))
    before = bench.names(run_id)
    with pytest.raises(Refused):
        bench.engine().approve(run_id, actor=replace(BOB, inside=run_id))
    assert bench.names(run_id) == before


def test_what_a_verb_settles_is_told(bench: Bench) -> None:
    run_id = overdue(bench, timed("reject"))
    engine = bench.engine()
    told: list[str] = []
    engine.on_settled = lambda event, _run: told.append(event.event_type)
    with pytest.raises(SopwithError):
        engine.resume(run_id, actor=ANN)
    assert told == ["approval_timeout", "run_paused"]


def test_who_steers_needs_the_role_and_who_stops_needs_none(bench: Bench) -> None:
    bench.config(roles={"runner": ["user:ann"], "viewer": ["user:dave"]})
    bench.world.plays[1] = [Play(result=FAILED)]
    bench.procedure("deploy", {}, {"executor": "manual", "run": None})
    with pytest.raises(NotAllowed, match="role runner"):
        start(bench, DAVE)
    run_id = bench.run("deploy").run_id
    before = bench.names(run_id)
    engine = bench.engine()
    for refused in (
        lambda: engine.retry(run_id, actor=DAVE),
        lambda: engine.skip(run_id, actor=DAVE, reason="no"),
        lambda: engine.complete(run_id, actor=DAVE, step=1),
    ):
        with pytest.raises(NotAllowed, match="role runner"):
            refused()
    assert bench.names(run_id) == before

    engine.skip(run_id, actor=ANN, reason="done elsewhere")
    bench.drive(run_id)
    with pytest.raises(NotAllowed):
        engine.fail(run_id, actor=DAVE, reason="it is broken")
    engine.pause(run_id, actor=DAVE)
    with pytest.raises(NotAllowed):
        engine.resume(run_id, actor=DAVE)
    engine.resume(run_id, actor=ANN)
    with pytest.raises(NotAllowed):
        engine.resume(run_id, actor=DAVE)  # also where it would only lend a driver
    assert engine.cancel(run_id, actor=DAVE).ended == "cancelled"


def test_a_gate_that_lists_nobody_takes_the_role_of_an_approver(bench: Bench) -> None:
    bench.config(roles={"runner": ["user:ann"], "approver": ["group:release"]}, groups={"release": ["bob"]})
    bench.procedure("deploy", GATED, among("user:dave", onTimeout="pause"))
    run_id = bench.run("deploy").run_id
    for actor in (ANN, CAROL):
        with pytest.raises(NotAllowed, match="role approver"):
            bench.engine().approve(run_id, actor=actor)
    bench.engine().approve(run_id, actor=BOB)
    bench.drive(run_id)
    with pytest.raises(ApproverNotAllowed):
        bench.engine().approve(run_id, actor=BOB)
    bench.engine().approve(run_id, actor=DAVE)
    assert bench.drive(run_id).ended == "completed"


def test_a_looser_mode_takes_an_admin_where_there_are_roles(bench: Bench) -> None:
    bench.config(roles={"runner": ["user:ann", "agent:bot"], "admin": ["user:bob"]})
    bench.procedure("deploy", {}, executionMode="step_by_step")
    for actor in (ANN, BOT):
        with pytest.raises(NotAllowed):
            start(bench, actor, mode="auto")
    assert bench.now(start(bench, BOB, mode="auto")).mode == "auto"
    assert bench.now(start(bench, ANN, mode="step_by_step")).mode == "step_by_step"
    assert bench.reader.history()["total"] == 2


# a run whose gates nobody could ever pass


@pytest.mark.parametrize(
    ("config", "steps", "keys"),
    [
        ({"groups": {"release": []}}, [among("group:release")], {}),
        ({}, [among("group:nobody")], {}),
        ({"groups": {"release": ["bob"]}}, [among("group:release", quorum=2)], {}),
        ({"groups": {"release": ["ann"]}}, [among("group:release")], {}),
        ({}, [{}, among("user:ann")], {}),
        ({"groups": {"release": ["ann", "bob"]}}, [among("group:release", quorum=2)], {}),
        ({}, [{}], {"executionMode": "supervised", "approval": {"approvers": ["user:ann"], "onTimeout": "pause"}}),
        ({}, [{}], {"executionMode": "step_by_step", "approval": {"approvers": ["user:ann"], "onTimeout": "pause"}}),
    ],
)
def test_a_run_that_nobody_could_ever_bring_to_its_end_is_not_made(
    bench: Bench, config: dict[str, Any], steps: list[dict[str, Any]], keys: dict[str, Any]
) -> None:
    bench.config(**config)
    bench.procedure("deploy", *steps, **keys)
    with pytest.raises(NotAllowed, match="could never end well"):
        bench.create("deploy")
    assert bench.reader.history()["total"] == 0


@pytest.mark.parametrize(
    ("steps", "keys"),
    [
        ([among("user:ann", allowSelfApproval=True)], {}),
        ([among("user:ann", "user:bob")], {}),
        ([GATED], {}),
        ([{}], {"approval": {"approvers": ["user:ann"], "onTimeout": "pause"}}),
    ],
)
def test_a_run_that_somebody_could_bring_to_its_end_is_made(
    bench: Bench, steps: list[dict[str, Any]], keys: dict[str, Any]
) -> None:
    bench.procedure("deploy", *steps, **keys)
    assert bench.now(bench.create("deploy")).ended is None


# what is overdue is settled first

SETTLED = {"reject": "approval_timeout 1", "skip": "approval_timeout 1", "fail": "approval_timeout 1"}
SETTLED |= {"pause": "approval_timeout 1", "escalate": "approval_escalated 1", "approve": "approval_timeout 1"}


def drive_on(engine: Engine, verb: str, run_id: str) -> Any:
    match verb:
        case "approve":
            return engine.approve(run_id, actor=BOB, step=1)
        case "skip":
            return engine.skip(run_id, actor=BOB, step=1, reason="not needed")
        case "complete":
            return engine.complete(run_id, actor=BOB, step=1)
        case "fail":
            return engine.fail(run_id, actor=BOB, step=1, reason="broken")
        case _:
            return getattr(engine, verb)(run_id, actor=BOB)


GOES_ON: dict[tuple[str, str], list[str]] = {
    ("approve", "escalate"): ["approval_granted 1"],
    ("resume", "skip"): [],
    ("resume", "approve"): [],
    ("resume", "escalate"): [],
    ("resume", "pause"): ["run_resumed"],
    ("retry", "reject"): ["run_retried"],
    ("retry", "fail"): ["run_retried"],
    ("skip", "reject"): ["step_skipped 1", "run_resumed"],
    ("skip", "fail"): ["step_skipped 1", "run_resumed"],
    ("skip", "escalate"): ["approval_closed 1", "step_skipped 1"],
    ("complete", "fail"): ["step_reported 1", "step_completed 1", "run_resumed"],
}
"""Verb and action: what the verb still does once the gate is settled; it is refused otherwise."""

FOLLOWS = {"reject": ["run_paused"], "skip": ["step_skipped 1"], "fail": ["step_failed 1", "run_failed"]}
FOLLOWS |= {"pause": ["run_paused"]}


@pytest.mark.parametrize("action", SETTLED)
@pytest.mark.parametrize("verb", ["approve", "resume", "retry", "skip", "complete", "fail"])
def test_a_driving_verb_settles_what_is_overdue_before_it_acts(bench: Bench, verb: str, action: str) -> None:
    run_id = overdue(bench, timed(action), {})
    before = bench.names(run_id)
    if (verb, action) == ("approve", "approve"):
        drive_on(bench.engine(), verb, run_id)
        assert since(bench, run_id, before) == ["approval_granted 1"]
        return
    settled = [SETTLED[action], *FOLLOWS.get(action, [])]
    if (verb, action) in GOES_ON:
        drive_on(bench.engine(), verb, run_id)
        assert since(bench, run_id, before) == [*settled, *GOES_ON[verb, action]]
        return
    with pytest.raises(Refused):
        drive_on(bench.engine(), verb, run_id)
    assert since(bench, run_id, before) == settled


@pytest.mark.parametrize("action", SETTLED)
@pytest.mark.parametrize(
    ("verb", "first"), [("reject", "approval_rejected 1"), ("pause", "run_paused"), ("cancel", "run_cancelled")]
)
def test_what_stops_a_run_comes_before_what_is_overdue(bench: Bench, verb: str, first: str, action: str) -> None:
    run_id = overdue(bench, timed(action), {})
    before = bench.names(run_id)
    getattr(bench.engine(), verb)(run_id, actor=DAVE, reason="stop it")
    bench.drive(run_id)
    assert since(bench, run_id, before)[0] == first
    assert SETTLED[action] not in bench.names(run_id)
    assert bench.starts(run_id) == []


def test_a_settled_gate_tells_that_its_time_ran_out(bench: Bench) -> None:
    run_id = overdue(bench, timed("reject"), {})
    with pytest.raises(AlreadyDecided, match="settled by its timeout"):
        bench.engine().approve(run_id, actor=BOB, step=1)


def test_a_gate_is_settled_now_and_tells_when_it_was_due(bench: Bench) -> None:
    bench.procedure("deploy", timed("reject"))
    run_id = bench.run("deploy").run_id
    due_at = bench.now(run_id).steps[1].gate.due_at
    bench.pass_time(4000)
    with pytest.raises(Refused):
        bench.engine().resume(run_id, actor=ANN)
    (event,) = (event for event in bench.events(run_id) if isinstance(event.body, ApprovalTimeout))
    assert (event.at, event.body.due_at, event.actor.kind) == (bench.clock.now().at, due_at, "system")


@pytest.mark.parametrize("first", ["reject", "skip", "fail", "pause", "approve"])
@pytest.mark.parametrize("second", ["reject", "skip", "fail", "pause", "approve"])
def test_gates_that_are_overdue_together_are_settled_until_one_stops_the_run(
    bench: Bench, first: str, second: str
) -> None:
    run_id = overdue(bench, {**timed(first), "dependsOn": []}, {**timed(second), "dependsOn": []})
    stops_at = next((action for action in (first, second) if action in ("reject", "fail", "pause")), "")
    ends = stops_at in ("reject", "fail") or first == second == "skip"
    with pytest.raises(IllegalMove, match="cannot resume") if ends else nullcontext():
        bench.engine().resume(run_id, actor=ANN)
    settled = [name for name in bench.names(run_id) if name.startswith("approval_timeout")]
    assert settled == [f"approval_timeout {step}" for step in (1, 2)][: 2 if stops_at != first else 1]


def test_an_overdue_gate_elsewhere_does_not_hold_up_an_approval(bench: Bench) -> None:
    run_id = overdue(bench, {**timed("skip"), "dependsOn": []}, {**GATED, "dependsOn": []})
    bench.engine().approve(run_id, actor=ANN, step=2)
    assert bench.drive(run_id).ended == "completed"
    assert bench.statuses(run_id) == ["skipped", "completed"]


def test_what_is_settled_while_another_stops_the_run_is_left_alone(bench: Bench) -> None:
    run_id = overdue(bench, timed("reject"))
    engine = bench.engine()
    append = engine.parts.store.append

    def overtaken(*args: Any, **kwargs: Any) -> None:
        engine.parts.store.append = append  # type: ignore[method-assign]
        bench.engine().pause(run_id, actor=BOB)
        append(*args, **kwargs)

    engine.parts.store.append = overtaken  # type: ignore[method-assign]
    with pytest.raises(IllegalMove, match="cannot approve"):
        engine.approve(run_id, actor=BOB, step=1)
    assert bench.names(run_id)[-1] == "run_paused"


def test_who_is_escalated_to_may_answer_only_then(bench: Bench) -> None:
    bench.procedure("deploy", timed("escalate"))
    run_id = bench.run("deploy").run_id
    with pytest.raises(ApproverNotAllowed):
        bench.engine().approve(run_id, actor=CAROL)
    bench.pass_time(360)
    bench.engine().approve(run_id, actor=CAROL)
    assert bench.drive(run_id).ended == "completed"
    assert bench.names(run_id)[1:4] == ["run_started", "approval_requested 1", "approval_escalated 1"]


def test_an_answer_to_a_step_means_the_revision_that_was_open_when_it_was_given(bench: Bench) -> None:
    bench.procedure("deploy", {**GATED, "pins": ["app.cfg"]})
    (bench.workspace.root / "app.cfg").write_text("one")
    run_id = bench.run("deploy").run_id
    engine = bench.engine()
    append = engine.parts.store.append

    def overtaken(*args: Any, **kwargs: Any) -> None:
        engine.parts.store.append = append  # type: ignore[method-assign]
        bench.engine().approve(run_id, actor=BOB)
        (bench.workspace.root / "app.cfg").write_text("two")
        bench.drive(run_id)
        append(*args, **kwargs)

    engine.parts.store.append = overtaken  # type: ignore[method-assign]
    with pytest.raises(StaleApproval):
        engine.approve(run_id, actor=ANN, step=1)
    assert bench.now(run_id).steps[1].gate.revision == 2
    assert bench.starts(run_id) == []


# readers write nothing


def everything_read(engine: Engine, run_id: str) -> None:
    reader = Reader(engine)
    assert reader.status(run_id)["overdue"]
    (entry,) = reader.inbox()["items"]
    assert entry["overdue"]
    gate = engine.runs.load(run_id).run.steps[1].gate
    assert gate is not None
    assert reader.envelope(gate.digest)
    reader.step(run_id, 1)
    reader.history()
    reader.audit(run_id)
    reader.log_files(run_id, None)
    reader.went_stale(run_id, 0)
    plan_document(engine.parts.workspace, engine.parts.library, "deploy", params={}, mode=None, actor=ANN)


@pytest.mark.parametrize("action", SETTLED)
def test_readers_settle_nothing(bench: Bench, action: str) -> None:
    run_id = overdue(bench, timed(action, remindAfterMins=[1]), {})
    before = bench.store.events(run_id)
    everything_read(bench.engine(), run_id)
    assert bench.store.events(run_id) == before


def test_readers_leave_every_byte_as_it_is(bench: Bench) -> None:
    workspace = bench.workspace
    workspace.runs.mkdir()
    bench.procedure("deploy", timed("approve", remindAfterMins=[1]))

    def engine() -> Engine:
        store = SqliteStore(workspace.database)
        return Engine(replace(bench.engine().parts, store=store, views=FileViews(workspace.runs, store)))

    writer = engine()
    run_id = writer.create_run(RunRequest(name="deploy"), actor=ANN).run_id
    bench.loop.run_until_complete(drive(writer.parts, run_id))
    bench.pass_time(360)
    kept = contents(workspace.sops)
    assert any(path.name == "runs.db-wal" for path in kept)
    everything_read(writer, run_id)
    other = engine()
    everything_read(other, run_id)
    assert contents(workspace.sops) == kept
    other.parts.store.close()
    writer.parts.store.close()


def contents(folder: Path) -> dict[Path, bytes]:
    """All files, but the one that only says which process reads where."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".db-shm"}


# what approvers fill in

FORM = {
    "type": "object",
    "properties": {
        "ticket": {"type": "string"},
        "replicas": {"type": "integer"},
        "careful": {"type": "boolean"},
        "note": {"type": "string"},
    },
    "required": ["ticket"],
}


def given(bench: Bench, run_id: str, step: int) -> dict[str, str]:
    """The approval variables that the latest start of a step was given."""
    order = bench.world.orders[[key for key in bench.starts(run_id) if key[1] == step][-1]]
    return {name: value for name, value in order.environment.items() if "_APPROVAL_" in name}


def test_what_was_filled_in_reaches_the_step_and_those_after_it(bench: Bench) -> None:
    bench.procedure("deploy", {}, {"approval": {"form": FORM}}, {}, {"dependsOn": [1]}, {"dependsOn": []})
    run_id = bench.run("deploy").run_id
    with pytest.raises(BadRequest):
        bench.engine().approve(run_id, actor=BOB, form={"replicas": "3"})
    bench.engine().approve(run_id, actor=BOB, form={"ticket": "OPS-1", "replicas": "3", "careful": "true"})
    assert bench.drive(run_id).ended == "completed"
    told = {
        "SOP_STEP_2_APPROVAL_TICKET": "OPS-1",
        "SOP_STEP_2_APPROVAL_REPLICAS": "3",
        "SOP_STEP_2_APPROVAL_CAREFUL": "true",
    }
    assert [given(bench, run_id, step) for step in range(1, 6)] == [{}, told, told, {}, {}]


def test_what_was_filled_in_belongs_to_what_later_gates_ask_about(bench: Bench) -> None:
    bench.procedure("deploy", {"approval": {"form": FORM}}, GATED)
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=BOB, form={"ticket": "OPS-1"})
    gate = bench.drive(run_id).steps[2].gate
    assert gate is not None
    envelope = bench.reader.envelope(gate.digest)
    assert envelope is not None
    assert envelope["approvals"] == {"1": {"ticket": "OPS-1"}}


def test_what_a_vote_short_of_the_quorum_filled_in_is_nobodys_decision(bench: Bench) -> None:
    rules = {"form": FORM, "quorum": 2, "onTimeout": "approve"}
    bench.procedure("deploy", {"approval": rules, "approvalTimeoutMins": 5})
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=BOB, form={"ticket": "OPS-1"})
    bench.pass_time(360)
    assert bench.drive(run_id).ended == "completed"
    assert given(bench, run_id, 1) == {}


def test_an_envelope_that_is_not_what_its_digest_says_is_not_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.procedure("deploy", GATED)
    gate = bench.run("deploy").steps[1].gate
    assert gate is not None
    assert bench.reader.envelope(gate.digest) is not None
    kept = bench.store.content(gate.digest)
    assert kept is not None
    monkeypatch.setattr(type(bench.store), "content", lambda _store, _digest: kept.replace(b"deploy", b"harmless"))
    assert bench.reader.envelope(gate.digest) is None


def test_a_rejection_without_a_config_does_not_claim_to_have_read_one(bench: Bench) -> None:
    run_id = two_votes(bench)
    not_json(bench.workspace.config)
    bench.engine().reject(run_id, actor=DAVE, reason="stop it")
    (rejected,) = (event.body for event in bench.events(run_id) if isinstance(event.body, ApprovalRejected))
    assert rejected.signature is not None
    assert rejected.signature.config_digest == ""


def test_what_was_filled_in_is_asked_for_again_after_a_retry(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", {"approval": {"form": FORM}}, {})
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=BOB, form={"ticket": "OPS-1", "note": "first"})
    bench.drive(run_id)
    bench.engine().retry(run_id, actor=ANN)
    bench.drive(run_id)
    bench.engine().approve(run_id, actor=BOB, form={"ticket": "OPS-2"})
    bench.drive(run_id)
    assert given(bench, run_id, 1) == given(bench, run_id, 2) == {"SOP_STEP_1_APPROVAL_TICKET": "OPS-2"}


@pytest.mark.parametrize(
    "first",
    [{}, GATED, {"approval": {"form": FORM}}, {"approval": {"form": FORM, "when": "false"}}],
    ids=["no gate", "no form", "another field", "not asked"],
)
@pytest.mark.parametrize("name", ["approval_note", "APPROVAL_NOTE", "Approval_note"])
def test_no_output_passes_for_what_an_approver_said(bench: Bench, first: dict[str, Any], name: str) -> None:
    forged = StepResult(exit_code=0, outputs={name: "forged", "approved": "yes", "url": "here"})
    bench.world.plays[1] = [Play(result=forged)]
    bench.procedure("deploy", first, {})
    run_id = bench.run("deploy").run_id
    if bench.now(run_id).steps[1].gate is not None:
        form = {"ticket": "OPS-1"} if "approval" in first else {}
        bench.engine().approve(run_id, actor=BOB, form=form)
    assert bench.drive(run_id).ended == "completed"
    assert "forged" not in given(bench, run_id, 2).values()
    order = bench.world.orders[bench.starts(run_id)[-1]]
    assert (order.environment["SOP_STEP_1_URL"], order.environment["SOP_STEP_1_APPROVED"]) == ("here", "yes")


# pinned files


def pin(bench: Bench, text: str | None = "one") -> Path:
    path = bench.workspace.root / "app.cfg"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    return path


def test_a_pin_that_is_missing_at_its_gate_pauses_the_run_until_it_is_back(bench: Bench) -> None:
    bench.procedure("deploy", {**GATED, "pins": ["app.cfg"]})
    run = bench.run("deploy")
    assert (run.paused, run.pause_cause) == (True, "environment")
    assert "step 1 needs the pinned file app.cfg" in run.reason
    assert "approval_requested 1" not in bench.names(run.run_id)

    pin(bench)
    bench.engine().resume(run.run_id, actor=ANN)
    assert bench.drive(run.run_id).steps[1].status == "awaiting_approval"
    bench.engine().approve(run.run_id, actor=ANN)
    assert bench.drive(run.run_id).ended == "completed"


def test_without_any_approval_a_pin_is_what_it_was_when_the_run_was_made(bench: Bench) -> None:
    bench.procedure("deploy", {"pins": ["app.cfg"]})
    pin(bench)
    run_id = bench.create("deploy")
    pin(bench, "two")
    assert bench.drive(run_id).steps[1].status == "awaiting_approval"
    assert bench.starts(run_id) == []
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


def test_without_any_approval_a_pin_that_is_gone_pauses_the_run(bench: Bench) -> None:
    bench.procedure("deploy", {"pins": ["app.cfg"]})
    pin(bench)
    run_id = bench.create("deploy")
    pin(bench, None)
    run = bench.drive(run_id)
    assert run.paused
    assert "app.cfg" in run.reason
    pin(bench)
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


@pytest.mark.parametrize(("mode", "asks"), [("auto", False), ("supervised", True), ("step_by_step", True)])
def test_a_pinned_file_that_an_earlier_step_makes(bench: Bench, mode: str, asks: bool) -> None:
    bench.procedure("deploy", {}, {"pins": ["app.cfg"]}, executionMode=mode)
    run_id = bench.create("deploy")
    bench.world.after_start = lambda order: pin(bench) if order.step.number == 1 else None
    bench.drive(run_id)
    if mode != "auto":
        bench.engine().approve(run_id, actor=ANN)
        bench.drive(run_id)
    run = bench.now(run_id)
    assert (run.ended, run.steps[2].gate is not None) == (None if asks else "completed", asks)
    if asks:
        bench.engine().approve(run_id, actor=ANN, step=2)
        pin(bench, "not what was approved")
        bench.drive(run_id)
        assert bench.now(run_id).steps[2].gate.revision == 2
        pin(bench)
        bench.engine().approve(run_id, actor=ANN, step=2)
        bench.drive(run_id)
        assert [key[1] for key in bench.starts(run_id)] == [1], "approved was the other file"


def test_a_huge_pin_is_hashed_without_being_held_whole(bench: Bench) -> None:
    bench.procedure("deploy", {"pins": ["app.cfg"]})
    with pin(bench).open("wb") as file:
        file.truncate(64 * MIB)
    procedure = bench.engine().parts.library.procedure("deploy")
    tracemalloc.start()
    try:
        found = pinned_now(bench.workspace.root, procedure, procedure.step(1))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == {"app.cfg": "3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351"}
    assert peak < 2 * MIB


# what the driver carries out


def reminders(bench: Bench, run_id: str) -> list[float]:
    """Minutes after its request for which a reminder was given."""
    gate = bench.now(run_id).steps[1].gate
    found = [event.body for event in bench.events(run_id) if isinstance(event.body, ApprovalReminded)]
    return [(body.due_at - gate.requested_at).total_seconds() / 60 for body in found]


def test_a_driver_reminds_once_of_all_that_is_overdue(bench: Bench) -> None:
    bench.procedure("deploy", {"approval": {"remindAfterMins": [1, 2, 10]}})
    run_id = bench.run("deploy").run_id
    bench.drive(run_id)
    assert reminders(bench, run_id) == []
    bench.pass_time(150)
    bench.drive(run_id)
    bench.drive(run_id)
    assert reminders(bench, run_id) == [2]
    bench.pass_time(600)
    bench.drive(run_id)
    assert reminders(bench, run_id) == [2, 10]
    assert bench.ready(run_id) == []
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


def test_a_driver_with_something_else_to_do_reminds_on_time(bench: Bench) -> None:
    bench.world.plays[2] = [Play(seconds=900)]
    bench.procedure("deploy", {"approval": {"remindAfterMins": [1, 2]}, "dependsOn": []}, {"dependsOn": []})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(61)
    assert reminders(bench, run_id) == [1]
    bench.pass_time(60)
    assert reminders(bench, run_id) == [1, 2]
    bench.engine().approve(run_id, actor=ANN)
    assert bench.finish(driving).ended == "completed"


def test_a_paused_run_reminds_nobody(bench: Bench) -> None:
    bench.procedure("deploy", {"approval": {"remindAfterMins": [1]}})
    run_id = bench.run("deploy").run_id
    bench.engine().pause(run_id, actor=ANN)
    bench.pass_time(600)
    bench.drive(run_id)
    bench.engine().resume(run_id, actor=ANN)
    bench.drive(run_id)
    assert reminders(bench, run_id) == []
    bench.pass_time(60)
    bench.drive(run_id)
    assert len(reminders(bench, run_id)) == 1


def rejection(bench: Bench, run_id: str) -> tuple[str, str]:
    (event,) = (event for event in bench.events(run_id) if isinstance(event.body, ApprovalRejected))
    assert isinstance(event.body, ApprovalRejected)
    assert event.body.signature is None
    return event.actor.kind, event.body.reason


def test_a_gate_that_nobody_can_pass_any_more_is_rejected_when_it_opens(bench: Bench) -> None:
    bench.config(groups={"release": ["bob"]})
    bench.procedure("deploy", {}, among("group:release"))
    run_id = bench.create("deploy")
    bench.config(groups={"release": ["ann"]})
    run = bench.drive(run_id)
    assert run.paused
    assert rejection(bench, run_id)[0] == "system"
    assert "group:release" in rejection(bench, run_id)[1]

    bench.config(groups={"release": ["carol"]})
    bench.engine().retry(run_id, actor=ANN)
    bench.drive(run_id)
    bench.engine().approve(run_id, actor=CAROL)
    assert bench.drive(run_id).ended == "completed"


def test_a_queued_run_that_nobody_can_let_start_any_more_is_cancelled_when_its_turn_comes(bench: Bench) -> None:
    bench.config(groups={"release": ["bob"]})
    rules = {"approvers": ["group:release"], "onTimeout": "pause"}
    bench.procedure("deploy", {}, executionMode="supervised", maxConcurrent=1, approval=rules)
    first = bench.create("deploy")
    second = bench.create("deploy", queue=True)
    bench.config(groups={"release": []})
    bench.engine().cancel(first, actor=ANN)
    run = bench.drive(second)
    assert (run.ended, run.queued) == ("cancelled", False)
    assert rejection(bench, second)[0] == "system"
    assert bench.starts(second) == []


def test_a_queued_run_that_nobody_can_let_start_keeps_its_place_until_its_turn(bench: Bench) -> None:
    bench.config(groups={"release": ["bob"]})
    rules = {"approvers": ["group:release"], "onTimeout": "pause"}
    bench.procedure("deploy", {}, executionMode="supervised", maxConcurrent=1, approval=rules)
    bench.create("deploy")
    second = bench.create("deploy", queue=True)
    bench.config(groups={"release": []})
    assert bench.drive(second).queued


def test_a_queued_run_asks_its_approvers_when_its_turn_comes(bench: Bench) -> None:
    bench.config(groups={"release": ["bob"]})
    rules = {"approvers": ["group:release"], "onTimeout": "pause"}
    bench.procedure("deploy", {}, executionMode="supervised", maxConcurrent=1, approval=rules)
    first = bench.create("deploy")
    second = bench.create("deploy", queue=True)
    bench.engine().cancel(first, actor=ANN)
    bench.drive(second)
    with pytest.raises(ApproverNotAllowed):
        bench.engine().approve(second, actor=ANN)
    bench.engine().approve(second, actor=BOB)
    assert bench.drive(second).ended == "completed"


def test_a_condition_that_does_not_hold_asks_nobody(bench: Bench) -> None:
    bench.procedure("deploy", {"approval": {"when": "run.mode == 'supervised'"}})
    assert bench.run("deploy").ended == "completed"


def test_config_that_cannot_be_read_refuses_a_new_run(bench: Bench) -> None:
    bench.config()
    bench.procedure("deploy", {})
    not_json(bench.workspace.config)
    with pytest.raises(InvalidProcedure):
        bench.create("deploy")
