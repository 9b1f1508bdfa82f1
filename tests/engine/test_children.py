"""Runs within runs as drivers carry them out: made once, kept in line with their parent, and told of in its record.

Longer than other files: every moment at which one of two runs may die or be stopped belongs on one page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.commands import Cancel, Finish, StepResult
from sopwith.core.run import Run, status_of
from sopwith.engine.driver import LOOK_SECS, drive
from sopwith.engine.runs import Runs
from sopwith.engine.ticker import SWEEP_SECS
from sopwith.errors import (
    ApproverNotAllowed,
    Conflict,
    IllegalMove,
    InvalidProcedure,
    LimitReached,
    NotAllowed,
    SopwithError,
    StoreError,
)
from sopwith.ports import ExecutorKind
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOB, BOT, Bench
from .served import Server, ended

USES: dict[str, Any] = {"run": None, "uses": "build"}
GATE: dict[str, Any] = {"requiresApproval": True}
BY_HAND: dict[str, Any] = {"run": None, "executor": "manual"}
WAIT: dict[str, Any] = {"run": None, "executor": "wait", "waitSecs": 600}
ALSO: dict[str, Any] = {"dependsOn": []}


class Killed(BaseException):
    """The driver is gone."""


@pytest.fixture(autouse=True)
def _waits(bench: Bench) -> None:
    bench.kinds.known["wait"] = ExecutorKind(name="wait", needs_script=False, by_hand=True)


def nested(bench: Bench, *steps: dict[str, Any], then: tuple[dict[str, Any], ...] = (), **keys: Any) -> None:
    """`deploy` runs `build` first, whose steps are these."""
    bench.procedure("build", *(steps or ({},)))
    bench.procedure("deploy", {**USES, **keys}, *then)


def child_of(bench: Bench, run_id: str, step: Any = 1) -> str:
    return bench.now(run_id).steps[step].child


def status(bench: Bench, run_id: str) -> str:
    summary = bench.store.summary(run_id)
    assert summary is not None
    assert summary.status is status_of(bench.now(run_id)), "lists tell what the record does"
    return summary.status.value


def serve_once(bench: Bench, run_id: str) -> Run:
    """What the server does with a run that is due: neither stays for timers nor goes up."""
    return bench.loop.run_until_complete(drive(bench.engine().parts, run_id, linger=False, upwards=False))


def approve(bench: Bench, run_id: str, *, actor: Actor = ANN) -> None:
    bench.engine().approve(run_id, actor=actor)


def children_made(bench: Bench) -> list[str]:
    """Of all runs."""
    return [run_id for run_id in bench.store._shelf.runs if bench.now(run_id).parent is not None]


# made, driven, and told of


def test_a_step_is_carried_out_by_a_run_of_its_own(bench: Bench) -> None:
    nested(bench, {}, {}, then=({},))
    run = bench.run("deploy")
    child = bench.now(run.steps[1].child)
    assert (run.ended, child.ended) == ("completed", "completed")
    assert child.parent is not None
    assert (child.parent.run_id, child.parent.step) == (run.run_id, 1)
    assert [(key[0], key[1]) for key in bench.world.starts] == [(child.run_id, 1), (child.run_id, 2), (run.run_id, 2)]
    assert bench.names(run.run_id)[:4] == ["run_created", "run_started", "step_started 1", "step_completed 1"]
    assert bench.events(run.run_id)[3].actor == SYSTEM


def test_what_started_the_parent_started_the_child_with_its_environment_and_umask(bench: Bench) -> None:
    nested(bench)
    run_id = bench.create("deploy")
    bench.environ["PATH"] = "/elsewhere"
    run = bench.drive(run_id)
    child = bench.now(run.steps[1].child)
    assert (child.created_by, child.environment, child.umask) == (ANN, run.environment, run.umask)
    assert child.environment["PATH"] == "/usr/bin"


def test_what_is_used_is_what_it_was_when_the_run_was_made(bench: Bench) -> None:
    bench.procedure("compile", {"run": "echo old"})
    bench.procedure("build", {"run": None, "uses": "compile"})
    bench.procedure("deploy", {**USES, **GATE})
    run_id = bench.run("deploy").run_id
    for name in ("compile", "build"):
        bench.procedure(name, {"run": "echo new"}, {"run": "echo more"})
    approve(bench, run_id)
    assert bench.drive(run_id).ended == "completed"
    (order,) = bench.world.orders.values()
    assert order.step.script is not None
    assert order.step.script.text.strip() == "echo old"
    assert set(bench.now(run_id).uses) == {"build", "compile"}


def test_three_levels_end_one_after_another(bench: Bench) -> None:
    bench.procedure("compile", {**GATE})
    bench.procedure("build", {"run": None, "uses": "compile"}, {})
    bench.procedure("deploy", USES, {})
    run = bench.run("deploy")
    middle = child_of(bench, run.run_id)
    inner = child_of(bench, middle)
    assert [status(bench, each) for each in (run.run_id, middle, inner)] == ["awaiting_approval"] * 3
    approve(bench, inner)
    assert [status(bench, each) for each in (run.run_id, middle)] == ["running"] * 2
    assert bench.drive(inner).ended == "completed"
    assert [bench.now(each).ended for each in (run.run_id, middle)] == ["completed"] * 2
    assert len(bench.world.starts) == 3


PARAMETERS = [
    {"name": "tag", "type": "string", "required": True},
    {"name": "count", "type": "integer", "default": 1},
]


def test_a_step_hands_parameters_on(bench: Bench) -> None:
    bench.procedure("build", {}, params=PARAMETERS)
    bench.procedure(
        "deploy",
        {**USES, "with": {"tag": "params.version + '-rc'", "count": 3}},
        params=[{"name": "version", "type": "string", "required": True}],
    )
    run = bench.run("deploy", version="v1")
    assert bench.now(run.steps[1].child).params == {"tag": "v1-rc", "count": 3}


def test_a_parameter_that_nobody_can_know_pauses_the_run_and_makes_none(bench: Bench) -> None:
    bench.procedure("build", {}, params=PARAMETERS)
    bench.procedure("deploy", {**USES, "with": {"tag": "params.version"}}, params=[{"name": "version"}])
    run = bench.run("deploy")
    assert (run.paused, run.pause_cause) == (True, "environment")
    assert "the parameters of build" in run.reason
    assert children_made(bench) == []


def test_each_item_has_a_child_run_of_its_own(bench: Bench) -> None:
    bench.procedure("build", GATE, params=[{"name": "region", "type": "string", "required": True}])
    bench.procedure("deploy", {**USES, "forEach": ["eu", "us"], "with": {"region": "item"}}, {})
    run = bench.run("deploy")
    made = {name: child_of(bench, run.run_id, f"1:{name}") for name in ("eu", "us")}
    assert {name: bench.now(child).params["region"] for name, child in made.items()} == {"eu": "eu", "us": "us"}
    assert status(bench, run.run_id) == "awaiting_approval"
    approve(bench, made["eu"])
    bench.drive(made["eu"])
    assert bench.now(run.run_id).steps["1:eu"].status == "completed"
    assert status(bench, run.run_id) == "awaiting_approval"
    approve(bench, made["us"])
    bench.drive(made["us"])
    assert bench.now(run.run_id).ended == "completed"


# outputs


def outputs(bench: Bench, *plays: dict[str, Any], **keys: Any) -> Run:
    nested(bench, *({} for _ in plays), **keys)
    for number, handed in enumerate(plays, 1):
        bench.world.plays[number] = [Play(result=StepResult(exit_code=0, outputs=handed))]
    return bench.run("deploy")


def test_what_the_childs_steps_hand_on_the_step_hands_on(bench: Bench) -> None:
    run = outputs(bench, {"url": "a", "tag": "v1"}, {"url": "b"})
    assert run.steps[1].outputs == {"url": "b", "tag": "v1"}


@pytest.mark.parametrize(
    ("declared", "handed", "error"),
    [
        ({"url": "string"}, {"url": "b"}, ""),
        ({"count": "integer"}, {}, "count of CHILD is not of the type integer"),
        ({"no": "string"}, {}, ""),
    ],
)
def test_declared_outputs_choose_and_must_have_their_type(
    bench: Bench, declared: dict[str, str], handed: dict[str, Any], error: str
) -> None:
    run = outputs(bench, {"url": "b", "count": True}, outputs=declared)
    assert run.steps[1].error == error.replace("CHILD", run.steps[1].child)
    assert run.steps[1].outputs == handed


def test_outputs_that_are_too_large_together_fail_the_step(bench: Bench) -> None:
    run = outputs(bench, {"a": "x" * 40_000}, {"b": "y" * 40_000})
    assert "larger than 64 KiB" in run.steps[1].error
    assert run.ended == "failed"


# how the parent stands


@pytest.mark.parametrize(
    ("steps", "stands"),
    [((GATE,), "awaiting_approval"), ((BY_HAND,), "running"), ((WAIT,), "running")],
    ids=["gate", "by hand", "wait"],
)
def test_the_parent_stands_as_its_child_does(bench: Bench, steps: tuple[dict[str, Any], ...], stands: str) -> None:
    nested(bench, *steps)
    run_id = bench.create("deploy")
    serve_once(bench, run_id)
    assert status(bench, run_id) == stands
    assert bench.store.holder(run_id) is None
    assert bench.store.holder(child_of(bench, run_id)) is None


def test_a_child_at_its_start_gate_is_waited_for(bench: Bench) -> None:
    bench.procedure("build", {}, executionMode="supervised")
    bench.procedure("deploy", USES)
    run = bench.run("deploy")
    assert status(bench, run.run_id) == "awaiting_approval"
    child = run.steps[1].child
    assert status(bench, child) == "waiting_approval"
    approve(bench, child)
    assert bench.drive(child).ended == "completed"
    assert bench.now(run.run_id).ended == "completed"


def test_whoever_approves_in_the_child_sees_the_parent_end(bench: Bench) -> None:
    nested(bench, GATE, then=({},))
    run = bench.run("deploy")
    child = run.steps[1].child
    approve(bench, child)
    assert "child_run_changed 1" in bench.names(run.run_id)[3:]
    bench.drive(child)
    assert bench.now(run.run_id).ended == "completed"
    assert [key[0] for key in bench.world.starts] == [child, run.run_id]


def test_a_foreground_driver_stays_for_a_wait_in_the_child(bench: Bench) -> None:
    nested(bench, WAIT, {})
    before = bench.clock.now().boot_ms
    assert bench.run("deploy").ended == "completed"
    assert 600_000 <= bench.clock.now().boot_ms - before < 601_000


def test_the_server_ends_a_wait_in_the_child_and_then_carries_the_parent_on(bench: Bench) -> None:
    nested(bench, WAIT, {}, then=({},))
    run_id = bench.create("deploy")
    serve_once(bench, run_id)
    child = child_of(bench, run_id)
    assert bench.store.due(bench.clock.now().at, 9) == ()
    bench.pass_time(600)
    assert bench.store.due(bench.clock.now().at, 9) == (child,)
    assert bench.ready(run_id) == []
    serve_once(bench, child)
    assert bench.ready(run_id) == ["start_step"]
    assert serve_once(bench, run_id).ended == "completed"


# a driver that dies


def dying(bench: Bench, patch: pytest.MonkeyPatch, name: str, where: Any, *, after: bool = False) -> Callable[[], None]:
    """Whoever calls this function dies, before it does anything or after."""
    real = getattr(where, name)

    def die(*args: Any, **options: Any) -> Any:
        if after:
            real(*args, **options)
        raise Killed

    patch.setattr(where, name, die)
    return lambda: patch.setattr(where, name, real)


def died(bench: Bench, run_id: str) -> None:
    with pytest.raises(Killed):
        bench.drive(run_id)
    for task in asyncio.all_tasks(bench.loop):
        task.cancel()
    bench.pass_time(0)


@pytest.mark.parametrize("after", [False, True], ids=["before it was made", "after it was made"])
def test_a_driver_killed_around_the_making_of_the_child(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    from sopwith.engine import driver

    nested(bench, {}, then=({},))
    run_id = bench.create("deploy")
    revive = dying(bench, monkeypatch, "make", driver, after=after)
    died(bench, run_id)
    intended = child_of(bench, run_id)
    assert bench.statuses(run_id)[0] == "running"
    assert children_made(bench) == ([intended] if after else [])
    revive()
    run = bench.drive(run_id)
    assert (run.ended, run.steps[1].child) == ("completed", intended)
    assert children_made(bench) == [intended]
    assert len(bench.world.starts) == 2


def test_a_driver_killed_in_the_middle_of_the_childs_step(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    nested(bench, {}, {}, then=({},))
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        bench.finish(driving)
    assert bench.store.holder(child_of(bench, run_id)) is None
    run = bench.drive(run_id)
    assert run.ended == "completed"
    assert len(bench.world.starts) == 3
    assert all(count == 1 for count in bench.world.started.values())


@pytest.mark.parametrize("first", ["parent", "child"])
def test_a_driver_that_dies_before_it_tells_the_parent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Whoever comes next finds out: by the parent, or by the child."""
    nested(bench, GATE, then=({},))
    run = bench.run("deploy")
    child = run.steps[1].child
    approve(bench, child)
    told: list[bool] = []
    real = Runs._tell_parent

    def dies(self: Runs, run: Run, *, goes_on: bool) -> None:
        if run.ended is not None:
            raise Killed
        told.append(goes_on)
        real(self, run, goes_on=goes_on)

    monkeypatch.setattr(Runs, "_tell_parent", dies)
    died(bench, child)
    assert (bench.now(child).ended, bench.statuses(run.run_id)[0]) == ("completed", "running")
    monkeypatch.setattr(Runs, "_tell_parent", real)
    bench.drive(run.run_id if first == "parent" else child)
    assert bench.now(run.run_id).ended == "completed"


