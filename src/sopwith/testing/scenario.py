"""What the simulated world is made of: random procedures, what people say, and parts that need no disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.approval import TimeoutAction
from sopwith.core.commands import StepResult
from sopwith.core.config import Config
from sopwith.core.procedure import EnvironmentRules, ExecutionMode, Priority, Procedure, Script, Step
from sopwith.core.run import Run, RunStatus, StepStatus, is_manual, open_gates
from sopwith.engine.engine import Engine
from sopwith.engine.keys import Keyring
from sopwith.engine.library import Library
from sopwith.ports import Batch, Workspace
from sopwith.testing.executor import FAILED, SUCCEEDED, Play
from sopwith.testing.laws import conceal

ANN = Actor("ann", ActorKind.HUMAN, "cli")
BOT = Actor("bot", ActorKind.AGENT, "mcp")

WORKSPACE = Workspace(Path(tempfile.gettempdir()) / "sopwith-simulator")


Say = Callable[[Engine, str, Actor, int | None], Any]

VERBS: dict[str, tuple[float, bool, Say]] = {
    # verb: how often, whether whoever says it drives the run on, what is said
    "approve": (9, True, lambda engine, run_id, actor, step: engine.approve(run_id, actor=actor, step=step)),
    "reject": (
        1,
        False,
        lambda engine, run_id, actor, step: engine.reject(run_id, actor=actor, step=step, reason="no"),
    ),
    "cancel": (0.7, True, lambda engine, run_id, actor, step: engine.cancel(run_id, actor=actor)),
    "pause": (1, False, lambda engine, run_id, actor, step: engine.pause(run_id, actor=actor)),
    "resume": (3, True, lambda engine, run_id, actor, step: engine.resume(run_id, actor=actor)),
    "retry": (2, True, lambda engine, run_id, actor, step: engine.retry(run_id, actor=actor, from_step=step)),
    "skip": (1, True, lambda engine, run_id, actor, step: engine.skip(run_id, actor=actor, step=step, reason="so")),
    "complete": (3, True, lambda engine, run_id, actor, step: engine.complete(run_id, actor=actor, step=step)),
    "fail": (0.7, True, lambda engine, run_id, actor, step: engine.fail(run_id, actor=actor, step=step, reason="it")),
}


def bring_on(engine: Engine, run: Run) -> None:
    """The one thing that brings this run on."""
    by_hand = [s.number for s in run.steps.values() if s.status is StepStatus.RUNNING and is_manual(run, s.number)]
    gates = open_gates(run)
    if run.ended is RunStatus.FAILED or (run.paused and any(step.stuck for step in run.steps.values())):
        engine.retry(run.run_id, actor=ANN)
    elif run.paused:
        engine.resume(run.run_id, actor=ANN)
    elif gates:
        engine.approve(run.run_id, actor=ANN, step=gates[0][0], digest=gates[0][1].digest)
    elif by_hand:
        engine.complete(run.run_id, actor=ANN, step=by_hand[0])


def random_plays(chance: Random) -> dict[int, list[Play]]:
    return {number: [_play(chance) for _ in range(chance.randint(1, 4))] for number in range(1, 7)}


def _play(chance: Random) -> Play:
    result: StepResult = chance.choices((SUCCEEDED, FAILED), (4, 1))[0]
    return Play(result=result, seconds=chance.choice((0, 0, 0.1, 0.5, 1, 2.5, 6, None)), output=b"said")


def random_procedure(chance: Random, name: str) -> Procedure:
    graph = chance.random() < 0.5
    steps = tuple(_step(chance, number, graph=graph) for number in range(1, chance.randint(1, 6) + 1))
    return Procedure(
        name=name,
        title=name.capitalize(),
        priority=chance.choice(list(Priority)),
        execution_mode=chance.choice((None, *ExecutionMode)),
        cooldown_secs=chance.choice((0, 0, 0, 4)),
        max_concurrent=chance.choice((None, None, 1, 2)),
        working_dir="/srv",
        steps=steps,
    )


def _step(chance: Random, number: int, *, graph: bool) -> Step:
    earlier = range(1, number)
    in_line = tuple(earlier[-1:])
    by_hand = chance.random() < 0.2
    return Step(
        number=number,
        title=f"Step {number}",
        executor="manual" if by_hand else "shell",
        script=None if by_hand else Script(interpreter="bash", text=f"echo {number}\n"),
        requires_approval=chance.random() < 0.35,
        approval_timeout_mins=chance.choice((None, None, 0.01, 0.05, 0.2)),
        never_times_out=chance.random() < 0.1,
        depends_on=tuple(other for other in earlier if chance.random() < 0.35) if graph else in_line,
        env=EnvironmentRules(pass_=("TOKEN",) if chance.random() < 0.35 else ()),
    )


def random_config(chance: Random) -> Config:
    return Config(
        default_execution_mode=chance.choice(list(ExecutionMode)),
        approval_timeout_mins=chance.choice((None, None, 0.05, 0.3)),
        approval_timeout_action=chance.choice((None, *TimeoutAction)),
        max_concurrent_runs=chance.choice((None, None, 1, 2)),
    )


class MadeUpLibrary(Library):
    """Procedures that were never files."""

    def __init__(self, procedures: dict[str, Procedure], config: Config) -> None:
        super().__init__(WORKSPACE)
        self._procedures = procedures
        self._config = config

    def procedure(self, name: str) -> Procedure:
        return self._procedures[name]

    def config(self) -> Config:
        return self._config


class FixedKeyring(Keyring):
    """A key that is the same in every simulation."""

    def conceal(self, value: str) -> str:
        return conceal(value)


class DocumentsOnly:
    """Makes the documents, and keeps none."""

    def written(self, batch: Batch, run_json: Callable[[], bytes] | None) -> None:
        if run_json is not None:
            run_json()

    def rebuild(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        return False
