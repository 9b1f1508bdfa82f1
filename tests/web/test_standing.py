"""What a caller says of itself, a step of a run or an agent, takes rights away and gives none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.doors.workshop import Workshop, eventually

from .given import Reply, Served

Serve = Callable[..., Served]
NOWHERE = "sop_run_zzzzzzzzzzzz"
AGENT = {"Sopwith-Actor-Kind": "agent"}
NAMES = {"approvers": ["agent:bot"], "onTimeout": "reject"}


def inside(run_id: str) -> dict[str, str]:
    return {"Sopwith-Inside": run_id}


class Place:
    """A server with a procedure whose gate wants a person, and one whose gate wants the agent `bot`."""

    def __init__(self, served: Served, workshop: Workshop) -> None:
        workshop.steps("deploy", "?Ship | echo shipped")
        workshop.steps("review", "?Look | echo looked", approval=NAMES)
        self.served = served
        self.workshop = workshop
        self.admin = served.token("ann", "admin")
        self.bot = served.token("bot", "admin", "--kind", "agent")
        self.namesake = served.token("bot", "admin")

    def started(self, name: str, token: str, headers: dict[str, str] | None = None) -> str:
        reply = self.served.call("POST", "/api/v1/runs", token, {"sopName": name}, headers)
        assert reply.status == 201, reply
        run_id = str(reply.json["runId"])
        eventually(lambda: self.run(run_id)["status"] == "awaiting_approval")
        return run_id

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.served.call("GET", f"/api/v1/runs/{run_id}", self.admin).json
        return found

    def say(self, verb: str, run_id: str, token: str, headers: dict[str, str] | None = None, **body: Any) -> Reply:
        more = {"stepNumber": 1} if verb in ("approve", "reject") else {}
        return self.served.call("POST", f"/api/v1/runs/{run_id}/{verb}", token, {**more, **body}, headers)


@pytest.fixture
def place(serve: Serve, workshop: Workshop) -> Place:
    return Place(serve(), workshop)


def test_a_step_decides_nothing_about_its_own_run(place: Place) -> None:
    run_id = place.started("deploy", place.admin)
    for verb in ("approve", "reject", "cancel", "pause"):
        reply = place.say(verb, run_id, place.admin, inside(run_id), **({"reason": "no"} if verb == "reject" else {}))
        assert (reply.status, reply.code) == (403, "not_allowed"), verb
    assert place.run(run_id)["status"] == "awaiting_approval"
    assert place.say("approve", run_id, place.admin).status == 200


def test_nor_by_a_run_that_it_has_started(place: Place) -> None:
    first = place.started("deploy", place.admin)
    second = place.started("deploy", place.admin, inside(first))
    reply = place.say("reject", first, place.admin, inside(second), reason="no")
    assert (reply.status, reply.code) == (403, "not_allowed")
    assert "brought that run about" in reply.json["detail"]


def test_an_agent_does_not_approve_what_a_step_of_its_run_has_started(place: Place) -> None:
    first = place.started("deploy", place.bot)
    second = place.started("review", place.admin, inside(first))
    reply = place.say("approve", second, place.bot)
    assert (reply.status, reply.code) == (403, "approver_not_allowed")
    assert f"started {first}" in reply.json["detail"]
    third = place.started("review", place.admin)
    assert place.say("approve", third, place.bot).status == 200


@pytest.mark.parametrize("is_step", [False, True], ids=["agent", "inside"])
def test_a_persons_token_in_the_hands_of_an_agent_approves_nothing(place: Place, is_step: bool) -> None:
    """Not as a person, and not as the agent of the same name."""
    deploy, review = place.started("deploy", place.admin), place.started("review", place.admin)
    said = inside(place.started("deploy", place.admin)) if is_step else AGENT
    for run_id in (deploy, review):
        assert place.say("approve", run_id, place.namesake, said).status == 403
        assert place.run(run_id)["status"] == "awaiting_approval"
    told = place.say("approve", deploy, place.namesake, AGENT)
    assert told.code == "approver_not_allowed"
    assert place.say("approve", deploy, place.namesake).status == 200


def test_it_may_do_what_an_agent_may(place: Place) -> None:
    run_id = place.started("deploy", place.admin, AGENT)
    assert place.run(run_id)["createdBy"] == {"id": "ann", "kind": "agent", "via": "http"}
    assert place.say("cancel", run_id, place.admin, AGENT).status == 200
    reply = place.served.call("POST", "/api/v1/tokens", place.admin, {"name": "eve", "role": "admin"}, AGENT)
    assert (reply.status, reply.code) == (403, "not_allowed")


def test_a_step_of_a_run_that_is_not_known_here_steers_what_it_has_started_and_nothing_else(place: Place) -> None:
    own, other = place.started("deploy", place.admin, inside(NOWHERE)), place.started("deploy", place.admin)
    assert place.run(own)["createdBy"]["inside"] == NOWHERE
    reply = place.say("cancel", other, place.admin, inside(NOWHERE))
    assert (reply.status, reply.code) == (403, "not_allowed")
    assert "nobody can tell" in reply.json["detail"]
    assert place.say("cancel", own, place.admin, inside(NOWHERE)).status == 200


def test_a_stream_of_the_inbox_says_what_an_agent_may(place: Place) -> None:
    """With the same token, at the same time."""
    place.started("deploy", place.admin)
    told = []
    for said in ({}, {"Sopwith_Actor_Kind": "agent"}, {}):
        stream = place.served.stream("/api/v1/inbox/events", place.admin, **said)
        told.append(stream.take(1)[0].data["items"][0]["mayApprove"])
        stream.close()
    assert told == [True, False, True]


def test_it_lets_nobody_in(place: Place) -> None:
    run_id = place.started("deploy", place.admin)
    viewer = place.served.token("eve", "viewer")
    for said in (AGENT, inside(run_id)):
        assert place.served.call("GET", "/api/v1/whoami", headers=said).status == 401
        assert place.served.call("POST", "/api/v1/runs", viewer, {"sopName": "deploy"}, said).status == 403


@pytest.mark.parametrize("value", ["deploy", "sop_run_../../x", "", "sop_run_a b"])
def test_what_is_no_run_is_refused(place: Place, value: str) -> None:
    reply = place.served.call("GET", "/api/v1/whoami", place.admin, headers=inside(value))
    assert reply.status == 400
    assert "sopwith-inside names no run" in reply.json["detail"]


@pytest.mark.parametrize("name", ["Sopwith-Inside", "Sopwith-Actor-Kind"])
def test_it_is_said_once(place: Place, name: str) -> None:
    head = f"GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {place.admin}\r\n"
    twice = f"{name}: {NOWHERE}\r\n{name}: {NOWHERE}\r\nConnection: close\r\n\r\n"
    assert b"is given twice" in place.served.raw((head + twice).encode())


def test_a_webhook_from_within_a_run_is_brought_about_by_it(serve: Serve, workshop: Workshop) -> None:
    workshop.steps("hooked", "?Look | echo looked", triggers=[{"type": "webhook", "path": "/look"}], approval=NAMES)
    place = Place(serve(), workshop)
    first = place.started("deploy", place.bot)
    replies: list[Reply] = []

    def taken() -> bool:
        replies.append(place.served.call("POST", "/hooks/look", place.admin, headers=inside(first)))
        return replies[-1].status == 202

    eventually(taken)
    second = str(replies[-1].json["runId"])
    eventually(lambda: place.run(second).get("status") == "awaiting_approval")
    assert place.run(second)["createdBy"] == {"id": "ann", "kind": "agent", "via": "webhook", "inside": first}
    assert f"started {first}" in place.say("approve", second, place.bot).json["detail"]


def test_a_webhook_that_an_agent_calls_with_a_persons_token_is_an_agents(serve: Serve, workshop: Workshop) -> None:
    """As a call of the API is: by the person's roles, and recorded as what it was."""
    workshop.steps(
        "hooked", "?Go | true", triggers=[{"type": "webhook", "path": "/look"}], runners=["user:ann", "user:eve"]
    )
    served = serve()
    tokens = {name: served.token(name, "admin") for name in ("ann", "carl", "eve")}
    config = {"roles": {"admin": ["user:ann", "user:carl"], "viewer": ["user:eve"]}}
    (workshop.sops / "config.json").write_text(json.dumps(config))

    def called(name: str, said: dict[str, str]) -> Reply:
        replies: list[Reply] = []

        def answered() -> bool:
            replies.append(served.call("POST", "/hooks/look", tokens[name], headers=said))
            return replies[-1].status != 503

        eventually(answered)
        return replies[-1]

    for said, kind in ((AGENT, "agent"), ({}, "human")):
        run = f"/api/v1/runs/{called('ann', said).json['runId']}"
        eventually(lambda run=run: served.call("GET", run, tokens["ann"]).status == 200)  # type: ignore[misc]
        created_by = served.call("GET", run, tokens["ann"]).json["createdBy"]
        assert created_by == {"id": "ann", "kind": kind, "via": "webhook"}
    assert [called(name, AGENT).status for name in ("carl", "eve")] == [404, 404]
