"""Processes that outlived their keeper: found by cookie, group and parents; ended only when asked; never a stranger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from sopwith.backup.living import living_steps
from sopwith.clock import boot_id
from sopwith.core.commands import StepResult
from sopwith.executors import strays
from sopwith.executors.launch import Launch, launches
from sopwith.executors.processes import start_time
from sopwith.executors.strays import end_strays, find_strays
from sopwith.executors.watch import still_runs
from sopwith.ports import Lost, WorkOrder
from sopwith.testing.contract_executor import run

from .bench import end_all, executor, keeper_of, kill, order, until
from .test_nasty_children import DAEMON, begin, pids

RUN = "sop_run_stray0000001"


@pytest.fixture
def runs(tmp_path: Path):
    """A folder of runs, with the attempt's folder as the engine names it."""
    (tmp_path / "runs" / RUN).mkdir(parents=True)
    yield tmp_path / "runs"
    end_strays(lambda: find_strays(tmp_path / "runs", [RUN]), grace_secs=0.1)
    for folder in (tmp_path / "runs" / RUN).glob("step-*"):
        end_all(folder.parent)


def abandoned(runs: Path, text: str) -> WorkOrder:
    """A step whose keeper was killed after it had printed something."""
    attempt = runs / RUN / "step-1.1.1"
    attempt.mkdir()
    work = replace(order(runs.parent, text, run_id=RUN), folder=attempt)

    async def story() -> StepResult | Lost:
        _watch, waiting = await begin(work)
        kill(keeper_of(work))
        return await waiting

    assert isinstance(run(story()), Lost)
    return work


def found(runs: Path, *run_ids: str) -> set[int]:
    return {stray.pid for stray in find_strays(runs, run_ids)}


def test_what_a_dead_keeper_left_is_found_and_named(runs):
    work = abandoned(runs, "echo hello; exec sleep 300")
    child = launches(work.folder)[-1].marks().child
    assert child is not None
    (stray,) = find_strays(runs, [])
    assert (stray.run_id, stray.step, stray.visit, stray.attempt) == (RUN, "1", 1, 1)
    assert (stray.pid, stray.started, stray.command) == (child.pid, child.started, "sleep 300")


def test_they_are_ended_with_grace_and_then_without(runs):
    tidy = 'trap "echo cleaned >> cleaned; exit" TERM; touch set; while :; do sleep 0.02; done'
    deaf = "until [ -e set ]; do sleep 0.01; done; trap '' TERM; echo hello; while :; do sleep 0.05; done"
    abandoned(runs, f"bash -c '{tidy}' > log 2>&1 & {deaf}")
    assert len(found(runs)) >= 2
    assert end_strays(lambda: find_strays(runs, []), grace_secs=0.5) == ()
    assert found(runs) == set()
    assert (runs.parent / "cleaned").read_text() == "cleaned\n"


def test_children_that_cleared_their_environment_are_found_by_their_parents(runs):
    abandoned(runs, "env -i /bin/sleep 300 & echo $! >> pids; echo hello; wait")
    until(lambda: Path(f"/proc/{pids(runs.parent)[0]}/cmdline").read_bytes().startswith(b"/bin/sleep"))
    assert pids(runs.parent)[0] in found(runs)


def test_a_daemon_without_a_trace_is_found_in_its_group(runs):
    work = abandoned(runs, f"{DAEMON}\nuntil [ -s pids ]; do sleep 0.01; done; echo hello")
    group = launches(work.folder)[-1].marks().group
    if not group:
        pytest.skip("no control group of version 2 can be made here")
    (daemon,) = pids(runs.parent)
    until(lambda: found(runs, RUN) == {daemon})
    started = launches(work.folder)[-1].folder / "started"
    started.write_text(started.read_text().replace(group, f"{group}-of-somebody-else"))
    foreign = Path(f"{group}-of-somebody-else")
    foreign.mkdir()
    (foreign / "cgroup.procs").write_text(str(daemon))
    assert found(runs, RUN) == set()  # a path that its keeper did not write
    os.kill(daemon, 9)
    until(lambda: (foreign / "cgroup.procs").read_text() == "")
    foreign.rmdir()


