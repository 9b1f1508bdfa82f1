"""A step decides nothing about its own run: not by a run that it starts either, nor by one that it brings on."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core.actor import Actor, ActorKind
from sopwith.engine.engine import RunRequest
from sopwith.engine.runs import Runs
from sopwith.errors import ApproverNotAllowed, NotAllowed, NotFound, RecordDropped

from .bench import ANN, BOB, BOT, Bench
from .triggers import Desk

GATE: dict[str, Any] = {"requiresApproval": True}
BY_HAND: dict[str, Any] = {"run": None, "executor": "manual"}
VERBS = ["approve", "reject", "pause", "resume", "cancel", "retry", "rollback", "skip", "complete", "fail", "block"]
REASONED = ("reject", "skip", "fail", "block")


@pytest.fixture
def run_id(bench: Bench) -> str:
    """A run that waits at its gate."""
    bench.procedure("gated", GATE)
    bench.procedure("other", BY_HAND)
    bench.procedure("inner", BY_HAND)
    bench.procedure("outer", {"run": None, "uses": "inner"})
    return bench.run("gated").run_id


def step_of(run_id: str, actor: Actor = BOT) -> Actor:
    """A process of a step of this run."""
    return replace(actor, inside=run_id)


def started_by(bench: Bench, actor: Actor, name: str = "other") -> str:
    return bench.drive(bench.engine().create_run(RunRequest(name=name), actor=actor).run_id).run_id


def refused(bench: Bench, run_id: str, actor: Actor) -> None:
    """Whatever it says about the run, nothing is done."""
    before = bench.now(run_id)
    for verb in VERBS:
        more = {"reason": "so"} if verb in REASONED else {}
        with pytest.raises(NotAllowed) as caught:
            getattr(bench.engine(), verb)(run_id, actor=actor, **more)
        assert "let somebody outside the runs do it" in caught.value.hint
    assert bench.engine().why_not(before, 1, actor=actor)
    assert bench.now(run_id) == before


@pytest.mark.parametrize("kind", [ActorKind.AGENT, ActorKind.HUMAN])
def test_a_step_decides_nothing_by_a_run_that_it_starts(bench: Bench, run_id: str, kind: ActorKind) -> None:
    actor = Actor("somebody", kind, "cli")
    second = started_by(bench, step_of(run_id, actor))
    refused(bench, run_id, step_of(second, actor))


def test_nor_by_a_run_which_that_one_starts_however_far(bench: Bench, run_id: str) -> None:
    last = run_id
    for _ in range(3):
        last = started_by(bench, step_of(last))
    refused(bench, run_id, step_of(last))


def test_nor_by_a_run_within_one_that_it_starts(bench: Bench, run_id: str) -> None:
    outer = started_by(bench, step_of(run_id), "outer")
    refused(bench, run_id, step_of(bench.now(outer).steps[1].child))


def test_nor_about_a_run_around_its_own_or_beside_it(bench: Bench, run_id: str) -> None:
    bench.procedure("both", {"run": None, "uses": "inner"}, {"run": None, "uses": "gated", "dependsOn": []})
    both = bench.run("both")
    second = started_by(bench, step_of(both.steps[1].child))
    refused(bench, both.run_id, step_of(second))
    refused(bench, both.steps[2].child, step_of(second))


def test_nor_by_a_run_of_somebody_else_that_it_brings_on(bench: Bench, run_id: str) -> None:
    """Its step reports the step before: what comes next in that run is its doing."""
    bench.procedure("later", BY_HAND, BY_HAND)
    later = bench.run("later").run_id
    bench.engine().complete(later, actor=step_of(run_id), step=1)
    bench.drive(later)
    refused(bench, run_id, step_of(later))


def test_nor_by_one_in_which_it_brings_on_what_runs_beside(bench: Bench, run_id: str) -> None:
    bench.procedure("wide", {"run": None, "uses": "inner"}, {"run": None, "uses": "inner", "dependsOn": []})
    wide = bench.run("wide")
    bench.engine().complete(wide.steps[1].child, actor=step_of(run_id))
    refused(bench, run_id, step_of(wide.steps[2].child))
    refused(bench, run_id, step_of(wide.run_id))


def test_it_decides_about_the_run_that_it_has_started_and_about_others(bench: Bench, run_id: str) -> None:
    second, third = started_by(bench, step_of(run_id)), bench.run("gated").run_id
    bench.engine().complete(second, actor=step_of(run_id))
    assert bench.drive(second).ended == "completed"
    bench.engine().reject(third, actor=step_of(second), reason="no")
    assert bench.now(third).steps[1].status == "rejected"


def test_a_person_outside_decides(bench: Bench, run_id: str) -> None:
    started_by(bench, step_of(run_id))
    bench.engine().approve(run_id, actor=BOB)
    assert bench.drive(run_id).ended == "completed"


def test_a_step_of_a_run_that_cannot_be_found_decides_nothing(bench: Bench, run_id: str) -> None:
    """It may be a run in another workspace, which a step of this one has started."""
    refused(bench, run_id, step_of("sop_run_zzzzzzzzzzzz"))
    refused(bench, run_id, step_of("../else"))
    second = started_by(bench, step_of("sop_run_zzzzzzzzzzzz", ANN))
    refused(bench, run_id, step_of(second))


def test_what_a_step_of_another_workspace_has_begun_here_it_may_steer(bench: Bench, run_id: str) -> None:
    elsewhere = step_of("sop_run_zzzzzzzzzzzz")
    begun = started_by(bench, elsewhere)
    bench.engine().pause(begun, actor=elsewhere)
    assert bench.now(begun).paused
    refused(bench, run_id, elsewhere)
    refused(bench, begun, step_of("sop_run_yyyyyyyyyyyy"))


def test_two_runs_that_bring_on_each_other_are_looked_at_once(bench: Bench, run_id: str) -> None:
    one, other = bench.run("other").run_id, bench.run("other").run_id
    bench.engine().pause(one, actor=step_of(other))
    bench.engine().cancel(bench.run("other").run_id, actor=step_of(one))
    refused(bench, other, step_of(one))
    bench.engine().pause(other, actor=ANN)
    bench.engine().reject(run_id, actor=step_of(one), reason="no")


def test_where_what_started_it_is_gone_from_the_record_it_decides_nothing(
    bench: Bench, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = started_by(bench, step_of(run_id))
    last, load = started_by(bench, step_of(between)), Runs.load

    def gone(self: Runs, name: str) -> Any:
        if name == between:
            raise RecordDropped(f"{name} ended long ago")
        return load(self, name)

    monkeypatch.setattr(Runs, "load", gone)
    refused(bench, run_id, step_of(last))


def test_a_run_that_is_only_about_to_be_made_has_brought_nothing_about(
    bench: Bench, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = bench.run("outer")
    child, load = outer.steps[1].child, Runs.load

    def unmade(self: Runs, name: str) -> Any:
        if name == child:
            raise NotFound(f"no run is called {name}")
        return load(self, name)

    monkeypatch.setattr(Runs, "load", unmade)
    bench.engine().reject(run_id, actor=step_of(outer.run_id), reason="no")


# what agents did, and people rejected, in runs around and within

NAMES_BOT: dict[str, Any] = {"requiresApproval": True, "approval": {"approvers": ["agent:bot"], "onTimeout": "reject"}}


def test_who_worked_in_a_run_within_approves_nothing_around_it(bench: Bench, run_id: str) -> None:
    bench.procedure("work", {"run": None, "uses": "inner"}, NAMES_BOT)
    run = bench.run("work")
    other = replace(BOT, id="codex")
    bench.engine().complete(run.steps[1].child, actor=BOT)
    now = bench.drive(run.run_id)
    assert "has reported a step" in bench.engine().why_not(now, 2, actor=BOT)
    with pytest.raises(ApproverNotAllowed) as caught:
        bench.engine().approve(run.run_id, actor=BOT)
    assert "ask a person" in caught.value.hint
    assert "names it" in bench.engine().why_not(now, 2, actor=other)


def test_who_worked_elsewhere_approves(bench: Bench, run_id: str) -> None:
    bench.procedure("work", {"run": None, "uses": "inner"}, NAMES_BOT)
    run, elsewhere = bench.run("work"), bench.run("other").run_id
    bench.engine().complete(elsewhere, actor=BOT)
    bench.engine().complete(run.steps[1].child, actor=ANN)
    bench.drive(run.run_id)
    bench.engine().approve(run.run_id, actor=BOT)
    assert bench.drive(run.run_id).ended == "completed"


@pytest.mark.parametrize("from_step", [None, 1])
def test_no_agent_retries_around_what_a_person_rejected_within(
    bench: Bench, run_id: str, from_step: int | None
) -> None:
    bench.procedure("asks", {**GATE, "onReject": "fail"})
    bench.procedure("around", {"run": None, "uses": "asks"})
    run = bench.run("around")
    bench.engine().reject(run.steps[1].child, actor=ANN, reason="no")
    bench.drive(run.steps[1].child)
    before = bench.drive(run.run_id)
    assert before.ended == "failed"
    with pytest.raises(NotAllowed):
        bench.engine().retry(run.run_id, actor=BOT, from_step=from_step)
    assert bench.now(run.run_id) == before
    bench.engine().retry(run.run_id, actor=ANN, from_step=from_step)


# what the end of a run has started, and what started that one

WAITS: dict[str, Any] = {"requiresApproval": True, "approval": {"approvers": ["agent:bot"], "onTimeout": "reject"}}


def started_by_its_end(bench: Bench, run: str, *, wanted: str = "after") -> str:
    """The run that a trigger starts once this one has ended, driven to its gate."""
    desk = Desk(bench).begin()
    desk.look()
    bench.engine().cancel(run, actor=BOB)
    desk.look()
    return bench.drive(next(each.run_id for each in desk.runs() if each.name == wanted)).run_id


def follows(bench: Bench, procedure: str, *steps: dict[str, Any], name: str = "after") -> None:
    ends = {"type": "procedure", "procedure": procedure, "status": ["cancelled", "completed"]}
    bench.procedure(name, *steps, triggers=[ends])


def no_agent_approves(bench: Bench, run_id: str, why: str) -> None:
    before = bench.now(run_id)
    assert why in bench.engine().why_not(before, 1, actor=BOT)
    with pytest.raises(ApproverNotAllowed, match=why) as caught:
        bench.engine().approve(run_id, actor=BOT)
    assert "ask a person" in caught.value.hint
    assert bench.now(run_id) == before


def test_who_started_a_run_approves_nothing_in_what_its_end_starts(bench: Bench, run_id: str) -> None:
    follows(bench, "gated", WAITS)
    first = started_by(bench, BOT, "gated")
    no_agent_approves(bench, started_by_its_end(bench, first), f"started {first}")


def test_nor_who_worked_in_it(bench: Bench, run_id: str) -> None:
    bench.procedure("later", BY_HAND, GATE)
    follows(bench, "later", WAITS)
    first = bench.run("later").run_id
    bench.engine().complete(first, actor=BOT)
    no_agent_approves(bench, started_by_its_end(bench, first), "has reported a step")


def test_nor_who_started_a_run_around_it_or_further_back(bench: Bench, run_id: str) -> None:
    bench.procedure("around", {"run": None, "uses": "inner"})
    follows(bench, "inner", BY_HAND, name="between")
    follows(bench, "between", WAITS)
    around = bench.drive(started_by(bench, BOT, "around"))
    between = started_by_its_end(bench, around.run_id, wanted="between")
    no_agent_approves(bench, started_by_its_end(bench, between), f"started {around.run_id}")


def test_nor_who_started_a_run_whose_step_started_it(bench: Bench, run_id: str) -> None:
    bench.procedure("asks", WAITS)
    first = started_by(bench, BOT)
    second = started_by(bench, step_of(first, ANN), "asks")
    no_agent_approves(bench, second, f"started {first}")


def test_nobody_can_tell_who_started_what_the_record_does_not_have(bench: Bench, run_id: str) -> None:
    bench.procedure("asks", WAITS)
    begun = started_by(bench, step_of("sop_run_zzzzzzzzzzzz", ANN), "asks")
    no_agent_approves(bench, begun, "nobody can tell")


def test_another_agent_approves_what_the_end_of_a_run_has_started(bench: Bench, run_id: str) -> None:
    follows(bench, "gated", WAITS)
    last = started_by_its_end(bench, started_by(bench, replace(BOT, id="codex"), "gated"))
    bench.engine().approve(last, actor=BOT)
    assert bench.drive(last).ended == "completed"


def test_a_step_decides_nothing_about_the_run_by_whose_end_its_own_was_started(bench: Bench, run_id: str) -> None:
    follows(bench, "gated", BY_HAND)
    last = started_by_its_end(bench, run_id)
    refused(bench, run_id, step_of(last))


def test_nor_about_what_brought_that_one_about(bench: Bench, run_id: str) -> None:
    follows(bench, "other", BY_HAND)
    last = started_by_its_end(bench, started_by(bench, step_of(run_id)))
    refused(bench, run_id, step_of(last))
