"""An agent's command as a process: what it reads, and what it is refused for. The rest it has from the shell executor,
whose tests hold for it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sopwith.core.procedure import Step
from sopwith.executors import keeper
from sopwith.executors.agent import KIND, AgentExecutor
from sopwith.executors.launch import Order
from sopwith.ports import AgentOrder, Sought, WorkOrder
from sopwith.testing.contract_executor import ok, run

from . import bench

MEBIBYTE = 1 << 20


def order(folder: Path, *command: str, task: bytes = b"", path: str = bench.PATH, **changes: Any) -> WorkOrder:
    step = Step(number=1, title="Review", executor="agent", body="Read it.")
    agent = AgentOrder(sought=Sought(command=command, path=path, root=folder), task=task)
    return bench.order(folder, "", **{"step": step, "agent": agent, **changes})


def ended(work: WorkOrder) -> Any:
    async def watched() -> Any:
        executor = AgentExecutor(grace_secs=0.2, drain_secs=0.1)
        return ok(await (await executor.start(work, lambda _chunk: None)).wait())

    return run(watched())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_text_that_no_pipe_could_hold_is_read_to_its_end(folder: Path) -> None:
    result = ended(order(folder, "wc", "-c", task=b"x" * (3 * MEBIBYTE)))
    assert (result.output.strip(), result.error) == (str(3 * MEBIBYTE), "")


def test_the_text_is_there_where_no_control_group_can_be_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = folder / "task"
    task.write_text("Read it.")
    told = Order(
        argv=("/bin/cat",),
        environment={},
        working_dir=folder,
        umask=0o022,
        cookie="x",
        grace_secs=0,
        drain_secs=0,
        stdin=task,
    )
    source, sink = os.pipe()
    monkeypatch.chdir(folder)
    umask = os.umask(0o077)
    try:
        pid, group = keeper.spawn(keeper.Order(told.encode()), sink, "")
    finally:
        os.umask(umask)
        os.close(sink)
    os.waitpid(pid, 0)
    with os.fdopen(source, "rb") as read:
        assert (read.read(), group) == (b"Read it.", "")


def test_the_program_is_found_on_its_own_path_and_not_on_the_steps(folder: Path) -> None:
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
        (folder / name / "agent").write_text(f"#!{sys.executable}\nprint('{name}')\n")
        (folder / name / "agent").chmod(0o755)
    step_path = {"PATH": f"{folder / 'theirs'}:{bench.PATH}"}
    work = order(folder, "agent", path=str(folder / "ours"), environment=step_path, working_dir=folder / "theirs")
    assert ended(work).output == "ours\n"
    assert KIND.locate_command is not None
    assert work.agent is not None
    assert KIND.locate_command(work.agent.sought) == str(folder / "ours" / "agent")


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "here", "./here", "."])
def test_a_program_that_cannot_be_executed_is_not_started(folder: Path, name: str) -> None:
    (folder / "here").write_text("#!/bin/sh\n")
    work = order(folder, name, path=str(folder))
    assert work.agent is not None
    assert KIND.locate_command is not None
    assert KIND.locate_command(work.agent.sought) is None
    result = ended(work)
    assert (result.cause, result.error.startswith("cannot start the step: ")) == ("start", True)


def test_without_a_command_nothing_is_started_whatever_script_there_is(folder: Path) -> None:
    scripted = bench.order(folder, "echo ran >> ran", agent=None)
    assert "it has no command" in ended(scripted).error
    assert not (folder / "ran").exists()
