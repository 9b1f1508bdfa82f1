"""Signatures of webhooks: published vectors, every byte changed, and what closes the door."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from sopwith.core.procedure import Scheme, Trigger
from sopwith.core.webhooks import Proof, Signed, verify

NOW = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
TIME = str(int(NOW.timestamp()))
BODY = b'{"test": 2432232314}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PLAIN = "It's a Secret to Everybody"
STANDARD = Trigger(type="webhook", path="/a", secret_env="S")
GITHUB = Trigger(type="webhook", path="/a", secret_env="S", scheme=Scheme.GITHUB)
STRIPE = Trigger(type="webhook", path="/a", scheme=Scheme.TIMESTAMPED, signature_header="Stripe-Signature")
TOKEN = Trigger(type="webhook", path="/a", scheme=Scheme.TOKEN, id_header="X-Id")


def standard(body: bytes = BODY, *, secret: str = SECRET, time: str = TIME, name: str = "msg_1") -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = base64.b64encode(hmac.digest(key, f"{name}.{time}.".encode() + body, "sha256")).decode()
    return {"webhook-id": name, "webhook-timestamp": time, "webhook-signature": f"v1,{made}"}


def github(body: bytes = BODY, *, secret: str = PLAIN) -> dict[str, str]:
    return {"x-hub-signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"}


def stripe(body: bytes = BODY, *, secret: str = PLAIN, time: str = TIME) -> dict[str, str]:
    made = hmac.digest(secret.encode(), f"{time}.".encode() + body, "sha256").hex()
    return {"stripe-signature": f"t={time},v1={made}"}


def proof(trigger: Trigger, headers: dict[str, str], *secrets: str, body: bytes = BODY, now: datetime = NOW) -> Proof:
    return verify(trigger, Signed(headers=headers, body=body), secrets=secrets, now=now)


def test_the_vector_of_the_standard_webhooks_libraries_holds() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert proof(STANDARD, headers, SECRET, now=at) == Proof(delivery="msg_p5jXN8AQM9LWM0D4loKWxJek")
    assert proof(STANDARD, headers, SECRET, body=BODY + b" ", now=at).refusal


def test_what_the_reference_library_signs_is_believed() -> None:
    made = Webhook(SECRET).sign("msg_2", NOW, BODY.decode())
    headers = {"webhook-id": "msg_2", "webhook-timestamp": TIME, "webhook-signature": made}
    assert proof(STANDARD, headers, SECRET) == Proof(delivery="msg_2")


def test_the_vector_of_github_s_documentation_holds() -> None:
    headers = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    }
    assert proof(GITHUB, headers, PLAIN, body=b"Hello, World!") == Proof(
        delivery="72d3162e-cc78-11e3-81ab-4c9367dc0958"
    )
    assert proof(GITHUB, headers, PLAIN, body=b"Hello, World?").refusal


def mutants(text: str) -> list[str]:
    """The text with each of its characters changed in several ways, left out, or doubled."""
    found = []
    for at, char in enumerate(text):
        for other in {chr(ord(char) ^ 1), chr(ord(char) ^ 0x20), "0", "A", " ", "é"} - {char}:
            found.append(text[:at] + other + text[at + 1 :])
        found.append(text[:at] + text[at + 1 :])
        found.append(text[:at] + char + text[at:])
    return [each for each in found if each != text]


@pytest.mark.parametrize(
    ("trigger", "headers", "secret"),
    [(STANDARD, standard(), SECRET), (GITHUB, github(), PLAIN), (STRIPE, stripe(), PLAIN)],
    ids=["standard", "github", "timestamped"],
)
def test_no_byte_of_body_id_time_or_signature_may_change(
    trigger: Trigger, headers: dict[str, str], secret: str
) -> None:
    assert not proof(trigger, headers, secret).refusal
    tried = 0
    for name, value in headers.items():
        for mutant in mutants(value):
            tried += 1
            assert proof(trigger, {**headers, name: mutant}, secret).refusal, (name, mutant)
        assert proof(trigger, {other: held for other, held in headers.items() if other != name}, secret).refusal
    for at in range(len(BODY)):
        for bit in range(8):
            tried += 1
            changed = BODY[:at] + bytes([BODY[at] ^ (1 << bit)]) + BODY[at + 1 :]
            assert proof(trigger, headers, secret, body=changed).refusal, changed
    for shorter in (BODY[:-1], BODY[1:], BODY + b"\n", b"", BODY + BODY):
        assert proof(trigger, headers, secret, body=shorter).refusal
    assert tried > 600


def test_an_id_with_a_dot_is_refused_since_it_could_end_elsewhere() -> None:
    """`a.1` at 2 with body `x` is signed as `a` at 1 with body `2.x` is."""
    signed = standard(f"{TIME}.x".encode(), name="a")
    moved = {**signed, "webhook-id": f"a.{TIME}"}
    assert not proof(STANDARD, signed, SECRET, body=f"{TIME}.x".encode()).refusal
    assert proof(STANDARD, moved, SECRET, body=b"x").refusal == "it has no webhook-id, or one with a dot"


@pytest.mark.parametrize(("trigger", "sign"), [(STANDARD, standard), (STRIPE, stripe)])
def test_a_signature_holds_for_300_seconds_both_ways(trigger: Trigger, sign: object) -> None:
    secret = SECRET if trigger is STANDARD else PLAIN
    for seconds, believed in ((-301, False), (-300, True), (300, True), (301, False)):
        signed = sign(time=str(int((NOW + timedelta(seconds=seconds)).timestamp())))  # type: ignore[operator]
        assert bool(proof(trigger, signed, secret).refusal) is not believed, seconds
    for odd in ("", "-1", "1e9", "²", "1" * 13, f"{TIME}.0", f" {TIME}"):
        assert proof(trigger, sign(time=odd), secret).refusal  # type: ignore[operator]


@pytest.mark.parametrize(
    ("trigger", "secrets"),
    [
        (STANDARD, ()),
        (STANDARD, ("",)),
        (STANDARD, ("whsec_" + base64.b64encode(b"x" * 23).decode(),)),
        (STANDARD, ("not base64, and long enough to be a secret",)),
        (GITHUB, ()),
        (GITHUB, ("",)),
        (GITHUB, ("x" * 23,)),
        (STRIPE, ("x" * 23,)),
        (TOKEN, ()),
        (TOKEN, ("",)),
        (TOKEN, (" " * 16,)),
        (TOKEN, ("x" * 15,)),
    ],
)
def test_a_secret_that_is_missing_or_too_short_closes_the_door(trigger: Trigger, secrets: tuple[str, ...]) -> None:
    """Also for whoever signs with that very secret."""
    secret = secrets[0] if secrets else ""
    made = hmac.digest(secret.encode(), BODY, "sha256").hex()
    headers = {
        **stripe(secret=secret),
        "x-hub-signature-256": f"sha256={made}",
        "x-sopwith-token": secret,
        "authorization": f"Bearer {secret}",
    }
    refusal = proof(trigger, headers, *secrets).refusal
    assert refusal in ("the secret is not set", "the secret is too short, or not in its form")


@pytest.mark.parametrize(("trigger", "sign", "old"), [(STANDARD, standard, SECRET), (GITHUB, github, PLAIN)])
def test_both_secrets_hold_while_one_is_being_changed(trigger: Trigger, sign: object, old: str) -> None:
    new = "whsec_" + base64.b64encode(b"another secret of 24 bytes").decode()
    for secret in (old, new):
        assert not proof(trigger, sign(secret=secret), old, new).refusal  # type: ignore[operator]
    assert proof(trigger, sign(secret=old), new).refusal  # type: ignore[operator]
    assert not proof(trigger, sign(secret=new), "short", new).refusal  # type: ignore[operator]


def test_a_sender_may_sign_with_both_secrets_at_once() -> None:
    signed = standard()
    both = {**signed, "webhook-signature": f"v2,xyz v1,{'A' * 43}= {signed['webhook-signature']}"}
    assert not proof(STANDARD, both, SECRET).refusal
    assert proof(STANDARD, {**signed, "webhook-signature": "v1a" + signed["webhook-signature"][2:]}, SECRET).refusal


def test_a_token_is_taken_from_either_header_and_nowhere_else() -> None:
    secret = "a token of sixteen"
    assert not proof(TOKEN, {"authorization": f"Bearer {secret}"}, secret).refusal
    assert not proof(TOKEN, {"x-sopwith-token": secret}, secret).refusal
    for headers in ({}, {"authorization": secret}, {"x-token": secret}, {"authorization": f"Basic {secret}"}):
        assert proof(TOKEN, headers, secret).refusal
    assert proof(TOKEN, {"x-sopwith-token": secret + "x"}, secret).refusal


def test_what_a_delivery_is_called() -> None:
    digest = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    assert proof(GITHUB, github(), PLAIN).delivery == digest
    assert proof(STRIPE, stripe(), PLAIN).delivery == digest
    secret = {"x-sopwith-token": "a token of sixteen"}
    assert proof(TOKEN, secret, secret["x-sopwith-token"]).delivery == ""
    assert proof(TOKEN, {**secret, "x-id": "7"}, secret["x-sopwith-token"]).delivery == "7"
    assert proof(TOKEN, {**secret, "idempotency-key": "8"}, secret["x-sopwith-token"]).delivery == "8"
    assert proof(TOKEN, {**secret, "x-id": "x" * 201}, secret["x-sopwith-token"]).delivery.startswith("sha256:")
