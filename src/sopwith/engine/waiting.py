"""Whom a run waits for, as one of its callers sees it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.due import is_left, waits_by_itself
from sopwith.core.run import Gate, Run, awaits_report, children, open_gates
from sopwith.engine.claiming import is_driven
from sopwith.engine.engine import Engine

JUST_NOW = timedelta(seconds=10)
"""So long after its last event a run may be about to be taken up by a driver that is only starting."""


class WaitingOn(StrEnum):
    """`agent`: the caller itself, for a step that it may report or a gate that it may answer."""

    AGENT = "agent"
    HUMAN = "human"
    ENGINE = "engine"
    TIMER = "timer"
    NOTHING = "nothing"


def waiting_on(engine: Engine, run: Run, actor: Actor) -> WaitingOn:
    """Whom the run waits for before anything happens in it, or what."""
    if run.ended is not None:
        return WaitingOn.NOTHING
    lines = [each for each in (run, *resting_children(engine, run)) if each.ended is None]
    if any(_is_callers(engine, each, actor) for each in lines):
        return WaitingOn.AGENT
    if is_left(run, engine.parts.clock.now().at):
        return WaitingOn.HUMAN if is_undriven(engine, run) else WaitingOn.ENGINE
    if any(each.paused or open_gates(each) or tuple(open_by_hand(each)) for each in lines):
        return WaitingOn.HUMAN
    return WaitingOn.TIMER if any(waits_by_itself(each) for each in lines) else WaitingOn.ENGINE


def is_undriven(engine: Engine, run: Run) -> bool:
    """Whether there is something to carry out, and nobody does, nor is about to."""
    now = engine.parts.clock.now().at
    if not is_left(run, now) or is_driven(engine.parts, run.run_id):
        return False
    return now - run.updated_at > JUST_NOW


def resting_children(engine: Engine, run: Run) -> tuple[Run, ...]:
    """The runs that carry out steps of this one and wait for somebody, and theirs."""
    found: list[Run] = []
    for step in children(run):
        if step.child and step.child_standing is not None:
            child = engine.runs.load(step.child).run
            found += (child, *resting_children(engine, child))
    return tuple(found)


def open_by_hand(run: Run) -> Iterator[StepId]:
    """The steps that somebody is to carry out now."""
    for step in run.steps.values():
        if awaits_report(run, step):
            yield step.number


def may_report(engine: Engine, run: Run, step: StepId, actor: Actor) -> bool:
    """Whether the actor may report this step done now."""
    return engine.refusal(run, lambda now: cmd.Complete(actor=actor, now=now, step=step)) is None


def may_approve(engine: Engine, run: Run, step: StepId | None, actor: Actor) -> bool:
    """Whether the actor may approve at this open gate now."""
    return not run.paused and not engine.why_not(run, step, actor=actor)


def gates_for(engine: Engine, run: Run, actor: Actor) -> Iterator[tuple[StepId | None, Gate]]:
    """The open gates that the actor may approve at."""
    yield from ((step, gate) for step, gate in open_gates(run) if may_approve(engine, run, step, actor))


def _is_callers(engine: Engine, run: Run, actor: Actor) -> bool:
    if run.paused:
        return False
    return any(may_report(engine, run, step, actor) for step in open_by_hand(run)) or any(
        True for _each in gates_for(engine, run, actor)
    )
