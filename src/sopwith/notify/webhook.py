"""Outgoing webhooks: the message is posted as JSON, signed as Standard Webhooks say (standardwebhooks.com).

http and https alone, no redirects, no proxy, and never to an address that only this machine's hosts and clouds use for
themselves (169.254.0.0/16 and the like), whatever a name resolves to. All of it ends after 20 seconds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

import msgspec

from sopwith.core.instant import Instant, iso
from sopwith.core.messages import Message
from sopwith.core.notifications import ChannelConfig
from sopwith.core.visible import in_one_line, visible
from sopwith.errors import NotSent
from sopwith.notify.address import address_of, variable
from sopwith.ports import ChannelKind, Premises
from sopwith.version import __version__

LIMIT_SECS = 20.0
MOST_AGAIN_SECS = 3600.0
"""However long somebody wants not to be asked: the hour that is the longest pause anyway."""
MIN_KEY_BYTES = 24
_PREFIX = "whsec_"
_FORBIDDEN = tuple(
    ipaddress.ip_network(each)
    for each in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32", "0.0.0.0/32", "::/128")
)
"""Link-local addresses and those at which clouds hand out credentials."""


class Webhook:
    """Posts to one address with one key."""

    def __init__(self, url: str, key: bytes, now: Callable[[], Instant]) -> None:
        self._url = _checked(url)
        self._key = key
        self._now = now

    def send(self, message: Message) -> str:
        now = self._now().at
        body = payload(message, now)
        stamp = str(int(now.timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"sopwith/{__version__}",
            "webhook-id": message.id,
            "webhook-timestamp": stamp,
            "webhook-signature": signature(self._key, message.id, stamp, body),
        }
        return _posted(self._url, body, headers, now)


def payload(message: Message, now: datetime) -> bytes:
    """`{type, timestamp, data}`: the form that Standard Webhooks recommend."""
    data = {"title": message.title, "text": message.text, "tone": message.tone.value, **message.document}
    kind = str(message.document.get("moment", "test"))
    return msgspec.json.encode({"type": kind, "timestamp": iso(now), "data": data})


def signature(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 of id, time and body, in base64."""
    signed = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def signing_key(text: str, name: str) -> bytes:
    """The key, as `whsec_` and base64. Raises NotSent, which repeats nothing of it."""
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < MIN_KEY_BYTES:
        raise NotSent(
            f"{name} is no signing key: it must be whsec_ and {MIN_KEY_BYTES} bytes or more in base64",
            hint="make one: echo whsec_$(openssl rand -base64 32)",
        )
    return key


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c <= " " or c == "\x7f" for c in url):
        raise NotSent("its address is none that starts with https:// or http:// and names a host")
    return parts


def _posted(url: SplitResult, body: bytes, headers: Mapping[str, str], now: datetime) -> str:
    connection = _Connection(url)
    # a timeout of the socket would begin anew with each byte of an answer that comes drop by drop
    limit = threading.Timer(LIMIT_SECS, connection.give_up)
    limit.daemon = True
    limit.start()
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        connection.request("POST", path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        answer.read(1024)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(_why(error, connection)) from error
    finally:
        limit.cancel()
        connection.close()
    if connection.given_up:
        raise NotSent(f"no whole answer within {LIMIT_SECS:.0f} s")
    told = f"HTTP {answer.status} {in_one_line(visible(answer.reason[:60]))}".rstrip()
    if 200 <= answer.status < 300:
        return told
    again_secs = retry_after(answer.getheader("retry-after"), now) if answer.status in (429, 503) else 0.0
    raise NotSent(f"{told}: redirects are not followed" if 300 <= answer.status < 400 else told, again_secs=again_secs)


def retry_after(header: str | None, now: datetime) -> float:
    """The seconds until whoever answered wants to hear again, `MOST_AGAIN_SECS` at most; 0 where it does not say."""
    words = (header or "").strip()
    if words.isascii() and words.isdecimal():
        return min(float(words[:9]), MOST_AGAIN_SECS)
    try:
        at = parsedate_to_datetime(words)
        secs = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(secs, 0.0), MOST_AGAIN_SECS)


def _why(error: Exception, connection: _Connection) -> str:
    if connection.given_up:
        return f"no answer within {LIMIT_SECS:.0f} s"
    if isinstance(error, socket.gaierror):
        return f"the host {connection.host} is not found"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {connection.host} is not trusted: {error.verify_message}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hung up without an answer"
    if isinstance(error, _Forbidden):
        return str(error)
    told = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return f"no connection: {told}"


class _Forbidden(OSError):
    """An address that must not be spoken to."""


class _Connection(http.client.HTTPConnection):
    """To an address that was looked at, and no other: what a name resolves to may change in between."""

    def __init__(self, url: SplitResult) -> None:
        assert url.hostname is not None
        self._tls = url.scheme == "https"
        super().__init__(url.hostname, url.port or (443 if self._tls else 80), timeout=LIMIT_SECS)
        self.given_up = False

    def connect(self) -> None:
        raw = self._connected()
        self.sock = raw
        if self._tls:
            self.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=self.host)
        if self.given_up:
            self.give_up()

    def give_up(self) -> None:
        """From another thread: whatever it waits for ends now."""
        self.given_up = True
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> socket.socket:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        refusal: OSError = OSError("the host has no address")
        for family, kind, protocol, _name, address in found:
            try:
                _check_address(str(address[0]))
                opened = socket.socket(family, kind, protocol)
            except OSError as error:
                refusal = error
                continue
            try:
                opened.settimeout(LIMIT_SECS)
                opened.connect(address)
            except OSError as error:
                opened.close()
                refusal = error
                continue
            return opened
        raise refusal


def _check_address(text: str) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_multicast or any(mapped in network for network in _FORBIDDEN if network.version == mapped.version):
        raise _Forbidden(f"messages are not sent to {address}: link-local and metadata addresses are refused")


def _make(channel: ChannelConfig, premises: Premises) -> Webhook:
    key = signing_key(variable(channel.secret_env, premises.environ), channel.secret_env)
    return Webhook(address_of(channel, premises.environ), key, premises.now)


KIND = ChannelKind(name="webhook", make=_make)
