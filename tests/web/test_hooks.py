"""Webhooks over real sockets: believed by their bytes, acknowledged on disk, and started once whatever dies."""

from __future__ import annotations

import hmac
import http.client
import json
import threading
from collections.abc import Callable
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doors.workshop import Workshop, eventually

from .given import Reply, Served, database

Serve = Callable[..., Served]
SECRET = "It's a Secret to Everybody, of 24 bytes"
HOOK = {"type": "webhook", "path": "/deploy/it", "secretEnv": "HOOK_SECRET", "scheme": "github", "maxQueued": 10_000}


def hooked(serve: Serve, workshop: Workshop, *triggers: dict[str, Any]) -> Served:
    workshop.steps("deploy", "Wait", triggers=list(triggers or (HOOK,)))
    served = serve(env={"HOOK_SECRET": SECRET})
    # definitions are read just after the start
    eventually(lambda: sent(served, "first").status == 202)
    return served


def sent(served: Served, delivery: str, body: Any = None, *, signature: str = "", path: str = "/deploy/it") -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body or {"ref": delivery}).encode()
    right = f"sha256={hmac.digest(SECRET.encode(), data, 'sha256').hex()}"
    headers = {
        "X-Hub-Signature-256": signature or right,
        "X-GitHub-Delivery": delivery,
        "Content-Type": "application/json",
    }
    return served.call("POST", f"/hooks{path}", body=data, headers=headers)


def rows(workshop: Workshop, query: str) -> list[Any]:
    """As they are now: a connection that stays open would go on seeing what it saw first."""
    db = apsw.Connection(str(database(workshop)))
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def test_a_delivery_is_believed_by_its_bytes_and_the_same_one_has_the_same_run(
    serve: Serve, workshop: Workshop
) -> None:
    served = hooked(serve, workshop)
    reply = sent(served, "1")
    assert reply.status == 202
    run_id = reply.json["runId"]
    again = sent(served, "1")
    assert (again.status, again.json["runId"], again.json["deliveries"][0]["replayed"]) == (202, run_id, True)
    assert sent(served, "2").json["runId"] != run_id
    data = b'{"ref": "1"}'
    right = f"sha256={hmac.digest(SECRET.encode(), data, 'sha256').hex()}"
    for wrong in (
        "sha256=",
        "sha256=00",
        right[:-1] + ("0" if right[-1] != "0" else "1"),
        right.upper(),
        "sha1=" + "0" * 40,
    ):
        refused = sent(served, "3", data, signature=wrong)
        assert (refused.status, refused.code) == (401, "unauthenticated")
    assert sent(served, "4", path="/deploy/it/").status == 401
    assert sent(served, "4", path="/deploy").status == 401
    assert sent(served, "5", b"x" * 300_000).status == 413
    assert sent(served, "6", b"{").status == 400
    # a delivery is acknowledged when it is stored; its run is made from that
    eventually(lambda: workshop.sop("status", run_id, "--json").code == 0)
    eventually(lambda: workshop.json("status", run_id)["status"] == "running")
    created = workshop.json("audit", run_id)["events"][0]
    assert created["actor"] == {"id": "deploy/webhook:/deploy/it", "kind": "trigger", "via": "webhook"}


def test_a_webhook_without_a_secret_takes_a_token_that_may_start(serve: Serve, workshop: Workshop) -> None:
    served = hooked(serve, workshop, HOOK, {"type": "webhook", "path": "/plain"})
    runner, viewer = served.token("ann", "runner"), served.token("vic", "viewer")
    other = served.token("eve", "runner", "--procedures", "other")
    assert served.call("POST", "/hooks/plain", runner, body={}).status == 202
    for token in ("", "sopwith_nobodyxx_nothing", viewer, other):
        assert served.call("POST", "/hooks/plain", token, body={}).status in (401, 404)
    assert served.call("GET", "/hooks/plain", runner).status == 405


