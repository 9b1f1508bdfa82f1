"""What a step's processes can do to get away, to get in the way, or to hurt who watches them. See also test_shell_*."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sopwith.core.commands import StepResult
from sopwith.executors import keeper
from sopwith.executors.launch import Ending, Launch, launches
from sopwith.executors.outcome import step_result
from sopwith.executors.outputs import Values
from sopwith.executors.processes import start_time
from sopwith.executors.spool import Excerpt
from sopwith.ports import Lost, Watch, WorkOrder
from sopwith.testing.contract_executor import ok, run

from .bench import executor, kill, order, until

MIB = 1024 * 1024
WAIT = "while [ ! -s pids ]; do sleep 0.01; done; echo hello; while :; do sleep 0.1; done"


def python(text: str) -> str:
    """Lines of bash that run this Python in the background; `note()` in it writes down its pid."""
    head = "import os, signal, time\ndef note():\n    open('pids', 'a').write(f'{os.getpid()}\\n')\n"
    return f"cat > nasty.py <<'END'\n{head}{text}\nEND\n{sys.executable} nasty.py &"


AWAY = """
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): os._exit(0)
    note()
    os.execve("/bin/sleep", ["sleep", "300"], {})
"""
"""Out of the session, re-parented, and nothing of it carries the cookie."""
DAEMON = python(f"def away():{AWAY}away()")

NASTY = {
    "a daemon without a trace": DAEMON,
    "one that moves away when it is asked to end": python(
        f"def away(*_):\n    signal.signal(signal.SIGTERM, signal.SIG_IGN){AWAY}"
        "signal.signal(signal.SIGTERM, away)\nnote()\nwhile True: time.sleep(0.02)"
    ),
    "a family that all stand still": "for i in 1 2 3; do sleep 300 & echo $! >> pids; kill -STOP $!; done",
    "one that stops its own parent": "bash -c 'echo $$ >> pids; sleep 300 & echo $! >> pids; kill -STOP $$' &",
    "one that closes everything": python("note()\nos.closerange(0, 64)\nos.setsid()\ntime.sleep(300)"),
}


async def begin(work: WorkOrder, grace_secs: float = 0.3) -> tuple[Watch, asyncio.Task[StepResult | Lost]]:
    """Starts the step and waits until it has printed something."""
    printed = asyncio.Event()
    watch = await executor(grace_secs).start(work, lambda _: printed.set())
    waiting = asyncio.ensure_future(watch.wait())
    await asyncio.wait_for(printed.wait(), 20)
    return watch, waiting


def stopped(work: WorkOrder) -> StepResult:
    async def story() -> StepResult:
        watch, waiting = await begin(work)
        await watch.stop()
        return ok(await waiting)

    return run(story())


def result_of(work: WorkOrder) -> tuple[StepResult, int]:
    """The result, and how many bytes were shown."""
    shown = 0

    def show(chunk: bytes) -> None:
        nonlocal shown
        shown += len(chunk)

    async def story() -> StepResult:
        return ok(await (await executor().start(work, show)).wait())

    return run(story()), shown


def pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()]


@pytest.mark.parametrize("name", NASTY)
def test_none_of_them_outlives_a_stop(folder, name):
    result = stopped(order(folder, f"trap '' TERM; {NASTY[name]}\n{WAIT}"))
    assert (result.cause, result.warnings) == ("cancelled", ())
    assert [pid for pid in pids(folder) if start_time(pid)] == []


def test_a_storm_of_forks_is_ended_while_it_blows(folder):
    storm = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
until = time.monotonic() + 20
generation = 0
while time.monotonic() < until:
    if os.fork() == 0:
        os.setsid()
        generation += 1
        open("pids", "a").write(f"{os.getpid()}\\n")
        if generation % 5 == 0:
            time.sleep(0.002)
    else:
        time.sleep(0.03)
        os._exit(0)
"""
    (folder / "storm.py").write_text(storm)
    work = order(folder, f"trap '' TERM; for i in 1 2 3 4; do {sys.executable} storm.py & done\n{WAIT}")
    assert stopped(work).cause == "cancelled"
    assert len(pids(folder)) > 4
    assert [pid for pid in pids(folder) if start_time(pid)] == []


