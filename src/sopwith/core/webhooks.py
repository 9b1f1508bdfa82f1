"""Whether a webhook comes from where it says: over its raw bytes, in constant time, before anything is parsed.

Schemes: Standard Webhooks (standardwebhooks.com), GitHub's, a timestamped HMAC as Stripe has it, and a token. A secret
that is missing, or too short to be one, closes the door. Several secrets hold at once while one is being changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from sopwith.core.procedure import Scheme, Trigger
from sopwith.core.triggers import said, scheme_of

WINDOW_SECS = 300
"""So far the time of a signature may be from ours, before or after."""
MIN_KEY_BYTES = 24
MIN_TOKEN_CHARACTERS = 16
_ID = re.compile(r"[!-~]{1,200}")
_UNDOTTED = re.compile(r"[^\x00-\x20.\x7f-\U0010ffff]{1,200}")
"""What a signed id may be made of: a dot in it could be read as the end of it."""
_TIME = re.compile(r"[0-9]{1,12}")
SECRET_HEADERS = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "x-sopwith-token", "x-api-key", "webhook-signature"),
        *("x-hub-signature", "x-hub-signature-256"),
    }
)
"""What proves a delivery is not kept with it."""


class Proof(msgspec.Struct, frozen=True):
    """`refusal`: why it is not believed, for our own log; else `delivery` is what the sender calls it, if anything."""

    delivery: str = ""
    refusal: str = ""


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived: names of headers in lower case, and the bytes of the body as they came."""

    headers: Mapping[str, str]
    body: bytes


def verify(trigger: Trigger, signed: Signed, *, secrets: Sequence[str], now: datetime) -> Proof:
    """Whether what arrived was made by somebody who has one of the secrets."""
    check, usable = _CHECKS[scheme_of(trigger)]
    keys = [key for secret in secrets if (key := usable(secret)) is not None]
    if not keys:
        return Proof(refusal="the secret is not set" if not secrets else "the secret is too short, or not in its form")
    return check(trigger, signed, keys, now)


def _standard(_trigger: Trigger, signed: Signed, keys: Sequence[bytes], now: datetime) -> Proof:
    delivery, time = signed.headers.get("webhook-id", ""), signed.headers.get("webhook-timestamp", "")
    if not _UNDOTTED.fullmatch(delivery):
        return Proof(refusal="it has no webhook-id, or one with a dot")
    if refusal := _out_of_time(time, now):
        return Proof(refusal=refusal)
    content = f"{delivery}.{time}.".encode() + signed.body
    stated = signed.headers.get("webhook-signature", "").split(" ")
    shown = [each.removeprefix("v1,") for each in stated if each.startswith("v1,")]
    made = [base64.b64encode(_hmac(key, content)).decode() for key in keys]
    return Proof(delivery=delivery) if _any_equal(shown, made) else Proof(refusal="its signature does not fit")


def _github(_trigger: Trigger, signed: Signed, keys: Sequence[bytes], _now: datetime) -> Proof:
    stated = signed.headers.get("x-hub-signature-256", "")
    made = [f"sha256={_hmac(key, signed.body).hex()}" for key in keys]
    if not _any_equal([stated], made):
        return Proof(refusal="its signature does not fit")
    # the id is not signed: who has seen one delivery can send it again under another id
    return Proof(delivery=_named(signed, "x-github-delivery") or _digest(signed))


def _timestamped(trigger: Trigger, signed: Signed, keys: Sequence[bytes], now: datetime) -> Proof:
    stated = signed.headers.get(said(trigger.signature_header, "").lower(), "")
    parts = [part.partition("=")[::2] for part in stated.split(",")]
    times = [value for name, value in parts if name == "t"]
    if len(times) != 1 or not all(name and value for name, value in parts):
        return Proof(refusal="its signature has no time, or cannot be read")
    if refusal := _out_of_time(times[0], now):
        return Proof(refusal=refusal)
    content = f"{times[0]}.".encode() + signed.body
    made = [_hmac(key, content).hex() for key in keys]
    if not _any_equal([value for name, value in parts if name == "v1"], made):
        return Proof(refusal="its signature does not fit")
    return Proof(delivery=_named(signed, said(trigger.id_header, "")) or _digest(signed))


def _token(trigger: Trigger, signed: Signed, keys: Sequence[bytes], _now: datetime) -> Proof:
    scheme, _, bearer = signed.headers.get("authorization", "").partition(" ")
    shown = [bearer.strip()] if scheme.lower() == "bearer" else []
    shown.append(signed.headers.get("x-sopwith-token", ""))
    if not _any_equal(shown, [key.decode("utf-8", "surrogateescape") for key in keys]):
        return Proof(refusal="its token does not fit")
    return Proof(delivery=delivery_of_caller(trigger, signed))


def delivery_of_caller(trigger: Trigger, signed: Signed) -> str:
    """What a caller who is known by a token calls the delivery; empty: each call is another one."""
    return _named(signed, said(trigger.id_header, "")) or _named(signed, "idempotency-key")


def _named(signed: Signed, header: str) -> str:
    stated = signed.headers.get(header.lower(), "") if header else ""
    return stated if _ID.fullmatch(stated) else digest_of(stated.encode("utf-8", "surrogateescape")) if stated else ""


def _digest(signed: Signed) -> str:
    return digest_of(signed.body)


def digest_of(data: bytes) -> str:
    """A name for bytes that have none, or one that is too long."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _out_of_time(stated: str, now: datetime) -> str:
    if not _TIME.fullmatch(stated):
        return "it has no time"
    apart = now.timestamp() - int(stated)
    if abs(apart) <= WINDOW_SECS:
        return ""
    return f"it was signed {abs(apart):.0f} s {'ago' if apart > 0 else 'from now'}, and {WINDOW_SECS} s are allowed"


def _hmac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


def _any_equal(shown: Sequence[str], made: Sequence[str]) -> bool:
    """Whether any that was shown is one that we made. Each pair is compared, so that time tells nothing."""
    pairs = [
        (one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))
        for one in shown[:16]
        for other in made
    ]
    return sum([hmac.compare_digest(one, other) for one, other in pairs]) > 0


def _standard_key(secret: str) -> bytes | None:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_").encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    return key if len(key) >= MIN_KEY_BYTES else None


def _plain_key(secret: str) -> bytes | None:
    key = secret.encode("utf-8", "surrogateescape")
    return key if len(key) >= MIN_KEY_BYTES else None


def _token_key(secret: str) -> bytes | None:
    return secret.encode("utf-8", "surrogateescape") if len(secret.strip()) >= MIN_TOKEN_CHARACTERS else None


_Check = Callable[[Trigger, Signed, Sequence[bytes], datetime], Proof]
_CHECKS: Mapping[Scheme, tuple[_Check, Callable[[str], bytes | None]]] = {
    Scheme.STANDARD: (_standard, _standard_key),
    Scheme.GITHUB: (_github, _plain_key),
    Scheme.TIMESTAMPED: (_timestamped, _plain_key),
    Scheme.TOKEN: (_token, _token_key),
}
