"""Several processes at one run: who drives, who returns at once, who follows, and when following ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from msgspec.structs import replace

from sopwith.clock import SystemClock
from sopwith.core.instant import iso
from sopwith.ports import LEASE
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.samples import owner

from .workshop import Terminal, Workshop, end_process, eventually

Background = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def background(workshop: Workshop) -> Iterator[Background]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> subprocess.Popen[bytes]:
        started.append(workshop.background(*args))
        return started[-1]

    yield start
    (workshop.root / "go").touch()
    for each in started:
        end_process(each)


@pytest.fixture
def driven(workshop: Workshop, background: Background) -> tuple[str, subprocess.Popen[bytes]]:
    """A run that another process drives: step 1 ends when the file `go` exists; steps 2 and 3 are gated."""
    workshop.procedure(
        "driven",
        "# Driven\n\n**Execution Mode**: auto\n\n## Steps\n\n"
        "### Step 1: Wait\n\n```bash\necho first; touch begun; until [ -e go ]; do sleep 0.02; done; echo last\n```\n\n"
        "### Step 2: Act\n\n```bash\necho acted\n```\n\n**Approval Required**: Yes\n\n**Depends On**: none\n",
    )
    process = background("run", "driven")
    eventually((workshop.root / "begun").exists)
    run = workshop.run_id("driven")
    eventually(lambda: workshop.json("status", run)["gates"])
    return run, process


def test_approve_returns_at_once_while_another_process_drives(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]]
) -> None:
    run, process = driven
    told = workshop.sop("approve", run)
    assert told.code == 0
    assert f"goes on in process {process.pid}" in told.out
    assert process.poll() is None
    assert workshop.json("status", run)["drivenBy"]["pid"] == process.pid


def test_approve_wait_follows_to_the_end(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]], background: Background
) -> None:
    run, process = driven
    following = background("approve", run, "--wait")
    eventually(lambda: not workshop.json("status", run)["gates"])
    assert following.poll() is None
    (workshop.root / "go").touch()
    out, _ = following.communicate(timeout=30)
    assert following.returncode == 0
    assert f"{run} completed" in out.decode()
    assert process.wait(30) == 0


def test_a_follower_that_takes_over_shows_no_output_twice(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]], background: Background
) -> None:
    run, process = driven
    following = background("approve", run, "--wait")
    assert following.stdout is not None
    shown = b""
    while b"first\n" not in shown:
        shown += os.read(following.stdout.fileno(), 4096)
    process.kill()
    process.wait(30)
    eventually(lambda: (workshop.json("status", run)["drivenBy"] or {}).get("pid") == following.pid)
    (workshop.root / "go").touch()
    out, _ = following.communicate(timeout=30)
    told = (shown + out).decode()
    assert (told.count("first\n"), told.count("last\n"), told.count("acted\n")) == (1, 1, 1)
    assert following.returncode == 0


def test_reading_verbs_change_nothing_while_another_process_drives(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]]
) -> None:
    run, _ = driven
    before = workshop.json("status", run)["revision"]
    for verb in (["status", run], ["logs", run], ["audit", run], ["history"], ["inbox"]):
        assert workshop.sop(*verb).code == 0
    assert workshop.json("status", run)["revision"] == before


def test_cancel_ends_what_another_process_runs(workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]]) -> None:
    run, process = driven
    assert workshop.json("cancel", run)["status"] == "cancelled"
    assert process.wait(30) == 4


def test_logs_follow_streams_and_ends_with_the_run(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]], background: Background
) -> None:
    run, _ = driven
    following = background("logs", run, "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() == b"==> step 1 <==\n"
    assert following.stdout.readline() == b"first\n"
    workshop.json("approve", run)
    (workshop.root / "go").touch()
    out, err = following.communicate(timeout=30)
    assert (following.returncode, err) == (0, b"")
    assert b"last\n" in out
    assert b"acted\n" in out


def test_logs_follow_of_one_step_ends_with_the_step(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]], background: Background
) -> None:
    run, _ = driven
    following = background("logs", run, "--step", "2", "-f")
    workshop.json("approve", run)
    out, _ = following.communicate(timeout=30)
    assert (following.returncode, out) == (0, b"acted\n")
    assert workshop.json("status", run)["status"] == "running"


def test_logs_follow_ends_where_the_run_waits_for_a_person(workshop: Workshop) -> None:
    workshop.steps("gated", "Look | echo looked", "?Act | echo acted")
    told = workshop.sop("logs", workshop.started("gated"), "--follow")
    assert (told.code, told.out) == (0, "==> step 1 <==\nlooked\n")
    workshop.steps("byhand", "Walk over")
    assert workshop.sop("logs", workshop.started("byhand"), "--follow").code == 0


def test_status_watch_ends_with_the_run(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]], background: Background
) -> None:
    run, _ = driven
    watching, silent = background("status", run, "--watch"), background("status", run, "--watch", "--json")
    workshop.json("approve", run)
    (workshop.root / "go").touch()
    out, _ = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert f"{run}  completed" in out.decode()
    document, _ = silent.communicate(timeout=30)
    assert document.count(b"\n") == 1
    assert b'"status":"completed"' in document


def test_a_detached_run_is_driven_by_a_process_of_its_own(workshop: Workshop) -> None:
    workshop.steps("apart", "Wait | until [ -e go ]; do sleep 0.02; done; echo x >> done", "?Act | echo acted")
    told = workshop.process("run", "apart", "--detach", "--json")
    assert told.code == 0
    run = told.json["runId"]
    assert eventually(lambda: workshop.json("status", run)["drivenBy"])
    (workshop.root / "go").touch()
    eventually(lambda: workshop.json("status", run)["status"] == "awaiting_approval")
    assert eventually(lambda: workshop.json("status", run)["drivenBy"] is None)
    assert (workshop.root / "done").read_text() == "x\n"


def test_whoever_meets_the_lease_of_another_host_is_told_how_long_it_holds(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]]
) -> None:
    run, process = driven
    process.kill()
    process.wait()
    far = replace(owner("far"), host="far", boot_id="boot-9")
    now = SystemClock().now().at + LEASE + timedelta(seconds=1)  # after that of the dead one
    with closing(SqliteStore(workshop.sops / "runs.db")) as store:
        assert store.claim(run, far, now) is not None
    for verb in ("resume", "approve"):
        told = workshop.sop(verb, run)
        assert told.code == 0
        assert f"{run} is driven by process {far.pid} on far, until " in told.out
        assert f"sop resume {run}" in told.out
    assert workshop.json("resume", run)["drivenBy"]["until"] == iso(now + LEASE)


def test_a_driver_that_died_is_shown_and_followers_do_not_wait_for_ever(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, process = driven
    process.kill()
    process.wait()
    shown = workshop.sop("status", run).out
    assert "nobody drives it" in shown
    assert f"next: sop resume {run}" in shown
    monkeypatch.setattr("sopwith.doors.cli.looking._PATIENCE_SECS", 0.0)
    told = workshop.sop("logs", run, "--follow")
    assert told.code == 0
    assert f"sop resume {run}" in told.err


def test_logs_of_an_endless_line_stream_in_bounded_memory(workshop: Workshop) -> None:
    workshop.steps("wide", "Flood | head -c 20000000 /dev/zero | tr '\\0' x")
    run = workshop.started("wide", code=0)
    command = f"ulimit -v 400000; exec {' '.join(map(repr, _sop()))} logs {run} --step 1 | wc -c"
    done = subprocess.run(["bash", "-c", command], cwd=workshop.root, capture_output=True, timeout=30)
    assert done.stdout.strip() == b"20000000"


def test_a_reader_that_goes_away_is_no_error(workshop: Workshop) -> None:
    workshop.steps("wide", "Flood | seq 200000")
    run = workshop.started("wide", code=0)
    command = f"set -o pipefail; {' '.join(map(repr, _sop()))} logs {run} | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=workshop.root, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"==> step 1 <==\n", b"")


def test_a_run_goes_on_when_its_reader_goes_away(workshop: Workshop) -> None:
    workshop.steps("talks", "Talk | seq 20000", "More | seq 20000; touch ended")
    command = f"set -o pipefail; {' '.join(map(repr, _sop()))} run talks | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=workshop.root, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (workshop.root / "ended").exists()
    assert workshop.json("status", workshop.run_id("talks"))["status"] == "completed"


def test_a_follower_at_a_terminal_shows_what_the_driver_does(
    workshop: Workshop, driven: tuple[str, subprocess.Popen[bytes]], terminal: Callable[..., Terminal]
) -> None:
    run, _ = driven
    screen = terminal("approve", run, "--wait")
    screen.expect("approved step 2")
    screen.expect("first")
    screen.type("\x03")
    assert screen.end() == 130
    assert workshop.json("status", run)["status"] == "running"


def _sop() -> tuple[str, ...]:
    from .workshop import SOP

    return SOP