def test_while_the_keeper_lives_there_are_none(runs):
    attempt = runs / RUN / "step-1.1.1"
    attempt.mkdir()
    work = replace(order(runs.parent, "echo hello; sleep 300", run_id=RUN), folder=attempt)

    async def story() -> set[int]:
        watch, waiting = await begin(work)
        there = found(runs, RUN)
        await watch.stop()
        await waiting
        return there

    assert run(story()) == set()


def test_a_left_over_of_an_ordinary_end_is_none(runs):
    attempt = runs / RUN / "step-1.1.1"
    attempt.mkdir()
    work = replace(order(runs.parent, "sleep 300 & echo $! >> pids; echo hello", run_id=RUN), folder=attempt)

    async def story() -> None:
        await (await executor().start(work, lambda _: None)).wait()

    run(story())
    (pid,) = pids(runs.parent)
    assert start_time(pid) is not None
    assert found(runs, RUN) == set()
    os.kill(pid, 9)


def launch_of(runs: Path, keeper_line: str) -> str:
    """A launch with this mark; tells the cookie of its step."""
    launch = Launch(runs / RUN / "step-1.1.1" / "0")
    launch.folder.mkdir(parents=True)
    (launch.folder / "started").write_text(keeper_line)
    return f"{RUN}.1.1.1.0.{launch.place}"


@pytest.mark.parametrize(
    ("line", "cookie"),
    [
        (f"4194305 1 {boot_id()}\n", f"{RUN}.2.1.1.0"),
        (f"4194305 1 {boot_id()}\n", f"../{RUN}.1.1.1.0"),
        (f"4194305 1 {boot_id()}\n", f"{RUN}.1.1.-1.0"),
        (f"4194305 1 {boot_id()}\n", ""),
        ("4194305 1 another-boot\n", f"{RUN}.1.1.1.0"),
        (f"4194305 999999999999 {boot_id()}\n", f"{RUN}.1.1.1.0"),
        ("void\n", f"{RUN}.1.1.1.0"),
        ("", f"{RUN}.1.1.1.0"),
    ],
    ids=["no-such-launch", "path", "number", "empty", "another-boot", "older-than-its-keeper", "void", "torn"],
)
def test_a_process_that_no_launch_can_have_started_is_a_stranger(runs, line, cookie):
    whole = launch_of(runs, line)
    cookie = cookie and f"{cookie}.{whole.rpartition('.')[2]}"
    with subprocess.Popen(["/bin/sleep", "300"], env={"SOP_COOKIE": cookie}) as process:
        try:
            until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"/bin/sleep"))
            assert process.pid not in found(runs, RUN)
            assert end_strays(lambda: find_strays(runs, [RUN]), grace_secs=0.1) == ()
            assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.parametrize(
    "cookie", ["", "a/b.1.1.1.0", f"{RUN}.1/2.1.1.0", f"{RUN}.1.1.0", f"{RUN}.1.x.1.0", ".1.1.1.0"]
)
def test_a_cookie_that_names_no_launch_leads_nowhere(cookie):
    assert strays._place(cookie) is None


