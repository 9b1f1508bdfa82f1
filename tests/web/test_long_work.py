"""What takes long over HTTP: it is bounded, it holds up nothing else, and it leaves nothing open."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.doors.workshop import Workshop

from sopwith.clock import SystemClock
from sopwith.core.instant import Instant
from sopwith.doors.web.office import MOST_APART, Office
from sopwith.doors.web.problems import Busy, headers_of
from sopwith.engine.auditing import Auditing
from sopwith.ports import Workspace
from sopwith.telemetry.metrics import Beginning
from sopwith.testing.clock import START

from .given import Served

Serve = Callable[..., Served]
RUNS = "/api/v1/runs"


@pytest.fixture
def workspace(workshop: Workshop) -> Workspace:
    return Workspace(workshop.root)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


def test_as_much_is_done_apart_as_can_be_and_no_more(workspace: Workspace, gate: threading.Event) -> None:
    asyncio.run(_much_is_done_apart(workspace, gate))


async def _much_is_done_apart(workspace: Workspace, gate: threading.Event) -> None:
    troubles: list[BaseException] = []
    office = Office(workspace, auditing=Auditing(), since=Beginning(0, START), on_trouble=troubles.append)
    try:
        under_way = [asyncio.ensure_future(office.apart(lambda _desk: gate.wait(20))) for _ in range(MOST_APART)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as caught:
            await office.apart(lambda _desk: True)
        assert headers_of(caught.value)["retry-after"] == "60"
        # what is short goes on meanwhile
        assert await office.read(lambda _desk: "seen") == "seen"
        assert await office.write(lambda _desk: "done") == "done"
        gate.set()
        assert await asyncio.gather(*under_way) == [True] * MOST_APART
        assert await office.apart(lambda _desk: True)
    finally:
        office.close()
    assert troubles == []


def test_who_comes_when_too_much_is_to_be_done_is_told_when_to_come_again(serve: Serve, workshop: Workshop) -> None:
    served = serve(before="from sopwith.doors.web import office; office.MOST_APART = 0")
    reply = served.call("GET", "/api/v1/backup", served.token("ann", "admin"))
    assert (reply.status, reply.code) == (503, "busy")
    assert reply.headers["retry-after"] == "60"


@pytest.mark.parametrize("limit", ["BODY_SECS", "UPLOAD_SECS"])
def test_a_file_that_does_not_come_is_given_up(serve: Serve, workshop: Workshop, limit: str) -> None:
    """A part of it in its time, the whole in its own."""
    workshop.steps("wait", "By hand")
    run = workshop.started("wait")
    served = serve(before=f"from sopwith.doors.web import limits; limits.{limit} = 0.3")
    runner = served.token("ann", "runner")
    head = f"POST {RUNS}/{run}/evidence HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {runner}\r\n"
    answer = served.raw(f"{head}Content-Length: 10\r\n\r\nabc".encode())
    assert answer.split()[1] == b"408"
    assert b"the file comes too slowly" in answer
    assert list((workshop.sops / "runs").glob("*/.sent/*")) == []


def test_a_backup_leaves_nothing_open(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    workshop.started("wait")
    served = serve()
    admin = served.token("ann", "admin")

    def opened() -> int:
        found = [path.readlink() for path in Path(f"/proc/{served.process.pid}/fd").iterdir() if path.is_symlink()]
        return sum(path.name.startswith("runs.db") or path.name.endswith("(deleted)") for path in found)

    def backup() -> int:
        assert served.call("GET", "/api/v1/backup", admin).status == 200
        assert served.call("POST", "/api/v1/audit/export", admin, body={"all": True}).status == 200
        return opened()

    before = backup()
    assert before > 0
    # one more thread may have come to work with it meanwhile; each backup that left something would be one more
    assert [backup() for _ in range(6)][-1] < before + 3


def test_a_run_whose_content_was_dropped_is_verified_over_http(
    serve: Serve, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.steps("quick", "Go | true")
    run = workshop.started("quick", code=0)
    workshop.steps("other", "Go | true")
    (workshop.sops / "config.json").write_text('{"auditRetentionDays": 1}')
    now = SystemClock.now

    def later(clock: SystemClock) -> Instant:
        return msgspec.structs.replace(now(clock), at=now(clock).at + timedelta(days=2))

    with monkeypatch.context() as patch:
        patch.setattr(SystemClock, "now", later)
        assert workshop.json("audit", "prune")["total"] == 1
    served = serve()
    viewer, part = served.token("ann", "viewer"), served.token("eve", "viewer", "--procedures", "other")
    for method in ("GET", "POST"):
        body: dict[str, Any] | None = None if method == "GET" else {}
        told = served.call(method, f"{RUNS}/{run}/verification", viewer, body=body)
        assert told.status == 200, told
        assert told.json["fine"] is True
        assert told.json["dropped"] > 0
        assert served.call(method, f"{RUNS}/{run}/verification", part, body=body).code == "not_found"


def test_a_retry_that_finds_no_slot_is_not_told_who_holds_it(serve: Serve, workshop: Workshop) -> None:
    (workshop.sops / "config.json").write_text('{"maxConcurrentRuns": 1}')
    workshop.steps("broken", "A | false")
    workshop.steps("deploy", "?A | true")
    failed = workshop.started("broken", code=4)
    served = serve()
    everything, part = served.token("ann", "admin"), served.token("eve", "admin", "--procedures", "bro*")
    holder = served.call("POST", RUNS, everything, body={"sopName": "deploy"}).json["runId"]
    told = served.call("POST", f"{RUNS}/{failed}/retry", part, body={})
    assert (told.status, told.code) == (409, "limit_reached")
    assert holder not in told.data.decode()
    told = served.call("POST", f"{RUNS}/{failed}/retry", everything, body={})
    assert (told.code, holder in told.json["detail"]) == ("limit_reached", True)


def _looked_at(served: Served, run: str, token: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """What each route that compares copies tells, as a document and as all that is sent."""
    for method, path in (("GET", f"{RUNS}/{run}/verification"), ("POST", f"{RUNS}/{run}/verification")):
        reply = served.call(method, path, token, body={} if method == "POST" else None)
        yield path, reply.json, reply.data.decode()
    reply = served.call("POST", "/api/v1/audit/verification", token, body={})
    yield "log", reply.json, reply.data.decode()
    reply = served.call("POST", "/api/v1/audit/export", token, body={"all": True})
    made = base64.b64decode(reply.headers["sopwith-made"]).decode()
    yield "export", json.loads(made), made


def test_where_copies_of_checkpoints_are_kept_is_told_to_who_manages_the_server(
    serve: Serve, workshop: Workshop, tmp_path: Path
) -> None:
    """Whoever would change the record unseen has to change them too."""
    workshop.steps("quick", "Go | true")
    kept, gone, bad = tmp_path / "safe" / "kept.jsonl", tmp_path / "gone" / "lost.jsonl", workshop.sops / "in" / "x"
    kept.parent.mkdir()
    places = [str(kept), str(gone), str(bad)]
    (workshop.sops / "config.json").write_text(json.dumps({"checkpointCopies": places[:1]}))
    run = workshop.started("quick", code=0)
    (workshop.sops / "config.json").write_text(json.dumps({"checkpointCopies": places}))
    served = serve()
    for role in ("viewer", "approver", "runner", "author"):
        for where, document, sent in _looked_at(served, run, served.token(f"u-{role}", role)):
            assert str(tmp_path) not in sent, where
            assert str(workshop.root) not in sent, where
            if where == "export":
                assert document["warnings"] == ["1 trouble with checkpointCopies is told to who may manage it"]
                continue
            assert document["fine"] is True
            assert [copy["path"] for copy in document["copies"]] == ["copy 1", "copy 2", "copy 3", "copy 4"]
            assert [copy["outside"] for copy in document["copies"]] == [False, True, True, False]
            assert document["copies"][-1]["problem"].startswith("it cannot be read")
            assert document["problems"] == ["1 trouble with checkpointCopies is told to who may manage it"]
    for where, _document, sent in _looked_at(served, run, served.token("ann", "admin")):
        assert str(bad if where == "export" else gone) in sent, where
    part = served.token("eve", "admin", "--procedures", "qui*")
    assert str(tmp_path) not in served.call("GET", f"{RUNS}/{run}/verification", part).data.decode()


def test_a_copy_that_tells_otherwise_is_found_by_its_number(serve: Serve, workshop: Workshop, tmp_path: Path) -> None:
    workshop.steps("quick", "Go | true")
    kept = tmp_path / "kept.jsonl"
    (workshop.sops / "config.json").write_text(json.dumps({"checkpointCopies": [str(kept)]}))
    run = workshop.started("quick", code=0)
    forged = json.loads(kept.read_text().splitlines()[0])
    kept.write_text(json.dumps({**forged, "root": "0" * 64}, separators=(",", ":"), sort_keys=True) + "\n")
    served = serve()
    told = served.call("GET", f"{RUNS}/{run}/verification", served.token("ann", "viewer")).json
    assert told["fine"] is False
    assert "line 1 of copy 2" in told["firstBad"]["what"]
