"""The parts of a rehearsal: the real engine over fakes, so that nothing depends on this machine or changes on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from sopwith.core.agents import AgentCommand, agent_of
from sopwith.core.config import Config
from sopwith.core.procedure import Parameter, ParameterType, Procedure, sha256
from sopwith.engine.engine import Engine
from sopwith.engine.keys import Keyring
from sopwith.engine.library import Library
from sopwith.engine.parts import Parts
from sopwith.parse.scenario import Scenario
from sopwith.ports import Clock, ExecutorKind, Workspace
from sopwith.rehearsal.moments import StageClock
from sopwith.rehearsal.stubs import StubbedWorld
from sopwith.testing.clock import SequentialIds
from sopwith.testing.executor import FakeExecutor
from sopwith.testing.memory import MemoryStore, NoViews
from sopwith.testing.samples import owner

_PATH = "/usr/local/bin:/usr/bin:/bin"
_STAND_IN = "stand-in"
_BY_ITSELF = ("manual", "wait")


def open_stage(
    procedure: Procedure,
    config: Config,
    scenario: Scenario,
    *,
    clock: StageClock,
    process_clock: Clock,
    folder: Path,
) -> tuple[Engine, StubbedWorld]:
    """An engine that knows this procedure alone, and the world in which its scripts are played.

    `folder` stands for the project folder: an empty one, for the engine makes a folder for each attempt.
    """
    workspace = Workspace(Path(os.path.realpath(folder)))
    world = StubbedWorld(scenario)
    staged = _staged(procedure)
    parts = Parts(
        workspace=workspace,
        store=MemoryStore(),
        views=NoViews(),
        library=_OneProcedure(workspace, staged, replace(config, agents=_agents(staged))),
        kinds=_Played(world, process_clock),
        clock=clock,
        ids=SequentialIds(),
        keyring=_NoKey(workspace.keys),
        owner=lambda: owner("rehearsal"),
        environ={"PATH": _PATH, **_passed(staged)},
        umask=0o022,
    )
    return Engine(parts), world


def _staged(procedure: Procedure) -> Procedure:
    """The procedure without what only this machine has: pinned files and secrets.

    Procedures that it uses are played as steps.
    """
    steps = tuple(replace(step, pins=(), uses=None, with_={}) for step in procedure.steps)
    return replace(procedure, steps=steps, parameters=tuple(_unread(each) for each in procedure.parameters))


def _unread(parameter: Parameter) -> Parameter:
    """A secret is not looked for: its reference is as good as it, where nothing runs."""
    if parameter.type is not ParameterType.SECRET:
        return parameter
    return replace(parameter, type=ParameterType.STRING, pattern=parameter.pattern or "(env|file):.+")


def _passed(procedure: Procedure) -> Mapping[str, str]:
    """A value for each variable that steps are to be given from outside."""
    names = [*procedure.env.pass_, *(name for step in procedure.steps for name in step.env.pass_)]
    return dict.fromkeys(names, _STAND_IN)


def _agents(procedure: Procedure) -> dict[str, AgentCommand]:
    """A command for each agent that carries a step out, whether it is configured here or not: it is only played."""
    names = (agent_of(step) for step in procedure.steps)
    return {name: AgentCommand(command=(_STAND_IN,)) for name in names if name is not None}


class _OneProcedure(Library):
    """The procedure that is rehearsed, and the config that it is rehearsed with."""

    def __init__(self, workspace: Workspace, procedure: Procedure, config: Config) -> None:
        super().__init__(workspace)
        self._procedure = procedure
        self._config = config

    def procedure(self, name: str) -> Procedure:
        return self._procedure

    def config(self) -> Config:
        return self._config


class _Played:
    """All kinds of steps: people and waits as they are, everything else played, whether it is installed or not."""

    def __init__(self, world: StubbedWorld, clock: Clock) -> None:
        self._world = world
        self._clock = clock

    def kind(self, name: str) -> ExecutorKind:
        if name in _BY_ITSELF:
            return ExecutorKind(name=name, needs_script=False, by_hand=True)
        return ExecutorKind(name=name, needs_script=False, make=lambda: FakeExecutor(self._world, self._clock))


class _NoKey(Keyring):
    """Hides nothing, as there is nothing to hide, and needs no key."""

    def conceal(self, value: str) -> str:
        return sha256(value.encode())
