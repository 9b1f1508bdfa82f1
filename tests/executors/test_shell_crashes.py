"""What is left when the engine, the keeper or the machine dies at any point: at most one start, and no guess."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sopwith.clock import boot_id
from sopwith.core.commands import StepResult
from sopwith.errors import Conflict
from sopwith.executors import keeper
from sopwith.executors.launch import Launch, Marks, Order, launches
from sopwith.executors.processes import start_time
from sopwith.executors.shell import ShellExecutor
from sopwith.ports import Lost, Watch, WorkOrder
from sopwith.testing.contract_executor import cancelled, ok, run, watched

from . import bench
from .bench import FOREVER, executor, keeper_of, kill, open_gate, order, starts, until

COUNT = 'echo once >> "$STARTS"; '


async def recover(work: WorkOrder) -> StepResult | Lost:
    found = await executor().recover(work, lambda _: None)
    return found if isinstance(found, Lost) else await found.wait()


async def begin(work: WorkOrder, grace_secs: float = 0.2) -> tuple[Watch, asyncio.Task[StepResult | Lost]]:
    """Starts the step and waits until it has printed something."""
    printed = asyncio.Event()
    watch = await executor(grace_secs).start(work, lambda _: printed.set())
    waiting = asyncio.ensure_future(watch.wait())
    await asyncio.wait_for(printed.wait(), 20)
    return watch, waiting


def recovered(work: WorkOrder) -> StepResult | Lost:
    return run(recover(work))


def lost(work: WorkOrder) -> Lost:
    found = recovered(work)
    assert isinstance(found, Lost)
    return found


@contextlib.contextmanager
def engine(work: WorkOrder, text: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that starts the order's step and watches it."""
    command = [sys.executable, bench.__file__, str(work.folder.parent), text, work.run_id]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def prepare(work: WorkOrder, number: int = 0) -> Launch:
    """A launch folder as the engine leaves it just before it starts the keeper."""
    launch = Launch(work.folder / str(number))
    work.folder.mkdir(exist_ok=True)
    executor()._prepare(work, launch)
    return launch


def run_keeper(launch: Launch) -> subprocess.Popen[bytes]:
    """A keeper started by hand, as the file it is."""
    return subprocess.Popen([sys.executable, "-I", "-S", keeper.__file__, str(launch.folder)], start_new_session=True)


def test_a_step_outlives_a_killed_engine_and_is_adopted_with_all_its_output(folder):
    text = COUNT + "seq 1 20000; " + FOREVER + "; seq 1 200000"
    work = order(folder, text)
    with engine(work, text) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.kill()
        process.wait()
    shown = hashlib.sha256()

    async def story() -> StepResult:
        watch = watched(await executor().recover(work, shown.update))
        await open_gate(work)
        return ok(await watch.wait())

    result = run(story())
    data = "".join(f"{number}\n" for last in (20000, 200000) for number in range(1, last + 1)).encode()
    assert (result.error, result.output_bytes) == ("", len(data))
    assert result.output_sha256 == shown.hexdigest() == hashlib.sha256(data).hexdigest()
    assert starts(work) == 1


def test_a_step_that_ended_while_no_engine_lived_is_taken_over_with_its_result(folder):
    text = COUNT + "echo hello; " + FOREVER + "; echo a=1 >> $SOP_OUTPUT; exit 3"
    work = order(folder, text)
    with engine(work, text) as process:
        assert process.stdout is not None
        process.stdout.read(6)
        process.kill()
        process.wait()
    run(open_gate(work))
    until(launches(work.folder)[-1].ending)
    result = ok(recovered(work))
    assert (result.exit_code, result.outputs, result.output) == (3, {"a": "1"}, "hello\n")
    assert starts(work) == 1


def test_a_workspace_that_is_moved_while_a_step_runs_loses_nothing_of_it(folder):
    work = order(folder, COUNT + "echo hello; echo a=1 >> $SOP_OUTPUT; " + FOREVER)
    moved = replace(work, folder=folder / "moved")

    async def story() -> StepResult:
        await begin(work)
        until(launches(work.folder)[-1].values.read_text)
        work.folder.rename(moved.folder)
        watch = watched(await executor().recover(moved, lambda _: None))
        await open_gate(work)
        return ok(await watch.wait())

    result = run(story())
    assert (result.error, result.output, result.outputs) == ("", "hello\n", {"a": "1"})
    assert starts(work) == 1