def test_a_process_with_the_cookie_of_another_attempt_survives(folder):
    other = {"SOP_COOKIE": "sop_run_another00000.1.1.1.0"}
    with subprocess.Popen(["/bin/sleep", "300"], env=other, start_new_session=True) as process:
        try:
            work = order(folder, "echo $$ >> pids; echo hello; while :; do sleep 0.1; done")
            assert stopped(work).cause == "cancelled"
            assert process.poll() is None
        finally:
            process.kill()


def test_a_step_that_kills_its_keeper_is_lost_and_what_it_left_is_named(folder):
    noted = "until grep -q child ${SOP_OUTPUT%/*}/started; do :; done"
    work = order(folder, f"echo $$ >> pids; {noted}; kill -9 $PPID; sleep 300")

    async def story() -> StepResult | Lost:
        return await (await executor().start(work, lambda _: None)).wait()

    found = run(story())
    assert isinstance(found, Lost)
    assert "was killed, so nobody knows how the step ended" in found.reason
    child = launches(work.folder)[-1].marks().child
    assert child is not None
    assert child.pid == pids(folder)[0]
    kill(child)


def test_a_step_that_stops_its_keeper_is_ended_all_the_same(folder):
    copied = "until [ -s ${SOP_OUTPUT%/*}/spool ]; do :; done"
    work = order(folder, f"echo $$ >> pids; echo hello; {copied}; kill -STOP $PPID; {WAIT}")

    async def story() -> StepResult | Lost:
        watch, waiting = await begin(work)
        marks = launches(work.folder)[-1].marks()
        assert marks.keeper is not None
        while keeper.stat(marks.keeper.pid)[0] != "T":
            await asyncio.sleep(0.01)
        await asyncio.wait_for(watch.stop(), 20)
        return await waiting

    assert ok(run(story())).cause == "cancelled"
    assert [pid for pid in pids(folder) if start_time(pid)] == []


def test_a_step_ends_with_its_own_process_however_long_a_grandchild_holds_the_pipe(folder):
    result, _shown = result_of(order(folder, "echo hello; sleep 300 & echo $! >> pids"))
    assert (result.error, result.output) == ("", "hello\n")
    assert result.warnings == ("1 process that the step started still ran when it ended",)
    assert start_time(pids(folder)[0]) is not None
    os.kill(pids(folder)[0], signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "size"),
    {
        "many lines": ("seq 1 14000000 | head -c 104857600", 100 * MIB),
        "one line of 64 MiB": ("head -c 67108864 /dev/zero | tr '\\0' x", 64 * MIB),
    }.values(),
    ids=["100-MiB", "one-line"],
)
def test_however_much_it_prints_only_the_ends_are_kept_in_memory(folder, text, size):
    result, shown = result_of(order(folder, f"set +o pipefail; {text}"))
    assert (result.error, result.output_bytes, shown) == ("", size, size)
    assert len(result.output) < 20_000


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("printf 'a\\0b'", "a\ufffdb"),
        ("printf 'a\\377b'", "a\ufffdb"),
        ("printf '\\033[31mred\\033[0m'", "\033[31mred\033[0m"),
        ("exec >&- 2>&-; echo nothing || true", ""),
        ("echo one; echo two > /dev/stderr; echo three > /dev/stdout", "one\ntwo\nthree\n"),
    ],
    ids=["NUL", "invalid", "ANSI", "closed", "reopened"],
)
def test_whatever_it_prints_is_kept_as_text(folder, text, output):
    assert result_of(order(folder, text))[0].output == output


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (Ending(signal=9, out_of_memory=True), "killed: out of memory"),
        (Ending(exit=137, out_of_memory=True), "killed: out of memory"),
        (Ending(signal=9), "killed by SIGKILL: the machine may have run out of memory"),
        (Ending(signal=15, out_of_memory=True), "killed by SIGTERM"),
        (Ending(exit=1, out_of_memory=True), "exit status 1"),
        (Ending(signal=9, out_of_memory=True, stopped=True), "stopped before it ended (killed by SIGKILL)"),
    ],
)
def test_an_end_for_want_of_memory_is_told_as_one(ending, error):
    assert step_result(ending, Excerpt(), Values({})).error == error


