"""Signals at a server, in whatever state it is: exit code 0, nothing lost, nothing run twice."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from sopwith.doors.cli import serving
from sopwith.doors.cli.door import Door
from sopwith.doors.cli.server_log import ServerLog
from sopwith.doors.cli.service_manager import ServiceManager
from sopwith.engine.auditing import Deferred
from sopwith.errors import StoreError
from sopwith.stores.serving_lock import ServingLock

from .test_serve import Serve, detached, detached_while_served, events, serve, status
from .workshop import SOP, Terminal, Workshop, eventually, lines

__all__ = ["serve"]
Open = Callable[..., Terminal]


class Manager:
    """The socket of a service manager, and what it was told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._told: list[str] = []

    @property
    def told(self) -> list[str]:
        try:
            while True:
                self._told += self._socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self._told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


# in every state


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_it_ends_with_0_however_young_it_is(workshop: Workshop, number: signal.Signals, delay: float) -> None:
    """Before its handlers stand a signal ends it as it ends any process; no later than its first word they do."""
    process = workshop.background("serve")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(number)
    _out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")


def test_it_ends_between_the_steps_of_a_run_and_none_is_lost_or_run_twice(workshop: Workshop, serve: Serve) -> None:
    workshop.steps("chain", *(f"Step {number} | echo {number} >> ran" for number in range(1, 13)))
    run = detached_while_served(workshop, serve, "chain")
    for delay in (0.02, 0.06, 0.11, 0.17, 0.24):
        server = serve()
        time.sleep(delay)
        assert server.end() == 0
    serve()
    eventually(lambda: status(workshop, run) == "completed")
    assert (workshop.root / "ran").read_text().split() == [str(number) for number in range(1, 13)]


def test_it_ends_while_gates_open(workshop: Workshop, serve: Serve) -> None:
    workshop.steps("gated", "?Act | echo acted >> acted")
    server = serve()
    runs = [detached(workshop, "gated") for _ in range(3)]
    assert server.end() == 0
    second = serve()
    eventually(lambda: all(status(workshop, run) == "awaiting_approval" for run in runs))
    for run in runs:
        asked = [event for event in events(workshop, run) if event["type"] == "approval_requested"]
        assert len(asked) == 1
    assert second.end() == 0


def test_a_second_signal_waits_for_no_signature(workshop: Workshop) -> None:
    go_on = threading.Event()

    class Hanging(Deferred):
        def finish(self, patience_secs: float) -> None:
            go_on.wait(60)

    async def end_twice() -> None:
        door = Door(workspace=str(workshop.root), as_json=False)
        served = serving._Served(door, cast(Any, Lock()), ServerLog(door, as_json=False))
        served._signing = Hanging(door.engine.parts.auditing)
        served._told_to_end()
        ending = asyncio.ensure_future(served._end(()))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not ending.done(), "the first one waits for the signature"
        served._told_to_end()
        await asyncio.wait_for(ending, 20)
        assert not go_on.is_set()

    class Lock:
        def stop_staying(self) -> None:
            pass

    asyncio.run(end_twice())
    go_on.set()


