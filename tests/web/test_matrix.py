"""Every route with every caller and every object, made from the table of routes: a route that is added is tried too."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest

from sopwith.core.config import Role
from sopwith.core.people import RIGHTS, Right
from sopwith.doors.web.routes import ROUTES
from sopwith.doors.web.table import Proof, Route

from .given import Reply
from .house import ROLES, House, Ruled

OPEN = [route for route in ROUTES if isinstance(route.right, Proof)]
CLOSED = [route for route in ROUTES if isinstance(route.right, Right)]
OF_OBJECTS = [route for route in CLOSED if re.search(r"\{(runId|name)\}", route.path)]
UNKNOWN = "sop_run_nobodyhasit"
MEMBERS: dict[str, Any] = {
    "sopName": "deploy",
    "reason": "because",
    "name": "somebody",
    "role": "viewer",
    "event": '{"type": "webhook", "path": "/x", "body": {}}',
}
"""What the routes require in a body."""
WHOLE: dict[str, dict[str, Any]] = {"/api/v1/audit/export": {"all": True}}
"""Bodies that no single member makes well-formed."""
NEW = (f"made-{number}" for number in count())


def each_by_name(routes: list[Route]) -> Any:
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.name)


def tried(house: House, route: Route, token: str, *, of: str = "deploy", run: str | None = None) -> Reply:
    """One well-formed call on an object; what would change a run names a revision that it does not have."""
    path = route.path.replace("{runId}", run or house.runs[of]).replace("{step}", "1").replace("{name}", of)
    path = (
        path.replace("{tokenId}", "nobody")
        .replace("{number}", "7")
        .replace("{digest}", house.digests.get(of, "0" * 64))
    )
    headers = {"If-Match": '"999999"'} if route.conditional else {}
    body = None
    if route.body is not None:
        body = {**{name: MEMBERS[name] for name in route.required}, **WHOLE.get(route.path, {})}
        if route.name == "POST /api/v1/procedures":
            body["name"] = next(NEW)
        if "sopName" in body:
            body["sopName"] = of
    if route.media_type == "text/event-stream":
        return _started(house, path, token)
    return house.call(route.method, path, token, body=body, headers=headers)


def _started(house: House, path: str, token: str) -> Reply:
    stream = house.served.stream(path, token)
    try:
        streams = stream.status == 200
        data = b"" if streams else stream.answer.read()
        return Reply(stream.status, {k.lower(): v for k, v in stream.answer.getheaders()}, data)
    finally:
        stream.close()


def test_nothing_is_open_but_the_health() -> None:
    assert [route.name for route in OPEN if route.right is Proof.NOTHING] == ["GET /healthz"]
    assert [route.path for route in CLOSED if not route.path.startswith("/api/v1/")] == ["/metrics"]
    assert [route.path for route in OPEN if route.right is Proof.SIGNATURE] == ["/hooks/{path:path}"]


@each_by_name(CLOSED)
def test_without_a_token_that_holds_no_route_answers(house: House, route: Route) -> None:
    answers = {name: tried(house, route, token) for name, token in house.dead.items()}
    assert {reply.status for reply in answers.values()} == {401}
    assert len({reply.data for reply in answers.values()}) == 1, "the answers tell why"
    for reply in answers.values():
        assert reply.code == "unauthenticated"
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", ["tokens", "agents", "services"])
@each_by_name(CLOSED)
def test_a_role_opens_the_routes_whose_right_it_has_and_no_other(
    house: House, route: Route, kind: str, role: str
) -> None:
    reply = tried(house, route, getattr(house, kind)[role])
    if route.right not in RIGHTS[Role(role)]:
        assert (reply.status, reply.code) == (403, "not_allowed")
        return
    if kind != "tokens" and route.right in (Right.MANAGE, Right.PRUNE) and route.method == "POST":
        assert (reply.status, reply.code) == (403, "not_allowed"), "only a person gives, takes and drops"
        return
    if route.conditional:
        assert (reply.status, reply.code) == (412, "revision_conflict"), reply
    elif "{tokenId}" in route.path or "{number}" in route.path:
        assert reply.status == 404
    elif route.path.endswith("/notices/test"):
        assert (reply.status, reply.code) == (400, "bad_request"), "there is no channel"
    else:
        assert reply.status == route.status, reply


@pytest.mark.parametrize("role", ROLES)
@each_by_name(OF_OBJECTS)
def test_what_a_token_is_not_for_is_not_found(house: House, route: Route, role: str) -> None:
    token = house.elsewhere[role]
    if route.right not in RIGHTS[Role(role)]:
        assert tried(house, route, token).status == 403
        return
    hidden = tried(house, route, token)
    assert hidden.status == 404
    unknown = "nosuchprocedure" if "{name}" in route.path else UNKNOWN
    missing = tried(house, route, token, of="deploy" if "{runId}" in route.path else unknown, run=unknown)
    known = "deploy" if "{name}" in route.path else house.runs["deploy"]
    assert hidden.data.replace(known.encode(), b"X") == missing.data.replace(unknown.encode(), b"X")
    seen = tried(house, route, token, of="other")
    assert seen.status == (412 if route.conditional else route.status)


def test_lists_hold_only_what_a_token_is_for(house: House) -> None:
    everything, part = house.tokens["admin"], house.elsewhere["admin"]
    runs = house.call("GET", "/api/v1/runs?limit=200", everything).json
    assert {run["sopName"] for run in runs["runs"]} >= {"deploy", "other"}
    seen = house.call("GET", "/api/v1/runs?limit=200", part).json
    assert {run["sopName"] for run in seen["runs"]} == {"other"}
    assert seen["total"] is None
    assert house.call("GET", "/api/v1/runs?sopName=other", part).json["total"] >= 1
    assert house.call("GET", "/api/v1/runs?sopName=deploy", part).json == {
        "runs": [],
        "total": None,
        "nextCursor": None,
    }
    inbox = house.call("GET", "/api/v1/inbox", part).json
    assert {item["sopName"] for item in inbox["items"]} == {"other"}
    assert len(inbox["items"]) == inbox["total"]
    shown = house.call("GET", "/api/v1/procedures", part).json
    assert [sop["name"] for sop in shown["sops"]] == ["other"]
    stream = house.served.stream("/api/v1/inbox/events", part)
    assert {item["sopName"] for item in stream.take(1)[0].data["items"]} == {"other"}
    stream.close()


def test_a_run_of_what_a_token_is_not_for_is_not_made(house: House) -> None:
    token = house.elsewhere["runner"]
    assert house.call("POST", "/api/v1/runs", token, body={"sopName": "deploy"}).status == 404
    assert house.call("POST", "/api/v1/runs", token, body={"sopName": "other"}).status == 201


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/api/v1/nothing", "/hooks", "/HEALTHZ", "/healthz/", "/healthz%2f"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE", "TRACE"])
def test_what_is_not_served_is_told_only_to_who_has_a_token(house: House, path: str, method: str) -> None:
    assert house.call(method, path).status == 401
    assert house.call(method, path, house.tokens["viewer"]).code == "no_such_route"


@each_by_name(list(ROUTES))
def test_a_method_that_a_route_does_not_have_is_told(house: House, route: Route) -> None:
    path = route.path.replace("{runId}", house.runs["deploy"])
    reply = house.call("PUT", path, house.tokens["admin"])
    assert reply.code == "method_not_allowed"
    assert route.method in reply.headers["allow"]
    assert house.call("PUT", path).status == 401


# what is about no run and no procedure

FOR_EVERYTHING = {
    *("GET /metrics", "POST /api/v1/audit/verification", "POST /api/v1/audit/prune", "GET /api/v1/backup"),
    *("POST /api/v1/tokens", "GET /api/v1/tokens", "POST /api/v1/tokens/{tokenId}/revoke", "GET /api/v1/access"),
    *("GET /api/v1/doctor", "GET /api/v1/notices", "POST /api/v1/notices/test"),
}
"""They tell of all there is, or hold for it."""
FOR_A_PART = {
    *("GET /api/v1/whoami", "GET /api/v1/openapi.json", "GET /api/v1/procedures", "GET /api/v1/runs"),
    *("GET /api/v1/inbox", "GET /api/v1/inbox/events", "GET /api/v1/triggers", "GET /api/v1/deliveries"),
    *("POST /api/v1/procedures", "POST /api/v1/runs", "GET /api/v1/deliveries/{number}", "POST /api/v1/audit/export"),
}
"""They tell of what the token is for."""
OF_NONE = [route for route in CLOSED if route not in OF_OBJECTS]


def test_each_route_that_is_about_no_object_is_for_everything_or_for_a_part() -> None:
    assert {route.name for route in OF_NONE} == FOR_EVERYTHING | FOR_A_PART
    assert not FOR_EVERYTHING & FOR_A_PART


@each_by_name([route for route in OF_NONE if route.name in FOR_EVERYTHING])
def test_what_holds_for_everything_takes_a_token_for_everything(house: House, route: Route) -> None:
    reply = tried(house, route, house.elsewhere["admin"])
    assert (reply.status, reply.code) == (403, "not_allowed")
    assert "the token is not for everything" in reply.json["detail"]


def test_a_procedure_that_a_token_is_not_for_is_not_made(house: House) -> None:
    refused = house.call("POST", "/api/v1/procedures", house.elsewhere["author"], body={"name": "mine"})
    assert (refused.status, refused.code) == (403, "not_allowed")
    assert house.call("POST", "/api/v1/procedures", house.elsewhere["author"], body={"name": "otherwise"}).status == 201


# what config.json gives, whatever the token would


@pytest.mark.parametrize("role", [*ROLES, "none"])
@each_by_name(CLOSED)
def test_an_administrators_token_gives_no_more_than_the_role_in_config(ruled: Ruled, route: Route, role: str) -> None:
    """Each handler asks: the token alone would open every route."""
    if route.name in ("GET /api/v1/whoami", "GET /api/v1/openapi.json"):
        return
    reply = tried(ruled.house, route, ruled.tokens[role])
    rights = RIGHTS[Role(role)] if role != "none" else frozenset()
    if route.right in rights:
        assert reply.status not in (401, 403), reply
    elif route.right is Right.LOOK and route.name in FOR_A_PART:
        shown = {} if route.media_type != "application/json" or reply.status != 200 else reply.json
        assert not any(shown.get(key) for key in ("runs", "items", "sops", "triggers", "deliveries")), reply
    else:
        assert reply.status in ((403, 404, 412) if route.conditional else (403, 404)), reply


def test_who_may_not_steer_drives_nothing_on(ruled: Ruled) -> None:
    """Also where nothing would be recorded: a run that waits only needs a driver."""
    path = f"/api/v1/runs/{ruled.house.runs['deploy']}/resume"
    for role in ("viewer", "approver", "author", "none"):
        assert ruled.house.call("POST", path, ruled.tokens[role], body={}).status in (403, 404), role
    assert ruled.house.call("POST", path, ruled.tokens["runner"], body={}).status == 200
