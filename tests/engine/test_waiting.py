"""Whom a run waits for, as one of its callers sees it."""

from __future__ import annotations

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor, ActorKind
from sopwith.engine.driver import drive
from sopwith.engine.engine import RunRequest
from sopwith.engine.waiting import JUST_NOW, WaitingOn, waiting_on
from sopwith.errors import NotAllowed
from sopwith.ports import ExecutorKind

from .bench import ANN, BOT, Bench


def waits(bench: Bench, run_id: str, actor: Actor = BOT) -> WaitingOn:
    engine = bench.engine()
    return waiting_on(engine, engine.runs.load(run_id).run, actor)


def manual(bench: Bench) -> str:
    bench.sheet("byhand", "# By hand\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Walk\n\nWalk.\n")
    return bench.run("byhand").run_id


def test_a_step_done_by_hand_waits_for_whoever_may_report_it(bench: Bench) -> None:
    run_id = manual(bench)
    assert waits(bench, run_id) is WaitingOn.AGENT
    bench.config(roles={"runner": ["user:ann"]})
    assert waits(bench, run_id) is WaitingOn.HUMAN
    assert waits(bench, run_id, ANN) is WaitingOn.AGENT


def test_a_gate_waits_for_a_person_unless_it_names_the_agent(bench: Bench) -> None:
    gate = {"approvers": ["agent:bot"], "onTimeout": "reject"}
    bench.procedure("gated", {"requiresApproval": True})
    bench.procedure("named", {"requiresApproval": True, "approval": gate})
    assert waits(bench, bench.run("gated").run_id) is WaitingOn.HUMAN
    assert waits(bench, bench.run("named").run_id) is WaitingOn.AGENT
    mine = bench.engine().create_run(RunRequest(name="gated"), actor=BOT).run_id
    assert waits(bench, bench.drive(mine).run_id) is WaitingOn.HUMAN


def test_a_run_that_is_driven_waits_for_the_engine(bench: Bench) -> None:
    bench.procedure("slow", {})
    run_id = bench.create("slow")
    # its driver is only starting
    assert waits(bench, run_id) is WaitingOn.ENGINE
    bench.pass_time(JUST_NOW.total_seconds() + 1)
    assert waits(bench, run_id) is WaitingOn.HUMAN


def test_a_paused_run_waits_for_a_person_and_one_that_has_ended_for_nothing(bench: Bench) -> None:
    run_id = manual(bench)
    bench.engine().pause(run_id, actor=ANN)
    assert waits(bench, run_id) is WaitingOn.HUMAN
    bench.engine().cancel(run_id, actor=ANN)
    assert waits(bench, run_id) is WaitingOn.NOTHING


def test_a_wait_waits_for_its_time(bench: Bench) -> None:
    bench.kinds.known["wait"] = ExecutorKind(name="wait", needs_script=False, by_hand=True)
    bench.procedure("later", {"run": None, "waitSecs": 3600})
    run_id = bench.create("later")
    bench.loop.run_until_complete(drive(bench.engine().parts, run_id, linger=False))
    assert waits(bench, run_id) is WaitingOn.TIMER


def test_a_refusal_is_foretold_for_a_step_of_a_run_around_it(bench: Bench) -> None:
    """As the call itself would be refused: no door offers it."""
    bench.procedure("inner", {"requiresApproval": True})
    bench.procedure("outer", {"run": None, "uses": "inner"})
    run = bench.run("outer")
    child = run.steps[1].child
    assert child
    inside = Actor("bot", ActorKind.AGENT, "mcp", inside=child)
    refusal = bench.engine().refusal(run, lambda now: cmd.Cancel(actor=inside, now=now))
    assert isinstance(refusal, NotAllowed)
    assert waits(bench, run.run_id) is WaitingOn.HUMAN
