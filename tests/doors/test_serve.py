"""`sop serve` as a real process: one for a workspace, quick to end, and no harm done when it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from sopwith.assembly import open_engine
from sopwith.clock import SystemClock
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.instant import Instant
from sopwith.doors.cli import serving
from sopwith.engine.engine import Engine, RunRequest
from sopwith.ports import Owner, Workspace
from sopwith.stores.serving_lock import ServingLock
from sopwith.testing.samples import owner

from .workshop import SOP, Terminal, Workshop, eventually, lines

Open = Callable[..., Terminal]
ANN = Actor("ann", ActorKind.HUMAN, "cli")


class Server:
    """`sop serve` with what it prints in a file."""

    def __init__(self, workshop: Workshop, file: Path, *args: str, env: Mapping[str, str] | None = None) -> None:
        self._file = file
        with file.open("wb") as out:
            self.process = subprocess.Popen(
                [*SOP, "serve", *args],
                cwd=workshop.root,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._file.read_text(encoding="utf-8")

    def expect(self, words: str) -> None:
        eventually(lambda: words in self.text or self.process.poll() is not None)
        assert words in self.text

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


Serve = Callable[..., Server]


@pytest.fixture
def serve(workshop: Workshop, tmp_path: Path) -> Iterator[Serve]:
    """Starts servers that are killed at the end; they serve when this returns."""
    started: list[Server] = []

    def start(*args: str, **options: Any) -> Server:
        server = Server(workshop, tmp_path / f"server-{len(started)}.txt", *args, **options)
        started.append(server)
        eventually(lambda: "serving" in server.text or server.process.poll() is not None)
        return server

    yield start
    for server in started:
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait()


def status(workshop: Workshop, run: str) -> str:
    return str(workshop.json("status", run)["status"])


def events(workshop: Workshop, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workshop.json("audit", run)["events"]
    return found


def detached(workshop: Workshop, name: str) -> str:
    return workshop.started(name, "--detach", code=0)


# one server for a workspace


def test_a_second_server_is_refused_and_told_of_the_first(workshop: Workshop, serve: Serve) -> None:
    first = serve()
    told = workshop.process("serve")
    assert told.code == 5
    assert f"process {first.process.pid} on {os.uname().nodename} serves the workspace" in told.err
    assert "SIGTERM" in told.err
    assert len(told.err.splitlines()) == 2
    assert workshop.process("serve", "--once").code == 5
    assert first.end() == 0
    assert workshop.process("serve", "--once").code == 0


def test_nobody_is_told_to_end_what_ends_by_itself(workshop: Workshop) -> None:
    """A restore, which must not be cut off, or a server that serves once."""
    runs = workshop.root / ".pi" / "sops" / "runs"
    runs.mkdir(exist_ok=True)
    with contextlib.closing(ServingLock(runs)) as lock:
        assert lock.take(owner("me"), staying=False)
        told = workshop.process("serve")
    assert told.code == 5
    assert "restores the workspace, or serves it once" in told.err
    assert "wait for its end" in told.err
    assert "SIGTERM" not in told.err


def test_a_killed_server_leaves_no_lock(workshop: Workshop, serve: Serve) -> None:
    serve().end(signal.SIGKILL)
    second = serve()
    second.expect("serving")
    assert second.end() == 0


def test_other_workspaces_have_servers_of_their_own(workshop: Workshop, serve: Serve, tmp_path: Path) -> None:
    serve()
    assert Workshop(tmp_path / "other").process("serve", "--once").code == 0


def test_only_a_server_that_stays_is_one_that_others_leave_runs_to(tmp_path: Path) -> None:
    me: Owner = owner("me")
    other = ServingLock(tmp_path)
    assert not other.has_server
    assert list(tmp_path.iterdir()) == []
    lock = ServingLock(tmp_path)
    assert lock.take(me, staying=False)
    assert not other.has_server
    assert other.holder() == me
    assert not other.take(me, staying=True)
    lock.close()
    assert lock.take(me, staying=True)
    assert other.has_server
    lock.stop_staying()
    assert not other.has_server
    assert other.holder() == me
    lock.close()
    assert other.holder() is None


def test_a_server_that_cannot_say_who_it_is_serves_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ServingLock(tmp_path)
    assert before.take(owner("before"), staying=True)
    before.close()

    def full(_path: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    lock = ServingLock(tmp_path)
    assert lock.take(owner("me"), staying=True)
    other = ServingLock(tmp_path)
    assert other.has_server
    assert other.holder() is None
    assert not other.take(owner("other"), staying=True)
    assert [path.name for path in tmp_path.iterdir()] == ["server.lock"]
    lock.close()
    other.close()


# its end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_with_0_and_the_step_goes_on(
    workshop: Workshop, serve: Serve, slow: str, number: signal.Signals
) -> None:
    server = serve()
    run = detached(workshop, slow)
    eventually((workshop.root / "begun").exists)
    began = time.monotonic()
    assert server.end(number) == 0
    assert time.monotonic() - began < 2
    assert "stopped; 1 run is left on the way" in server.text
    assert "Traceback" not in server.text
    found = workshop.json("status", run)
    assert (found["status"], found["drivenBy"]) == ("running", None)

    second = serve()
    second.expect("taken over: step 1 went on alone")
    (workshop.root / "go").touch()
    eventually(lambda: status(workshop, run) == "completed")
    assert (lines(workshop, "done"), lines(workshop, "after")) == (1, 1)
    second.expect("completed in")
    assert second.end() == 0
    assert second.text.rstrip().endswith("stopped")


def test_a_killed_server_hurts_no_step_and_the_next_one_adopts_it(workshop: Workshop, serve: Serve, slow: str) -> None:
    server = serve()
    run = detached(workshop, slow)
    eventually((workshop.root / "begun").exists)
    server.end(signal.SIGKILL)
    second = serve()
    second.expect("taken over: step 1 went on alone")
    (workshop.root / "go").touch()
    eventually(lambda: status(workshop, run) == "completed")
    assert (lines(workshop, "done"), lines(workshop, "after")) == (1, 1)
    assert [event["type"] for event in events(workshop, run)].count("step_started") == 2


def test_many_kills_start_no_step_twice(workshop: Workshop, serve: Serve) -> None:
    workshop.steps("chain", *(f"Step {number} | sleep 0.1; echo {number} >> ran" for number in range(1, 9)))
    run = detached_while_served(workshop, serve, "chain")
    for delay in (0.15, 0.3, 0.2, 0.35, 0.25):
        server = serve()
        time.sleep(delay)
        server.end(signal.SIGKILL)
    serve()
    eventually(lambda: status(workshop, run) in ("completed", "paused"))
    ran = (workshop.root / "ran").read_text().split()
    assert len(ran) == len(set(ran))
    assert status(workshop, run) == "paused" or ran == [str(number) for number in range(1, 9)]


def detached_while_served(workshop: Workshop, serve: Serve, name: str) -> str:
    """A run that a server was to take up, and that it may have begun."""
    server = serve()
    run = detached(workshop, name)
    server.end(signal.SIGKILL)
    return run


# what it takes up


def test_a_detached_run_is_left_to_the_server(workshop: Workshop, serve: Serve, slow: str) -> None:
    server = serve()
    run = detached(workshop, slow)
    eventually((workshop.root / "begun").exists)
    assert workshop.json("status", run)["drivenBy"]["pid"] == server.process.pid
    assert not (workshop.sops / "runs" / run / "driver.log").exists()
    (workshop.root / "go").touch()
    eventually(lambda: status(workshop, run) == "completed")


def test_without_a_server_a_detached_run_has_a_driver_of_its_own(workshop: Workshop, serve: Serve, slow: str) -> None:
    serve().end(signal.SIGKILL)
    run = json.loads(workshop.process("run", slow, "--detach", "--json").out)["runId"]
    assert (workshop.sops / "runs" / run / "driver.log").exists()
    (workshop.root / "go").touch()
    eventually(lambda: status(workshop, run) == "completed")


def test_to_one_that_serves_once_no_run_is_left(workshop: Workshop, serve: Serve, slow: str) -> None:
    workshop.steps("quick", "Say | echo said")
    detached_while_served(workshop, serve, slow)
    once = serve("--once")
    eventually((workshop.root / "begun").exists)
    run = json.loads(workshop.process("run", "quick", "--detach", "--json").out)["runId"]
    assert (workshop.sops / "runs" / run / "driver.log").exists()
    (workshop.root / "go").touch()
    assert once.process.wait(timeout=30) == 0


def test_a_run_in_the_foreground_keeps_its_driver(workshop: Workshop, serve: Serve) -> None:
    workshop.steps("quick", "Say | echo said")
    server = serve()
    for _ in range(3):
        assert workshop.json("run", "quick")["status"] == "completed"
    assert server.end() == 0
    assert "step 1/1" not in server.text


def test_a_deadline_is_settled_on_time(workshop: Workshop, serve: Serve) -> None:
    step = {"number": 1, "title": "Act", "approvalTimeoutMins": 0.04}
    workshop.steps("timed", "?Act | echo acted", steps=[step])
    serve()
    run = workshop.started("timed")
    eventually(lambda: status(workshop, run) == "completed")
    told = {event["type"]: event for event in events(workshop, run)}
    due_at = datetime.fromisoformat(told["approval_requested"]["details"]["dueAt"])
    late = (datetime.fromisoformat(told["approval_timeout"]["timestamp"]) - due_at).total_seconds()
    assert 0 <= late < 0.3
    assert told["approval_timeout"]["actor"]["kind"] == "system"


def test_once_does_what_is_due_and_leaves(workshop: Workshop, serve: Serve, slow: str) -> None:
    workshop.steps("gated", "?Act | echo acted")
    waiting = workshop.started("gated")
    run = detached_while_served(workshop, serve, slow)
    (workshop.root / "go").touch()
    told = workshop.process("serve", "--once")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[0] == f"serving {workshop.root} once, 2 runs open"
    assert f"{run}  slow  ✔ completed in" in told.out
    assert status(workshop, run) == "completed"
    assert status(workshop, waiting) == "awaiting_approval"
    assert workshop.process("serve", "--once").out.splitlines() == [f"serving {workshop.root} once, 1 run open"]


class LongAgo(SystemClock):
    """Three days before now."""

    def now(self) -> Instant:
        now = super().now()
        return Instant(now.at - timedelta(days=3), now.boot_ms, now.boot_id)


def test_it_drops_what_the_config_lets_go(workshop: Workshop) -> None:
    workshop.steps("old", "?Act | echo acted")
    engine = open_engine(Workspace(workshop.root))
    then = Engine(replace(engine.parts, clock=LongAgo()))
    run_id = then.create_run(RunRequest(name="old"), actor=ANN).run_id
    then.cancel(run_id, actor=ANN, reason="not now")
    young = workshop.started("old")

    Workspace(workshop.root).config.write_text('{"auditRetentionDays": 1}')
    assert "dropped the records of 1 run, as auditRetentionDays says" in workshop.process("serve", "--once").out
    assert workshop.process("status", run_id).code == 6
    assert workshop.process("status", young).code == 0
    assert workshop.process("audit", "--verify-all").code == 0


@pytest.mark.parametrize("ends", [False, True])
def test_it_ends_though_dropping_hangs(monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    begun, go_on = threading.Event(), threading.Event()
    told: list[object] = []

    class Teller:
        dropped = staticmethod(told.append)

        def on_trouble(self, _run_id: str | None, error: BaseException) -> None:
            told.append(str(error))

    def hang(_door: object) -> str:
        begun.set()
        assert go_on.wait(20)
        if ends:
            raise OSError("too late")
        return "dropped"

    async def served() -> None:
        keeping_house = asyncio.ensure_future(serving._keep_house(cast(Any, None), cast(Any, Teller()), once=False))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        keeping_house.cancel()

    monkeypatch.setattr(serving, "_retain", hang)
    timer = threading.Timer(10, go_on.set)
    timer.start()
    asyncio.run(served())
    assert not go_on.is_set()
    timer.cancel()
    go_on.set()
    assert told == []


def test_a_failure_to_drop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Teller:
        def on_trouble(self, _run_id: str | None, error: BaseException) -> None:
            told.append(str(error))

    def fail(_door: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(serving, "_retain", fail)
    asyncio.run(serving._keep_house(cast(Any, None), cast(Any, Teller()), once=True))
    assert told == ["no space left"]


def test_a_variable_that_the_server_lacks_pauses_the_run(workshop: Workshop, serve: Serve) -> None:
    workshop.steps("wants", 'Use it | test -n "$SHOP_TOKEN"', env={"pass": ["SHOP_TOKEN"]})
    server = serve()
    run = json.loads(workshop.process("run", "wants", "--detach", "--json", env={"SHOP_TOKEN": "x"}).out)["runId"]
    eventually(lambda: status(workshop, run) == "paused")
    server.expect("paused: step 1 needs the variable SHOP_TOKEN")


# what it says


def test_a_step_may_not_serve_the_workspace_it_belongs_to(workshop: Workshop) -> None:
    told = workshop.process("serve", "--once", "--json", env={"SOP_RUN_ID": "sop_run_aaaaaaaaaaaa"})
    assert told.code == 5
    assert json.loads(told.out)["error"]["code"] == "not_allowed"


def test_what_could_steer_the_screen_is_shown_as_an_escape(workshop: Workshop, serve: Serve, slow: str) -> None:
    server = serve()
    run = detached(workshop, slow)
    eventually((workshop.root / "begun").exists)
    workshop.json("pause", run, "--reason", "\x1b]0;owned\x07 \u202e")
    (workshop.root / "go").touch()
    server.expect("paused: \\u{001b}]0;owned\\u{0007} \\u{202e}")
    assert "\x1b" not in server.text


def test_with_json_it_prints_a_document_a_line(workshop: Workshop, serve: Serve) -> None:
    workshop.steps("quick", "Say | echo said")
    server = serve("--json")
    run = detached(workshop, "quick")
    server.expect("run_completed")
    assert server.end() == 0
    told = [json.loads(line) for line in server.text.splitlines()]
    assert (told[0]["type"], told[0]["openRuns"], told[0]["pid"]) == ("serving", 0, server.process.pid)
    assert [document["type"] for document in told[1:-1]] == ["step_started", "step_completed", "run_completed"]
    assert {document["runId"] for document in told[1:-1]} == {run}
    assert (told[-1]["type"], told[-1]["left"]) == ("stopped", [])
    for document in told:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["timestamp"])
        assert document["level"] == "info"
    assert {document["sopName"] for document in told[1:-1]} == {"quick"}
    assert told[1]["stepNumber"] == 1


def test_a_reader_that_goes_away_does_not_end_it(workshop: Workshop) -> None:
    workshop.steps("quick", "Say | echo said")
    process = workshop.background("serve")
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        for _ in range(2):
            run = detached(workshop, "quick")
            eventually(lambda run=run: status(workshop, run) == "completed")  # type: ignore[misc]
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_on_a_terminal_ctrl_c_ends_it_in_peace(workshop: Workshop, terminal: Open) -> None:
    screen = terminal("serve")
    screen.expect("0 runs open")
    screen.type("\x03")
    screen.expect("stopped")
    assert screen.end() == 0
