"""Agents' steps: a command that config.json has, such as a coding agent's, under all rules of the shell executor.

It reads the step's text on its standard input, from a file: a pipe could fill, and would end with the engine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sopwith.executors.shell import ShellExecutor, Work, find_program
from sopwith.ports import Executor, ExecutorKind, Sought, WorkOrder

if TYPE_CHECKING:
    from sopwith.executors.launch import Launch


class AgentExecutor(ShellExecutor):
    """Runs the command that the order names; an attempt's folder gets `task` beside what a script's has."""

    def _work(self, order: WorkOrder, launch: Launch) -> Work:
        if order.agent is None:
            raise ValueError("it has no command that could carry it out")
        sought = order.agent.sought
        return Work(argv=(_program(sought), *sought.command[1:]), task=order.agent.task)


def _program(sought: Sought) -> str:
    """Where the command's program is. Raises ValueError."""
    name = sought.command[0]
    if "/" not in name:
        return find_program(name, sought.path, sought.root)
    path = sought.root / name
    if not os.path.isfile(path) or not os.access(path, os.X_OK):  # noqa: PTH113 - as in find_program
        raise ValueError(f"the agent's program {path} is not there, or cannot be executed")
    return str(path)


def _locate(sought: Sought) -> str | None:
    try:
        return _program(sought)
    except ValueError:
        return None


def _make() -> Executor:
    return AgentExecutor()


KIND = ExecutorKind(name="agent", needs_script=False, make=_make, locate_command=_locate)