def test_a_copy_of_a_running_step_neither_adopts_nor_ends_it(folder):
    work = order(folder, COUNT + "echo hello; " + FOREVER)
    copied = replace(work, folder=folder / "copy")

    async def story() -> StepResult:
        _, waiting = await begin(work)
        shutil.copytree(work.folder, copied.folder)
        found = await executor().recover(copied, lambda _: None)
        assert isinstance(found, Lost)
        assert "was copied while it ran" in found.reason
        assert found.still_runs, "beside the original nothing is run again by itself"
        assert Launch(copied.folder / "0").marks() == Marks(copied=True)
        started = work.folder / "0" / "started"
        started.write_text(started.read_text().replace("place ", "place 1"))
        assert not launches(work.folder)[0].marks().copied, "its keeper holds it, whatever inodes say here"
        await open_gate(work)
        return ok(await waiting)

    result = run(story())
    assert (result.error, result.output, starts(work)) == ("", "hello\n", 1)


def test_ctrl_c_at_the_engines_terminal_does_not_reach_the_step(folder):
    text = COUNT + "trap 'echo interrupted' INT; echo hello; " + FOREVER
    work = order(folder, text)
    with engine(work, text) as process:
        assert process.stdout is not None
        process.stdout.read(6)
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    keeper_pid = keeper_of(work).pid
    os.kill(keeper_pid, signal.SIGINT)
    os.kill(keeper_pid, signal.SIGHUP)

    async def story() -> StepResult:
        watch = watched(await executor().recover(work, lambda _: None))
        await open_gate(work)
        return ok(await watch.wait())

    assert run(story()).output == "hello\n"


def test_an_engine_killed_before_the_keeper_began_is_made_good_with_one_start(folder):
    work = order(folder, COUNT)
    prepare(work)
    assert ok(recovered(work)).error == ""
    assert starts(work) == 1
    assert (work.folder / "0" / "started").read_text() == "void\n"
    assert (work.folder / "1" / "result").exists()


def test_an_engine_killed_while_it_made_the_launch_is_made_good_with_one_start(folder):
    work = order(folder, COUNT)
    (work.folder / "0").mkdir(parents=True)
    assert ok(recovered(work)).error == ""
    assert starts(work) == 1


def test_a_keeper_that_comes_late_to_a_voided_launch_runs_nothing(folder):
    work = order(folder, COUNT)
    launch = prepare(work)
    told = launch.order.read_bytes()
    assert ok(recovered(work)).error == ""
    launch.order.write_bytes(told)
    assert run_keeper(launch).wait() == 0
    assert starts(work) == 1
    assert not launch.spool.exists()


def test_of_many_keepers_on_one_launch_one_runs_the_step(folder):
    work = order(folder, COUNT)
    launch = prepare(work)
    for process in [run_keeper(launch) for _ in range(8)]:
        process.wait()
    assert starts(work) == 1
    assert ok(recovered(work)).error == ""


def test_keepers_and_recoveries_that_race_start_the_step_once(folder):
    for number in range(10):
        home = folder / str(number)
        home.mkdir()
        work = order(home, COUNT + "true")
        process = run_keeper(prepare(work))
        time.sleep(random.random() * 0.02)  # anywhere in the keeper's own start
        assert ok(recovered(work)).error == ""
        process.wait()
        assert starts(work) == 1


def test_a_recovery_that_was_killed_after_it_voided_a_launch_is_itself_recovered(folder):
    work = order(folder, COUNT)
    assert prepare(work).void()
    prepare(work, 1)
    assert launches(work.folder)[-1].void()
    assert launches(work.folder)[-1].void()
    assert ok(recovered(work)).error == ""
    assert starts(work) == 1
    assert [launch.number for launch in launches(work.folder)] == [0, 1, 2]


def test_an_engine_killed_at_any_moment_of_a_start_never_makes_two(folder):
    text = COUNT + "echo hello"
    for number in range(6):
        home = folder / str(number)
        home.mkdir()
        work = order(home, text)
        with engine(work, text) as process:
            until(lambda work=work, process=process: work.folder.exists() or process.poll() is not None)
            time.sleep(random.random() * 0.03)
            process.kill()
            process.wait()
        assert ok(recovered(work)).output == "hello\n"
        assert starts(work) == 1


