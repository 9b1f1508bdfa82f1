"""A full disk, and a machine that has no more to give: a start is refused, and a result that came is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sopwith.core.commands import StepResult
from sopwith.core.procedure import MAX_INTEGER
from sopwith.executors import keeper, keeper_process
from sopwith.executors.launch import Launch
from sopwith.executors.outcome import start_error
from sopwith.executors.shell import ShellExecutor
from sopwith.ports import WorkOrder
from sopwith.testing.contract_executor import ok, run, watched

from .bench import FOREVER, end_all, executor, keeper_of, open_gate, order, starts, until

COUNT = 'echo once >> "$STARTS"; '
KIB = 1024
STRACE = shutil.which("strace")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("takes a small disk, and nobody may mount one here")
    yield place
    end_all(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


def fill(place: Path, *, but: int = 0) -> Path:
    """Takes all the room that is left, but for so many bytes."""
    file = place / "ballast"
    with file.open("wb", buffering=0) as ballast:
        with contextlib.suppress(OSError):
            while ballast.write(b"x" * 4 * KIB):
                pass
        ballast.truncate(ballast.tell() - but)
    return file


def given(small: Path, text: str) -> WorkOrder:
    """An order whose attempt, but nothing else, is on the small disk."""
    outside = small.parent / "outside"
    outside.mkdir()
    attempt = small / "attempt"
    attempt.mkdir()
    return replace(order(outside, text), folder=attempt)


def result_of(work: WorkOrder) -> StepResult:
    async def story() -> StepResult:
        return ok(await (await executor().start(work, lambda _: None)).wait())

    return run(story())


def test_a_start_without_room_for_its_result_is_refused_in_words(small):
    work = given(small, COUNT)
    fill(small)
    result = result_of(work)
    assert (result.cause, result.error) == ("start", "cannot start the step: the disk is full")
    assert starts(work) == 0


@pytest.mark.parametrize("pages", range(1, 8))
def test_wherever_the_disk_fills_up_nothing_is_lost_and_nothing_is_guessed(small, pages):
    work = given(small, COUNT)
    fill(small, but=pages * 4 * KIB)
    result = result_of(work)
    assert (result.error, starts(work)) in (("", 1), ("cannot start the step: the disk is full", 0))


def test_a_result_is_kept_though_the_disk_is_full_by_then(small):
    work = given(small, COUNT + 'read -r _ < "$GATE"; exit 7')

    async def story() -> StepResult:
        watch = await executor().start(work, lambda _: None)
        until(lambda: starts(work))
        fill(small)
        await open_gate(work)
        return ok(await watch.wait())

    assert run(story()).exit_code == 7


def test_a_full_output_volume_drops_output_and_says_how_much(small):
    work = given(small, "head -c 1048576 /dev/zero | tr '\\0' x; echo done > ended; exit 3")
    result = result_of(work)
    assert (result.exit_code, (work.working_dir / "ended").exists()) == (3, True)
    (warning,) = result.warnings
    dropped = int(warning.split()[0])
    assert warning == f"{dropped} bytes of output could not be written to disk"
    assert dropped + result.output_bytes == 1048576
    assert 0 < result.output_bytes < 256 * KIB


def test_a_recovery_on_a_full_disk_still_finds_out_that_nothing_began(small):
    work = given(small, COUNT)
    launch = Launch(work.folder / "0")
    executor()._prepare(work, launch)
    fill(small)
    assert launch.void()
    assert launch.marks().void


def prepared(folder: Path, text: str) -> tuple[WorkOrder, Launch]:
    work = order(folder, text)
    launch = Launch(work.folder / "0")
    executor()._prepare(work, launch)
    return work, launch


def traced(launch: Launch, *inject: str, log: Path = Path("/dev/null"), only: str = "") -> subprocess.Popen[bytes]:
    """A keeper whose calls fail so; with `only`, those on this file."""
    if STRACE is None:
        pytest.skip("takes strace")
    faults = [word for each in inject for word in ("-e", f"inject={each}")]
    path = ["-P", only] if only else []
    command = [STRACE, "-f", "-o", str(log), *path, *faults, sys.executable, "-I", "-S", keeper.__file__]
    return subprocess.Popen([*command, str(launch.folder)], start_new_session=True)


@pytest.mark.parametrize("cause", ["ENOSPC", "EDQUOT"])
def test_a_result_that_cannot_be_written_is_tried_again(folder, cause):
    work, launch = prepared(folder, COUNT + "exit 7")
    with traced(launch, f"pwrite64:error={cause}:when=1..3") as process:
        assert process.wait(30) == 0
    ending = launch.ending()
    assert ending is not None
    assert (ending.exit, starts(work)) == (7, 1)


def test_a_result_that_never_can_be_written_costs_no_busy_loop(folder):
    _work, launch = prepared(folder, "exit 7")
    log = folder / "calls"
    with traced(launch, "pwrite64:error=EIO", log=log) as process:
        until(lambda: log.exists() and log.read_text().count("pwrite64(") >= 3)
        time.sleep(0.5)  # the pauses double: 50, 100, 200 ms …
        assert log.read_text().count("pwrite64(") < 12
        identity = launch.marks().keeper
        assert identity is not None
        assert (launch.ending(), process.poll(), identity.alive()) == (None, None, True)
        os.kill(identity.pid, 9)


def test_what_fits_only_in_part_is_not_written(folder):
    limited = (
        "import resource, sys; from sopwith.executors import keeper\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "keeper.write_new(sys.argv[1], b'x' * 40)"
    )
    done = subprocess.run([sys.executable, "-c", limited, str(folder / "mark")], capture_output=True, text=True)
    assert "OSError: [Errno 28]" in done.stderr


@pytest.mark.parametrize("torn", [b" " * keeper.RESULT_BYTES, b'{"exit":0}'.ljust(keeper.RESULT_BYTES), b""])
def test_blanks_are_no_result(folder, torn):
    _work, launch = prepared(folder, "true")
    launch._result.write_bytes(torn)
    assert launch.ending() is None


def test_the_longest_result_fits_into_its_room(folder):
    _work, launch = prepared(folder, "true")
    for most, counts in ((2**63, False), (MAX_INTEGER, True)):
        with launch._result.open("r+b") as file:
            fields = dict.fromkeys(("leftOver", "outputBytes", "droppedBytes", "valuesBytes", "endedBootMs"), most)
            keeper.write_result(file.fileno(), exit=None, signal=127, stopped=False, outOfMemory=False, **fields)
        assert len(launch._result.read_bytes()) == keeper.RESULT_BYTES
        ending = launch.ending()
        assert (ending is not None and (ending.signal, ending.ended_boot_ms) == (127, most)) is counts


def test_a_keeper_that_cannot_start_the_step_says_so(folder):
    work, launch = prepared(folder, COUNT)
    with traced(launch, "clone,clone3,vfork:error=EAGAIN") as process:
        assert process.wait(30) == 0
    ending = launch.ending()
    assert ending is not None
    assert (ending.start_errno, starts(work)) == (errno.EAGAIN, 0)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_keeper_that_cannot_be_started_fails_the_step_and_leaves_no_secret(folder, monkeypatch, number):
    def refused(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    work = order(folder, COUNT, environment={"TOKEN": "s3cret-s3cret"})
    monkeypatch.setattr(keeper_process.nurseries, "enabled", False)
    monkeypatch.setattr(os, "posix_spawn", refused)
    result = result_of(work)
    monkeypatch.undo()
    assert (result.cause, result.error) == ("start", start_error(number))
    assert not [path for path in work.folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]

    async def story() -> StepResult:
        return ok(await watched(await executor().recover(work, lambda _: None)).wait())

    assert run(story()).error == ""
    assert starts(work) == 1


def test_an_engine_with_too_many_files_open_looks_again_later(folder, monkeypatch):
    """The step knows nothing of it, so nothing of it may be in its result."""
    real, refused = os.open, []

    def sometimes(path: object, *args: object, **more: object) -> int:
        if str(path).endswith("/spool") and len(refused) < 2:
            refused.append(path)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *args, **more)  # type: ignore[arg-type]

    work = order(folder, COUNT + "echo hello; exit 3")
    monkeypatch.setattr(os, "open", sometimes)
    result = result_of(work)
    assert (len(refused), result.exit_code, result.output) == (2, 3, "hello\n")


@contextlib.contextmanager
def few_files(spare: int) -> Iterator[None]:
    """This process may open so many more files, and no more."""
    before, held = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(spare):
            os.close(held.pop())
        yield
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("spare", [0, 1])
def test_a_step_that_runs_is_watched_though_too_many_files_are_open_by_then(folder, monkeypatch, spare):
    """It was told never to have started, and so would have been tried again beside itself."""
    work, real = order(folder, COUNT + "echo hello; exit 3"), keeper_process.nurseries.fork
    limits = contextlib.ExitStack()

    def begun(launch: Launch) -> int:
        pid = real(launch)
        until(lambda: starts(work))
        limits.enter_context(few_files(spare))
        return pid

    async def story() -> StepResult:
        watch = await executor().start(work, lambda _: None)
        waiting = asyncio.ensure_future(watch.wait())
        await asyncio.sleep(0)
        limits.close()
        return ok(await waiting)

    monkeypatch.setattr(keeper_process.nurseries, "fork", begun)
    result = run(story())
    assert (result.exit_code, result.output, result.error) == (3, "hello\n", "exit status 3")
    assert starts(work) == 1


@pytest.mark.parametrize("spare", range(6))
def test_who_has_too_many_files_open_takes_no_living_step_for_a_lost_one(folder, spare):
    work = order(folder, COUNT + FOREVER)

    async def story() -> StepResult:
        await executor().start(work, lambda _: None)
        identity = await asyncio.to_thread(keeper_of, work)
        assert identity.alive()
        with few_files(spare), contextlib.suppress(OSError):
            watched(await executor().recover(work, lambda _: None))
        watch = watched(await executor().recover(work, lambda _: None))
        await open_gate(work)
        return ok(await watch.wait())

    assert run(story()).error == ""
    assert starts(work) == 1


def test_a_log_that_cannot_be_kept_takes_nothing_from_the_result(folder, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    work = order(folder, "echo hello; exit 3")
    monkeypatch.setattr(Path, "replace", refused)
    result = result_of(work)
    assert (result.exit_code, result.output) == (3, "hello\n")
    assert result.warnings == ("its log could not be kept: Read-only file system",)


@pytest.mark.parametrize("cause", ["ENOSPC", "EDQUOT"])
def test_output_that_the_disk_takes_no_more_is_dropped_and_counted(folder, cause):
    """The spool is written to from the fifth chunk on, and then no more."""
    work, launch = prepared(folder, COUNT + f"head -c {40 * 64 * KIB} /dev/zero; exit 3")
    with traced(launch, f"write:error={cause}:when=5+", only=str(launch.spool)) as process:
        assert process.wait(30) == 0
    ending = launch.ending()
    assert ending is not None
    assert (ending.exit, starts(work)) == (3, 1)
    assert ending.output_bytes + ending.dropped_bytes == 40 * 64 * KIB
    assert 0 < ending.output_bytes == launch.spool.stat().st_size


def test_a_start_that_a_quota_forbids_is_refused_in_words(folder, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    work = order(folder, COUNT)
    monkeypatch.setattr(ShellExecutor, "_prepare", refused)
    result = result_of(work)
    monkeypatch.undo()
    told = "cannot start the step: this user's quota on the disk is used up"
    assert (result.cause, result.error, starts(work)) == ("start", told, 0)


@pytest.mark.parametrize("cause", ["ENOSPC", "EDQUOT"])
def test_a_keeper_that_cannot_even_make_its_mark_never_began(folder, cause):
    work, launch = prepared(folder, COUNT)
    with traced(launch, f"link,linkat:error={cause}") as process:
        assert process.wait(30) == getattr(errno, cause)
    assert launch.void()
    assert starts(work) == 0
