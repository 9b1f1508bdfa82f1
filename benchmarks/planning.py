"""What planning costs: looking what is due, deciding and applying, for 10, 100 and 1,000 steps, or items of a step."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.decide import NewRun, create, decide
from sopwith.core.due import DueKind, ready_now
from sopwith.core.events import Policy
from sopwith.core.instant import Instant
from sopwith.core.procedure import ExecutionMode, Procedure, Script, Step
from sopwith.core.run import Run
from sopwith.engine.runs import summarise

_SIZES = (10, 100, 1000)
_WIDTH = 10
_HANDED_ON = {"url": "https://example.com/"}
_NOW = Instant(datetime(2026, 1, 1, tzinfo=UTC), 0, "boot")


def measure(*, rounds: int = 5) -> dict[str, Any]:
    """Milliseconds of processor time per step: a line, and layers of ten that each need the whole layer before.

    And per item of one step, each of which hands on a value: all at once, and ten at once.
    """
    shapes = {
        shape: {f"{size} steps": _ms_per_step(_of_steps(shape, size), size, rounds) for size in _SIZES}
        for shape in ("line", "layers")
    }
    items = {
        told: {f"{size} items": _ms_per_step(_of_items(size, limit), size, rounds) for size in _SIZES}
        for told, limit in (("items", None), ("items, ten at once", _WIDTH))
    }
    return {**shapes, **items}


def _of_steps(shape: str, size: int) -> Procedure:
    steps = tuple(_step(number, _needs(shape, number)) for number in range(1, size + 1))
    return Procedure(name="plan", title="Plan", steps=steps)


def _of_items(size: int, limit: int | None) -> Procedure:
    step = replace(_step(1, ()), for_each=tuple(range(size)), max_parallel=limit)
    return Procedure(name="plan", title="Plan", steps=(step,))


def _ms_per_step(procedure: Procedure, size: int, rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        before = time.process_time()
        _play(procedure)
        taken.append(time.process_time() - before)
    return round(min(taken) / size * 1000, 3)


def _needs(shape: str, number: int) -> tuple[int, ...]:
    if shape == "line":
        return (number - 1,) if number > 1 else ()
    first = (number - 1) // _WIDTH * _WIDTH + 1
    return tuple(range(max(1, first - _WIDTH), first))


def _step(number: int, needs: tuple[int, ...]) -> Step:
    script = Script(interpreter="bash", text="true\n")
    return Step(number=number, title=f"Step {number}", executor="shell", script=script, depends_on=needs)


def _play(procedure: Procedure) -> None:
    """A whole run without a store: every step starts and ends, with what a commit computes besides."""
    new = NewRun(
        run_id="sop_run_abcdefghijkl",
        procedure=procedure,
        procedure_digest="0" * 64,
        mode=ExecutionMode.AUTO,
        declared_mode=ExecutionMode.AUTO,
        params={},
        environment={},
        umask=0o022,
        policy=Policy(),
        trigger="manual",
    )
    run = create(new, actor=Actor("bench", ActorKind.HUMAN, "cli"), now=_NOW).run
    while run.ended is None:
        run = decide(run, _next(run)).run
        summarise(run)


def _next(run: Run) -> cmd.Command:
    item = ready_now(run, _NOW)[0]
    assert item.step is not None
    if item.kind is DueKind.START_STEP:
        return cmd.Start(actor=SYSTEM, now=_NOW, step=item.step, digest="0" * 64)
    if item.kind is DueKind.EVALUATE:
        return cmd.Evaluate(actor=SYSTEM, now=_NOW, step=item.step)
    result = cmd.StepResult(exit_code=0, outputs=_HANDED_ON if isinstance(item.step, str) else {})
    return cmd.Finish(actor=SYSTEM, now=_NOW, step=item.step, attempt=1, result=result)
