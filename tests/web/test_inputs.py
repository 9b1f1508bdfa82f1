"""What a request may bring: strict JSON of bounded size that comes in time, and names that are only ever names."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.doors.workshop import Workshop, eventually

from .given import Served
from .house import House

Serve = Callable[..., Served]
RUNS = "/api/v1/runs"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b'{"sopName": "deploy", "sopName": "other"}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "params": {"a": 1, "a": 2}}', JSON, "bad_argument"),
        (b'{"sopName": NaN}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "params": {"n": 1e999}}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "params": {"n": 123456789012345678901234567890}}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "params": {"n": ' + b"9" * 10_000 + b"}}", JSON, "bad_argument"),
        (b"[" * 100_000, JSON, "bad_argument"),
        (b'{"sopName":' * 50_000, JSON, "bad_argument"),
        (b'{"sopName": "deploy", "params": ' + b'{"a":' * 20 + b"1" + b"}" * 20 + b"}", JSON, "bad_argument"),
        (b"[" + b"0," * 100_000 + b"0]", JSON, "bad_argument"),
        (b'["deploy"]', JSON, "bad_argument"),
        (b"null", JSON, "bad_argument"),
        (b"", JSON, "bad_argument"),
        (b'\xff{"sopName": "deploy"}', JSON, "bad_argument"),
        (b'\xef\xbb\xbf{"sopName": "deploy"}', JSON, "bad_argument"),
        (b'{"sopName": "de\\ud800ploy"}', JSON, "bad_argument"),
        (b'{"sopName": "deploy\\u0000"}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "unknown": 1}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "queue": "yes"}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "queue": 1}', JSON, "bad_argument"),
        (b'{"sopName": 1}', JSON, "bad_argument"),
        (b'{"sopName": "deploy", "executionMode": "yolo"}', JSON, "bad_argument"),
        (b'{"sopName": "deploy"}', {}, "unsupported_media_type"),
        (b'{"sopName": "deploy"}', {"Content-Type": "text/plain"}, "unsupported_media_type"),
        (b"sopName=deploy", {"Content-Type": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
        (b"sopName: deploy", {"Content-Type": "application/yaml"}, "unsupported_media_type"),
        (b"\x1f\x8b", {**JSON, "Content-Encoding": "gzip"}, "unsupported_media_type"),
        (b'{"sopName": "deploy"}', {**JSON, "Idempotency-Key": "x" * 65}, "bad_request"),
        (b'{"sopName": "deploy"}', {**JSON, "Idempotency-Key": "a b"}, "bad_request"),
        (b'{"sopName": "deploy"}', {**JSON, "Idempotency-Key": ""}, "bad_request"),
        (b'{"sopName": "deploy"}', {**JSON, "If-Match": '"1"'}, "bad_request"),
        (b"x" * (1 << 20) + b"x", JSON, "too_large"),
        (b'{"sopName": "../deploy"}', JSON, "bad_name"),
        (b'{"sopName": "/etc/passwd"}', JSON, "bad_name"),
        (b'{"sopName": "runs"}', JSON, "bad_name"),
        (b'{"sopName": "deploy", "params": {"$(touch x)": "1"}}', JSON, "bad_parameter"),
    ],
)
def test_a_body_that_is_not_right_starts_nothing(house: House, body: bytes, headers: dict[str, str], code: str) -> None:
    before = house.call("GET", RUNS, house.tokens["admin"]).json["total"]
    reply = house.call("POST", RUNS, house.tokens["admin"], body=body, headers=headers)
    assert reply.code == code, reply
    assert reply.status < 500
    assert house.call("GET", RUNS, house.tokens["admin"]).json["total"] == before


def test_whoever_sends_a_body_that_nobody_wants_is_there_for_the_answer(house: House) -> None:
    for token, status in (("", b"401"), (house.tokens["viewer"], b"403")):
        head = f"POST {RUNS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        with house.served.connected() as sock:
            sock.sendall(f"{head}Content-Length: 131072\r\n\r\n".encode())
            for _ in range(8):
                # the server has had its turn, and perhaps has answered and closed
                select.select([sock], [], [], 0.02)
                sock.sendall(b"x" * 16_384)
            assert sock.recv(4096).split()[1] == status


def test_a_large_body_is_refused_before_it_comes(house: House) -> None:
    head = f"POST {RUNS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {house.tokens['admin']}\r\n"
    reply = house.served.raw(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
    assert reply.split()[1] == b"413"
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with house.served.connected() as sock:
        sock.sendall(chunked)
        try:
            for _ in range(40):
                sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except OSError:
            return  # closed already
        assert sock.recv(100).split()[1] == b"413"


@pytest.mark.parametrize(
    "bytes_",
    [
        b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"x: y\r\n" * 150 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nx: " + b"y" * 300_000,
        b"GET /" + b"a" * 300_000,
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=[
        "large",
        "fields",
        "field",
        "path",
        "binary",
        "both",
        "twice",
        "negative",
        "not-ascii",
        "http2",
        "connect",
        "absolute",
    ],
)
def test_what_is_no_request_is_refused_and_harms_nobody(house: House, bytes_: bytes) -> None:
    reply = house.served.raw(bytes_, wait=5)
    assert reply == b"" or reply.split()[1][:1] == b"4", reply[:200]
    assert house.call("GET", "/healthz").status == 200


@pytest.mark.parametrize("begins", [b"GET / HTTP/1.1\r\nHost: localhost\r\nx: ", b"GET /"], ids=["field", "path"])
def test_a_head_without_an_end_is_not_kept(house: House, begins: bytes) -> None:
    assert house.served.raw(begins + b"y" * 70_000, wait=5).split()[1] == b"431"


@pytest.mark.parametrize(
    "begins", [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: ", b"GET /healthz?"], ids=["field", "path"]
)
def test_a_head_that_comes_all_at_once_is_bounded_as_well(house: House, begins: bytes) -> None:
    ends = b" HTTP/1.1\r\nHost: localhost\r\n\r\n" if begins.endswith(b"?") else b"\r\n\r\n"
    refused = house.served.raw(begins + b"y" * 70_000 + ends, wait=5)
    assert (refused.split()[1], refused.count(b"HTTP/1.1 ")) == (b"431", 1)
    assert house.served.raw(begins + b"y" * 60_000 + ends, wait=1).split()[1] != b"431"


def test_a_head_or_body_that_comes_slowly_is_not_waited_for(serve: Serve) -> None:
    served = serve(before="from sopwith.doors.web import limits, protocol; limits.BODY_SECS = protocol.HEAD_SECS = 0.3")
    right = served.token("ann", "runner")
    assert served.raw(b"GET / HTTP/1.1\r\nHost: local").split()[1] == b"408"
    assert served.raw(b"").split()[1] == b"408"
    head = f"POST {RUNS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {right}\r\nContent-Length: 10\r\n"
    reply = served.raw(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
    assert reply.split()[1] == b"408"
    assert b"connection: close" in reply.lower()


@pytest.mark.parametrize(
    "evil",
    [
        "..",
        "../../config.json",
        "..%2F..%2Fconfig.json",
        "%2e%2e%2f%2e%2e%2fconfig.json",
        "..%252F..%252Fconfig.json",
        "%2Fetc%2Fpasswd",
        "..%5C..%5Cconfig.json",
        "deploy%00",
        "deploy%0a",
        "DEPLOY",
        "dep%6Coy%2F..%2Fother",
        "runs",
        "keys",
        "config.json",
        "%F0%9F%92%A9",
        "%ff",
        "a" * 5000,
        "'%20or%20'1'='1",
    ],
)
def test_an_id_is_never_a_path(house: House, evil: str) -> None:
    secret = b"canary"
    (house.workshop.sops / "canary.txt").write_bytes(secret)
    paths = [
        f"/api/v1/procedures/{evil}",
        f"/api/v1/procedures/{evil}/source",
        f"{RUNS}/{evil}",
        f"{RUNS}/{evil}/audit",
        f"{RUNS}/{evil}/events",
        f"{RUNS}/{evil}/steps/1/output",
        f"{RUNS}/{house.runs['deploy']}/steps/{evil}",
        f"{RUNS}/{house.runs['deploy']}/steps/{evil}/output",
    ]
    for path in paths:
        reply = house.call("GET", path, house.tokens["admin"])
        assert reply.status in (400, 404), (path, reply)
        assert secret not in reply.data
        assert house.call("GET", path).status == 401


def test_a_mistake_is_told_with_a_hint_that_can_be_followed(house: House) -> None:
    admin = house.tokens["admin"]
    assert house.call("GET", "/api/v1/whoami?x=1", admin).json["hint"] == "it takes none"
    no_name = house.call("POST", "/api/v1/tokens", admin, body={"name": "", "role": "viewer"}).json["detail"]
    assert no_name == "POST /api/v1/tokens: name: expected at least 1 character"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "nothing=1",
        "status=late",
        "cursor=!",
        "cursor=Li4v",
        "&",
        "=",
        "sopName=%ff",
    ],
)
def test_a_query_is_read_strictly(house: House, query: str) -> None:
    reply = house.call("GET", f"{RUNS}?{query}", house.tokens["admin"])
    assert reply.status in (400, 404)
    assert reply.code in ("bad_argument", "bad_request", "bad_name", "not_found"), reply


@pytest.mark.parametrize("trick", ["to a file outside", "to a file of the run", "a folder outside", "a pipe"])
def test_what_a_step_puts_in_place_of_its_log_is_not_followed(house: House, trick: str, tmp_path: Path) -> None:
    run = house.workshop.started("deploy")
    folder = house.workshop.sops / "runs" / run
    log = next(iter(sorted(folder.glob("**/output.log"))))
    path = f"{RUNS}/{run}/steps/1/output"
    assert house.call("GET", path, house.tokens["viewer"]).data == b"built\n"
    (folder / "inside").write_bytes(b"canary")
    (tmp_path / "output.log").write_bytes(b"canary")
    if trick == "a folder outside":
        log.parent.rename(tmp_path / "moved")
        log.parent.symlink_to(tmp_path)
    else:
        log.unlink()
        if trick == "a pipe":
            os.mkfifo(log)
        else:
            log.symlink_to(tmp_path / "output.log" if "outside" in trick else folder / "inside")
    assert house.call("GET", path, house.tokens["viewer"]).data == b""


def test_what_a_name_holds_cannot_break_a_frame_or_a_header(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    served = serve()
    admin = served.token("ann", "admin")
    run = served.call("POST", RUNS, admin, body={"sopName": "wait"}).json["runId"]
    evil = "x\n\nid: 9\nevent: run_completed\ndata: {}\n\n\r\u2028<script>"
    path = f"{RUNS}/{run}"
    assert served.call("POST", f"{path}/pause", admin, body={"reason": evil}).status == 200
    stream = served.stream(f"{path}/events", admin)
    events = stream.take(3)
    stream.close()
    assert [event.id for event in events] == ["1", "2", "3"]
    assert "run_completed" not in [event.event for event in events]
    record = served.call("GET", f"{path}/audit", admin).json["events"]
    assert [event["details"]["reason"] for event in record if event["type"] == "run_paused"] == [evil]


def test_a_client_that_takes_nothing_is_cut_off(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("loud", "Print | head -c 30000000 /dev/zero | tr '\\0' x")
    run = workshop.started("loud", code=0)
    served = serve(before="from sopwith.doors.web import limits; limits.BODY_SECS = 0.3")
    viewer = served.token("ann", "viewer")
    path = f"{RUNS}/{run}/steps/1/output"
    size = len(served.call("GET", path, viewer).data)
    assert size > 1_000_000

    def is_open(port: int) -> bool:
        """Whether the server's end of the connection from this port is still open."""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            local, remote, state = line.split()[1:4]
            if (int(local[-4:], 16), int(remote[-4:], 16)) == (served.port, port):
                return state == "01"
        return False

    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((served.host, served.port))
        port = sock.getsockname()[1]
        assert is_open(port)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {viewer}\r\n\r\n".encode())
        eventually(lambda: not is_open(port))
    assert served.call("GET", RUNS, viewer).status == 200
    assert "trouble" not in served.text
