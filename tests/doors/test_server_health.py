"""How a server is: told to whoever asks, cut off from whoever asks too much, and nothing of any run in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sopwith.doors.cli import server_health
from sopwith.doors.cli.door import Door
from sopwith.doors.cli.server_health import HEALTH, MOST_CALLERS, STUCK_SECS, Health, HealthSocket, Physician, ask
from sopwith.engine.ticker import Pulse
from sopwith.errors import NotFound, SopwithError, StoreError

from .test_serve import Serve, serve
from .workshop import Workshop, eventually

__all__ = ["serve"]
WELL = Health(
    status="ok",
    pid=1,
    version="1",
    started_at="",
    uptime_secs=0,
    last_look_secs=0,
    store_readable=True,
    store_writable=True,
    hears=True,
    runs_driven=0,
    runs_queued=0,
    runs_open=0,
    runs_in_trouble=0,
    next_deadline_at=None,
    clock_jumps=0,
    last_signed_at=None,
    signing_warnings=0,
)
GET = b"GET /healthz HTTP/1.1\r\nHost: sop\r\n\r\n"


def answering(folder: Path, talk: Callable[[Path], Awaitable[Any]], health: Health = WELL) -> Any:
    """What `talk` tells, given the path of a socket that answers with this health."""

    async def run() -> Any:
        door = HealthSocket(folder, lambda: health)
        await door.open()
        try:
            return await talk(folder / HEALTH)
        finally:
            door.close()

    return asyncio.run(run())


async def say(path: Path, request: bytes, *, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


# over the socket


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("degraded", 200), ("failing", 503)])
def test_it_answers_http(tmp_path: Path, status: str, code: int) -> None:
    health = Health(**{**{name: getattr(WELL, name) for name in WELL.__struct_fields__}, "status": status})
    answer = answering(tmp_path, lambda path: say(path, GET), health)
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {code} ")
    assert f"Content-Length: {len(body)}" in lines
    assert json.loads(body)["status"] == status


def test_a_socket_that_closes_late_takes_no_other_ones_name_away(tmp_path: Path) -> None:
    async def run() -> bytes:
        late, other = HealthSocket(tmp_path, lambda: WELL), HealthSocket(tmp_path, lambda: WELL)
        await late.open()
        (tmp_path / HEALTH).unlink()
        await other.open()
        late.close()
        try:
            return await say(tmp_path / HEALTH, GET)
        finally:
            other.close()

    assert asyncio.run(run()).startswith(b"HTTP/1.1 200 ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /../healthz HTTP/1.1\r\n\r\n", 404),
        (b"hello\r\n\r\n", 400),
        (b"GET /healthz HTTP/9\r\n\r\n", 400),
        (b"\x00\xff" * 100 + b"\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
    ],
)
def test_what_is_no_question_is_refused(tmp_path: Path, request_: bytes, code: int) -> None:
    answer = answering(tmp_path, lambda path: say(path, request_))
    # a caller who still sends may lose the answer
    assert answer.startswith(f"HTTP/1.1 {code} ".encode()) or (code == 431 and answer == b"")


def test_a_question_that_breaks_off_is_refused(tmp_path: Path) -> None:
    assert answering(tmp_path, lambda path: say(path, b"GET /heal", end=True)).startswith(b"HTTP/1.1 400 ")


def test_whoever_asks_slowly_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_health, "PATIENCE_SECS", 0.05)
    assert answering(tmp_path, lambda path: say(path, b"GET ")) == b""


def test_so_many_may_ask_at_a_time_and_others_are_answered_after_them(tmp_path: Path) -> None:
    async def crowd(path: Path) -> bytes:
        slow = [await asyncio.open_unix_connection(str(path)) for _ in range(MOST_CALLERS)]
        await asyncio.sleep(0.05)
        assert await say(path, GET) == b""
        for _reader, writer in slow:
            writer.transport.abort()
        await asyncio.sleep(0.05)
        return await say(path, GET)

    assert answering(tmp_path, crowd).startswith(b"HTTP/1.1 200 ")


def test_the_socket_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    async def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert answering(tmp_path, mode) == 0o600
    assert list(tmp_path.iterdir()) == []


def test_a_deep_folder_has_one_too(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    deep.mkdir(parents=True)

    async def asked(_path: Path) -> Health:
        return await asyncio.to_thread(ask, deep)

    assert answering(deep, asked) == WELL


# who asks


def hostile(path: Path, answer: bytes, *, stay: bool) -> socket.socket:
    """A socket that says this to whoever connects, once."""
    import threading

    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen()

    def talk() -> None:
        caller, _ = listening.accept()
        with caller:
            try:
                caller.sendall(answer)
                while stay and caller.recv(1000):
                    pass
            except OSError:
                pass

    threading.Thread(target=talk, daemon=True).start()
    return listening


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n{}", b"x" * 1_000_000, b"[" * 60_000, b"HTTP/1.1 200 OK\r\n\r\n" + b"\xff"]
)
@pytest.mark.parametrize("stay", [True, False])
def test_a_server_that_answers_nonsense_or_nothing_is_told_to_hang(tmp_path: Path, answer: bytes, stay: bool) -> None:
    with hostile(tmp_path / HEALTH, answer, stay=stay), pytest.raises(SopwithError, match="does not say how") as met:
        ask(tmp_path, patience_secs=0.2)
    assert met.value.exit_code == 1


def test_where_nobody_answers_there_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ask(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(tmp_path / HEALTH))
    with pytest.raises(NotFound):
        ask(tmp_path)


# what is found


@pytest.fixture
def door(workshop: Workshop) -> Door:
    made = Door(workspace=str(workshop.root), as_json=False)
    assert made.engine is not None
    return made


def found(door: Door, pulse: Pulse) -> Health:
    return Physician(door, pulse).examine()


def beating(door: Door, **values: Any) -> Pulse:
    return Pulse(**{"looked_at": door.engine.parts.clock.now(), "hears": True, **values})


def test_a_server_that_looks_is_well(door: Door) -> None:
    health = found(door, beating(door))
    assert (health.status, health.store_readable, health.store_writable) == ("ok", True, True)


def test_a_server_whose_loop_stands_still_is_failing(door: Door) -> None:
    now = door.engine.parts.clock.now()
    old = cast(Any, now).__class__(now.at, now.boot_ms - round(STUCK_SECS * 1000) - 1, now.boot_id)
    health = found(door, beating(door, looked_at=old))
    assert health.status == "failing"
    assert health.last_look_secs is not None
    assert health.last_look_secs > STUCK_SECS


def test_a_store_that_cannot_be_read_is_failing(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(door, beating(door, readable=False)).status == "failing"

    def broken(*_args: object) -> None:
        raise StoreError("the disk went away")

    monkeypatch.setattr(door.engine.parts.store, "summaries", broken)
    health = found(door, beating(door))
    assert (health.status, health.store_readable) == ("failing", False)


@pytest.mark.parametrize("trouble", [{"troubles": 1}, {"hears": False}])
def test_trouble_degrades(door: Door, trouble: dict[str, Any]) -> None:
    assert found(door, beating(door, **trouble)).status == "degraded"


def test_a_signature_that_could_not_be_made_degrades(door: Door) -> None:
    door.engine.parts.auditing.warnings = ("a place hangs",)
    health = found(door, beating(door))
    assert (health.status, health.signing_warnings) == ("degraded", 1)


def test_a_database_that_is_gone_cannot_be_written(door: Door) -> None:
    door.workspace.database.unlink()
    health = found(door, beating(door))
    assert (health.status, health.store_writable) == ("degraded", False)


# the real one


def test_a_server_says_how_it_is(workshop: Workshop, serve: Serve, slow: str) -> None:
    step = {"number": 1, "title": "Act", "approvalTimeoutMins": 60}
    workshop.steps("timed", "?Act | echo acted", steps=[step])
    waiting = workshop.started("timed")
    server = serve()
    run = workshop.started(slow, "--detach", code=0)
    eventually((workshop.root / "begun").exists)
    health = eventually(lambda: (told := workshop.json("serve", "--status"))["runsOpen"] == 2 and told)
    assert (health["status"], health["pid"], health["runsDriven"]) == ("ok", server.process.pid, 1)
    due_at = next(e for e in workshop.json("audit", waiting)["events"] if e["type"] == "approval_requested")["details"]
    assert health["nextDeadlineAt"] == due_at["dueAt"]
    assert health["lastSignedAt"] is None
    told = json.dumps(health)
    assert not [word for word in (run, waiting, "slow", "timed", str(workshop.root)) if word in told]
    (workshop.root / "go").touch()
    assert eventually(lambda: workshop.json("serve", "--status")["lastSignedAt"])
    text = workshop.sop("serve", "--status")
    assert (text.code, text.out.splitlines()[0]) == (0, "status: ok")
    assert server.end() == 0
    assert not (workshop.sops / "runs" / HEALTH).exists()


def test_without_a_server_that_is_told_with_6(workshop: Workshop, serve: Serve) -> None:
    assert workshop.sop("serve", "--status").code == 6
    serve().end(signal.SIGKILL)
    assert (workshop.sops / "runs" / HEALTH).exists()
    told = workshop.sop("serve", "--status")
    assert (told.code, told.err) == (6, f"error: no server serves {workshop.root}\nhint: sop serve starts one\n")


def test_a_server_that_is_stopped_hangs(workshop: Workshop, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    os.kill(server.process.pid, signal.SIGSTOP)
    monkeypatch.setattr(ask, "__kwdefaults__", {"patience_secs": 0.2})
    told = workshop.sop("serve", "--status")
    os.kill(server.process.pid, signal.SIGCONT)
    assert told.code == 1
    assert "does not say how it is" in told.err