def test_nobody_is_ended_who_asks_from_within_a_step(runs):
    cookie = launch_of(runs, f"4194305 1 {boot_id()}\n")
    ask = (
        "import sys; from pathlib import Path; from sopwith.executors.strays import find_strays\n"
        "print([stray.pid for stray in find_strays(Path(sys.argv[1]), [])])"
    )
    shell = f"{sys.executable} -c '{ask}' {runs}; exit 0"
    environment = {**os.environ, "SOP_COOKIE": cookie}
    done = subprocess.run(["/bin/sh", "-c", shell], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_line_of_a_process_leads_to_the_first():
    assert {os.getpid(), os.getppid(), 1} <= strays._line_of(os.getpid())
    assert strays._line_of(4194305) == {4194305}


def test_what_has_no_cookie_any_more_still_runs_as_the_keeper_noted(runs):
    work = abandoned(runs, "echo hello; exec env -i /bin/sleep 300")
    child = launches(work.folder)[-1].marks().child
    assert child is not None
    until(lambda: Path(f"/proc/{child.pid}/cmdline").read_bytes().startswith(b"/bin/sleep"))
    try:
        assert run(still_runs(work))
        found_again = run(executor().recover(work, lambda _: None))
        assert isinstance(found_again, Lost)
        assert found_again.still_runs
    finally:
        os.kill(child.pid, 9)
    until(lambda: not run(still_runs(work)))


def test_no_path_leads_out_of_the_control_groups(runs, tmp_path):
    """`started` is the word of a file that a step may write, and that a foreign backup may hold."""
    launch_of(runs, "")
    forged = tmp_path / "sop-4194305-1"
    forged.mkdir()
    launch = Launch(runs / RUN / "step-1.1.1" / "0")
    with subprocess.Popen(["/bin/sleep", "300"]) as process:
        try:
            (forged / "cgroup.procs").write_text(f"{process.pid}\n")
            started = launch.folder / "started"
            started.write_text(f"4194305 1 {boot_id()}\ngroup /sys/fs/cgroup/../../..{forged}\n")
            assert find_strays(runs, [RUN]) == ()
        finally:
            process.kill()


def test_a_keeper_that_has_no_pid_here_is_no_dead_one(runs):
    """As in a container: the same files and the same kernel, and none of its processes to be seen."""
    attempt = runs / RUN / "step-1.1.1"
    attempt.mkdir()
    work = replace(order(runs.parent, "echo hello; sleep 300", run_id=RUN), folder=attempt)

    async def story() -> None:
        watch, waiting = await begin(work)
        launch = launches(attempt)[-1]
        started = launch.folder / "started"
        told = started.read_text()
        try:
            started.write_text(f"4194305 1 {boot_id()}\n")
            assert launch.is_kept()
            elsewhere = replace(work, run_id="sop_run_unseen000001")  # whose cookie nobody carries
            lost = await executor().recover(elsewhere, lambda _: None)
            assert isinstance(lost, Lost)
            assert lost.still_runs
            assert "cannot be seen from here" in lost.reason
            assert found(runs, RUN) == set()
            assert living_steps(runs) == (f"a process that cannot be seen from here, of step-1.1.1 of {RUN}",)
        finally:
            started.write_text(told)
        await watch.stop()
        await waiting
        assert not launch.is_kept()

    run(story())


def test_the_same_attempt_in_a_copy_of_the_workspace_is_another(runs, tmp_path):
    """A restored copy beside the original: same run, same step, same attempt, same launch."""
    works = []
    for name in ("one", "two"):
        attempt = tmp_path / name / RUN / "step-1.1.1"
        attempt.mkdir(parents=True)
        works.append(replace(order(tmp_path, "echo hello; sleep 300", run_id=RUN), folder=attempt))

    async def story() -> None:
        one, ended = await begin(works[0])
        _other, waiting = await begin(works[1])
        await one.stop()
        await ended
        child = launches(works[1].folder)[-1].marks().child
        assert child is not None
        assert child.alive()
        kill(keeper_of(works[1]))
        await waiting
        (launches(works[0].folder)[-1].folder / "result").unlink()  # as if its keeper had been killed too
        assert {stray.pid for stray in find_strays(tmp_path / "two", [RUN])} >= {child.pid}
        assert child.pid not in {stray.pid for stray in find_strays(tmp_path / "one", [RUN])}
        end_strays(lambda: find_strays(tmp_path / "two", [RUN]), grace_secs=0.1)

    run(story())


@pytest.mark.parametrize(("verifies", "name"), [(1, "verify"), (2, "verify-2"), (11, "verify-11")])
def test_what_is_left_of_a_verification_is_found_too(runs, verifies, name):
    folder = runs / RUN / "step-1.1.1" / name
    folder.mkdir(parents=True)
    work = replace(order(runs.parent, "echo hello; exec sleep 300", run_id=RUN), folder=folder, verifies=verifies)

    async def story() -> None:
        _watch, waiting = await begin(work)
        kill(keeper_of(work))
        await waiting

    run(story())
    child = launches(folder)[-1].marks().child
    assert child is not None
    assert found(runs) == {child.pid} == found(runs, RUN)
    assert end_strays(lambda: find_strays(runs, []), grace_secs=1) == ()
    assert not child.alive()
