"""Keepers that are forked are like those that are started: the same parent, session and name, and at most one start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sopwith.core.commands import StepResult
from sopwith.doors import ancestry
from sopwith.executors import keeper_process
from sopwith.executors.keeper_process import Nursery, NurseryLost
from sopwith.executors.launch import Launch, launches
from sopwith.ports import WorkOrder
from sopwith.testing.contract_executor import ok, run, watched

from . import bench
from .bench import FOREVER, end_all, executor, keeper_of, open_gate, order, starts, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has nurseries")

COUNT = 'echo once >> "$STARTS"; '


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_all(tmp_path)


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A nursery of the test's own, and none of those that it has lost counts afterwards."""
    fresh = keeper_process._Nurseries()
    monkeypatch.setattr(keeper_process, "nurseries", fresh)
    yield
    fresh._drop()


def done(work: WorkOrder) -> tuple[StepResult, bytes]:
    """How the step ends that is started now, and all that it printed."""
    shown = bytearray()

    async def story() -> StepResult:
        watch = await executor().start(work, shown.extend)
        return ok(await asyncio.wait_for(watch.wait(), 20))

    return run(story()), bytes(shown)


def nursery() -> Nursery:
    found = keeper_process.nurseries._nursery
    assert found is not None
    return found


def fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def is_over(pid: int) -> bool:
    try:
        return fields(pid)[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_forked_keeper_is_this_process_own_child_in_a_session_of_its_own(folder):
    work = order(folder, FOREVER)

    async def story() -> None:
        watch = await executor().start(work, lambda _: None)
        keeper = keeper_of(work).pid
        _state, parent, group, session, *_rest = fields(keeper)
        assert (int(parent), int(group), int(session)) == (os.getpid(), keeper, keeper)
        assert keeper != nursery()._pid
        await open_gate(work)
        assert ok(await watch.wait()).exit_code == 0
        assert is_over(keeper)

    run(story())


def test_a_forked_keeper_is_called_after_its_launch_and_the_nursery_after_none(folder):
    work = order(folder, FOREVER)

    async def story() -> None:
        watch = await executor().start(work, lambda _: None)
        line = Path(f"/proc/{keeper_of(work).pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert line[-1] == os.fsencode(work.folder / "0")
        assert ancestry._KEEPER in line[-3]
        assert ancestry._kept_run(keeper_of(work).pid) == work.folder.parent.name
        assert ancestry._kept_run(nursery()._pid) is None
        await open_gate(work)
        await watch.wait()

    run(story())


def test_a_forked_keeper_has_nothing_of_this_process_open(folder):
    work = order(folder, FOREVER)

    async def story() -> None:
        watch = await executor().start(work, lambda _: None)
        keeper = until(lambda: launches(work.folder)[0].marks().child) and keeper_of(work)
        links = [str(each.readlink()) for each in Path(f"/proc/{keeper.pid}/fd").iterdir()]
        assert not [link for link in links if link.startswith("socket:")]
        assert "/dev/null" in links
        assert str(work.folder / "0" / "keeper.err") in links
        assert Path(f"/proc/{keeper.pid}/environ").read_bytes().strip(b"\0") == b""
        await open_gate(work)
        await watch.wait()

    run(story())


def test_a_nursery_keeps_nothing_open_that_this_process_closes(folder):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        assert done(order(folder, "true"))[0].exit_code == 0
    finally:
        os.close(writing)
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        assert pipe.read(1) == b"", "somebody has the other end"


def test_one_nursery_serves_all_steps_of_a_process(folder):
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    assert done(order(folder / "a", "true"))[0].exit_code == 0
    first = nursery()
    assert done(order(folder / "b", "true"))[0].exit_code == 0
    assert nursery() is first


def test_where_the_nursery_was_killed_the_step_is_started_once_all_the_same(folder):
    (folder / "a").mkdir()
    done(order(folder / "a", "true"))
    pid = nursery()._pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_over(pid))
    work = order(folder, COUNT)
    assert done(work)[0].exit_code == 0
    assert starts(work) == 1
    assert launches(work.folder)[0].marks().void


def test_a_keeper_whose_nursery_died_before_it_could_tell_is_watched_all_the_same(folder, monkeypatch):
    fork = Nursery.fork

    def forks_and_dies(self: Nursery, folder: bytes) -> int:
        fork(self, folder)
        until(lambda: launches(work.folder)[0].marks().keeper)
        raise NurseryLost

    work = order(folder, COUNT + "echo done")
    monkeypatch.setattr(Nursery, "fork", forks_and_dies)
    result, shown = done(work)
    assert (result.exit_code, shown, starts(work)) == (0, b"done\n", 1)
    assert len(launches(work.folder)) == 1


def test_a_nursery_that_stands_still_starts_nothing_later(folder, monkeypatch):
    (folder / "a").mkdir()
    done(order(folder / "a", "true"))
    monkeypatch.setattr(keeper_process, "_PATIENCE_SECS", 0.05)
    pid = nursery()._pid
    os.kill(pid, signal.SIGSTOP)
    work = order(folder, COUNT)
    assert done(work)[0].exit_code == 0
    assert starts(work) == 1
    assert is_over(pid)


def test_an_answer_that_nobody_took_is_not_taken_for_that_to_the_next_request(folder, monkeypatch):
    """As where a handler of a signal raises while the nursery is asked, in a program that goes on."""
    (folder / "a").mkdir()
    done(order(folder / "a", "true"))

    def interrupted(_file: int) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keeper_process, "_readable", interrupted)
        with pytest.raises(KeyboardInterrupt):
            keeper_process.nurseries.fork(Launch(folder / "gone"))
    work = order(folder, FOREVER)

    async def story() -> None:
        watch = await executor().start(work, lambda _: None)
        assert watched(watch)._keeper._pid == keeper_of(work).pid  # type: ignore[attr-defined]
        await open_gate(work)
        assert ok(await asyncio.wait_for(watch.wait(), 20)).exit_code == 0

    run(story())
    assert keeper_process.nurseries._losses == 0


