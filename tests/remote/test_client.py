"""What comes over the wire is believed as far as it can be checked, and a token goes nowhere else."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sopwith.core.actor import Actor, ActorKind
from sopwith.doors.remote import keeping
from sopwith.doors.remote.client import Client, ServerUnreachable, in_path
from sopwith.doors.remote.engine import RemoteEngine
from sopwith.doors.remote.store import RemoteStore
from sopwith.errors import (
    BadRequest,
    LimitReached,
    NotFound,
    RevisionConflict,
    SopwithError,
    StoreError,
    WorkspaceError,
)

Answer = tuple[int, dict[str, str], bytes]
ANN = Actor("ann", ActorKind.HUMAN, "cli")


class Stub:
    """A server that answers what a test wants; `None` closes the connection without a word."""

    def __init__(self) -> None:
        self.answers: list[Answer | None] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.command, self.path, headers, body))
                answer = outer.answers.pop(0)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                for name, value in {"content-length": str(len(answer[2])), **answer[1]}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer[2])

            do_GET = do_POST = _any  # noqa: N815 the library's names

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.client = Client(f"http://127.0.0.1:{self._server.server_address[1]}", "token")

    def says(self, document: Any, status: int = 200) -> None:
        self.answers.append((status, {"content-type": "application/json"}, json.dumps(document).encode()))

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.close()


def test_what_got_lost_is_sent_again_under_the_same_name(stub: Stub) -> None:
    stub.answers.append(None)
    stub.says({"runId": "x"})
    assert stub.client.post("/runs", {"sopName": "deploy"}) == {"runId": "x"}
    keys = [headers["idempotency-key"] for _, _, headers, _ in stub.seen]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    stub.says({})
    stub.client.post("/runs", {"sopName": "deploy"})
    assert stub.seen[-1][2]["idempotency-key"] != keys[0]


def test_what_has_no_name_is_sent_once(stub: Stub) -> None:
    stub.answers.append(None)
    with pytest.raises(ServerUnreachable):
        stub.client.post("/tokens", {"name": "ann"}, keyed=False)
    assert len(stub.seen) == 1


def test_a_token_does_not_follow_a_redirect(stub: Stub) -> None:
    stub.answers.append((307, {"location": f"{stub.client.address}/elsewhere"}, b""))
    with pytest.raises(ServerUnreachable, match="the answer is 307"):
        stub.client.get("/runs")
    assert [path for _, path, _, _ in stub.seen] == ["/api/v1/runs"]


@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_that_is_cut_off_is_none(stub: Stub, status: int) -> None:
    """Also where it tells of an error."""
    cut: Answer = (status, {"content-length": "500"}, b'{"code": "not_fo')
    stub.answers += [cut, cut]
    with pytest.raises(ServerUnreachable, match="no answer from"):
        stub.client.get("/runs")
    assert len(stub.seen) == 2
    stub.answers.append(cut)
    with pytest.raises(ServerUnreachable, match="no answer from"):
        stub.client.post("/tokens", {"name": "ann"}, keyed=False)
    stub.answers.append((404, cut[1], cut[2]))
    with pytest.raises(ServerUnreachable, match="no answer from"):
        stub.client.fetch("GET", "/backup", io.BytesIO())


def test_what_cannot_be_kept_here_is_not_the_servers_fault(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "TemporaryFile", lambda: Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115
    stub.answers.append((200, {"content-type": "application/x-tar"}, b"x" * 100))
    with pytest.raises(WorkspaceError, match="No space left"):
        keeping.RemoteKeeping(stub.client).export(tmp_path / "e", run_ids=(), since=None, brought=())


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"", b'{"code": 3'])
def test_whoever_does_not_answer_as_a_sopwith_server_is_none(stub: Stub, body: bytes) -> None:
    for status in (200, 502):
        stub.answers.append((status, {}, body))
        with pytest.raises(ServerUnreachable):
            stub.client.get("/runs")


def test_a_refusal_is_raised_as_what_it_was(stub: Stub) -> None:
    problem = {
        "type": "urn:x",
        "title": "Conflict",
        "status": 409,
        "code": "limit_reached",
        "detail": "full",
        "hint": "wait",
    }
    stub.says(problem, 409)
    with pytest.raises(LimitReached) as caught:
        stub.client.get("/runs")
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == ("full", "wait", 5)


def test_what_is_not_found_is_nothing_narrower(stub: Stub) -> None:
    """Kinds that share a code are told apart where the server is, and nowhere else."""
    from sopwith.engine.sight import OutOfSight

    assert OutOfSight.code == NotFound.code
    stub.says({"status": 404, "code": "not_found", "detail": "no run is called x"}, 404)
    with pytest.raises(NotFound) as caught:
        stub.client.get("/runs/x")
    assert type(caught.value) is NotFound


@pytest.mark.parametrize(("status", "code"), [(401, 5), (403, 5), (404, 6), (409, 5), (418, 2), (503, 1)])
def test_a_refusal_that_is_not_known_here_keeps_its_kind(stub: Stub, status: int, code: int) -> None:
    stub.says({"code": "new_in_version_9", "detail": "no", "status": status}, status)
    with pytest.raises(SopwithError) as caught:
        stub.client.get("/runs")
    assert (caught.value.code, caught.value.exit_code) == ("new_in_version_9", code)


@pytest.mark.parametrize(
    "address",
    ["", "example.com", "ftp://x", "http://", "https://ann:secret@x", "http://x?y", "http://x#y", "http://x:port"],
)
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(BadRequest, match="is no address"):
        Client(address, "token")


@pytest.mark.parametrize("token", [None, "", "a b", "a\nb", "ü"])
def test_what_is_no_token_is_told_and_not_shown(token: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        Client("http://127.0.0.1:1", token)
    assert not token or token not in caught.value.message


def test_no_name_leaves_its_place_in_the_path() -> None:
    assert in_path("runs", "../tokens", "a?b#c", "3:eu") == "/runs/..%2Ftokens/a%3Fb%23c/3%3Aeu"


def test_a_content_is_what_its_digest_says_or_is_not_shown(stub: Stub) -> None:
    store = RemoteStore(stub.client)
    good = sha256(b"what was asked").hexdigest()
    stub.answers.append((200, {}, b"something else"))
    with pytest.raises(StoreError, match="is not what its digest says"):
        store.content(good)
    stub.answers.append((200, {}, b"what was asked"))
    assert store.content(good) == b"what was asked"


def test_output_is_asked_for_from_where_it_was_read(stub: Stub) -> None:
    stub.answers.append((206, {"content-range": "bytes 3-5/6"}, b"def"))
    assert stub.client.data("/x", first=3) == b"def"
    assert stub.seen[0][2]["range"] == "bytes=3-"
    stub.answers.append((200, {}, b"abcdef"))
    assert stub.client.data("/x", first=3) == b"def"
    stub.says({"code": "range_not_satisfiable", "detail": "no", "status": 416}, 416)
    assert stub.client.data("/x", first=6) == b""


def test_an_answer_without_an_aim_is_about_what_was_seen(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked between the look and the answer is not what was answered."""
    engine = RemoteEngine(stub.client)
    monkeypatch.setattr(engine.runs, "load", _at_revision(7))
    stub.says({"code": "revision_conflict", "detail": "moved on", "status": 412}, 412)
    with pytest.raises(RevisionConflict):
        engine.approve("sop_run_aaaaaaaaaaaa", actor=ANN)
    assert stub.seen[0][2]["if-match"] == '"7"'
    stub.says({"code": "not_found", "detail": "gone", "status": 404}, 404)
    with pytest.raises(NotFound):
        engine.approve("sop_run_aaaaaaaaaaaa", actor=ANN, step=2)
    assert "if-match" not in stub.seen[1][2]
    assert json.loads(stub.seen[1][3]) == {"stepNumber": 2}


def _at_revision(seq: int) -> Callable[[str], Any]:
    class _Run:
        pass

    run, loaded = _Run(), _Run()
    run.seq = seq  # type: ignore[attr-defined]
    loaded.run = run  # type: ignore[attr-defined]
    return lambda _run_id: loaded
