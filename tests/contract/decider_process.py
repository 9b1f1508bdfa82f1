"""Deciders that answer one gate at the same time: threads of a test, or of processes of their own.

`decider_process.py WORKSPACE RUN JSON` prints `ready`, answers when a line arrives, and prints what became of it.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from sopwith.assembly import open_engine
from sopwith.core.actor import Actor, ActorKind
from sopwith.engine.engine import Engine
from sopwith.errors import SopwithError
from sopwith.ports import Workspace

PATIENCE_SECS = 60

Plan = Sequence[tuple[str, str]]
"""Who answers, and what: approve or reject."""
Outcome = tuple[str, str, str, str]
"""Who, what, the error's code or `ok`, and its message."""


def answer(engine: Engine, run_id: str, person: str, verb: str) -> Outcome:
    actor = Actor(person, ActorKind.HUMAN, "cli")
    try:
        if verb == "approve":
            engine.approve(run_id, actor=actor, step=1)
        else:
            engine.reject(run_id, actor=actor, step=1, reason=f"{person} says no")
    except SopwithError as error:
        return person, verb, error.code, error.message
    return person, verb, "ok", ""


def answer_all(engine: Callable[[], Engine], run_id: str, plan: Plan, *, then: Callable[[], object]) -> list[Outcome]:
    """Each in a thread of its own, let loose together. `then`: what to wait for once all are there."""
    barrier = threading.Barrier(len(plan) + 1, timeout=PATIENCE_SECS)
    outcomes: list[Outcome] = []

    def decide(person: str, verb: str) -> None:
        mine = engine()
        barrier.wait()
        barrier.wait()
        outcomes.append(answer(mine, run_id, person, verb))

    threads = [threading.Thread(target=decide, args=each, daemon=True) for each in plan]
    for thread in threads:
        thread.start()
    barrier.wait()
    then()
    barrier.wait()
    for thread in threads:
        thread.join(PATIENCE_SECS)
    return outcomes


def main(root: str, run_id: str, plan: str) -> None:
    engine = open_engine(Workspace(Path(root)))
    # looked at before it is answered: msgspec 0.22 must not meet a type for the first time in several threads at once
    engine.runs.load(run_id)

    def ready() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()

    outcomes = answer_all(lambda: engine, run_id, json.loads(plan), then=ready)
    sys.stdout.write(json.dumps(outcomes) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