@pytest.mark.parametrize("again", [False, True])
def test_it_ends_where_its_lock_is_gone(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    """Another server could begin beside it, and whoever rings finds nobody."""
    monkeypatch.setattr(serving, "_BEAT_SECS", 0.01)
    runs = workshop.root / ".pi" / "sops" / "runs"

    async def serve() -> None:
        door = Door(workspace=str(workshop.root), as_json=False)
        with closing(ServingLock(runs)) as lock:
            assert lock.take(door.engine.parts.owner(), staying=True)
            served = serving._Served(door, lock, ServerLog(door, as_json=False))
            serving_on = asyncio.ensure_future(served.stay())
            done, _ = await asyncio.wait({serving_on}, timeout=0.2)
            assert not done
            shutil.rmtree(runs)
            if again:
                runs.mkdir()
                (runs / "server.lock").touch()
            with pytest.raises(StoreError, match="deleted or replaced"):
                await asyncio.wait_for(serving_on, 20)

    runs.mkdir(exist_ok=True)
    asyncio.run(serve())


def test_two_signals_at_once_are_one_end(workshop: Workshop, serve: Serve, slow: str) -> None:
    server = serve()
    detached(workshop, slow)
    eventually((workshop.root / "begun").exists)
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == 0
    assert "stopped; 1 run is left on the way" in server.text
    assert "Traceback" not in server.text


def test_sighup_makes_a_service_look_at_everything_again(workshop: Workshop, serve: Serve) -> None:
    workshop.steps("wants", "Say | echo said >> said")
    server = serve()
    run = detached(workshop, "wants")
    eventually(lambda: status(workshop, run) == "completed")
    server.process.send_signal(signal.SIGHUP)
    server.expect("looks at everything again")
    assert server.process.poll() is None
    assert server.end() == 0
    assert lines(workshop, "said") == 1


def test_sighup_of_a_terminal_that_closes_ends_it(workshop: Workshop, terminal: Open) -> None:
    screen = terminal("serve")
    screen.expect("0 runs open")
    screen.process.send_signal(signal.SIGHUP)
    assert screen.end() == 0


def test_nohup_is_heeded(workshop: Workshop) -> None:
    process = subprocess.Popen(
        ["nohup", *SOP, "serve"],
        cwd=workshop.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"looks at everything" not in out


def test_nothing_is_left_to_a_server_that_was_told_to_end(workshop: Workshop, serve: Serve, slow: str) -> None:
    server = serve()
    detached(workshop, slow)
    eventually((workshop.root / "begun").exists)
    assert server.end() == 0
    assert not list((workshop.sops / "runs").glob("server.bell"))
    run = json.loads(workshop.process("run", "slow", "--detach", "--json").out)["runId"]
    assert (workshop.sops / "runs" / run / "driver.log").exists()


# what the service manager is told


def test_the_service_manager_is_told(workshop: Workshop, serve: Serve, manager: Manager) -> None:
    server = serve(env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000"})
    eventually(lambda: "READY=1" in manager.told)
    eventually(lambda: manager.told.count("WATCHDOG=1") >= 3)
    assert "STATUS=ok: 0 driven, 0 open, 0 in trouble" in manager.told
    assert server.end() == 0
    assert manager.told[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_what_a_service_manager_does_to_a_server_that_hangs_costs_no_step(
    workshop: Workshop, serve: Serve, manager: Manager, slow: str
) -> None:
    """As systemd does with the unit's WatchdogSec, KillMode=process and Restart=on-failure: SIGABRT, then another."""
    told = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000"}
    server = serve(env=told)
    run = detached(workshop, slow)
    eventually((workshop.root / "begun").exists)
    server.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, server.process.pid, os.WSTOPPED)
    fed = manager.told.count("WATCHDOG=1")
    time.sleep(0.6)  # twice the time after which it is given up
    assert manager.told.count("WATCHDOG=1") == fed
    server.process.send_signal(signal.SIGABRT)
    server.process.send_signal(signal.SIGCONT)
    assert server.process.wait(30) == -signal.SIGABRT
    serve(env=told)
    (workshop.root / "go").touch()
    eventually(lambda: status(workshop, run) == "completed")
    assert [event["type"] for event in events(workshop, run)].count("step_started") == 2, "it has two steps"


def test_steps_are_not_told_of_the_service_manager(workshop: Workshop, serve: Serve, manager: Manager) -> None:
    workshop.steps("spy", "Look | env > seen")
    serve(env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000"})
    run = detached(workshop, "spy")
    eventually(lambda: status(workshop, run) == "completed")
    seen = (workshop.root / "seen").read_text()
    assert "NOTIFY_SOCKET" not in seen
    assert "WATCHDOG" not in seen


def test_a_server_that_is_not_well_does_not_feed_the_watchdog(manager: Manager) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000000"})
    told.lives("failing", well=False)
    told.lives("failing", well=False)
    assert manager.told == ["STATUS=failing"]
    told.lives("ok", well=True)
    assert manager.told[1:] == ["WATCHDOG=1", "STATUS=ok"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_watches(environ: dict[str, str]) -> None:
    assert ServiceManager(environ).patience_secs is None


@pytest.mark.parametrize("address", ["", "nowhere", "/nowhere/at/all", "@nobody", "/" + "x" * 200, "/a\0b"])
def test_a_manager_that_is_not_there_harms_nothing(address: str) -> None:
    ServiceManager({"NOTIFY_SOCKET": address}).ready("serving")


def test_a_manager_without_a_folder_is_told() -> None:
    name = f"sopwith-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.setblocking(False)
        ServiceManager({"NOTIFY_SOCKET": "@" + name}).ready("serving")
        assert listening.recv(100) == b"READY=1\nSTATUS=serving"