def test_a_keeper_that_is_killed_leaves_the_attempt_lost_and_its_process_named(folder):
    work = order(folder, COUNT + "echo hello; " + FOREVER)

    async def story() -> Lost:
        watch = await executor().start(work, lambda _: None)
        waiting = asyncio.ensure_future(watch.wait())
        await asyncio.to_thread(until, lambda: starts(work) and launches(work.folder)[-1].marks().child)
        kill(keeper_of(work))
        found = await waiting
        assert isinstance(found, Lost)
        return found

    found = run(story())
    child = launches(work.folder)[-1].marks().child
    assert child is not None
    assert "was killed" in found.reason
    assert f"own process {child.pid} still runs" in found.reason
    assert lost(work) == found
    assert starts(work) == 1


@pytest.mark.parametrize("torn", [b"", b'{"exit":0', b'{"exit":0,"signal":null}', b"nonsense\n"])
def test_a_result_without_its_newline_does_not_count(folder, torn):
    work = order(folder, COUNT)
    assert ok(recovered(work)).error == ""
    (work.folder / "0" / "result").write_bytes(torn)
    assert "was killed" in lost(work).reason
    assert starts(work) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        {"valuesBytes": -5},
        {"startErrno": 10**30},
        {"signal": -(10**30)},
        {"endedBootMs": 10**40},
        {"outputBytes": 2**53},
    ],
)
def test_a_result_that_no_keeper_writes_does_not_count(folder, nonsense):
    """A step can write to the file: that must stop nobody who comes to take its result."""
    work = order(folder, COUNT)
    assert ok(recovered(work)).error == ""
    (work.folder / "0" / "result").write_text(json.dumps({"exit": 0, **nonsense}) + "\n")
    assert "was killed" in lost(work).reason


@pytest.mark.parametrize("torn", ["", "12", "12 34 boot", "child 1 2\n", f"{9**40} 1 b\n", "² 1 b\n"])
def test_a_torn_mark_counts_as_started(folder, torn):
    work = order(folder, COUNT)
    launch = prepare(work)
    (launch.folder / "started").write_text(torn)
    assert "nobody knows whether" in lost(work).reason
    assert starts(work) == 0
    assert [launch.number for launch in launches(work.folder)] == [0]


def test_a_pid_that_another_process_has_got_is_neither_adopted_nor_killed(folder):
    work = order(folder, COUNT)
    launch = prepare(work)
    with subprocess.Popen(["sleep", "300"]) as foreign:
        try:
            (launch.folder / "started").write_text(f"{foreign.pid} 1 {boot_id()}\nchild {foreign.pid} 1\n")
            assert "still runs" not in lost(work).reason
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_a_process_of_an_earlier_boot_is_not_adopted_even_if_pid_and_start_time_match(folder):
    work = order(folder, COUNT)
    launch = prepare(work)
    with subprocess.Popen(["sleep", "300"]) as foreign:
        try:
            (launch.folder / "started").write_text(f"{foreign.pid} {start_time(foreign.pid)} another-boot\n")
            assert "machine was restarted" in lost(work).reason
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_after_a_restart_a_missing_mark_proves_nothing(folder):
    earlier = order(folder, COUNT, intended_boot="another-boot")
    assert "restarted" in lost(earlier).reason
    assert starts(earlier) == 0
    other = folder / "other"
    other.mkdir()
    assert ok(recovered(order(other, COUNT))).error == ""


@pytest.mark.parametrize(
    "nasty",
    {
        "own session": "setsid sleep 300 & echo $! >> pids",
        "double fork": "(setsid bash -c 'sleep 300 & echo $! >> pids' &)",
        "no cookie": "(env -i setsid /bin/sh -c 'echo $$ >> pids; exec /bin/sleep 300' &)",
        "nohup": "nohup sleep 300 & echo $! >> pids",
        "deaf": """bash -c 'trap "" TERM HUP INT; echo $$ >> pids; while :; do sleep 0.1; done' &""",
        "stopped": "sleep 300 & echo $! >> pids; kill -STOP $!",
        "forks on": r"""bash -c 'trap "setsid sleep 300 & echo \$! >> pids" TERM; echo $$ >> pids
                        while :; do sleep 0.05; done' &""",
    }.items(),
    ids=lambda item: item[0].replace(" ", "-"),
)
def test_stop_ends_the_whole_tree(folder, nasty):
    work = order(
        folder,
        f"trap '' TERM; {nasty[1]}\nwhile [ ! -s pids ]; do sleep 0.01; done; echo hello; while :; do sleep 0.1; done",
    )

    async def story() -> StepResult:
        watch, waiting = await begin(work)
        await watch.stop()
        return ok(await waiting)

    result = run(story())
    assert (result.cause, result.signal) == ("cancelled", "SIGKILL")
    assert result.error == "stopped before it ended (killed by SIGKILL)"
    assert result.warnings == ()
    for pid in map(int, (folder / "pids").read_text().split()):
        assert start_time(pid) is None