@pytest.mark.timeout(120)
def test_a_server_killed_under_load_loses_nothing_acknowledged_and_starts_nothing_twice(
    serve: Serve, workshop: Workshop
) -> None:
    served = hooked(serve, workshop)
    acknowledged: dict[str, str] = {}
    enough = threading.Event()

    def send(sender: int) -> None:
        for number in range(1000):
            name = f"{sender}-{number}"
            try:
                reply = sent(served, name)
            except (OSError, http.client.HTTPException):
                return
            if reply.status == 202:
                acknowledged[name] = reply.json["runId"]
            if len(acknowledged) >= 60:
                enough.set()

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(6)]
    for each in senders:
        each.start()
    assert enough.wait(60)
    served.process.kill()
    for each in senders:
        each.join()
    served.process.wait()
    other = serve(env={"HOOK_SECRET": SECRET})
    eventually(lambda: sent(other, "last").status == 202)
    kept = dict(rows(workshop, "select delivery, run_id from deliveries"))
    assert {name: kept.get(name) for name in acknowledged} == acknowledged
    assert len(set(acknowledged.values())) == len(acknowledged)
    # what was sent again is answered with the run of the first time
    name = next(iter(acknowledged))
    assert sent(other, name).json["runId"] == acknowledged[name]
    eventually(lambda: rows(workshop, "select count(*) from deliveries where outcome is null") == [(0,)])
    runs = [run_id for (run_id,) in rows(workshop, "select run_id from runs")]
    assert set(acknowledged.values()) <= set(runs)
    assert len(runs) == len(set(runs))


_TYPES = ("", "application/json", "application/json; charset=utf-16", "text/plain", ";;;", "a/b/c")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_IDS = ("", " ", "a" * 4000, "../../x", "a.b", "\u00e9", "'; drop table")
_STAMPS = ("0", "-1", "9" * 40, "x")
HOSTILE_HEADERS = st.sampled_from(
    [
        *({"Content-Type": kind} for kind in (*_TYPES, *_FORMS)),
        *({"X-GitHub-Delivery": name} for name in _IDS),
        *({"webhook-id": "a", "webhook-timestamp": at, "webhook-signature": "v1,x"} for at in _STAMPS),
        *({"X-Signature": sign} for sign in ("t=,v1=", "t=1,v1=zz", ",,,,", "t=" + "9" * 500)),
        *({"Authorization": words} for words in ("Bearer", "Bearer ", "Basic eDp5", "Bearer " + "x" * 3000)),
        {"Content-Encoding": "gzip"},
        {"traceparent": "00-zz-zz-zz"},
    ]
)
BODIES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), st.lists).map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from([b"[" * 20_000, b'{"a":1,"a":2}', b"NaN", b"1e999", b"%zz=%", b"\xff\xfe", b"a=1&" * 2000]),
)
PATHS = st.sampled_from(["/deploy/it", "/standard", "/stamped", "/token", "/deploy/it/", "/../deploy/it", "/%00", "/x"])


def test_whatever_comes_is_answered_as_declared_and_only_what_is_proven_is_kept(
    serve: Serve, workshop: Workshop
) -> None:
    """Any body and any header at each scheme: no failure, an answer of the declared shape, no run without proof."""
    secret = {"type": "webhook", "secretEnv": "HOOK_SECRET"}
    more = [
        {**secret, "path": "/standard", "scheme": "standard-webhooks"},
        {**secret, "path": "/stamped", "scheme": "timestamped", "signatureHeader": "X-Signature"},
        {**secret, "path": "/token", "scheme": "token"},
    ]
    served = hooked(serve, workshop, HOOK, *more)
    kept = len(rows(workshop, "select 1 from deliveries"))

    @settings(max_examples=150, deadline=None, database=None)
    @given(body=BODIES, headers=HOSTILE_HEADERS, path=PATHS, signed=st.booleans())
    def check(body: bytes, headers: dict[str, str], path: str, signed: bool) -> None:
        nonlocal kept
        sent_headers = {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}
        if signed:
            sent_headers["X-Hub-Signature-256"] = f"sha256={hmac.digest(SECRET.encode(), body, 'sha256').hex()}"
        reply = served.call("POST", f"/hooks{path}", body=body, headers=sent_headers)
        assert reply.status in (202, 400, 401, 404, 413, 415), reply
        if reply.status != 202:
            assert reply.code not in ("", "internal")
            return
        assert (signed, path) == (True, "/deploy/it")
        assert reply.json["runId"].startswith("sop_run_")

    check()
    proven = rows(workshop, "select distinct trigger from deliveries")
    assert proven == [("webhook:/deploy/it",)]
    assert len(rows(workshop, "select 1 from deliveries")) >= kept
    assert "trouble" not in served.text
