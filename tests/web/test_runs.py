"""Runs over the network: made, driven by the server, decided, repeated, listed, read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.doors.workshop import Workshop, eventually, lines

from .given import Served
from .house import House

Serve = Callable[..., Served]
RUNS = "/api/v1/runs"


@pytest.fixture
def served(serve: Serve, workshop: Workshop) -> Served:
    workshop.steps("ship", "Build | echo x >> built", "?Ship | echo x >> shipped", "By hand")
    return serve()


def until(served: Served, run: str, token: str, status: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        document: dict[str, Any] = served.call("GET", f"{RUNS}/{run}", token).json
        return document if document["status"] == status else None

    found: dict[str, Any] = eventually(look)
    return found


def test_a_run_goes_its_way_by_calls_alone(served: Served, workshop: Workshop) -> None:
    runner, approver = served.token("ann", "runner"), served.token("bob", "approver")
    made = served.call("POST", RUNS, runner, body={"sopName": "ship"})
    assert made.status == 201
    run = made.json["runId"]
    assert made.headers["location"] == f"{RUNS}/{run}"
    waiting = until(served, run, runner, "awaiting_approval")
    assert lines(workshop, "built") == 1
    gates = served.call("GET", f"{RUNS}/{run}/gates", approver).json["gates"]
    assert gates[0]["mayApprove"]
    assert gates[0]["envelope"]["script"] if "script" in gates[0]["envelope"] else gates[0]["envelope"]
    assert served.call("POST", f"{RUNS}/{run}/approve", runner, body={"stepNumber": 2}).status == 403
    revision = {"If-Match": f'"{waiting["revision"]}"'}
    approved = served.call("POST", f"{RUNS}/{run}/approve", approver, body={"comment": "fine"}, headers=revision)
    assert approved.status == 200, approved
    assert approved.json["status"] == "approved"
    eventually(lambda: lines(workshop, "shipped") == 1)
    until(served, run, runner, "running")
    again = served.call("POST", f"{RUNS}/{run}/approve", approver, body={"comment": "fine"}, headers=revision)
    assert again.code == "revision_conflict"
    done = eventually(
        lambda: (
            reply
            if (reply := served.call("POST", f"{RUNS}/{run}/complete", runner, body={"stepNumber": 3})).status == 200
            else None
        )
    )
    assert done.json["runId"] == run
    ended = until(served, run, runner, "completed")
    assert [each["status"] for each in ended["stepResults"]] == ["completed"] * 3
    signed = [event for event in workshop.json("audit", run)["events"] if event["type"] == "approval_granted"]
    assert signed[0]["actor"] == {"id": "bob", "kind": "human", "via": "http"}
    signature = signed[0]["details"]["signature"]
    assert signature["authenticatedBy"].startswith("token ")
    assert signature["host"] == "127.0.0.1"
    assert "'grant'" not in str(workshop.json("audit", run))
    workshop.json("audit", run, "--verify")


def test_the_server_takes_up_at_once_what_a_call_leaves_to_it(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("ship", "Build | true", "?Ship | true")
    served = serve(before="from sopwith.engine import ticker; ticker.GRACE_SECS = 1000")
    admin = served.token("ann", "admin")
    run = served.call("POST", RUNS, admin, body={"sopName": "ship"}).json["runId"]
    until(served, run, admin, "awaiting_approval")
    assert served.call("POST", f"{RUNS}/{run}/approve", admin, body={"stepNumber": 2}).status == 200
    until(served, run, admin, "completed")


def test_metrics_count_from_the_start_of_the_server_on_whenever_they_are_asked_for_first(
    serve: Serve, workshop: Workshop
) -> None:
    workshop.steps("deploy", "Build | true")
    workshop.sop("run", "deploy")
    served = serve()
    token = served.token("ann", "admin")
    run = served.call("POST", RUNS, token, body={"sopName": "deploy"}).json["runId"]
    assert eventually(lambda: served.call("GET", f"{RUNS}/{run}", token).json["status"] == "completed")
    text = served.call("GET", "/metrics", token).data.decode()
    assert 'sopwith_runs_created_total{procedure="deploy",trigger="manual"} 1.0' in text
    assert 'sopwith_runs_ended_total{procedure="deploy",status="completed"} 1.0' in text


def test_a_decision_says_what_it_is_about(served: Served) -> None:
    admin = served.token("ann", "admin")
    run = served.call("POST", RUNS, admin, body={"sopName": "ship"}).json["runId"]
    waiting = until(served, run, admin, "awaiting_approval")
    for verb, body in (("approve", {}), ("reject", {"reason": "no"})):
        reply = served.call("POST", f"{RUNS}/{run}/{verb}", admin, body=body)
        assert (reply.status, reply.code) == (428, "precondition_required")
    assert served.call("GET", f"{RUNS}/{run}", admin).json["revision"] == waiting["revision"]
    digest = waiting["gates"][0]["digest"]
    stale = served.call("POST", f"{RUNS}/{run}/approve", admin, body={"digest": "0" * 64})
    assert stale.code == "approval_stale"
    assert served.call("POST", f"{RUNS}/{run}/approve", admin, body={"digest": digest}).status == 200


@pytest.mark.parametrize("tag", ["12", '"x"', 'W/"2"', "*", '"1", "2"', ""])
def test_a_revision_is_named_exactly(house: House, tag: str) -> None:
    path = f"{RUNS}/{house.runs['deploy']}/approve"
    reply = house.call("POST", path, house.tokens["admin"], body={}, headers={"If-Match": tag})
    assert reply.code == "bad_request"


def test_a_call_that_is_sent_again_does_nothing_twice(served: Served, workshop: Workshop) -> None:
    ann, bob = served.token("ann", "admin"), served.token("bob", "admin")
    key = {"Idempotency-Key": "order-1"}
    first = served.call("POST", RUNS, ann, body={"sopName": "ship"}, headers=key).json
    again = served.call("POST", RUNS, ann, body={"sopName": "ship"}, headers=key)
    assert again.json["runId"] == first["runId"]
    assert again.json["replayed"] is True
    other = served.call("POST", RUNS, ann, body={"sopName": "ship", "queue": True}, headers=key)
    assert other.code == "key_reused"
    run = first["runId"]
    until(served, run, ann, "awaiting_approval")
    path, body = f"{RUNS}/{run}/reject", {"stepNumber": 2, "reason": "no"}
    assert served.call("POST", path, ann, body=body, headers=key).code == "key_reused"
    said = [served.call("POST", path, ann, body=body, headers={"Idempotency-Key": "no-1"}) for _ in range(3)]
    assert [reply.status for reply in said] == [200] * 3
    assert [reply.json.get("replayed", False) for reply in said] == [False, True, True]
    assert [event["type"] for event in workshop.json("audit", run)["events"]].count("approval_rejected") == 1
    # the same word of somebody else's is another call
    assert served.call("POST", RUNS, bob, body={"sopName": "ship"}, headers=key).json.get("runId") != run


def test_a_token_is_not_made_by_a_call_that_may_be_sent_again(house: House) -> None:
    body = {"name": "x", "role": "viewer"}
    reply = house.call("POST", "/api/v1/tokens", house.tokens["admin"], body=body, headers={"Idempotency-Key": "k"})
    assert reply.code == "bad_request"


def test_pages_tell_every_run_once_while_others_come_in(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("one", "A | true")
    workshop.steps("two", "A | true")
    made = [workshop.started(name, code=0) for name in ("one", "two") * 5]
    served = serve()
    part = served.token("ann", "viewer", "--procedures", "one")
    whole = served.token("bob", "viewer")
    for token in (part, whole):
        wanted = [run["runId"] for run in workshop.json("history", *(["one"] if token is part else []))["runs"]]
        found: list[str] = []
        cursor = ""
        while True:
            page = served.call("GET", f"{RUNS}?limit=2{cursor}", token).json
            found += [run["runId"] for run in page["runs"]]
            if page["nextCursor"] is None:
                break
            workshop.started("one", code=0)
            cursor = f"&cursor={page['nextCursor']}"
        assert found == wanted
        assert set(found) >= {run for index, run in enumerate(made) if token is whole or index % 2 == 0}


def test_the_record_is_told_in_pages(house: House) -> None:
    path = f"{RUNS}/{house.runs['deploy']}/audit"
    whole = house.call("GET", path, house.tokens["viewer"]).json["events"]
    found, cursor = [], ""
    while True:
        page = house.call("GET", f"{path}?limit=2{cursor}", house.tokens["viewer"]).json
        found += page["events"]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert found == whole
    assert len(found) > 2


@pytest.mark.parametrize(
    ("given", "status", "data", "told"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=3-1", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=x", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ],
)
def test_output_is_read_by_ranges(
    counted: Callable[[str | None], Any], given: str | None, status: int, data: bytes | None, told: str | None
) -> None:
    reply = counted(given)
    assert reply.status == status
    assert reply.headers.get("content-range") == told
    if data is not None:
        assert reply.data == data
        assert reply.headers["content-type"].startswith("text/plain")


@pytest.fixture(scope="module")
def counted(house: House) -> Callable[[str | None], Any]:
    house.workshop.steps("digits", "Print | printf 0123456789")
    run = house.workshop.started("digits", code=0)
    return lambda given: house.call(
        "GET", f"{RUNS}/{run}/steps/1/output", house.tokens["viewer"], headers={} if given is None else {"Range": given}
    )


def test_output_is_read_while_it_is_written(serve: Serve, workshop: Workshop, slow: str) -> None:
    workshop.steps("talks", "Talk | echo one; until [ -e go ]; do sleep 0.02; done; echo two")
    served = serve()
    admin = served.token("ann", "admin")
    run = served.call("POST", RUNS, admin, body={"sopName": "talks"}).json["runId"]
    path = f"{RUNS}/{run}/steps/1/output"

    def part(first: int) -> bytes:
        reply = served.call("GET", path, admin, headers={"Range": f"bytes={first}-"})
        return reply.data if reply.status == 206 else b""

    assert eventually(lambda: part(0)) == b"one\n"
    assert served.call("GET", path, admin, headers={"Range": "bytes=4-"}).status == 416
    (workshop.root / "go").touch()
    assert eventually(lambda: part(4)) == b"two\n"


def test_roles_of_config_json_hold_for_tokens_too(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("deploy", "?Ship | true", "By hand")
    workshop.steps("pay", "?Pay | true")
    (workshop.sops / "config.json").write_text(
        '{"roles": {"admin": ["user:root"]}, "procedureRoles": {"dep*": {"runner": ["user:ann"], '
        '"approver": ["user:bob", "agent:bot"]}}}'
    )
    served = serve()
    ann, bob = served.token("ann", "admin"), served.token("bob", "admin")
    bot, eve = served.token("bot", "admin", "--kind", "agent"), served.token("eve", "admin")
    assert served.call("POST", RUNS, ann, body={"sopName": "pay"}).code == "not_found"
    assert served.call("POST", RUNS, bob, body={"sopName": "deploy"}).code == "not_allowed"
    run = served.call("POST", RUNS, ann, body={"sopName": "deploy"}).json["runId"]
    until(served, run, ann, "awaiting_approval")
    path, body = f"{RUNS}/{run}/approve", {"stepNumber": 1}
    assert served.call("POST", path, ann, body=body).code == "not_allowed"
    assert served.call("POST", path, eve, body=body).code == "not_found"
    assert served.call("POST", path, bot, body=body).code == "approver_not_allowed"
    assert served.call("GET", "/api/v1/tokens", ann).code == "not_allowed"
    assert served.call("GET", "/api/v1/doctor", ann).code == "not_allowed"
    assert served.call("GET", "/api/v1/access", bob).code == "not_allowed"
    for member in ({"name": "x", "role": "admin"},):
        assert served.call("POST", "/api/v1/tokens", ann, body=member).code == "not_allowed"
    assert served.call("POST", path, bob, body=body).status == 200
    signed = [event for event in workshop.json("audit", run)["events"] if event["type"] == "approval_granted"]
    assert signed[0]["details"]["signature"]["roles"] == ["approver"]
    (workshop.sops / "config.json").write_text('{"roles": {"admin": ["user:root"]}}')
    assert served.call("GET", f"{RUNS}/{run}", ann).status == 404, "a right that is taken away is gone at once"


def test_a_viewers_token_approves_nothing_though_the_gate_names_its_holder(serve: Serve, workshop: Workshop) -> None:
    step = {
        "number": 1,
        "title": "Ship",
        "requiresApproval": True,
        "approval": {"approvers": ["user:bob", "agent:bot"], "onTimeout": "reject"},
    }
    workshop.steps("deploy", "?Ship | true", steps=[step])
    run = workshop.started("deploy")
    served = serve()
    path, body = f"{RUNS}/{run}/approve", {"stepNumber": 1}
    assert served.call("POST", path, served.token("bob", "runner"), body=body).code == "not_allowed"
    narrow = served.token("bob", "approver", "--procedures", "other")
    assert served.call("POST", path, narrow, body=body).code == "not_found"
    bot = served.token("bot", "approver", "--kind", "agent")
    assert served.call("POST", path, bot, body=body).status == 200


def test_where_config_json_is_broken_only_stopping_goes_on(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("deploy", "?Ship | true")
    run = workshop.started("deploy")
    served = serve()
    admin, elsewhere = served.token("ann", "admin"), served.token("bob", "admin", "--procedures", "other")
    viewer = served.token("eve", "viewer")
    (workshop.sops / "config.json").write_text("{")
    assert served.call("GET", f"{RUNS}/{run}", admin).code == "invalid_procedure"
    assert served.call("POST", f"{RUNS}/{run}/approve", admin, body={"stepNumber": 1}).code == "invalid_procedure"
    assert served.call("POST", f"{RUNS}/{run}/cancel", elsewhere, body={}).code == "not_found"
    assert served.call("POST", f"{RUNS}/{run}/cancel", viewer, body={}).code == "not_allowed"
    served.call("POST", f"{RUNS}/{run}/cancel", admin, body={})
    (workshop.sops / "config.json").unlink()
    assert served.call("GET", f"{RUNS}/{run}", admin).json["status"] == "cancelled"


def test_a_run_within_a_run_is_seen_by_who_may_see_it_and_cancelled_with_it(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("inner", "By hand")
    outer = {"number": 1, "title": "Inner", "uses": "inner"}
    workshop.steps("outer", "Inner", steps=[outer])
    served = serve()
    whole, part = served.token("ann", "admin"), served.token("bob", "admin", "--procedures", "outer")
    refused = served.call("POST", RUNS, part, body={"sopName": "outer"})
    assert refused.code == "not_allowed", "what it would start is not the token's"
    run = served.call("POST", RUNS, whole, body={"sopName": "outer"}).json["runId"]
    child = eventually(lambda: served.call("GET", f"{RUNS}/{run}", part).json["stepResults"][0].get("childRunId"))
    assert served.call("GET", f"{RUNS}/{child}", part).status == 404
    assert served.call("POST", f"{RUNS}/{run}/cancel", part, body={}).status == 200
    until(served, child, whole, "cancelled")


def test_what_goes_on_besides_a_run_is_cancelled_with_it_by_who_may_cancel_the_run(
    serve: Serve, workshop: Workshop
) -> None:
    workshop.steps("inner", "Try | [ -e ok ]", "By hand")
    uses = {"number": 1, "title": "Inner", "uses": "inner", "onFailure": "continue"}
    by_hand = {"number": 2, "title": "By hand", "executor": "manual"}
    workshop.steps("outer", "Inner", "By hand", steps=[uses, by_hand])
    run = workshop.started("outer")
    child = workshop.json("status", run)["stepResults"][0]["childRunId"]
    (workshop.root / "ok").touch()
    workshop.json("retry", child, code=3)
    served = serve()
    part = served.token("bob", "admin", "--procedures", "outer")
    assert served.call("POST", f"{RUNS}/{child}/cancel", part, body={}).status == 404
    assert served.call("POST", f"{RUNS}/{run}/cancel", part, body={}).status == 200
    assert workshop.json("status", child)["status"] == "cancelled"


def test_a_server_that_is_told_to_end_ends_with_streams_open(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    run = workshop.started("wait")
    # nothing but the end of the streams themselves lets it end
    served = serve(before="from sopwith.doors.web import server; server._GRACE_SECS = 1000")
    viewer = served.token("ann", "viewer")
    open_ones = [served.stream(path, viewer) for path in (f"{RUNS}/{run}/events", "/api/v1/inbox/events") * 5]
    for each in open_ones:
        each.take(1)
    assert served.end() == 0
    for each in open_ones:
        assert "end" not in [event.event for event in each]
        each.close()
    assert served.text.count("trouble") == 0


def test_a_port_that_is_taken_is_told(serve: Serve, workshop: Workshop, tmp_path: object) -> None:
    served = serve()
    assert served.end() == 0
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = workshop.process("serve", "--port", str(taken.getsockname()[1]))
    assert told.code == 1
    assert "cannot listen on 127.0.0.1 port" in told.err
    assert len(told.err.splitlines()) == 2
    assert workshop.process("serve", "--allow-host", "x").code == 2
    assert workshop.process("serve", "--once", "--port", "0").code == 2


@pytest.mark.parametrize("part", ["starlette", "uvicorn", "httptools"])
def test_without_the_extra_the_port_is_refused_and_all_else_works(workshop: Workshop, part: str) -> None:
    # these tests may themselves be a step of a run, which is not what they are about
    outside = f"from sopwith.doors import ancestry; ancestry.TOP_PID = {os.getpid()}"
    main = f"import sys; sys.modules[{part!r}] = None; {outside}; from sopwith.doors import cli; cli.main()"
    for args, code in ((("serve", "--port", "0"), 1), (("serve", "--once"), 0)):
        ran = subprocess.run([sys.executable, "-c", main, *args], cwd=workshop.root, capture_output=True, text=True)
        assert ran.returncode == code, ran.stderr
        if code:
            assert ran.stderr.splitlines() == [
                f"error: sop serve --port needs {part}, which is not installed",
                "hint: pip install 'sopwith[server]'",
            ]


def test_the_inbox_is_told_page_by_page(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("wait", "By hand")
    made = [workshop.started("wait") for _ in range(3)]
    served = serve()
    viewer = served.token("ann", "viewer")
    first = served.call("GET", "/api/v1/inbox?limit=2", viewer).json
    assert ([item["runId"] for item in first["items"]], first["total"]) == (made[:2], 3)
    rest = served.call("GET", f"/api/v1/inbox?limit=2&cursor={first['nextCursor']}", viewer).json
    assert ([item["runId"] for item in rest["items"]], rest["total"], rest["nextCursor"]) == (made[2:], 3, None)
    for query in ("cursor=x", "cursor=c29w", "limit=0", "limit=201"):
        assert served.call("GET", f"/api/v1/inbox?{query}", viewer).status == 400, query
    stream = served.stream("/api/v1/inbox/events?limit=1", viewer)
    page = stream.take(1)[0].data
    assert ([item["runId"] for item in page["items"]], page["total"]) == (made[:1], 3)
    assert page["nextCursor"]
    workshop.json("cancel", made[2])
    assert stream.take(1)[0].data["total"] == 2, "what stands behind the first page is told by how many there are"
    stream.close()


def test_a_limit_names_no_run_that_a_token_may_not_know_of(workshop: Workshop, serve: Serve) -> None:
    """That the slots are taken is told; by whom only to who may see it."""
    (workshop.sops / "config.json").write_text('{"maxConcurrentRuns": 1}')
    for name in ("deploy", "other"):
        workshop.steps(name, "?A | true")
    served = serve()
    everything, part = served.token("ann", "admin"), served.token("eve", "admin", "--procedures", "oth*")
    run_id = served.call("POST", "/api/v1/runs", everything, body={"sopName": "deploy"}).json["runId"]
    told = served.call("POST", "/api/v1/runs", part, body={"sopName": "other"})
    assert (told.status, told.code) == (409, "limit_reached")
    assert run_id not in told.data.decode()
    assert "maxConcurrentRuns" in told.json["detail"]
    told = served.call("POST", "/api/v1/runs", everything, body={"sopName": "other"})
    assert (told.code, run_id in told.json["detail"]) == ("limit_reached", True)
    assert served.call("POST", "/api/v1/runs", part, body={"sopName": "other", "queue": True}).status == 201
    queued = served.call("GET", "/api/v1/runs?sopName=other", part).json["runs"][0]["runId"]
    resumed = served.call("POST", f"/api/v1/runs/{queued}/resume", part, body={})
    assert run_id not in resumed.data.decode()