def test_stop_gives_the_step_its_grace_to_clean_up(folder):
    work = order(folder, "trap 'echo cleaned; exit 7' TERM; echo hello; while :; do sleep 0.01; done")

    async def story() -> StepResult:
        watch, waiting = await begin(work, grace_secs=20)
        await watch.stop()
        return ok(await waiting)

    result = run(story())
    assert (result.cause, result.exit_code) == ("cancelled", 7)
    assert result.output.endswith("cleaned\n")


def test_stop_before_the_keeper_began_starts_nothing(folder):
    work = order(folder, COUNT + FOREVER)

    async def story() -> StepResult:
        watch = await executor().start(work, lambda _: None)
        await watch.stop()
        return ok(await watch.wait())

    assert run(story()).cause == "cancelled"
    assert starts(work) <= 1


def test_a_process_that_left_before_there_was_a_subreaper_is_found_by_its_cookie():
    cookie = f"SOP_COOKIE=test.{os.getpid()}"
    environment = dict([cookie.split("=")])
    with subprocess.Popen(["/bin/sleep", "300"], env=environment, start_new_session=True) as process:
        try:
            until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"/bin/sleep"))
            assert keeper.living_tree(-1, cookie.encode()) == {(process.pid, start_time(process.pid))}
        finally:
            process.kill()


def test_a_recovered_watch_that_is_dropped_leaves_the_step_to_the_next_one(folder):
    work = order(folder, COUNT + "echo hello; " + FOREVER)

    async def first() -> None:
        _, waiting = await begin(work)
        await cancelled(waiting)

    run(first())

    async def second() -> StepResult:
        watch = watched(await executor().recover(work, lambda _: None))
        await open_gate(work)
        return ok(await watch.wait())

    assert run(second()).output == "hello\n"


@pytest.mark.parametrize("stdin", [None, Path("/x y/é")])
def test_the_keepers_end_of_the_order_reads_what_the_engines_end_wrote(stdin):
    written = Order(
        argv=("/bin/bash", "-eo", "pipefail", "/x y/é"),
        environment={"A": "b=c\n", "EMPTY": ""},
        working_dir=Path("/tmp/é"),
        umask=0o27,
        cookie="run.1",
        grace_secs=1.5,
        drain_secs=0.2,
        stdin=stdin,
    )
    read = keeper.Order(written.encode())
    assert os.fsdecode(read.stdin) == str(stdin or "/dev/null")
    assert [os.fsdecode(word) for word in read.argv] == list(written.argv)
    assert {os.fsdecode(name): os.fsdecode(value) for name, value in read.environment.items()} == written.environment
    assert (os.fsdecode(read.folder), read.umask, read.cookie) == ("/tmp/é", 0o27, b"run.1")
    assert (read.grace, read.drain) == (1.5, 0.2)


def test_without_hard_links_the_mark_is_still_made_once(folder, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    work = order(folder, COUNT)
    launch = prepare(work)
    assert launch.void()
    assert launch.void()
    assert not keeper.claim(str(launch.folder))
    second = prepare(work, 1)
    assert keeper.claim(str(second.folder))
    assert not second.void()
    (second.folder / "started").unlink()  # it names this very process, which must not be ended with the others


def test_grace_defaults_to_five_seconds():
    assert ShellExecutor()._grace_secs == 5.0


def test_an_attempt_whose_folder_is_gone_is_not_taken_for_one_that_never_started(folder):
    work = order(folder, COUNT)
    prepare(work)
    shutil.rmtree(work.folder)
    assert "gone" in lost(work).reason
    assert starts(work) == 0


def test_an_attempt_that_must_not_start_any_more_is_not_started_by_recovery(folder):
    work = order(folder, COUNT, withheld="it was not to be started")
    assert "not to be started" in lost(work).reason
    assert starts(work) == 0


def test_an_attempt_that_a_recovery_gave_up_is_not_started_by_an_overtaken_driver(folder):
    assert "not to be started" in lost(order(folder, COUNT, withheld="it was not to be started")).reason
    assert "gave it up" in lost(order(folder, COUNT)).reason
    with pytest.raises(Conflict):
        run(executor().start(order(folder, COUNT), lambda _: None))
    assert starts(order(folder, COUNT)) == 0