def test_after_too_many_losses_keepers_are_started_without_a_nursery(folder, monkeypatch):
    def dies(_self: Nursery, _folder: bytes) -> int:
        raise NurseryLost

    monkeypatch.setattr(Nursery, "fork", dies)
    for number in range(keeper_process._MOST_LOSSES + 1):
        (folder / str(number)).mkdir()
        work = order(folder / str(number), COUNT)
        assert done(work)[0].exit_code == 0
        lost = number < keeper_process._MOST_LOSSES
        assert (starts(work), len(launches(work.folder))) == (1, 2 if lost else 1)


@pytest.mark.parametrize("enabled", [True, False])
def test_where_the_kernel_forks_nothing_beside_us_keepers_have_their_own_interpreter(folder, monkeypatch, enabled):
    monkeypatch.setattr(Nursery, "fork", lambda _self, _folder: -1)
    keeper_process.nurseries.enabled = enabled
    work = order(folder, COUNT)
    assert done(work)[0].exit_code == 0
    assert (starts(work), len(launches(work.folder))) == (1, 1)


def test_a_launch_whose_path_does_not_fit_gets_a_keeper_of_its_own_interpreter(folder):
    (folder / "a").mkdir()
    done(order(folder / "a", "true"))
    deep = folder / ("d" * 200)
    deep.mkdir()
    work = order(deep, FOREVER)

    async def story() -> None:
        watch = await executor().start(work, lambda _: None)
        assert ancestry._kept_run(keeper_of(work).pid) == deep.name
        assert keeper_process.nurseries._losses == 0
        await open_gate(work)
        assert ok(await watch.wait()).exit_code == 0

    run(story())


def test_a_nursery_writes_no_name_for_which_it_has_no_room(folder):
    (folder / "a").mkdir()
    done(order(folder / "a", "true"))
    assert nursery().fork(b"/" * (nursery().room_bytes + 1)) == -1


def test_the_nursery_ends_with_the_engine_and_the_step_goes_on(folder):
    text = COUNT + "echo begun; " + FOREVER
    work = order(folder, text)
    command = [sys.executable, bench.__file__, str(folder), text, work.run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"begun\n"
        children = Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split()
        (served,) = {int(pid) for pid in children} - {keeper_of(work).pid}
        engine.kill()
    until(lambda: is_over(served))
    assert keeper_of(work).alive()

    async def story() -> None:
        watch = watched(await executor().recover(work, lambda _: None))
        await open_gate(work)
        assert ok(await asyncio.wait_for(watch.wait(), 20)).exit_code == 0

    run(story())
    assert starts(work) == 1


def test_when_the_engine_has_ended_its_nursery_is_over(folder):
    """Else a step that starts an engine would sometimes be told to have left a process behind."""
    text = "echo begun; " + FOREVER
    work = order(folder, text)
    command = [sys.executable, bench.__file__, str(folder), text, work.run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"begun\n"
        children = Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split()
        (served,) = {int(pid) for pid in children} - {keeper_of(work).pid}
        os.kill(served, signal.SIGSTOP)  # it would be late
        try:
            run(open_gate(work))
            assert engine.wait(20) == 0
            assert is_over(served)
        finally:
            if not is_over(served):
                os.kill(served, signal.SIGKILL)


def test_a_pid_that_is_nobodys_or_another_process_by_now_is_not_killed(folder, monkeypatch):
    """As in a program that waits for any child, or for none: the nursery's pid may be anybody's once it has ended."""
    (folder / "a").mkdir()
    done(order(folder / "a", "true"))
    lost = nursery()
    os.kill(lost._pid, signal.SIGKILL)
    os.waitpid(lost._pid, 0)
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _number: killed.append(pid))
    keeper_process.nurseries._drop()
    assert killed == []