def test_the_nearest_group_that_counts_tells_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "GROUP_ROOTS", (str(tmp_path),))
    inner = tmp_path / "service" / "sop-1-2"
    inner.mkdir(parents=True)
    assert keeper.oom_kills(str(inner)) == 0
    (tmp_path / "service" / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert keeper.oom_kills(str(inner)) == 2
    (inner / "memory.events").write_text("oom_kill 5\n")
    assert keeper.oom_kills(str(inner)) == 5
    assert keeper.oom_kills("") == 0


ROOTS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Where groups that limit memory are made: of version 1, of version 2."""
LIMIT = 64 * MIB


@pytest.fixture
def scarce() -> Iterator[Path]:
    """A control group, of whichever version limits memory here, that has little of it."""
    for root in ROOTS:
        group = root / f"sop-test-scarce-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        limit = next((file for name in LIMITS if (file := group / name).exists()), None)
        try:
            if limit is None:
                continue
            limit.write_text(str(LIMIT))
            if (swap := group / "memory.swap.max").exists():
                swap.write_text("0")
            yield group
            return
        finally:
            until(lambda group=group: not (group / "cgroup.procs").read_text())
            group.rmdir()
    pytest.skip("no control group can be made here that limits memory")


LIMITS = ("memory.limit_in_bytes", "memory.max")
GREEDY = f"{sys.executable} -c 'bytearray({4 * LIMIT})'"


@pytest.mark.parametrize(
    ("text", "told"),
    [(GREEDY, "137"), (f"exec {GREEDY}", "SIGKILL"), ("kill -9 $$", "SIGKILL")],
    ids=["a-command-of-it", "itself", "by-another-hand"],
)
def test_a_step_that_the_kernel_ends_for_want_of_memory_is_told_so(folder, scarce, text, told):
    """By the real kernel, with the limit of a group that the engine and its steps are in."""
    program = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "Path(sys.argv[3], 'cgroup.procs').write_text(str(os.getpid()))\n"
        "from executors.bench import order\n"
        "from executors.test_nasty_children import result_of\n"
        "result, _shown = result_of(order(Path(sys.argv[2]), sys.argv[4]))\n"
        "print(result.exit_code or result.signal, result.error, sep='|')\n"
    )
    tests = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", program, tests, str(folder), str(scarce), text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    hint = "killed: out of memory"
    if text == "kill -9 $$":
        hint = "killed by SIGKILL: the machine may have run out of memory"
    assert done.stdout == f"{told}|{hint}\n", done


def test_a_group_of_version_1_tells_of_memory_too(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "GROUP_ROOTS", (str(tmp_path),))
    lines = {"/proc/self/cgroup": ["9:name=systemd:/", "4:cpuacct,memory:/service", "0::/service"]}
    real = keeper.lines_of
    monkeypatch.setattr(keeper, "lines_of", lambda path: lines.get(path) or real(path))
    assert keeper.memory_group() == f"{tmp_path}/memory/service"
    assert keeper.ends_for_memory("", keeper.memory_group()) == 0
    (tmp_path / "memory" / "service").mkdir(parents=True)
    (tmp_path / "memory" / "service" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert keeper.ends_for_memory("", keeper.memory_group()) == 3
    lines["/proc/self/cgroup"] = ["4:memory:/../elsewhere", "0::/"]
    assert keeper.memory_group() == ""


@pytest.fixture
def home() -> Iterator[str]:
    """The control group of this process, where one can be made within it."""
    found = keeper.own_group()
    probe = Path(found) / f"sop-test-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError:
        pytest.skip("no control group of version 2 can be made here")
    yield found
    probe.rmdir()


def test_a_step_is_born_in_a_control_group_that_goes_with_it(folder, home):
    work = order(folder, "grep ^0:: /proc/self/cgroup; env -i setsid grep ^0:: /proc/self/cgroup")
    printed = result_of(work)[0].output.split()
    group = launches(work.folder)[-1].marks().group
    assert group.startswith(f"{home}/sop-")
    assert {line.rpartition("/")[2] for line in printed} == {group.rpartition("/")[2]}
    until(lambda: not Path(group).exists())


def test_the_group_of_a_left_over_goes_when_that_has_gone(folder, home):
    work = order(folder, "sleep 300 & echo $! >> pids")
    result_of(work)
    group = Path(launches(work.folder)[-1].marks().group)
    assert (group / "cgroup.procs").read_text().split() == [str(pids(folder)[0])]
    os.kill(pids(folder)[0], signal.SIGKILL)
    until(lambda: (group / "cgroup.procs").read_text() == "")
    other = folder / "other"
    other.mkdir()
    result_of(order(other, "true"))
    until(lambda: not group.exists())


def test_a_group_is_killed_at_once_with_what_carries_no_trace(folder, home):
    work = order(folder, f"trap '' TERM; {DAEMON}\n{WAIT}")

    async def story() -> None:
        _watch, waiting = await begin(work)
        marks = launches(work.folder)[-1].marks()
        kill(marks.keeper)  # nobody is a subreaper any more
        keeper.kill_group(marks.group)
        await waiting

    run(story())
    for pid in pids(folder):
        until(lambda pid=pid: start_time(pid) is None)


@pytest.mark.skipif(not shutil.which("unshare"), reason="takes unshare")
def test_where_no_group_can_be_made_everything_works_without(folder):
    """In a mount namespace of its own without /sys/fs/cgroup."""
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/sys/fs/cgroup"], capture_output=True)
    if probe.returncode:
        pytest.skip("no mount namespace can be made here")
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from executors.bench import order, executor\n"
        "from executors.test_nasty_children import DAEMON, WAIT, stopped, pids, start_time\n"
        "from sopwith.executors.launch import launches\n"
        "folder = Path(sys.argv[2])\n"
        "work = order(folder, f\"trap '' TERM; {DAEMON}\\n{WAIT}\")\n"
        "result = stopped(work)\n"
        "group = launches(work.folder)[-1].marks().group\n"
        "print(result.cause, group or '-', [pid for pid in pids(folder) if start_time(pid)])\n"
    )
    tests = str(Path(__file__).parent.parent)
    script = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "-", sys.executable, "-c", program, tests, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "cancelled - []\n", done


@pytest.mark.skipif(not shutil.which("strace"), reason="takes strace")
def test_without_a_subreaper_the_group_still_has_them_all(folder, home):
    work = order(folder, f"{DAEMON}\n{WAIT}")
    launch = Launch(work.folder / "0")
    executor()._prepare(work, launch)
    log = folder / "calls"
    traced = ["strace", "-f", "-o", str(log), "-e", "trace=openat,prctl", "-e", "inject=prctl:error=EPERM"]
    command = [*traced, sys.executable, "-I", "-S", keeper.__file__, str(launch.folder)]
    with subprocess.Popen(command, start_new_session=True) as process:
        until(lambda: (folder / "pids").exists() and b"hello" in launch.spool.read_bytes())
        identity = launch.marks().keeper
        assert identity is not None
        os.kill(identity.pid, signal.SIGTERM)
        assert process.wait(30) == 0
    assert [pid for pid in pids(folder) if start_time(pid)] == []


def test_a_group_is_ended_by_the_kernel_where_it_can(folder, home):
    """What ignores TERM is KILLed with all of its group; the write is to be seen from outside."""
    work = order(folder, f"trap '' TERM; echo $$ >> pids; {WAIT}")
    launch = Launch(work.folder / "0")
    executor()._prepare(work, launch)
    log = folder / "calls"
    command = ["strace", "-f", "-o", str(log), "-e", "trace=openat", sys.executable, "-I", "-S", keeper.__file__]
    if not shutil.which("strace"):
        pytest.skip("takes strace")
    with subprocess.Popen([*command, str(launch.folder)], start_new_session=True) as process:
        until(lambda: (folder / "pids").exists() and b"hello" in launch.spool.read_bytes())
        identity = launch.marks().keeper
        assert identity is not None
        os.kill(identity.pid, signal.SIGTERM)
        assert process.wait(30) == 0
    assert f'{launch.marks().group}/cgroup.kill", O_WRONLY' in log.read_text()
