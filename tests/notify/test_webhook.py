"""Outgoing webhooks on real sockets: signed, ended in time, led nowhere else."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from sopwith.clock import SystemClock
from sopwith.core.messages import Message, Tone
from sopwith.core.notifications import ChannelConfig
from sopwith.errors import NotSent
from sopwith.notify import webhook
from sopwith.ports import Premises

from .servers import hang_up, serving, silent, tarpit, with_status

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Of the examples of Standard Webhooks."""
MESSAGE = Message(
    id="notice_1", title="Paused: deploy", text="Paused: deploy\n\nZürich", tone=Tone.BAD, document={"moment": "m"}
)


@pytest.fixture
def enough() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def made(url: str, **environ: str) -> Any:
    channel = ChannelConfig(kind="webhook", url=url, secret_env="KEY")
    clock = SystemClock()
    return webhook.KIND.make(channel, Premises(environ={"KEY": KEY, **environ}, root=None, now=clock.now))  # type: ignore[arg-type]


def why_not(url: str, **environ: str) -> str:
    with pytest.raises(NotSent) as caught:
        made(url, **environ).send(MESSAGE)
    assert KEY[6:] not in caught.value.message + caught.value.hint
    return caught.value.message


def test_a_message_is_posted_and_its_signature_is_what_others_verify() -> None:
    with serving(with_status(200)) as server:
        assert made(f"http://{server.url}/in?x=1").send(MESSAGE) == "HTTP 200 OK"
    ((path, headers, body),) = server.requests
    assert path == "/in?x=1"
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-id"] == "notice_1"
    found = Verifier(KEY).verify(body, headers)
    assert found == json.loads(body)
    assert found["type"] == "m"
    assert found["data"] == {
        "title": "Paused: deploy",
        "text": "Paused: deploy\n\nZürich",
        "tone": "bad",
        "moment": "m",
    }


def test_the_published_example_has_its_published_signature() -> None:
    key = webhook.signing_key(KEY, "KEY")
    body = b'{"test": 2432232314}'
    signed = webhook.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("key", ["", "short", "whsec_c2hvcnQ=", "whsec_!!!", "Zürich"])
def test_a_key_that_is_none_sends_nothing(key: str) -> None:
    with serving(with_status(200)) as server:
        assert "KEY" in why_not(f"http://{server.url}/", KEY=key)
    assert server.requests == []


def test_an_address_may_stand_in_a_variable() -> None:
    with serving(with_status(204)) as server:
        channel = ChannelConfig(kind="webhook", url_env="URL", secret_env="KEY")
        environ = {"KEY": KEY, "URL": f"http://{server.url}/"}
        premises = Premises(environ=environ, root=None, now=SystemClock().now)  # type: ignore[arg-type]
        assert webhook.KIND.make(channel, premises).send(MESSAGE).startswith("HTTP 204")
    with pytest.raises(NotSent, match="URL is not set here"):
        webhook.KIND.make(channel, Premises(environ={"KEY": KEY}, root=None, now=SystemClock().now))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://x/", "http://", "//x/", "http://a\r\nb/", "http://[::1"]
)
def test_an_address_that_came_from_a_variable_is_checked_too(url: str) -> None:
    assert "https:// or http://" in why_not(url)


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_any_other_status_is_a_failure(status: int) -> None:
    with serving(with_status(status)) as server:
        assert why_not(f"http://{server.url}/").startswith(f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with (
        serving(with_status(200)) as other,
        serving(with_status(status, {"Location": f"http://{other.url}/"})) as server,
    ):
        assert "redirects are not followed" in why_not(f"http://{server.url}/")
    assert other.requests == []


def test_a_tarpit_is_left_in_time(monkeypatch: pytest.MonkeyPatch, enough: threading.Event) -> None:
    monkeypatch.setattr(webhook, "LIMIT_SECS", 0.3)
    with serving(tarpit(enough)) as server:
        assert "within 0 s" in why_not(f"http://{server.url}/")
        enough.set()


def test_a_server_that_says_nothing_is_left_in_time(monkeypatch: pytest.MonkeyPatch, enough: threading.Event) -> None:
    monkeypatch.setattr(webhook, "LIMIT_SECS", 0.2)
    with serving(silent(enough)) as server:
        why_not(f"http://{server.url}/")
        enough.set()


def test_one_that_hangs_up_one_that_is_not_there_and_one_that_nobody_knows() -> None:
    with serving(hang_up) as server:
        assert why_not(f"http://{server.url}/") == "it hung up without an answer"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "refused" in why_not(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert why_not("http://nobody.invalid/") == "the host nobody.invalid is not found"


def test_what_a_server_says_is_shown_harmless() -> None:
    with serving(with_status(500, words="No \x1b[31mway")) as server:
        assert why_not(f"http://{server.url}/") == "HTTP 500 No \\u{001b}[31mway"


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.0.1", "100.100.100.200", "0.0.0.0", "224.0.0.1", "fe80::1", "fd00:ec2::254",
     "::ffff:169.254.169.254", "::", "ff02::1"],
)  # fmt: skip
def test_metadata_addresses_are_refused_whatever_name_leads_there(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 0, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    connected: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, where: connected.append(where))
    assert "refused" in why_not("http://innocent.example/")
    assert connected == []


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Any) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made_by = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*made_by, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with listening, listening.accept()[0] as raw, contextlib.suppress(OSError):
            context.wrap_socket(raw, server_side=True).close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    found = why_not(f"https://localhost:{listening.getsockname()[1]}/")
    assert found.startswith("the certificate of localhost is not trusted")
    thread.join()


@pytest.mark.parametrize(
    ("header", "secs"),
    [
        ("120", 120.0),
        ("999999999999", 3600.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 3600.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_when_to_come_again_is_heeded_within_bounds(header: str | None, secs: float) -> None:
    assert webhook.retry_after(header, datetime(2026, 1, 1, tzinfo=UTC)) == secs


@pytest.mark.parametrize(("status", "secs"), [(429, 7.0), (503, 7.0), (500, 0.0)])
def test_who_is_too_busy_says_when_to_come_again(status: int, secs: float) -> None:
    with serving(with_status(status, {"Retry-After": "7"})) as server, pytest.raises(NotSent) as caught:
        made(f"http://{server.url}/").send(MESSAGE)
    assert caught.value.details["again_secs"] == secs