@pytest.mark.parametrize("driven", ["parent", "child"])
def test_one_that_dies_between_the_answer_and_its_word_leaves_a_parent_that_looks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, driven: str
) -> None:
    nested(bench, GATE, then=({},))
    run = bench.run("deploy")
    child = run.steps[1].child
    engine = bench.engine()
    append = engine.parts.store.append

    def dies(run_id: str, *args: Any, **options: Any) -> None:
        append(run_id, *args, **options)
        if run_id == child:
            raise Killed

    engine.parts.store.append = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        engine.approve(child, actor=ANN)
    assert status(bench, run.run_id) == "running", "it was told first"
    bench.drive(run.run_id if driven == "parent" else child)
    assert bench.now(run.run_id).ended == "completed"


def test_one_that_dies_before_the_answer_leaves_a_parent_that_finds_nothing_new(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested(bench, GATE)
    run = bench.run("deploy")
    child = run.steps[1].child
    engine = bench.engine()
    append = engine.parts.store.append

    def dies(run_id: str, *args: Any, **options: Any) -> None:
        if run_id == child:
            raise Killed
        append(run_id, *args, **options)

    engine.parts.store.append = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        engine.approve(child, actor=ANN)
    assert status(bench, run.run_id) == "running"
    bench.drive(run.run_id)
    assert status(bench, run.run_id) == "awaiting_approval"
    approve(bench, child)
    bench.drive(child)
    assert bench.now(run.run_id).ended == "completed"


def test_an_attempt_of_the_child_that_is_lost_pauses_both_until_a_person_says_what_is_true(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    nested(bench, {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.world.lose(bench.world.starts[0])
    bench.finish(driving)
    child = child_of(bench, run_id)
    assert (status(bench, child), status(bench, run_id)) == ("paused", "awaiting_approval")
    bench.engine().complete(child, actor=ANN, step=1)
    bench.drive(child)
    assert bench.now(run_id).ended == "completed"


# several who drive


@pytest.mark.parametrize("turns", [("parent", "child"), ("child", "parent")])
def test_two_who_drive_parent_and_child_at_the_same_time(bench: Bench, turns: tuple[str, str]) -> None:
    nested(bench, GATE, {}, then=({},))
    run = bench.run("deploy")
    child = run.steps[1].child
    bench.world.plays[1] = [Play(seconds=5)]
    bench.world.plays[2] = [Play(seconds=5)]
    approve(bench, child)
    ids = {"parent": run.run_id, "child": child}
    driving = [bench.begin(ids[turn]) for turn in turns]
    for task in driving:
        bench.finish(task)
    assert bench.now(run.run_id).ended == bench.now(child).ended == "completed"
    assert len(bench.world.starts) == 3
    assert bench.names(run.run_id).count("step_completed 1") == 1


def test_a_driver_stays_while_somebody_else_drives_its_child(bench: Bench) -> None:
    nested(bench, GATE, {}, then=({},))
    run = bench.run("deploy")
    child = run.steps[1].child
    bench.world.plays[1] = [Play(seconds=30)]
    approve(bench, child)
    first = bench.begin(child)
    bench.pass_time(1)
    second = bench.begin(run.run_id)
    bench.pass_time(1)
    assert not second.done()
    assert bench.finish(second).ended == "completed"
    bench.finish(first)


def test_a_driver_soon_finds_the_end_of_a_child_whose_own_driver_died_before_it_said_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested(bench, GATE, then=(ALSO,))
    bench.world.plays = {1: [Play(seconds=5)], 2: [Play(seconds=300)]}
    run_id = bench.create("deploy")
    bench.begin(run_id)
    bench.pass_time(1)
    child = child_of(bench, run_id)
    approve(bench, child)
    tell = Runs._tell_parent

    def dies(self: Runs, run: Run, *, goes_on: bool) -> None:
        if run.ended is not None:
            raise Killed
        tell(self, run, goes_on=goes_on)

    monkeypatch.setattr(Runs, "_tell_parent", dies)
    with pytest.raises(Killed):
        bench.drive(child)
    assert bench.now(child).ended == "completed"
    bench.pass_time(2 * LOOK_SECS)
    assert bench.statuses(run_id) == ["completed", "running"]


def test_an_end_that_is_committed_while_a_driver_looks_is_not_missed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process drives the child, and dies between its end and its word to the parent."""
    nested(bench)
    bench.world.plays[1] = [Play(seconds=None)]
    run_id = bench.create("deploy")
    first = bench.begin(run_id)
    bench.pass_time(1)
    first.cancel()
    bench.pass_time(1)
    child = child_of(bench, run_id)
    other, looking = bench.engine().parts, bench.engine().parts
    claim = other.store.claim(child, other.owner(), bench.clock.now().at)
    holder = looking.store.holder

    def just_then(asked: str) -> Any:
        looking.store.holder = holder  # type: ignore[method-assign]
        ends = Finish(actor=SYSTEM, now=bench.clock.now(), step=1, attempt=1, result=StepResult())
        runs = Runs(other)
        runs.commit(runs.load(child), ends, claim=claim)
        return holder(asked)

    monkeypatch.setattr(Runs, "_tell_parent", lambda *_given, **_more: None)
    looking.store.holder = just_then  # type: ignore[method-assign]
    driving = bench.loop.create_task(drive(looking, run_id))
    bench.pass_time(LOOK_SECS)
    assert bench.now(child).ended == "completed"
    assert driving.done()
    assert bench.finish(driving).ended == "completed"


# pause, resume, cancel


@pytest.fixture
def beside(bench: Bench) -> Run:
    """A run whose child waits at its gate."""
    nested(bench, GATE, {}, then=({},))
    return bench.run("deploy")


def test_a_pause_and_its_end_hold_for_the_child(bench: Bench, beside: Run) -> None:
    child = beside.steps[1].child
    bench.engine().pause(beside.run_id, actor=ANN, reason="lunch")
    paused = bench.now(child)
    assert (paused.paused, paused.pause_cause, paused.reason) == (True, "parent", f"{beside.run_id} is paused")
    assert status(bench, beside.run_id) == "paused"
    bench.engine().resume(beside.run_id, actor=ANN)
    assert (status(bench, child), status(bench, beside.run_id)) == ("awaiting_approval", "awaiting_approval")
    approve(bench, child)
    bench.drive(child)
    assert bench.now(beside.run_id).ended == "completed"


def test_a_child_that_somebody_else_paused_stays_paused(bench: Bench, beside: Run) -> None:
    child = beside.steps[1].child
    bench.engine().pause(child, actor=BOB)
    bench.engine().pause(beside.run_id, actor=ANN)
    bench.engine().resume(beside.run_id, actor=ANN)
    bench.drive(beside.run_id)
    assert (status(bench, child), bench.now(child).pause_cause) == ("paused", "asked")
    assert status(bench, beside.run_id) == "awaiting_approval"


def test_a_pause_waits_for_the_process_of_the_child(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    nested(bench, {}, {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    bench.engine().pause(run_id, actor=ANN)
    assert status(bench, run_id) == "running"
    bench.finish(driving)
    assert (status(bench, run_id), status(bench, child_of(bench, run_id))) == ("paused", "paused")
    assert len(bench.world.starts) == 1
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"
    assert len(bench.world.starts) == 2


def test_a_child_may_go_on_by_itself_while_its_parent_is_paused_and_ends_its_step(bench: Bench, beside: Run) -> None:
    child = beside.steps[1].child
    bench.engine().pause(beside.run_id, actor=ANN)
    bench.engine().resume(child, actor=ANN)
    approve(bench, child)
    bench.drive(child)
    assert status(bench, beside.run_id) == "paused"


def test_a_child_that_was_paused_for_the_parent_is_tried_with_it_again(bench: Bench) -> None:
    """A retry of another step goes on with the whole run."""
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    bench.procedure("build", GATE)
    bench.procedure("deploy", {**USES, **ALSO}, {**ALSO, **GATE}, {**ALSO, **BY_HAND})
    run_id = bench.run("deploy").run_id
    bench.engine().pause(run_id, actor=ANN)
    bench.engine().fail(run_id, actor=ANN, step=3, reason="no")
    bench.engine().retry(run_id, actor=ANN)
    bench.drive(run_id)
    child = child_of(bench, run_id)
    assert status(bench, child) == "awaiting_approval"


@pytest.mark.parametrize("busy", [False, True], ids=["at its gate", "in a step"])
def test_a_cancel_ends_the_child_first(bench: Bench, busy: bool) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    nested(bench, {} if busy else GATE, then=({},))
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.engine().cancel(run_id, actor=ANN, reason="enough")
    bench.finish(driving)
    bench.drive(run_id)
    child = child_of(bench, run_id)
    assert (bench.now(run_id).ended, bench.now(child).ended) == ("cancelled", "cancelled")
    assert bench.now(child).reason == f"{run_id} is cancelled"
    assert bench.names(child)[-1] == "run_cancelled"
    assert "run_cancel_requested" in bench.names(run_id)


def test_a_cancel_needs_no_driver_where_the_child_rests(bench: Bench, beside: Run) -> None:
    assert bench.engine().cancel(beside.run_id, actor=ANN).ended == "cancelled"
    assert bench.now(beside.steps[1].child).ended == "cancelled"


def test_a_paused_run_is_cancelled_with_its_child(bench: Bench, beside: Run) -> None:
    bench.engine().pause(beside.run_id, actor=ANN)
    assert bench.engine().cancel(beside.run_id, actor=ANN).ended == "cancelled"
    assert bench.now(beside.steps[1].child).ended == "cancelled"


def test_a_parent_that_is_cancelled_while_its_child_is_approved(bench: Bench, beside: Run) -> None:
    """Both are recorded; the child starts nothing that the cancel came before."""
    child = beside.steps[1].child
    engine = bench.engine()
    append = engine.parts.store.append

    def meanwhile(run_id: str, *args: Any, **options: Any) -> None:
        if run_id == child:
            engine.parts.store.append = append  # type: ignore[method-assign]
            bench.engine().cancel(beside.run_id, actor=BOB)
        append(run_id, *args, **options)

    engine.parts.store.append = meanwhile  # type: ignore[method-assign]
    with pytest.raises(SopwithError):
        engine.approve(child, actor=ANN)
    bench.drive(beside.run_id)
    assert (bench.now(beside.run_id).ended, bench.now(child).ended) == ("cancelled", "cancelled")
    assert bench.world.starts == []


def test_a_cancel_that_dies_before_it_tells_the_child_is_carried_on(
    bench: Bench, beside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sopwith.engine import children

    revive = dying(bench, monkeypatch, "bring_in_line", children)
    with pytest.raises(Killed):
        bench.engine().cancel(beside.run_id, actor=ANN)
    revive()
    assert bench.drive(beside.run_id).ended == "cancelled"
    assert bench.now(beside.steps[1].child).ended == "cancelled"


def test_a_pause_that_dies_before_it_tells_the_child_is_carried_on(
    bench: Bench, beside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent is paused; what its child asks for may still be answered, and starts nothing after it."""
    from sopwith.engine import children

    revive = dying(bench, monkeypatch, "bring_in_line", children)
    with pytest.raises(Killed):
        bench.engine().pause(beside.run_id, actor=ANN)
    revive()
    child = beside.steps[1].child
    approve(bench, child)
    bench.drive(beside.run_id)
    assert status(bench, child) == "paused"
    assert bench.world.starts == []


def test_a_cancelled_child_fails_the_step_of_its_parent(bench: Bench, beside: Run) -> None:
    child = beside.steps[1].child
    bench.engine().cancel(child, actor=BOB, reason="not today")
    run = bench.now(beside.run_id)
    assert (run.ended, run.steps[1].error) == ("failed", f"{child} was cancelled: not today")
    assert bench.events(run.run_id)[-2].body.cause == "child"


# limits


def test_the_time_limit_of_the_step_ends_its_child(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=None)]
    nested(bench, {}, timeoutSecs=60)
    before = bench.clock.now().boot_ms
    run = bench.run("deploy")
    assert bench.clock.now().boot_ms - before == pytest.approx(60_000, abs=500)
    assert (run.ended, run.steps[1].error) == ("failed", "not done within 1m 0s")
    child = bench.now(run.steps[1].child)
    assert (child.ended, child.reason) == ("cancelled", f"the time of step 1 of {run.run_id} is up")


def test_a_time_limit_ends_a_child_that_waits_for_a_person(bench: Bench) -> None:
    nested(bench, GATE, timeoutSecs=60)
    run = bench.run("deploy")
    summary = bench.store.summary(run.run_id)
    assert summary is not None
    assert summary.due_at is not None
    bench.pass_time(61)
    assert serve_once(bench, run.run_id).ended == "failed"
    assert bench.now(run.steps[1].child).ended == "cancelled"
    assert bench.events(run.run_id)[-2].body.cause == "timeout"


def test_a_pause_stops_the_clock_of_the_step(bench: Bench) -> None:
    nested(bench, GATE, timeoutSecs=60)
    run = bench.run("deploy")
    bench.engine().pause(run.run_id, actor=ANN)
    bench.pass_time(600)
    serve_once(bench, run.run_id)
    assert status(bench, run.run_id) == "paused"
    bench.engine().resume(run.run_id, actor=ANN)
    approve(bench, run.steps[1].child)
    bench.drive(run.steps[1].child)
    assert bench.now(run.run_id).ended == "completed"


# failures


def test_a_child_that_fails_fails_the_step(bench: Bench) -> None:
    bench.world.plays[2] = [Play(result=FAILED)]
    nested(bench, {}, {})
    run = bench.run("deploy")
    assert run.ended == "failed"
    assert run.steps[1].error == f"{run.steps[1].child} failed: step 2: exit status 1"
    assert bench.events(run.run_id)[-2].body.cause == "child"


def test_a_retry_goes_on_with_the_child_that_failed(bench: Bench) -> None:
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    nested(bench, {}, {})
    run = bench.run("deploy")
    bench.engine().retry(run.run_id, actor=ANN)
    again = bench.drive(run.run_id)
    assert (again.ended, again.steps[1].child) == ("completed", run.steps[1].child)
    assert [key[1] for key in bench.world.starts] == [1, 2, 2]


def test_a_retry_from_the_step_makes_another_child(bench: Bench) -> None:
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    nested(bench, {}, {})
    run = bench.run("deploy")
    bench.engine().retry(run.run_id, actor=ANN, from_step=1)
    again = bench.drive(run.run_id)
    assert again.ended == "completed"
    assert again.steps[1].child != run.steps[1].child
    assert [key[1] for key in bench.world.starts] == [1, 2, 1, 2]


def test_a_retry_after_a_cancelled_child_makes_another_one(bench: Bench, beside: Run) -> None:
    first = beside.steps[1].child
    bench.engine().cancel(first, actor=ANN)
    bench.engine().retry(beside.run_id, actor=ANN)
    bench.drive(beside.run_id)
    assert child_of(bench, beside.run_id) != first
    assert status(bench, beside.run_id) == "awaiting_approval"


def test_a_retry_with_other_parameters_makes_another_child_that_has_them(bench: Bench) -> None:
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    bench.procedure("build", {}, {}, params=PARAMETERS)
    bench.procedure("deploy", {**USES, "with": {"tag": "params.version"}}, params=[{"name": "version"}])
    run = bench.run("deploy", version="v1")
    bench.engine().retry(run.run_id, actor=ANN, params={"version": "v2"})
    again = bench.drive(run.run_id)
    assert again.ended == "completed"
    assert [bench.now(each.steps[1].child).params["tag"] for each in (run, again)] == ["v1", "v2"]
    assert [key[1] for key in bench.world.starts] == [1, 2, 1, 2]


def test_automatic_tries_go_on_with_the_child(bench: Bench) -> None:
    bench.world.plays[2] = [Play(result=FAILED), Play(result=FAILED), Play()]
    bench.procedure("build", {}, {})
    bench.procedure("deploy", {**USES, "retry": {"maxAttempts": 3, "delaySecs": 10}})
    run = bench.run("deploy")
    assert (run.ended, run.steps[1].attempt) == ("completed", 3)
    assert [key[1] for key in bench.world.starts] == [1, 2, 2, 2]
    assert len(children_made(bench)) == 1


def test_somebody_who_retries_the_child_itself_changes_nothing_in_a_failed_parent(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    nested(bench, {})
    run = bench.run("deploy")
    bench.engine().retry(run.steps[1].child, actor=ANN)
    bench.drive(run.steps[1].child)
    assert bench.now(run.run_id).ended == "failed"
    bench.engine().retry(run.run_id, actor=ANN)
    again = bench.drive(run.run_id)
    assert (again.ended, again.steps[1].child) == ("completed", run.steps[1].child)
    assert len(bench.world.starts) == 2


@pytest.mark.parametrize(
    ("on_failure", "ended", "statuses"),
    [
        ("continue", "completed", ["failed", "completed", "completed"]),
        ("goto:3", "completed", ["failed", "skipped", "completed"]),
        ("stop", "failed", ["failed", "pending", "pending"]),
    ],
)
def test_where_a_failed_child_leads(bench: Bench, on_failure: str, ended: str, statuses: list[str]) -> None:
    bench.procedure("build", {"run": "exit 1"})
    bench.world.plays[1] = [Play(result=FAILED)]
    bench.procedure("deploy", {**USES, "onFailure": on_failure}, {}, {})
    run = bench.run("deploy")
    assert (run.ended, bench.statuses(run.run_id)) == (ended, statuses)


def test_the_rollback_script_of_a_step_that_a_child_carried_out(bench: Bench) -> None:
    bench.world.plays[2] = [Play(result=FAILED)]
    bench.procedure("build", {})
    bench.procedure("deploy", {**USES, "rollback": "undo"}, {"onFailure": "rollback"})
    run = bench.run("deploy")
    assert (run.ended, run.rolled_back, run.steps[1].status) == ("failed", True, "rolled_back")
    order = next(order for key, order in bench.world.orders.items() if key[0] == run.run_id and key[1] == 1)
    assert order.step.script is not None
    assert order.step.script.text.strip() == "undo"


def test_a_child_that_is_completed_with_failures_is_a_success_with_a_warning(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    nested(bench, {"onFailure": "continue"}, {})
    run = bench.run("deploy")
    assert run.ended == "completed"
    (end,) = (event.body for event in bench.events(run.run_id) if event.event_type == "step_completed")
    assert end.warnings == (f"{run.steps[1].child} was completed with failures",)


# limits on how many


def test_a_child_that_waits_for_its_turn_is_told_of_in_the_parent(bench: Bench) -> None:
    bench.procedure("build", GATE, maxConcurrent=1)
    bench.procedure("deploy", USES)
    other = bench.run("build").run_id
    run_id = bench.create("deploy")
    serve_once(bench, run_id)
    child = child_of(bench, run_id)
    assert (status(bench, child), status(bench, run_id)) == ("pending", "running")
    approve(bench, other)
    bench.drive(other)
    bench.drive(child)
    assert status(bench, child) == "awaiting_approval"
    assert status(bench, run_id) == "awaiting_approval"
    approve(bench, child)
    bench.drive(child)
    assert bench.now(run_id).ended == "completed"


# who may


def test_the_starter_of_the_parent_may_not_approve_in_the_child_where_self_approval_is_not_allowed(
    bench: Bench,
) -> None:
    bench.config(groups={"release": ["ann", "bob"]})
    bench.procedure("build", {**GATE, "approval": {"approvers": ["group:release"], "onTimeout": "reject"}})
    bench.procedure("deploy", USES)
    run = bench.run("deploy")
    child = run.steps[1].child
    with pytest.raises(ApproverNotAllowed):
        approve(bench, child)
    approve(bench, child, actor=BOB)
    bench.drive(child)
    assert bench.now(run.run_id).ended == "completed"


def test_a_quorum_within_the_child(bench: Bench) -> None:
    bench.config(groups={"release": ["ann", "bob", "eve"]})
    rules = {"approvers": ["group:release"], "quorum": 2, "allowSelfApproval": True, "onTimeout": "reject"}
    bench.procedure("build", {**GATE, "approval": rules})
    bench.procedure("deploy", USES)
    run = bench.run("deploy")
    approve(bench, run.steps[1].child)
    assert (status(bench, run.steps[1].child), status(bench, run.run_id)) == ("awaiting_approval",) * 2
    approve(bench, run.steps[1].child, actor=BOB)
    bench.drive(run.run_id)
    assert bench.now(run.run_id).ended == "completed"


@pytest.mark.parametrize("verb", ["approve", "reject", "pause", "resume", "cancel", "retry", "skip"])
@pytest.mark.parametrize("inside", ["parent", "child"])
def test_a_step_decides_neither_about_its_own_run_nor_about_one_within_or_around_it(
    bench: Bench, verb: str, inside: str
) -> None:
    nested(bench, GATE, **ALSO, then=({**GATE, **ALSO},))
    run = bench.run("deploy")
    ids = {"parent": run.run_id, "child": run.steps[1].child}
    actor = Actor("bot", ActorKind.AGENT, "cli", inside=ids[inside])
    more: dict[str, Any] = {"reason": "so"} if verb in ("reject", "skip") else {}
    before = {each: bench.now(each) for each in ids.values()}
    for run_id in ids.values():
        if verb == "resume" and run_id == actor.inside:
            continue  # it is not paused, so there is nothing to decide
        with pytest.raises(NotAllowed):
            getattr(bench.engine(), verb)(run_id, actor=actor, **more)
    assert {each: bench.now(each) for each in ids.values()} == before


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_an_answer_to_the_parent_where_only_its_child_asks_is_refused_and_names_the_child(
    bench: Bench, beside: Run, verb: str
) -> None:
    more = {"reason": "no"} if verb == "reject" else {}
    with pytest.raises(IllegalMove) as refused:
        getattr(bench.engine(), verb)(beside.run_id, actor=ANN, **more)
    assert beside.steps[1].child in refused.value.hint
    assert status(bench, beside.steps[1].child) == "awaiting_approval"


# what cannot be used


def uses(name: str, **more: Any) -> dict[str, Any]:
    return {"run": None, "uses": name, **more}


def circle(bench: Bench) -> None:
    bench.procedure("deploy", uses("build"))
    bench.procedure("build", uses("deploy"))


def itself(bench: Bench) -> None:
    bench.procedure("deploy", uses("deploy"))


def depth(bench: Bench) -> None:
    for number in range(1, 9):
        bench.procedure(f"level-{number}", uses(f"level-{number + 1}"))
    bench.procedure("level-9", {})
    bench.procedure("deploy", uses("level-2"))


def unknown(bench: Bench) -> None:
    bench.procedure("deploy", uses("nothing"))


def broken(bench: Bench) -> None:
    bench.procedure("build", {"dependsOn": [7]})
    bench.procedure("deploy", uses("build"))


def no_parameter(bench: Bench) -> None:
    bench.procedure("build", {}, params=PARAMETERS)
    bench.procedure("deploy", uses("build"))


def another_parameter(bench: Bench) -> None:
    bench.procedure("build", {}, params=PARAMETERS)
    bench.procedure("deploy", uses("build", **{"with": {"tag": "'a'", "cuont": 1}}))


def another_in_a_second_step(bench: Bench) -> None:
    bench.procedure("build", {}, params=PARAMETERS)
    fine = {"with": {"tag": "'a'"}}
    bench.procedure("deploy", uses("build", **fine), uses("build", **{"with": {"tag": "'a'", "cuont": 1}}))


def badly_typed(bench: Bench) -> None:
    bench.procedure("build", {}, params=PARAMETERS)
    bench.procedure("deploy", uses("build", **{"with": {"tag": "'a'", "count": 1.5}}))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (circle, "uses_itself"),
        (itself, "uses_itself"),
        (depth, "too_deep"),
        (unknown, "uses_unknown"),
        (broken, "uses_broken"),
        (no_parameter, "missing_parameter"),
        (another_parameter, "unknown_parameter"),
        (another_in_a_second_step, "unknown_parameter"),
        (badly_typed, "bad_parameter"),
    ],
)
def test_what_cannot_be_used_so_refuses_the_run(bench: Bench, given: Callable[[Bench], None], code: str) -> None:
    given(bench)
    with pytest.raises(InvalidProcedure) as refused:
        bench.create("deploy")
    assert [problem.code for problem in refused.value.problems] == [code]
    assert bench.store._shelf.runs == {}


def test_eight_levels_are_not_too_deep(bench: Bench) -> None:
    for number in range(2, 8):
        bench.procedure(f"level-{number}", uses(f"level-{number + 1}"))
    bench.procedure("level-8", {})
    bench.procedure("deploy", uses("level-2"))
    assert bench.run("deploy").ended == "completed"
    assert len(bench.store._shelf.runs) == 8


def test_a_pinned_procedure_that_the_store_has_damaged_is_not_run(bench: Bench) -> None:
    nested(bench, **GATE)
    run = bench.run("deploy")
    bench.store._shelf.contents[run.uses["build"].digest] = b"{}"
    approve(bench, run.run_id)
    with pytest.raises(SopwithError, match="not what its digest says"):
        bench.drive(run.run_id)
    assert children_made(bench) == []


def test_a_value_that_the_used_procedure_refuses_fails_the_step(bench: Bench) -> None:
    """Known only once it is evaluated."""
    bench.procedure("build", {}, params=[{"name": "tag", "type": "string", "required": True, "pattern": "a"}])
    bench.procedure("deploy", {**USES, "with": {"tag": "params.tag"}}, params=[{"name": "tag", "default": "b"}])
    run = bench.run("deploy")
    assert run.ended == "failed"
    assert run.steps[1].error.startswith("it cannot be started")
    assert children_made(bench) == []


# found later: each was a bug


def test_a_run_that_its_step_no_longer_waits_for_is_not_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a driver whose claim another has taken: the other knew that nothing more was to start, and gave it up."""
    from sopwith.engine import children, driver

    nested(bench, {}, then=({},))
    run_id = bench.create("deploy")
    dying(bench, monkeypatch, "make", driver)
    died(bench, run_id)
    stale, intended = bench.now(run_id), child_of(bench, run_id)
    engine = bench.engine()
    given_up = StepResult(error="it was given up before it started", cause="cancelled")
    engine.runs.change(run_id, lambda _run, now: Finish(actor=SYSTEM, now=now, step=1, attempt=1, result=given_up))
    with pytest.raises(Conflict, match="no longer waits for it"):
        children.make(engine.parts, engine.runs, stale, 1)
    assert children_made(bench) == []
    assert bench.store.summary(intended) is None


def test_a_driver_that_was_slow_to_make_it_goes_on_from_what_became_of_the_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sopwith.engine import driver

    nested(bench, {}, then=({},))
    run_id = bench.create("deploy")
    make = driver.make

    def slow(parts: Any, runs: Runs, run: Run, number: Any) -> None:
        bench.engine().cancel(run_id, actor=ANN)
        failed = StepResult(error="it was given up before it started", cause="cancelled")
        finish = Finish(actor=SYSTEM, now=bench.clock.now(), step=1, attempt=1, result=failed)
        bench.engine().runs.change(run_id, lambda _run, _now: finish)
        make(parts, runs, run, number)

    monkeypatch.setattr(driver, "make", slow)
    assert bench.drive(run_id).ended == "cancelled"
    assert children_made(bench) == []


def test_a_pause_between_the_intent_and_the_making_fails_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from sopwith.engine import driver

    nested(bench, {}, then=({},))
    run_id = bench.create("deploy")
    revive = dying(bench, monkeypatch, "make", driver)
    died(bench, run_id)
    revive()
    bench.engine().pause(run_id, actor=ANN)
    bench.drive(run_id)
    assert (status(bench, run_id), status(bench, child_of(bench, run_id))) == ("paused", "paused")
    assert bench.world.starts == []
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


def test_a_cancel_between_the_intent_and_the_making_makes_no_child(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sopwith.engine import driver

    nested(bench)
    run_id = bench.create("deploy")
    revive = dying(bench, monkeypatch, "make", driver)
    died(bench, run_id)
    revive()
    bench.engine().cancel(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "cancelled"
    assert children_made(bench) == []


def test_a_failure_beside_it_between_the_intent_and_the_making_makes_no_child(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sopwith.engine import driver

    bench.procedure("build", {})
    bench.procedure("deploy", {**USES, **ALSO}, {**BY_HAND, **ALSO})
    run_id = bench.create("deploy")
    revive = dying(bench, monkeypatch, "make", driver)
    died(bench, run_id)
    while bench.statuses(run_id) != ["running", "running"]:
        died(bench, run_id)
    bench.engine().fail(run_id, actor=ANN, reason="no")
    revive()
    assert bench.drive(run_id).ended == "failed"
    assert children_made(bench) == []


def queued(bench: Bench) -> tuple[str, str, str]:
    """The run, its child in the queue, and what holds the slot."""
    bench.procedure("build", GATE, maxConcurrent=1)
    bench.procedure("deploy", USES)
    other = bench.run("build").run_id
    run_id = bench.run("deploy").run_id
    return run_id, child_of(bench, run_id), other


def test_a_refused_slot_leaves_no_trace_in_the_parent(bench: Bench) -> None:
    run_id, child, _other = queued(bench)
    before = bench.now(run_id).seq
    for each in (child, run_id, child, run_id):
        serve_once(bench, each)
    assert bench.now(run_id).seq == before


def test_whoever_resumes_the_parent_asks_for_the_slot_of_its_child(bench: Bench) -> None:
    run_id, child, other = queued(bench)
    bench.engine().cancel(other, actor=ANN)
    bench.engine().resume(run_id, actor=ANN)
    bench.drive(run_id)
    assert (status(bench, child), status(bench, run_id)) == ("awaiting_approval",) * 2


def test_a_child_in_the_queue_takes_no_slot_while_its_parent_is_paused(bench: Bench) -> None:
    run_id, child, other = queued(bench)
    bench.engine().pause(run_id, actor=ANN)
    bench.engine().cancel(other, actor=ANN)
    serve_once(bench, child)
    assert status(bench, child) == "pending"
    bench.engine().resume(run_id, actor=ANN)
    bench.drive(run_id)
    assert status(bench, child) == "awaiting_approval"


def test_a_child_in_the_queue_is_cancelled_with_its_parent(bench: Bench) -> None:
    run_id, child, _other = queued(bench)
    bench.engine().cancel(run_id, actor=ANN)
    assert (status(bench, run_id), status(bench, child)) == ("cancelled", "cancelled")


@pytest.fixture
def levels(bench: Bench) -> tuple[str, str, str]:
    """Three runs within one another; the innermost one waits at a gate."""
    bench.procedure("compile", GATE)
    bench.procedure("build", {"run": None, "uses": "compile"}, {})
    bench.procedure("deploy", USES, {})
    run_id = bench.run("deploy").run_id
    middle = child_of(bench, run_id)
    return run_id, middle, child_of(bench, middle)


def test_a_cancel_reaches_every_level_without_a_driver(bench: Bench, levels: tuple[str, str, str]) -> None:
    bench.engine().cancel(levels[0], actor=ANN)
    assert [status(bench, each) for each in levels] == ["cancelled"] * 3


def test_a_pause_and_its_end_reach_every_level(bench: Bench, levels: tuple[str, str, str]) -> None:
    bench.engine().pause(levels[0], actor=ANN)
    assert [status(bench, each) for each in levels] == ["paused"] * 3
    bench.engine().resume(levels[0], actor=ANN)
    assert [status(bench, each) for each in levels] == ["awaiting_approval"] * 3


def test_a_parent_that_cannot_be_told_first_holds_its_child_back(bench: Bench, beside: Run) -> None:
    """Else it would believe that the child rests, and nobody would look."""
    child = beside.steps[1].child
    engine = bench.engine()
    append = engine.parts.store.append

    def broken(run_id: str, *args: Any, **options: Any) -> None:
        if run_id == beside.run_id:
            raise StoreError("the disk is full", hint="make room")
        append(run_id, *args, **options)

    engine.parts.store.append = broken  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        engine.approve(child, actor=ANN)
    assert status(bench, child) == "awaiting_approval"


def test_a_parent_that_cannot_be_told_of_the_end_finds_it(bench: Bench, beside: Run) -> None:
    child = beside.steps[1].child
    approve(bench, child)
    engine = bench.engine()
    append = engine.parts.store.append

    def broken(run_id: str, *args: Any, **options: Any) -> None:
        if run_id == beside.run_id:
            raise StoreError("the disk is full", hint="make room")
        append(run_id, *args, **options)

    engine.parts.store.append = broken  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        bench.loop.run_until_complete(drive(engine.parts, child))
    assert bench.now(child).ended == "completed"
    assert bench.drive(beside.run_id).ended == "completed"


def test_a_child_takes_no_place_among_the_runs_of_the_workspace(bench: Bench) -> None:
    bench.config(maxConcurrentRuns=1)
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    nested(bench, {}, {}, then=({},))
    run = bench.run("deploy")
    assert run.ended == "failed"
    bench.engine().retry(run.run_id, actor=ANN)
    assert bench.drive(run.run_id).ended == "completed"


def test_runs_within_another_leave_the_places_of_the_workspace_to_others(bench: Bench) -> None:
    bench.config(maxConcurrentRuns=2)
    nested(bench, GATE)
    first, second = bench.run("deploy"), bench.run("deploy")
    assert [status(bench, run.steps[1].child) for run in (first, second)] == ["awaiting_approval"] * 2
    with pytest.raises(LimitReached):
        bench.create("deploy")


def test_a_child_that_waited_for_its_procedure_needs_no_place_of_the_workspace(bench: Bench) -> None:
    bench.config(maxConcurrentRuns=2)
    run_id, child, other = queued(bench)
    approve(bench, other)
    bench.drive(other)
    bench.procedure("third", GATE)
    bench.run("third")
    bench.drive(child)
    assert (status(bench, child), status(bench, run_id)) == ("awaiting_approval",) * 2


def test_a_child_that_leaves_the_queue_is_known_to_go_on(bench: Bench) -> None:
    bench.procedure("build", {}, maxConcurrent=1)
    bench.procedure("hold", USES)
    bench.procedure("deploy", USES, {})
    bench.world.plays[1] = [Play(seconds=60)]
    other = bench.begin(bench.create("build"))
    bench.pass_time(1)
    run_id = bench.run("deploy").run_id
    assert bench.now(run_id).steps[1].child_standing == "pending"
    bench.finish(other)
    driving = bench.begin(child_of(bench, run_id))
    bench.pass_time(1)
    assert bench.now(run_id).steps[1].child_standing is None
    bench.finish(driving)
    assert bench.now(run_id).ended == "completed"


def test_whoever_ends_the_child_is_not_told_of_trouble_with_the_parent(bench: Bench, beside: Run) -> None:
    """What they came for was done and recorded; whoever drives the parent looks."""
    child = beside.steps[1].child
    engine = bench.engine()
    append = engine.parts.store.append

    def broken(run_id: str, *args: Any, **options: Any) -> None:
        if run_id == beside.run_id and bench.now(child).ended is not None:
            raise StoreError("the disk is full", hint="make room")
        append(run_id, *args, **options)

    engine.parts.store.append = broken  # type: ignore[method-assign]
    assert engine.cancel(child, actor=ANN).ended == "cancelled"
    assert bench.drive(beside.run_id).ended == "failed"


def test_who_may_not_run_what_is_used_may_not_run_what_uses_it(bench: Bench) -> None:
    bench.config(groups={"ops": ["bob"]})
    bench.procedure("build", {}, runners=["group:ops"])
    bench.procedure("deploy", USES)
    with pytest.raises(NotAllowed, match="may not start build"):
        bench.create("deploy")
    assert bench.store._shelf.runs == {}


def test_a_starter_who_may_not_run_the_child_any_more_fails_the_step(bench: Bench) -> None:
    bench.config(groups={"ops": ["ann"]})
    bench.procedure("build", {}, runners=["group:ops"])
    bench.procedure("deploy", {**USES, **GATE})
    run = bench.run("deploy")
    bench.config(groups={"ops": ["bob"]})
    approve(bench, run.run_id)
    assert "it cannot be started: ann" in bench.drive(run.run_id).steps[1].error
    assert children_made(bench) == []


def test_a_child_has_its_parents_place_in_their_group(bench: Bench) -> None:
    """Else it would wait for its parent, which waits for it."""
    bench.procedure("post", {}, concurrencyGroup="'production'")
    bench.procedure("build", {"run": None, "uses": "post"})
    bench.procedure("deploy", USES, concurrencyGroup="'production'")
    run = bench.run("deploy")
    assert status(bench, run.run_id) == "completed"
    bench.procedure("deploy", {**USES, **GATE}, concurrencyGroup="'production'")
    first = bench.run("deploy")
    with pytest.raises(LimitReached):
        bench.create("post")
    assert status(bench, first.run_id) == "awaiting_approval"


def test_the_time_of_a_run_ends_what_runs_within_it(bench: Bench) -> None:
    bench.procedure("build", GATE)
    bench.procedure("deploy", USES, timeoutSecs=60)
    run = bench.run("deploy")
    child = child_of(bench, run.run_id)
    assert status(bench, child) == "awaiting_approval"
    bench.pass_time(61)
    bench.drive(run.run_id)
    assert (status(bench, child), status(bench, run.run_id)) == ("cancelled", "failed")
    assert bench.now(run.run_id).steps[1].error == "the run's 1m 0s were up"


# what is told late


def test_a_child_that_cannot_begin_fails_no_step_that_was_given_up_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it cannot begin is no fact for ever: whoever cancelled the run is told that it was cancelled."""
    nested(bench)
    run_id = bench.create("deploy")

    def refuse(*_: object) -> None:
        monkeypatch.undo()
        bench.engine().cancel(run_id, actor=ANN)
        raise LimitReached("there is no place for it")

    monkeypatch.setattr("sopwith.engine.driver.make", refuse)
    assert bench.drive(run_id).ended == "cancelled"
    failed = next(event.body for event in bench.events(run_id) if event.event_type == "step_failed")
    assert (failed.cause, failed.error) == ("cancelled", "it was given up before it started")


@pytest.mark.parametrize("moment", ["before it is recorded", "as it is recorded"])
def test_a_word_that_a_child_rests_is_not_believed_once_it_has_gone_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Its driver has opened a gate, and is about to tell; meanwhile a person answers."""
    run_id = a_child_that_asks(bench)
    change = Runs.change

    def told_late(self: Runs, about: str, make: Callable[..., Any], **options: Any) -> Any:
        child = child_of(bench, run_id)
        if about != run_id or not bench.now(child).steps[1].gate_open:
            return change(self, about, make, **options)
        monkeypatch.undo()
        if moment == "before it is recorded":
            approve(bench, child, actor=BOB)
            return change(self, about, make, **options)

        def answered(run: Run, now: Any) -> Any:
            command = make(run, now)
            if bench.now(child).steps[1].gate_open:
                approve(bench, child, actor=BOB)
            return command

        return change(self, about, answered, **options)

    monkeypatch.setattr(Runs, "change", told_late)
    assert words_after_the_answer(bench, run_id) == []


def test_whoever_lets_a_child_go_on_says_so_once_more_where_it_was_told_as_resting_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word that it goes on comes before it does, and was no news then; the other comes between the two."""
    run_id = a_child_that_asks(bench)
    tell, change = Runs._tell_how_it_stands, Runs.change

    def told_late(self: Runs, child: Run) -> None:
        if child.parent is None or not child.steps[1].gate_open:
            tell(self, child)
            return
        monkeypatch.undo()

        def tells_first(runs: Runs, about: str, make: Callable[..., Any], **options: Any) -> Any:
            found = change(runs, about, make, **options)
            if about == run_id:
                monkeypatch.undo()
                tell(self, child)
            return found

        monkeypatch.setattr(Runs, "change", tells_first)
        approve(bench, child.run_id, actor=BOB)

    monkeypatch.setattr(Runs, "_tell_how_it_stands", told_late)
    assert words_after_the_answer(bench, run_id) == ["rests", "not"]


def test_nothing_starts_within_a_run_that_is_being_cancelled_and_could_not_say_so(bench: Bench) -> None:
    """Whoever cancelled it died before the child was told."""
    run_id = a_child_that_asks(bench)
    bench.drive(run_id)
    child = child_of(bench, run_id)
    approve(bench, child)
    bench.engine().runs.change(run_id, lambda _run, now: Cancel(actor=ANN, now=now))
    serve_once(bench, child)
    assert bench.world.starts == []
    bench.drive(run_id)
    assert (status(bench, run_id), status(bench, child)) == ("cancelled", "cancelled")


def test_a_stop_ends_what_runs_within_and_the_record_says_why(bench: Bench) -> None:
    nested(bench)
    bench.world.plays[1] = [Play(seconds=600)]
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    bench.engine().pause(run_id, actor=ANN, stop=True)
    bench.finish(driving)
    child = bench.now(child_of(bench, run_id))
    assert child.steps[1].error == f"stopped: {run_id} is stopped"
    assert (status(bench, run_id), status(bench, child.run_id)) == ("paused", "paused")


def a_child_that_asks(bench: Bench) -> str:
    nested(bench, GATE)
    bench.world.plays[1] = [Play(seconds=100)]
    return bench.create("deploy")


def words_after_the_answer(bench: Bench, run_id: str) -> list[str]:
    """What the run was told of its child, which runs now, and which it knows of."""
    driving = bench.begin(run_id)
    bench.pass_time(5)
    driving.cancel()
    bench.pass_time(0)
    assert bench.now(child_of(bench, run_id)).steps[1].gate_passed
    assert (bench.now(run_id).steps[1].child_standing, status(bench, run_id)) == (None, "running")
    told = [event.body for event in bench.events(run_id) if event.event_type == "child_run_changed"]
    return ["rests" if body.status == "awaiting_approval" else "not" for body in told]


def answered_as_it_is_told(bench: Bench, patch: pytest.MonkeyPatch, name: str, where: Any) -> None:
    """Whoever calls this function has looked at the child; before anything comes of that, a person answers."""
    real = getattr(where, name)

    def looks(*args: Any, **options: Any) -> Any:
        told = real(*args, **options)
        child = child_of(bench, args[1].run_id)
        if told is not None and bench.now(child).steps[1].gate_open:
            patch.undo()
            approve(bench, child, actor=BOB)
        return told

    patch.setattr(where, name, looks)


def test_a_driver_that_saw_its_child_rest_does_not_record_it_once_that_has_gone_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would look at the child again for a run that was told so last."""
    from sopwith.engine import driver

    run = a_parent_that_was_not_told(bench, monkeypatch)
    answered_as_it_is_told(bench, monkeypatch, "found", driver)
    after = serve_once(bench, run.run_id)
    assert "child_run_changed 1" not in bench.names(run.run_id)
    assert after.ended == "completed"


def a_parent_that_was_not_told(bench: Bench, patch: pytest.MonkeyPatch) -> Run:
    """Its child waits at a gate, and whoever drove that died before it said so."""
    from sopwith.engine import driver

    nested(bench, GATE, {}, then=({},))
    run_id = bench.create("deploy")
    tell = Runs._tell_how_it_stands

    def dies(self: Runs, child: Run) -> None:
        if child.parent is not None and child.steps[1].gate_open:
            raise Killed
        tell(self, child)

    with patch.context() as now:
        dying(bench, now, "make", driver, after=True)
        died(bench, run_id)
        now.setattr(Runs, "_tell_how_it_stands", dies)
        with pytest.raises(Killed):
            serve_once(bench, child_of(bench, run_id))
    assert (status(bench, run_id), status(bench, child_of(bench, run_id))) == ("running", "awaiting_approval")
    return bench.now(run_id)


def test_one_that_dies_after_a_late_word_leaves_a_parent_that_looks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read that the child rests; before it wrote that, the child went on, and then it died."""
    run = a_parent_that_was_not_told(bench, monkeypatch)
    child = bench.now(run.steps[1].child)
    change = Runs.change

    def dies(self: Runs, about: str, make: Callable[..., Any], **options: Any) -> Any:
        def answered(run: Run, now: Any) -> Any:
            command = make(run, now)
            monkeypatch.undo()
            if bench.now(child.run_id).steps[1].gate_open:
                approve(bench, child.run_id, actor=BOB)
            return command

        change(self, about, answered, **options)
        raise Killed

    monkeypatch.setattr(Runs, "change", dies)
    with pytest.raises(Killed):
        Runs(bench.engine().parts)._tell_how_it_stands(child)
    assert status(bench, run.run_id) == "running"
    assert "child_run_changed 1" not in bench.names(run.run_id)


def test_a_rest_that_somebody_else_has_told_of_is_not_taken_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two see the child come to rest: its own driver, and its parent's."""
    run = a_parent_that_was_not_told(bench, monkeypatch)
    serve_once(bench, run.run_id)
    Runs(bench.engine().parts)._tell_how_it_stands(bench.now(run.steps[1].child))
    assert bench.names(run.run_id)[3:] == ["child_run_changed 1"]
    assert status(bench, run.run_id) == "awaiting_approval"


def test_a_late_word_about_a_child_that_ended_ends_no_rollback_of_its_step(bench: Bench) -> None:
    """The child carried the step out; a script of the step's own rolls it back."""
    bench.world.plays[1] = [Play(), Play(seconds=60)]
    bench.world.plays[2] = [Play(result=FAILED)]
    nested(bench, {}, then=({"onFailure": "rollback"},), rollback="echo undone")
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    run = bench.now(run_id)
    assert (run.rollback is not None, run.steps[1].status) == (True, "running")
    Runs(bench.engine().parts).tell_around(bench.now(run.steps[1].child))
    assert bench.now(run_id).steps[1].status == "running"
    bench.finish(driving)


def untold(bench: Bench, run: Run) -> None:
    """The run is told of a rest while its child goes on. It takes two who die at once: whoever lets the child go on
    says so first, somebody else tells of the rest once more, and both die before either looks again.
    """
    child = run.steps[1].child
    engine = bench.engine()
    append = engine.parts.store.append

    def dies(run_id: str, *args: Any, **options: Any) -> None:
        if run_id == child:
            Runs(bench.engine().parts)._tell_how_it_stands(bench.now(child))
        append(run_id, *args, **options)
        if run_id == child:
            raise Killed

    engine.parts.store.append = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        engine.approve(child, actor=ANN)
    assert (status(bench, run.run_id), status(bench, child)) == ("awaiting_approval", "running")


def test_one_that_dies_once_the_child_goes_on_is_made_good_by_whoever_told_of_the_rest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word that it rests was true when it was stored; the child went on right after, and nobody else can say so."""
    run = a_parent_that_was_not_told(bench, monkeypatch)
    child = run.steps[1].child
    engine = bench.engine()
    append, change = engine.parts.store.append, Runs.change

    def dies(run_id: str, *args: Any, **options: Any) -> None:
        if run_id != child:
            append(run_id, *args, **options)
            return

        def tells_and_then(self: Runs, *words: Any, **more: Any) -> Any:
            told = change(self, *words, **more)
            monkeypatch.undo()
            assert status(bench, run.run_id) == "awaiting_approval"
            append(run_id, *args, **options)
            return told

        monkeypatch.setattr(Runs, "change", tells_and_then)
        Runs(bench.engine().parts)._tell_how_it_stands(bench.now(child))
        raise Killed

    engine.parts.store.append = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        engine.approve(child, actor=ANN)
    assert (status(bench, run.run_id), status(bench, child)) == ("running", "running")


def test_a_parent_that_could_not_be_told_that_its_child_goes_on_is_told_by_whoever_drives_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_parent_that_was_not_told(bench, monkeypatch)
    untold(bench, run)
    child = run.steps[1].child
    bench.world.plays[1] = [Play(seconds=60)]
    driving = bench.begin(child)
    bench.pass_time(1)
    assert status(bench, run.run_id) == "running"
    bench.finish(driving)
    assert bench.now(run.run_id).ended == "completed"


@pytest.mark.parametrize("dies_as", ["it goes on", "it ends"])
def test_the_sweep_of_a_server_finds_a_run_that_nobody_told_of_its_child(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, dies_as: str
) -> None:
    """Whoever had to tell was killed between its two writes, and the server heard no word of either."""
    bench.bell.carry = lambda _run_id, _left: ()
    run = a_parent_that_was_not_told(bench, monkeypatch) if dies_as == "it goes on" else None
    server = Server(bench, ear=bench.bell)
    bench.pass_time(1)
    if run is None:
        run = untold_of_the_end(bench, monkeypatch)
    else:
        untold(bench, run)
    bench.world.plays[1] = bench.world.plays[2] = [Play(seconds=60)]
    bench.pass_time(SWEEP_SECS + 1)
    assert bench.world.starts, "whichever of the two is due was taken up"
    assert status(bench, run.run_id) == "running"
    bench.pass_time(200)
    assert ended(bench, run.run_id)
    server.stop()


def untold_of_the_end(bench: Bench, patch: pytest.MonkeyPatch) -> Run:
    """A run whose child was completed by somebody who died before it said so; its own driver died before."""
    from sopwith.engine import driver

    nested(bench, {}, then=({},))
    run_id = bench.create("deploy")

    def dies(self: Runs, child: Run, *, goes_on: bool) -> None:
        if child.ended is not None:
            raise Killed

    with patch.context() as now:
        dying(bench, now, "make", driver, after=True)
        with pytest.raises(Killed):
            bench.drive(run_id)
        now.setattr(Runs, "_tell_parent", dies)
        with pytest.raises(Killed):
            serve_once(bench, child_of(bench, run_id))
    run = bench.now(run_id)
    assert bench.names(run_id)[2:] == ["step_started 1"]
    assert bench.now(run.steps[1].child).ended == "completed"
    return run


# what a step is settled with whose child run was not let through

THEIRS: dict[str, Any] = {**GATE, "approval": {"approvers": ["user:bob"], "onTimeout": "pause"}}


def settled(bench: Bench, run_id: str, verb: str, actor: Actor) -> None:
    if verb == "complete":
        bench.engine().complete(run_id, step=1, actor=actor, comment="it is done")
    else:
        bench.engine().skip(run_id, actor=actor, reason="not needed")


@pytest.mark.parametrize("verb", ["complete", "skip"])
@pytest.mark.parametrize("end", ["cancelled", "rejected"])
def test_a_step_is_not_settled_past_the_gates_of_its_child_run(bench: Bench, verb: str, end: str) -> None:
    nested(bench, {}, THEIRS, then=({},))
    run_id = bench.run("deploy").run_id
    child = child_of(bench, run_id)
    if end == "rejected":
        bench.engine().reject(child, actor=BOB, reason="no")
        bench.drive(run_id)
    bench.engine().cancel(child, actor=ANN)
    bench.drive(run_id)
    assert bench.now(run_id).steps[1].status == "failed"
    with pytest.raises(ApproverNotAllowed, match="none of the approvers"):
        settled(bench, run_id, verb, ANN)
    with pytest.raises((NotAllowed, ApproverNotAllowed)):
        settled(bench, run_id, verb, BOT)
    settled(bench, run_id, verb, BOB)
    assert bench.drive(run_id).ended == "completed"


def test_nor_past_the_gates_of_runs_within_that(bench: Bench) -> None:
    bench.procedure("compile", THEIRS)
    nested(bench, {"run": None, "uses": "compile"}, then=({},))
    run_id = bench.run("deploy").run_id
    inner = child_of(bench, child_of(bench, run_id))
    bench.engine().cancel(inner, actor=ANN)
    bench.drive(run_id)
    with pytest.raises(ApproverNotAllowed, match=inner):
        settled(bench, run_id, "complete", ANN)


def test_nor_past_the_gate_at_the_start_of_the_child_run(bench: Bench) -> None:
    bench.procedure("build", {}, executionMode="supervised", approval=THEIRS["approval"])
    bench.procedure("deploy", USES, {})
    run_id = bench.run("deploy").run_id
    child = child_of(bench, run_id)
    bench.engine().cancel(child, actor=ANN)
    bench.drive(run_id)
    with pytest.raises(ApproverNotAllowed, match=child):
        settled(bench, run_id, "complete", ANN)
    settled(bench, run_id, "complete", BOB)
    assert bench.drive(run_id).ended == "completed"


def test_a_gate_of_the_child_that_was_passed_is_no_obstacle(bench: Bench) -> None:
    nested(bench, THEIRS, {}, then=({},))
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    run_id = bench.run("deploy").run_id
    approve(bench, child_of(bench, run_id), actor=BOB)
    bench.drive(run_id)
    assert bench.now(run_id).steps[1].status == "failed"
    settled(bench, run_id, "complete", ANN)
    assert bench.drive(run_id).ended == "completed"
