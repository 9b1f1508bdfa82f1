"""Who is let in: hosts, origins, identities that are claimed, numbers of calls, and what the server's own log tells."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest
from tests.doors.workshop import Workshop, eventually

from .given import Served, database, token
from .house import House

Serve = Callable[..., Served]
RUNS = "/api/v1/runs"


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("localhost:1", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("[::1]:8321", True),
        ("", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
        ("evil.example@localhost", False),
        ("localhost/", False),
        ("localhost:port", False),
        ("0.0.0.0", False),
        ("2130706433", False),
        ("[::ffff:127.0.0.1]", False),
        ("localhost, evil.example", False),
    ],
)
def test_only_requests_for_our_names_are_answered(house: House, host: str, is_ours: bool) -> None:
    for path, fine in (("/healthz", 200), (RUNS, 401)):
        reply = house.served.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert int(reply.split()[1]) == (fine if is_ours else 421)


def test_a_request_has_one_host(house: House) -> None:
    two = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert house.served.raw(two).split()[1] in (b"400", b"421")
    assert house.served.raw(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").split()[1] in (b"400", b"421")


def test_an_address_that_others_reach_is_warned_of(serve: Serve) -> None:
    served = serve("--host", "0.0.0.0")
    assert "reached from other machines" in served.text
    assert served.call("GET", "/healthz", host="127.0.0.1").status == 200
    assert served.call("GET", "/healthz", host="0.0.0.0").code == "wrong_host"
    assert served.end() == 0
    assert "reached from other machines" not in serve().text


def test_a_name_can_be_allowed(serve: Serve) -> None:
    served = serve("--allow-host", "sop.example")
    assert served.call("GET", "/healthz", host="sop.example").status == 200
    assert served.call("GET", "/healthz", host="other.example").code == "wrong_host"


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "file://", "http://localhost.evil.example", ""])
def test_a_page_of_another_host_is_refused_whatever_token_it_has(house: House, origin: str) -> None:
    reply = house.call("GET", RUNS, house.tokens["admin"], headers={"Origin": origin})
    assert reply.code == "foreign_origin"
    assert "access-control-allow-origin" not in reply.headers
    own = house.call("GET", RUNS, house.tokens["admin"], headers={"Origin": "http://localhost:1234"})
    assert own.status == 200


@pytest.mark.parametrize(
    "scheme",
    ["{t}", "Basic {t}", "Token {t}", "Bearer", "Bearer  ", "Bearer {t} {t}", "Bearer {t}, Bearer {t}", "bearer{t}"],
)
def test_a_token_comes_as_bearer_and_alone(house: House, scheme: str) -> None:
    headers = {"Authorization": scheme.format(t=house.tokens["admin"])}
    assert house.call("GET", RUNS, headers=headers).code == "unauthenticated"
    assert house.call("GET", f"{RUNS}?token={house.tokens['admin']}").status == 401
    assert house.call("GET", RUNS, headers={"Cookie": f"token={house.tokens['admin']}"}).status == 401


def test_a_doubled_authorization_is_refused(house: House) -> None:
    right = house.tokens["admin"]
    head = f"GET {RUNS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {right}\r\nAuthorization: Bearer x\r\n"
    assert house.served.raw(f"{head}Connection: close\r\n\r\n".encode()).split()[1] == b"400"


@pytest.mark.parametrize(
    "header",
    ["X-User", "X-Forwarded-User", "Remote-User", "X-Forwarded-For", "Forwarded", "X-Role", "From", "X-Original-URL"],
)
def test_no_header_says_who_calls(house: House, header: str) -> None:
    assert house.call("GET", "/api/v1/whoami", headers={header: "u-admin"}).status == 401
    told = house.call("GET", "/api/v1/whoami", house.tokens["viewer"], headers={header: "u-admin"})
    assert told.json["name"] == "u-viewer"
    refused = house.call("POST", RUNS, house.tokens["viewer"], body={"sopName": "deploy"}, headers={header: "admin"})
    assert refused.status == 403


@pytest.mark.parametrize(
    "member", ["user", "actor", "createdBy", "role", "onBehalfOf", "approvedBy", "as", "principal", "run_as", "via"]
)
def test_no_member_of_a_body_says_who_calls(house: House, member: str) -> None:
    body = {"sopName": "deploy", member: "u-admin"}
    assert house.call("POST", RUNS, house.tokens["runner"], body=body).code == "identity_claimed"


def test_a_user_is_a_person_and_everybody_else_an_agent(house: House) -> None:
    kinds = {}
    for name, tokens in (("user", house.tokens), ("agent", house.agents), ("service", house.services)):
        made = house.call("POST", RUNS, tokens["runner"], body={"sopName": "deploy"}).json
        kinds[name] = made["createdBy"]
    assert kinds == {
        "user": {"id": "u-runner", "kind": "human", "via": "http"},
        "agent": {"id": "a-runner", "kind": "agent", "via": "http"},
        "service": {"id": "s-runner", "kind": "agent", "via": "http"},
    }


@pytest.mark.parametrize("kind", ["agents", "services"])
def test_agents_and_programs_approve_nowhere_by_their_role_alone(house: House, kind: str) -> None:
    run = house.runs["other"]
    reply = house.call("POST", f"{RUNS}/{run}/approve", getattr(house, kind)["admin"], body={"stepNumber": 2})
    assert (reply.status, reply.code) == (403, "approver_not_allowed")


def test_a_revoked_token_ends_at_once_and_its_streams_with_it(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    run = workshop.started("wait")
    served = serve()
    held = served.token("ann", "viewer")
    stream = served.stream(f"{RUNS}/{run}/events", held)
    assert stream.take(1)[0].event == "run_created"
    workshop.json("token", "revoke", "ann")
    assert served.call("GET", RUNS, held).status == 401
    workshop.json("pause", run)
    events = list(stream)
    assert events[-1].event == "end"
    assert events[-1].data == {"code": "unauthenticated"}
    assert "run_paused" not in [event.event for event in events]
    stream.close()


@pytest.mark.parametrize("proxy", ["*", "proxy.example", "0.0.0.0/0", "::/0", "", "127.0.0.1:80"])
def test_a_proxy_that_is_believed_has_an_address(workshop: Workshop, proxy: str) -> None:
    told = workshop.process("serve", "--port", "0", "--proxy", proxy)
    assert told.code == 2
    assert len(told.err.splitlines()) == 2


def test_only_a_proxy_is_believed_about_where_a_call_comes_from(serve: Serve, workshop: Workshop) -> None:
    header = {"X-Forwarded-For": "203.0.113.9"}
    for options, address in (((), "127.0.0.1"), (("--proxy", "127.0.0.1"), "203.0.113.9")):
        served = serve(*options)
        name = f"a{len(options)}"
        assert served.call("GET", RUNS, served.token(name, "viewer"), headers=header).status == 200
        assert served.end() == 0
        newest = next(
            entry for entry in workshop.json("token", "log")["entries"] if entry["details"].get("name") == name
        )
        assert (newest["type"], newest["details"]["address"]) == ("sign_in", address)


def test_trouble_of_the_server_is_told_to_nobody_who_is_not_known(serve: Serve, workshop: Workshop) -> None:
    served = serve()
    viewer = served.token("ann", "viewer")
    for name in ("runs.db", "runs.db-wal"):
        (workshop.sops / name).write_bytes(b"x" * 100_000)
    reply = served.call("GET", RUNS, viewer)
    assert (reply.status, reply.code) == (500, "internal")
    assert str(workshop.root).encode() not in reply.data
    assert "runs.db" in served.text


def test_calls_beyond_the_rate_are_put_off(serve: Serve) -> None:
    slow = "from sopwith.doors.web import limits as l; l.PER_SECOND, l.BURST = 0.001, 3"
    served = serve(before=slow)
    one, two = served.token("one", "viewer"), served.token("two", "viewer")
    assert [served.call("GET", RUNS, one).status for _ in range(4)] == [200, 200, 200, 429]
    late = served.call("GET", RUNS, one)
    assert late.code == "too_many_requests"
    assert int(late.headers["retry-after"]) > 100
    assert served.call("GET", RUNS, two).status == 200


def test_an_address_that_fails_too_often_is_put_off_and_tokens_that_hold_are_not(serve: Serve) -> None:
    served = serve(before="from sopwith.doors.web import limits as l; l.FAILURES_PER_MINUTE = 3")
    right = served.token("ann", "viewer")
    assert [served.call("GET", RUNS, "wrong").status for _ in range(5)] == [401, 401, 401, 429, 429]
    assert served.call("GET", RUNS, right).status == 200


def test_the_log_tells_of_sign_ins_and_refusals_and_holds_no_token(serve: Serve, workshop: Workshop) -> None:
    served = serve()
    viewer = served.token("ann", "viewer")
    for _ in range(30):
        assert served.call("GET", RUNS, "sopwith_nonsense").status == 401
        assert served.call("GET", RUNS, viewer).status == 200
    assert served.call("POST", RUNS, viewer, body={"sopName": "x"}).status == 403
    assert served.end() == 0
    entries = workshop.json("token", "log")["entries"]
    told = [(entry["type"], entry["details"]) for entry in reversed(entries)]
    ins = [details for kind, details in told if kind == "sign_in"]
    assert [(each["name"], each["address"]) for each in ins] == [("ann", "127.0.0.1")]
    refused = [details for kind, details in told if kind == "refused"]
    assert sum(each["count"] for each in refused if each["code"] == "unauthenticated") == 30
    assert len([each for each in refused if each["code"] == "unauthenticated"]) == 2, "one at once, the rest together"
    assert [each["route"] for each in refused if each["code"] == "not_allowed"] == [f"POST {RUNS}"]
    assert viewer.encode() not in b"".join(workshop.files().values())
    assert workshop.json("token", "list")["tokens"][-1]["lastUsedAt"] is not None


def test_the_log_tells_who_reached_for_what_a_token_is_not_for_though_nothing_was_found(
    serve: Serve, workshop: Workshop
) -> None:
    workshop.steps("deploy", "Ship", triggers=[{"type": "webhook", "path": "/it"}])
    workshop.steps("other", "A")
    served = serve()
    everything = served.token("root", "admin")
    assert eventually(lambda: served.call("POST", "/hooks/it", everything, body={}).status == 202)
    run = served.call("POST", RUNS, everything, body={"sopName": "deploy", "queue": True}).json["runId"]
    part = served.token("ann", "admin", "--procedures", "other")
    hidden = [
        ("GET", f"{RUNS}/{run}"),
        ("GET", f"{RUNS}/{run}/events"),
        ("POST", f"{RUNS}/{run}/cancel"),
        ("GET", "/api/v1/procedures/deploy"),
        ("GET", "/api/v1/deliveries/1"),
    ]
    for method, path in hidden:
        nothing = path.replace(run, "sop_run_nobodyhasit").replace("deploy", "nosuch").replace("/1", "/999")
        for each in (path, nothing):
            assert served.call(method, each, part, body={} if method == "POST" else None).status == 404
    assert served.end() == 0
    entries = [entry["details"] for entry in workshop.json("token", "log")["entries"] if entry["type"] == "refused"]
    assert {(each["code"], each["status"], each["source"][:4]) for each in entries} == {("not_found", 404, "ann ")}
    assert sum(each["count"] for each in entries) == len(hidden)


@pytest.mark.parametrize(
    "change",
    [
        "update access set payload = cast(replace(payload, 'bob', 'eve') as blob) where position = 2",
        "update access set event_type = 'sign_in' where position = 2",
        "update access set at = at + 1000 where position = 2",
        "update access set prev_hash = zeroblob(32) where position = 2",
        "delete from access where position = 2",
        "delete from access where position = 3",
        "delete from access",
    ],
)
def test_doctor_finds_a_log_that_was_changed(workshop: Workshop, change: str) -> None:
    for name in ("ann", "bob", "eve"):
        token(workshop, name, "viewer")
    assert workshop.json("doctor")["healthy"]
    with apsw.Connection(str(database(workshop))) as db:
        db.execute(change)
    found = workshop.json("doctor", code=1)["findings"]
    assert any("the server's own log" in finding["message"] for finding in found)


def test_the_first_start_leaves_one_administrators_token(serve: Serve, workshop: Workshop) -> None:
    served = serve()
    path = workshop.sops / "runs" / "first-token"
    first = eventually(lambda: path.exists() and path.read_text().strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert first not in served.text
    assert served.call("GET", "/api/v1/whoami", first).json["role"] == "admin"
    assert served.end() == 0
    path.unlink()
    serve()
    assert not path.exists()
    assert len(workshop.json("token", "list")["tokens"]) == 1


def test_a_terminal_is_shown_the_first_token_this_once(workshop: Workshop, terminal: Callable[..., object]) -> None:
    shown = terminal("serve", "--port", "0")
    shown.expect("first token")  # type: ignore[attr-defined]
    shown.expect("sopwith_")  # type: ignore[attr-defined]
    shown.expect("listening")  # type: ignore[attr-defined]
    assert not (workshop.sops / "runs" / "first-token").exists()
    shown.type("\x03")  # type: ignore[attr-defined]
    assert shown.end() == 0  # type: ignore[attr-defined]
