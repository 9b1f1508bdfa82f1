"""Apprise, against a server of our own through its json:// service."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from sopwith.clock import SystemClock
from sopwith.core.messages import Message, Tone
from sopwith.core.notifications import ChannelConfig
from sopwith.errors import NotSent
from sopwith.notify import apprise
from sopwith.ports import Premises

from .servers import serving, silent, with_status

MESSAGE = Message(
    id="notice_1", title="Paused: deploy", text="Paused: deploy\n\nWhy: <b>\nAnswer: sop resume x", tone=Tone.ASKS
)

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""Of Apprise's own, where the Python has that module still."""


def made(url: str) -> Any:
    channel = ChannelConfig(kind="apprise", url_env="CHAT")
    return apprise.KIND.make(channel, Premises(environ={"CHAT": url}, root=None, now=SystemClock().now))  # type: ignore[arg-type]


def why_not(url: str) -> NotSent:
    with pytest.raises(NotSent) as caught:
        made(url).send(MESSAGE)
    return caught.value


def test_a_message_goes_out_with_its_title_once_and_its_tone() -> None:
    with serving(with_status(200)) as server:
        assert made(f"json://{server.url}/in").send(MESSAGE) == "taken"
    ((path, _headers, body),) = server.requests
    sent = json.loads(body)
    assert path.startswith("/in")
    assert (sent["title"], sent["type"]) == ("Paused: deploy", "warning")
    assert sent["message"] == "Why: <b>\nAnswer: sop resume x"


def test_every_tone_has_a_type_that_apprise_knows() -> None:
    from apprise import NotifyType

    assert {apprise._TYPES[tone] for tone in Tone} == {each.value for each in NotifyType}


def test_a_failure_of_the_service_repeats_nothing_of_the_url() -> None:
    with serving(with_status(500)) as server:
        error = why_not(f"json://user:verysecret@{server.url}/in")
    assert "verysecret" not in error.message + error.hint


def test_what_apprise_logs_goes_nowhere() -> None:
    """It may hold parts of the URL; a logger without a handler writes to stderr."""
    code = (
        "from sopwith.notify.apprise import Apprise; from sopwith.core.messages import Message\n"
        "try: Apprise('json://user:verysecret@127.0.0.1:1/').send(Message(id='n', title='t', text='x'))\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("the service did not take it\n", "")


def test_a_redirect_is_not_followed() -> None:
    with serving(with_status(200)) as other, serving(with_status(302, {"Location": f"http://{other.url}/"})) as server:
        why_not(f"json://{server.url}/")
    assert other.requests == []


def test_a_service_that_says_nothing_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise, "LIMIT_SECS", 0.3)
    enough = threading.Event()
    with serving(silent(enough)) as server:
        assert "no end within" in why_not(f"json://{server.url}/").message
        enough.set()


@pytest.mark.parametrize("url", ["verysecret", "nosuch://verysecret", "slack://x"])
def test_a_url_that_apprise_does_not_know_is_not_repeated(url: str) -> None:
    error = why_not(url)
    assert "verysecret" not in error.message + error.hint
    assert "appriseit.com" in error.hint


def test_without_apprise_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise, "find_spec", lambda _name: None)
    assert why_not("json://127.0.0.1:1/").hint == 'pip install "sopwith[notify]"'
    assert importlib.util.find_spec("apprise") is not None


def test_a_variable_that_is_not_set_is_named() -> None:
    assert why_not("").message == "CHAT is not set here"
